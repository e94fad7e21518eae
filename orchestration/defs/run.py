"""The daily job from the command line: the same job, in the same instance, as the schedule and the UI run."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.execution.plan.objects import StepFailureData
from sqlalchemy.exc import DBAPIError

from orchestration.defs.load import load_space
from orchestration.defs.transform import build_space
from orchestration.processes import is_running, process_name
from orchestration.settings import Settings
from orchestration.space import is_disk_full, is_given_up, require_space
from orchestration.warehouse import explained, make_room, run_lock, writing

INSTANCE = """\
# Written by `cem`. One run at a time: DuckDB has one writer.
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 1
run_monitoring:
  enabled: true
python_logs:
  managed_python_loggers: [cem]
  python_log_level: INFO
event_log_storage:
  module: orchestration.defs.storage
  class: PooledSqliteEventLogStorage
  config:
    base_dir: {event_log}
"""


FULL_BELOW = 2**24
"""Free bytes under which a failed write of Dagster's storage is put down to the full disk: what failed with it has
given some megabytes back by the time that one looks."""

PROCESS_TAG = "cem/process"
"""Tag of runs from the command line: the name of the process they live in, in older ones its number alone. Dagster
watches only the runs it launched itself."""


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        run_id: Dagster's id of the run.
        is_success: Whether every step succeeded.
        failures: One line for each failed step: its name and its error.
    """

    run_id: str
    is_success: bool
    failures: tuple[str, ...]


def dagster_home(settings: Settings) -> Path:
    """The folder of Dagster's instance, with its configuration written."""
    home = settings.home / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    text = INSTANCE.format(event_log=json.dumps(str(home / "history" / "runs")))
    if not config.exists() or config.read_text() != text:
        config.write_text(text)
    return home


class InstanceError(RuntimeError):
    """Dagster's own storage cannot be used; the message says what to do."""


@contextmanager
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance whose runs the UI of this state folder shows."""
    os.environ["DAGSTER_HOME"] = str(dagster_home(settings))
    with dg.DagsterInstance.get() as found:
        yield found


def run_daily(settings: Settings) -> RunOutcome:
    """Run the daily job once in this process.

    Raises:
        WarehouseBusyError: Another run of this state folder is under way.
        WarehouseBrokenError: The warehouse file is damaged.
        SpaceError: There is too little room for this run.
        InstanceError: Dagster's storage is locked or damaged.
    """
    with run_lock(settings.home):
        _require_room(settings)
        try:
            return _run_daily(settings)
        except (sqlite3.Error, DBAPIError) as error:
            # SQLite calls a full disk an I/O error when it cannot write its journal.
            is_full = is_given_up(settings.home) or shutil.disk_usage(settings.home).free < FULL_BELOW
            if is_full or is_disk_full(error):
                make_room(settings)
                raise explained(settings.warehouse, "No space left on device") or error from error
            reason = str(error.orig if isinstance(error, DBAPIError) else error)
            raise InstanceError(
                f"Dagster's storage in {settings.home / 'dagster'} cannot be used: {reason}. It holds only the history "
                "of runs, no data: if it is locked, close `make ui` or what else has it open; if it is damaged, move "
                "the folder away. Then run again: nothing is lost"
            ) from error


def _require_room(settings: Settings) -> None:
    """Refuse a run that the disk cannot hold before it begins; each step looks again at what it needs itself."""
    with writing(settings) as con:
        needed = 0
        for source in settings.sources:
            needed += load_space(con, settings, source)
    require_space(settings.home, needed + build_space(settings), "this run")


def _run_daily(settings: Settings) -> RunOutcome:
    from orchestration.definitions import build_defs

    with instance(settings) as found:
        end_lost_runs(found, is_alone=True)
        result = (
            build_defs(settings)
            .resolve_job_def("daily")
            .execute_in_process(
                instance=found,
                raise_on_error=False,
                tags={PROCESS_TAG: process_name(os.getpid())},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        )
        return RunOutcome(result.run_id, result.success, failure_lines(result.get_step_failure_events()))


def end_lost_runs(found: dg.DagsterInstance, *, is_alone: bool = False) -> list[str]:
    """Mark runs from the command line whose process is gone as failed.

    A killed process cannot say that its run ended, and with one run at a time the queue would wait for it forever.

    Args:
        found: The instance.
        is_alone: Whether the caller holds the lock that runs from the command line hold: then all others are gone.

    Returns:
        The ids of the runs.
    """
    under_way = [
        dg.DagsterRunStatus.NOT_STARTED,  # killed while Dagster wrote down what the run will do
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    lost = [
        run
        for run in found.get_runs(dg.RunsFilter(statuses=under_way))
        if _is_of_command_line(run) and (is_alone or not is_running(run.tags[PROCESS_TAG]))
    ]
    for run in lost:
        found.report_run_failed(run, "The process of this run is gone; nothing is lost, run it again.")
    return [run.run_id for run in lost]


def _is_of_command_line(run: dg.DagsterRun) -> bool:
    # The UI copies the tags of a run when it executes it again, but then it knows where it launches it.
    return PROCESS_TAG in run.tags and run.remote_job_origin is None


def failure_lines(failed: Iterable[dg.DagsterEvent]) -> tuple[str, ...]:
    """One line for each failed step: its name, and what an operator should know of its error."""
    return tuple(f"{event.step_key}: {_reason(event.step_failure_data)}" for event in failed)


def _reason(failure: StepFailureData) -> str:
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return failure.user_failure_data.description.strip()
    if failure.error is None:
        return "failed"
    return (failure.error.cause or failure.error).message.strip()
