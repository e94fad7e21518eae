"""Names for processes that no later process has: numbers are given again, in a container within seconds.

Belongs here: naming a process, and finding out whether it still runs. Does not belong here: what it worked on.
"""

from __future__ import annotations

from pathlib import Path

from orchestration.warehouse import is_alive

PROC = Path("/proc")

_STATE, _STARTED = 0, 19
"""Places in `/proc/<number>/stat` behind the name of the program, which may itself hold blanks and brackets."""

_ENDED = frozenset("ZX")
"""States of processes that have ended, but nobody has asked how."""


def process_name(process: int) -> str:
    """`<number>@<boot>/<start>`: the boot of the machine, and the clock ticks from there to the start of the process.

    Where the system does not tell (no `/proc`, no such process) it is the number alone.
    """
    started = _status(process)[1]
    return f"{process}@{_boot()}/{started}" if started else str(process)


def is_running(name: str) -> bool:
    """Whether the process of that name still runs; of a number alone, whether there is a process of that number."""
    number = name.partition("@")[0]
    if not is_alive(int(number)) or _status(int(number))[0] in _ENDED:
        return False
    return name in (number, process_name(int(number)))


def _status(process: int) -> tuple[str, str]:
    """State and start of a process; empty where the system does not tell."""
    try:
        fields = (PROC / str(process) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[_STATE], fields[_STARTED]


def _boot() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
