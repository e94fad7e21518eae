"""A launched run has the state folder to itself, also while none of its steps has the warehouse open."""

import os
import subprocess
import sys

import dagster as dg

from orchestration.defs.executor import build_executor
from orchestration.settings import load_settings

TAKE = """
import sys
from pathlib import Path
from orchestration.warehouse import run_lock
with run_lock(Path(sys.argv[1])):
    print("took it")
"""


def take_lock():
    """What another process is told that wants to work in the state folder."""
    home = str(load_settings().home)
    return subprocess.run([sys.executable, "-c", TAKE, home], capture_output=True, text=True, check=False)


@dg.op
def step():
    """A step that has not opened the warehouse."""
    assert f"another run (process {os.getpid()})" in take_lock().stderr


def one_step():
    @dg.job(executor_def=build_executor(load_settings()))
    def job():
        step()

    return job


def test_nobody_works_in_the_state_folder_between_the_steps_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("CEM_HOME", str(tmp_path / "var"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.execute_job(dg.reconstructable(one_step), instance=instance, raise_on_error=True)
    assert result.success
    assert take_lock().stdout.strip() == "took it"
