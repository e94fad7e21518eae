"""The demo company as an asset, present only while cem.yml asks for it."""

from collections.abc import Iterator

import dagster as dg

from orchestration.demo import generate
from orchestration.progress import progress
from orchestration.settings import Demo, Settings
from orchestration.stages import EXTRACT
from orchestration.warehouse import writing

COMPANY = dg.AssetKey(["demo", "company"])


def build_demo_asset(settings: Settings, demo: Demo) -> dg.AssetsDefinition:
    """The files and the database of the generated company, written once and then left alone."""

    @dg.multi_asset(
        name="generate_demo",
        specs=[
            dg.AssetSpec(
                COMPANY,
                group_name=EXTRACT,
                description="One row per customer of the generated company: a retailer with subscriptions, whose CRM, "
                "tickets, surveys, posts and web visits stand in for yours until cem.yml names your sources.",
                kinds={"python", "duckdb"},
            )
        ],
    )
    def generate_demo() -> Iterator[dg.MaterializeResult[None]]:
        # No warehouse is needed, but a company must not change under another run that reads it.
        with progress(EXTRACT, "demo company") as piece, writing(settings):
            company = generate(
                settings.demo_folder,
                customers=demo.customers,
                seed=demo.seed,
                days=demo.days,
                extensions=settings.extensions,
                memory_limit=settings.engine.memory_limit,
                threads=settings.engine.threads,
            )
            piece.rows = demo.customers
            piece.note = "customers"
        yield dg.MaterializeResult(
            asset_key=COMPANY, metadata={"dagster/row_count": demo.customers, "company": str(company)}
        )

    return generate_demo
