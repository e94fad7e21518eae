"""Sentiment as assets: the step between the two runs of dbt that judges what customers write."""

from collections.abc import Iterator

import dagster as dg

from orchestration import builds
from orchestration.analytics.sentiment import TABLES, build_sentiment
from orchestration.progress import progress
from orchestration.settings import Settings
from orchestration.stages import MODEL
from orchestration.warehouse import utc_now, writing

STEP = "sentiment"


def build_sentiment_assets(settings: Settings) -> dg.AssetsDefinition:
    """One asset a table of the schema `sentiment`, all kept by one step in one transaction."""

    @dg.multi_asset(
        name="judge_sentiment",
        specs=[
            dg.AssetSpec(
                ["sentiment", name],
                deps=[["intermediate", "int_text__collected"]],
                group_name=MODEL,
                description=description,
                kinds={"duckdb", "python"},
            )
            for name, description in TABLES.items()
        ],
    )
    def judge_sentiment() -> Iterator[dg.MaterializeResult[None]]:
        with progress(MODEL, "sentiment") as piece, writing(settings) as con:
            changed = not builds.is_up_to_date(con, settings, STEP)
            if changed:
                result = build_sentiment(con, utc_now())
                builds.record(con, settings, STEP)
                piece.rows = result.scored
                piece.note = f"texts judged, {result.texts:,} in all"
                piece.note += f"; fitted anew: {', '.join(result.fitted)}" if result.fitted else ""
            else:
                piece.note = "nothing new"
            for name in TABLES:
                count = con.execute(f'select count(*) from sentiment."{name}"').fetchone()
                yield dg.MaterializeResult(
                    asset_key=["sentiment", name],
                    metadata={"changed": changed, "dagster/row_count": count[0] if count else 0},
                )

    return judge_sentiment
