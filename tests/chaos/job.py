"""The job `cem run` in a forked child (`forked.py`) that can be watched, limited and killed.

The child leads a process group of its own, which is what gets killed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from forked import CONTEXT, lead, leave

from orchestration.stages import STAGES

POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Piece:
    """A finished piece of work, as its progress line says.

    Attributes:
        stage: Its stage.
        what: What was worked on.
        seconds: Time it took.
        at: When the line came, in seconds after the start of the process.
    """

    stage: str
    what: str
    seconds: float
    at: float


@dataclass
class Job:
    """A run under way, or ended."""

    process: BaseProcess
    progress: Path
    output: Path
    started: float

    def lines(self) -> list[str]:
        text = self.progress.read_text() if self.progress.exists() else ""
        return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def wait_for_lines(self, count: int) -> bool:
        """Wait until so many pieces are finished; False when the job ends before."""
        while len(self.lines()) < count:
            if not self.is_alive():
                return False
            time.sleep(POLL_SECONDS)
        return True

    def kill(self) -> bool:
        """Kill the whole process group as the system would; False when the job had ended by itself."""
        while self.is_alive():
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                time.sleep(POLL_SECONDS)  # the child does not lead its group yet
            else:
                break
        self.process.join()
        return self.process.exitcode == -signal.SIGKILL

    def wait(self) -> int:
        self.process.join()
        return self.process.exitcode

    def pieces(self) -> list[Piece]:
        """Wait for the end, noting when each piece was finished."""
        found: list[Piece] = []
        while True:
            alive = self.is_alive()
            for line in self.lines()[len(found) :]:
                found.append(_piece(line, time.monotonic() - self.started))
            if not alive:
                return found
            time.sleep(POLL_SECONDS)

    def text(self) -> str:
        return self.output.read_text() if self.output.exists() else ""


START_SECONDS = 2.0
"""What the start of a run that nobody watched is taken to need."""


def pieces_of(lines: Iterable[str]) -> list[Piece]:
    """The pieces of a run that nobody watched, from what it printed, as if each had begun when the last one ended."""
    found: list[Piece] = []
    for line in lines:
        if " rows " in line and line[:8].strip() in STAGES:
            piece = _piece(line, 0.0)
            found.append(replace(piece, at=(found[-1].at if found else START_SECONDS) + piece.seconds))
    return found


def _piece(line: str, at: float) -> Piece:
    seconds = float(line.partition(" rows ")[2].partition(" s ")[0])
    return Piece(line[:8].strip(), line[9:33].strip(), seconds, at)


def start(folder: Path, *arguments: str, limits: dict[int, int] | None = None) -> Job:
    """Start `cem <arguments>` for the state folder `<folder>/var` and the configuration `<folder>/cem.yml`."""
    progress, output = folder / "progress.log", folder / "output.log"
    progress.unlink(missing_ok=True)
    process = CONTEXT.Process(target=_child, args=(str(folder), arguments or ("run",), limits or {}))
    job = Job(process, progress, output, time.monotonic())
    process.start()
    return job


def _child(folder: str, arguments: tuple[str, ...], limits: dict[int, int]) -> None:
    import resource

    home = Path(folder)
    output = home / "output.log"
    lead(
        {1: output, 2: output},
        {**os.environ, "CEM_HOME": str(home / "var"), "CEM_CONFIG": str(home / "cem.yml")},
    )
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    import dagster as dg

    from orchestration import cli
    from orchestration.defs import load

    # A source that is down is asked again at once, not after a minute.
    load.EXTRACTION_RETRY = dg.RetryPolicy(max_retries=1)
    show = cli._log_progress
    # Dagster takes the output of a step for itself meanwhile; progress has to be seen at once.
    cli._log_progress = lambda stream: show((home / "progress.log").open("a", buffering=1))
    leave(cli.main(list(arguments)))
