"""Runs whose process was killed are known as failed, whatever they were at; runs under way are left alone."""

import os
import subprocess

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from orchestration.defs.run import PROCESS_TAG, end_lost_runs
from orchestration.processes import process_name


@pytest.fixture
def gone():
    """The number of a process that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return str(ended.pid)


@pytest.fixture
def other():
    """The number of a process that runs and has nothing to do with any run."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


@dg.job
def daily():
    """A job without steps."""


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_a_run_of_a_process_that_is_gone_has_failed(gone, status):
    with dg.DagsterInstance.ephemeral() as instance:
        lost, alive, launched = (
            instance.create_run_for_job(daily, status=dg.DagsterRunStatus[status], tags=tags).run_id
            for tags in ({PROCESS_TAG: gone}, {PROCESS_TAG: process_name(os.getpid())}, {})
        )
        assert end_lost_runs(instance) == [lost]
        statuses = [instance.get_run_by_id(run).status.value for run in (lost, alive, launched)]
        assert statuses == ["FAILURE", status, status]
        assert end_lost_runs(instance) == []


def test_a_number_that_was_given_again_keeps_no_run_alive(other):
    name = process_name(other)
    before_the_boot = name.replace("@", "@another-")
    before_in_this_boot = name.rpartition("/")[0] + "/1"
    with dg.DagsterInstance.ephemeral() as instance:
        alive, *lost = (started_run(instance, process) for process in (name, before_the_boot, before_in_this_boot))

        assert sorted(end_lost_runs(instance)) == sorted(lost)
        assert instance.get_run_by_id(alive).status == dg.DagsterRunStatus.STARTED


def test_a_process_that_nobody_waits_for_keeps_no_run_alive():
    process = subprocess.Popen(["sleep", "60"])
    name = process_name(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with dg.DagsterInstance.ephemeral() as instance:
        lost = started_run(instance, name)

        assert end_lost_runs(instance) == [lost]
    process.wait()


def test_a_tag_of_an_older_version_holds_a_number_alone(other, gone):
    with dg.DagsterInstance.ephemeral() as instance:
        alive, lost = started_run(instance, str(other)), started_run(instance, gone)

        assert end_lost_runs(instance) == [lost]
        assert end_lost_runs(instance, is_alone=True) == [alive]  # who holds the lock knows more than a number


def test_a_run_that_the_ui_executes_again_goes_on(gone):
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("cem"), "__repository__"), "daily")
    with dg.DagsterInstance.ephemeral() as instance:
        again = started_run(instance, gone, remote_job_origin=origin)  # the UI copies the tags of the run

        assert end_lost_runs(instance, is_alone=True) == []
        assert instance.get_run_by_id(again).status == dg.DagsterRunStatus.STARTED


def started_run(instance, process, **options):
    tags = {PROCESS_TAG: process}
    return instance.create_run_for_job(daily, status=dg.DagsterRunStatus.STARTED, tags=tags, **options).run_id
