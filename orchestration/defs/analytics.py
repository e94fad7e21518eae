"""Marts that need a fitted model, not a query: customer lifetime value."""

from collections.abc import Iterator

import dagster as dg

from orchestration import builds
from orchestration.analytics import clv
from orchestration.defs.hold import refuse_held
from orchestration.progress import progress
from orchestration.settings import Settings
from orchestration.stages import MODEL
from orchestration.warehouse import writing

STEP = "clv"


def build_analytics_assets(settings: Settings) -> dg.AssetsDefinition:
    """The lifetime value marts, fitted and written by one step."""

    @dg.multi_asset(
        name="fit_clv",
        specs=[
            dg.AssetSpec(
                ["marts", mart.name],
                deps=[["marts", "fct_order"], ["intermediate", "int_as_of__resolved"]],
                group_name=MODEL,
                description=mart.description,
                kinds={"duckdb", "python"},
                metadata={
                    "dagster/column_schema": dg.TableSchema(
                        [
                            dg.TableColumn(column.name, type=column.data_type, description=column.description)
                            for column in mart.columns
                        ]
                    )
                },
            )
            for mart in clv.MARTS
        ],
    )
    def fit_clv() -> Iterator[dg.MaterializeResult[None]]:
        with progress(MODEL, "lifetime value") as piece, writing(settings) as con:
            refuse_held(con, settings)
            changed = not builds.is_up_to_date(con, settings, STEP)
            if changed:
                clv.build_clv(con, settings)
                builds.record(con, settings, STEP)
            else:
                piece.note = "nothing new"
            for mart in clv.MARTS:
                count = con.execute(f'select count(*) from marts."{mart.name}"').fetchone()
                rows = count[0] if count else 0
                piece.rows += rows if changed else 0
                yield dg.MaterializeResult(
                    asset_key=["marts", mart.name], metadata={"changed": changed, "dagster/row_count": rows}
                )

    return fit_clv
