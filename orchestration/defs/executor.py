"""How launched runs are executed: in one process, which holds the lock of the state folder from the first step on.

DuckDB has one writer, and a process a step would pay all imports again. The lock is held between the steps too, when
nobody has the warehouse open: what somebody changed there would be booked as seen by steps that were before it.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

from orchestration.settings import Settings
from orchestration.warehouse import run_lock

PATIENCE_SECONDS = 600
"""Time a launched run waits for a command to end: nobody is there who could start it again."""


class LockedExecutor(InProcessExecutor):
    """Executes the steps one after the other and holds the lock of a state folder around them."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is locked yet."""
        super().__init__(retries=RetryMode.ENABLED)
        self._home = settings.home

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Dagster's events of the steps.

        Raises:
            WarehouseBusyError: Somebody else has held the lock for too long.
        """
        with run_lock(self._home, PATIENCE_SECONDS):
            yield from super().execute(plan_context, execution_plan)


def build_executor(settings: Settings) -> dg.ExecutorDefinition:
    """The executor of all jobs."""

    @dg.executor(name="in_process")
    def in_process(_context: dg.InitExecutorContext) -> LockedExecutor:
        return LockedExecutor(settings)

    return in_process
