"""Identity as assets: the step between the two runs of dbt that gives every record its customer id."""

from collections.abc import Iterator

import dagster as dg

from orchestration import builds
from orchestration.defs.hold import refuse_held
from orchestration.identity import TABLES, resolve_and_learn
from orchestration.progress import progress
from orchestration.settings import Settings
from orchestration.stages import UNIFY
from orchestration.warehouse import writing

STEP = "identity"


def build_identity_assets(settings: Settings) -> dg.AssetsDefinition:
    """One asset a table of the schema `identity`, all kept by one step in one transaction."""

    @dg.multi_asset(
        name="resolve_identity",
        specs=[
            dg.AssetSpec(
                ["identity", name],
                deps=[["intermediate", "int_person_record__collected"]],
                group_name=UNIFY,
                description=description,
                kinds={"duckdb"},
            )
            for name, description in TABLES.items()
        ],
    )
    def resolve_identity() -> Iterator[dg.MaterializeResult[None]]:
        with progress(UNIFY, "identity") as piece, writing(settings) as con:
            refuse_held(con, settings)
            changed = not builds.is_up_to_date(con, settings, STEP)
            metadata: dict[str, int | bool] = {"changed": changed}
            if changed:
                result = resolve_and_learn(con, settings.identity, settings.identity_model)
                builds.record(con, settings, STEP)
                piece.rows = result.records
                piece.note = f"records → {result.customers:,} customers, {result.doubtful:,} doubtful pairs"
                metadata |= {"records": result.records, "customers": result.customers, "doubtful": result.doubtful}
            else:
                piece.note = "nothing new"
            for name in TABLES:
                # Counting a view reads all that it looks at.
                count = con.execute(f'select count(*) from identity."{name}"').fetchone() if changed else None
                rows = {"dagster/row_count": count[0]} if count else {}
                yield dg.MaterializeResult(asset_key=["identity", name], metadata={**metadata, **rows})

    return resolve_identity
