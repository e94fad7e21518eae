"""When the job runs by itself, and who hears of it when it fails."""

import dagster as dg

from orchestration.defs.run import end_lost_runs, failure_lines
from orchestration.notification import notify
from orchestration.settings import Settings

DAILY = dg.define_asset_job(
    "daily",
    selection=dg.AssetSelection.all(),
    description="The whole path once: extract, guard, unify, model, publish. Safe to repeat at any point.",
)


def build_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """The nightly run, in the time zone of the settings."""
    return dg.ScheduleDefinition(
        name="daily_schedule",
        job=DAILY,
        cron_schedule=settings.schedule.cron,
        execution_timezone=settings.schedule.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING
        if settings.schedule.enabled
        else dg.DefaultScheduleStatus.STOPPED,
    )


def build_failure_sensor(settings: Settings) -> dg.SensorDefinition:
    """Tells the people named in `notify` that a run failed, which steps, and why."""

    @dg.run_failure_sensor(
        name="notify_on_failure",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends each failed run to the webhook and mail address of the settings.",
    )
    def notify_on_failure(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        reasons = failure_lines(context.get_step_failure_events()) or (context.failure_event.message or "no step ran",)
        notify(
            settings.notify,
            subject=f"{settings.company}: run {run.job_name} failed",
            text="\n".join([f"Run {run.run_id} failed.", *reasons, "The last published marts stay up."]),
        )

    return notify_on_failure


@dg.sensor(
    name="end_lost_runs",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs from the command line whose process was killed as failed, so that the queue goes on.",
)
def lost_runs_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Looks once a minute; starts nothing."""
    lost = end_lost_runs(context.instance)
    return dg.SkipReason(f"ended: {', '.join(lost)}" if lost else "no run is lost")
