"""The daily job from the command line: the same job, in the same instance, as the schedule and the UI run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.execution.plan.objects import StepFailureData

from orchestration.settings import Settings
from orchestration.warehouse import run_lock

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
    """
    from orchestration.definitions import build_defs

    with run_lock(settings.home), instance(settings) as found:
        result = (
            build_defs(settings)
            .resolve_job_def("daily")
            .execute_in_process(
                instance=found,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        )
        failures = [
            f"{event.step_key}: {_reason(event.step_failure_data)}" for event in result.get_step_failure_events()
        ]
        return RunOutcome(result.run_id, result.success, tuple(failures))


def _reason(failure: StepFailureData) -> str:
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return failure.user_failure_data.description.strip()
    if failure.error is None:
        return "failed"
    return (failure.error.cause or failure.error).message.strip()
