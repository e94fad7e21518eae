"""The entry point of Dagster: thin assembly, nothing else."""

from __future__ import annotations

import dagster as dg

from orchestration.defs.analytics import build_analytics_assets
from orchestration.defs.automation import DAILY, build_failure_sensor, build_schedule, lost_runs_sensor
from orchestration.defs.demo import build_demo_asset
from orchestration.defs.executor import build_executor
from orchestration.defs.identity import build_identity_assets
from orchestration.defs.load import build_load_assets
from orchestration.defs.operators import build_operator_jobs
from orchestration.defs.publish import build_publish_assets
from orchestration.defs.sentiment import build_sentiment_assets
from orchestration.defs.transform import build_booked_specs, build_transform_assets
from orchestration.settings import Settings, load_settings
from orchestration.transform import load_manifest, prepare


def build_defs(settings: Settings) -> dg.Definitions:
    """Everything Dagster knows, for one configuration; tests call it with their own."""
    prepare(settings)
    manifest = load_manifest(settings)
    transform = build_transform_assets(settings, manifest)
    analytics = build_analytics_assets(settings)
    marts = [key for assets in (*transform, analytics) for key in assets.keys if key.path[0] == "marts"]
    return dg.Definitions(
        assets=[
            *([build_demo_asset(settings, settings.demo)] if settings.demo else []),
            *build_load_assets(settings),
            *build_booked_specs(manifest),
            *transform,
            build_identity_assets(settings),
            build_sentiment_assets(settings),
            analytics,
            build_publish_assets(settings, manifest, sorted(marts)),
        ],
        jobs=[DAILY, *build_operator_jobs(settings)],
        schedules=[build_schedule(settings)],
        sensors=[build_failure_sensor(settings), lost_runs_sensor],
        executor=build_executor(settings),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The deployment's definitions, from the cem.yml in the working folder or in CEM_CONFIG."""
    return build_defs(load_settings())
