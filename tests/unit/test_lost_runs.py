"""Runs whose process was killed are known as failed, whatever they were at; runs under way are left alone."""

import os
import subprocess

import dagster as dg
import pytest

from orchestration.defs.run import PROCESS_TAG, end_lost_runs


@pytest.fixture
def gone():
    """The number of a process that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return str(ended.pid)


@dg.job
def daily():
    """A job without steps."""


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_a_run_of_a_process_that_is_gone_has_failed(gone, status):
    with dg.DagsterInstance.ephemeral() as instance:
        lost, alive, launched = (
            instance.create_run_for_job(daily, status=dg.DagsterRunStatus[status], tags=tags).run_id
            for tags in ({PROCESS_TAG: gone}, {PROCESS_TAG: str(os.getpid())}, {})
        )
        assert end_lost_runs(instance) == [lost]
        statuses = [instance.get_run_by_id(run).status.value for run in (lost, alive, launched)]
        assert statuses == ["FAILURE", status, status]
        assert end_lost_runs(instance) == []
