"""Who is told of a failed run reads the reason, whatever way a step failed, as `cem run` shows it."""

import dagster as dg
import pytest

from orchestration.defs import automation
from orchestration.defs.run import PROCESS_TAG, end_lost_runs, failure_lines
from orchestration.settings import Settings
from orchestration.space import SpaceError


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
def tried_again():
    raise dg.Failure("crm: the server does not answer")


@dg.op
def held():
    raise dg.Failure("shop.people is held: 9 of 10 rows are bad", allow_retries=False)


@dg.op
def broken():
    raise SpaceError("/data: this run may need 9 bytes and 1 are free")


@dg.job
def daily():
    """Steps that fail as those of the daily job do."""
    tried_again()
    held()
    broken()


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Texts that people were sent."""
    texts = []
    monkeypatch.setattr(automation, "notify", lambda _targets, subject, text: texts.append(text))
    return texts


@pytest.fixture
def sensor(tmp_path):
    return automation.build_failure_sensor(Settings(config_path=tmp_path / "cem.yml", home=tmp_path, sources=()))


def test_every_reason_is_told_as_cem_run_shows_it(told, sensor):
    with dg.DagsterInstance.ephemeral() as instance:
        result = daily.execute_in_process(instance=instance, raise_on_error=False)
        tell(sensor, instance, result.run_id)

    (text,) = told
    assert "tried_again: crm: the server does not answer" in text
    assert "held: shop.people is held: 9 of 10 rows are bad" in text
    assert "SpaceError: /data: this run may need 9 bytes and 1 are free" in text
    assert "max_retries" not in text and "Error occurred while executing" not in text
    assert all(line in text for line in failure_lines(result.get_step_failure_events()))


def test_a_run_that_failed_outside_of_its_steps_has_a_reason_too(told, sensor):
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(daily, status=dg.DagsterRunStatus.STARTED, tags={PROCESS_TAG: "4194305"})
        end_lost_runs(instance)
        tell(sensor, instance, run.run_id)

    assert "The process of this run is gone" in told[0]


def tell(sensor, instance, run_id):
    """What the daemon does with a run that failed."""
    (failed,) = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.RUN_FAILURE).records
    context = dg.build_run_status_sensor_context(
        "notify_on_failure",
        dagster_event=failed.event_log_entry.dagster_event,
        dagster_instance=instance,
        dagster_run=instance.get_run_by_id(run_id),
    )
    sensor(context.for_run_failure())
