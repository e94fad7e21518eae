"""The real commands `cem` and `dbt` in children that need no imports any more.

A small server process (multiprocessing's fork server) has imported everything and forks each child. Imports are half
of what a short command costs, and tests give many. `test_ui.py` gives it as a user does.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "orchestration.cli",
        "orchestration.definitions",
        "orchestration.report",
        "dbt.cli.main",
        "dbt.adapters.duckdb",
        "great_expectations",
    ]
)


def cem(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Give a command and wait for its end, as `subprocess.run` would with its output captured as text."""
    return _run(_cem, arguments, environment)


def dbt(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The same with dbt's own command."""
    return _run(_dbt, arguments, environment)


def _run(
    command: Callable[[list[str]], int], arguments: tuple[str, ...], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        output = {descriptor: Path(folder, str(descriptor)) for descriptor in (1, 2)}
        process = CONTEXT.Process(target=_child, args=(command, list(arguments), dict(environment), output))
        process.start()
        process.join()
        printed, said = (path.read_text() if path.exists() else "" for path in output.values())
    return subprocess.CompletedProcess(arguments, process.exitcode or 0, printed, said)


def lead(output: Mapping[int, Path], environment: Mapping[str, str]) -> None:
    """Make this child a process group of its own that writes to files and has another environment."""
    os.setsid()
    for descriptor, path in output.items():
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(environment)


def leave(code: int) -> None:
    """End this child as a process ends that was not forked: without what multiprocessing does at the end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _child(
    command: Callable[[list[str]], int], arguments: list[str], environment: dict[str, str], output: dict[int, Path]
) -> None:
    lead(output, environment)
    try:
        code = command(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    leave(code)


def _cem(arguments: list[str]) -> int:
    from orchestration import cli

    return cli.main(arguments)


def _dbt(arguments: list[str]) -> int:
    from dbt.cli.main import dbtRunner

    return 0 if dbtRunner().invoke(arguments).success else 1
