"""The dbt models as assets, their tests as checks: the stages UNIFY (before identity) and MODEL (after it)."""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, dbt_assets
from dagster_dbt.asset_utils import (
    DAGSTER_DBT_EXCLUDE_METADATA_KEY,
    DAGSTER_DBT_SELECT_METADATA_KEY,
    get_asset_check_key_for_test,
    get_subset_selection_for_context,
)
from dagster_dbt.dbt_project import DbtProject

from orchestration import builds
from orchestration.defs.freshness import FRESHNESS
from orchestration.defs.hold import refuse_held
from orchestration.defs.results import StepResult, keep_quiet_about_checks
from orchestration.progress import progress
from orchestration.publication.files import Layout
from orchestration.settings import Settings
from orchestration.space import require_space
from orchestration.stages import GUARD, MODEL, UNIFY
from orchestration.transform import UNIFY_FOLDERS, UNIFY_SELECTION, NodeResult, build, failures_text
from orchestration.warehouse import writing


class Translator(DagsterDbtTranslator):
    """Names, groups and describes dbt nodes the way the rest of the graph does: key = schema / table."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Schema and table of the relation."""
        name = dbt_resource_props.get("identifier") or dbt_resource_props.get("alias")
        return dg.AssetKey([dbt_resource_props["schema"], name or dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """The stage: UNIFY up to the records that identity reads, MODEL from there on."""
        if dbt_resource_props["resource_type"] == "source":
            return None
        before_identity = {"staging", *UNIFY_FOLDERS} & set(dbt_resource_props["fqn"][:-1])
        return UNIFY if before_identity else MODEL

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """The usual spec, with the promise of freshness on everything readers may see."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        return spec.replace_attributes(freshness_policy=FRESHNESS) if spec.key.path[0] == "marts" else spec

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        """A test as a check. It needs not block: the step itself fails when a test of severity error does."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec._replace(blocking=False) if spec else None

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The model's own words, which begin with its grain."""
        return str(dbt_resource_props.get("description") or "")


def build_transform_assets(settings: Settings, manifest: Mapping[str, Any]) -> list[dg.AssetsDefinition]:
    """Two steps of dbt: everything up to the collected person records, and everything after identity."""
    translator = Translator()

    @dbt_assets(manifest=manifest, select=UNIFY_SELECTION, name="dbt_unify", dagster_dbt_translator=translator)
    def dbt_unify(context: dg.AssetExecutionContext) -> Iterator[StepResult]:
        yield from _run(context, settings, manifest, translator, UNIFY)

    @dbt_assets(manifest=manifest, exclude=UNIFY_SELECTION, name="dbt_model", dagster_dbt_translator=translator)
    def dbt_model(context: dg.AssetExecutionContext) -> Iterator[StepResult]:
        yield from _run(context, settings, manifest, translator, MODEL)

    return [dbt_unify, dbt_model]


def build_booked_specs(manifest: Mapping[str, Any]) -> list[dg.AssetSpec]:
    """What every stage books about its work, as far as models read it."""
    return [
        dg.AssetSpec(
            [node["schema"], node["name"]], group_name=GUARD, description=node["description"], kinds={"duckdb"}
        )
        for node in manifest["sources"].values()
        if node["schema"] in ("ops", "quarantine")
    ]


FIRST_BUILD_SPACE_FACTOR = 3
"""Bytes to have free per byte of a warehouse that holds no marts yet (measured: 2.2)."""

BUILD_SPACE_FACTOR = 1
"""Bytes to have free per byte of the warehouse later: every table a build replaces stands beside its predecessor."""

BUILD_SPACE_MARGIN = 64 * 2**20
"""Bytes to have free for any build."""


def build_space(settings: Settings) -> int:
    """Bytes of disk that a build of the models may take."""
    size = settings.warehouse.stat().st_size if settings.warehouse.exists() else 0
    is_first = not Layout(settings.published).marts.exists()
    return (FIRST_BUILD_SPACE_FACTOR if is_first else BUILD_SPACE_FACTOR) * size + BUILD_SPACE_MARGIN


def _run(
    context: dg.AssetExecutionContext,
    settings: Settings,
    manifest: Mapping[str, Any],
    translator: Translator,
    stage: str,
) -> Iterator[StepResult]:
    keep_quiet_about_checks(context)
    with progress(stage, "dbt models and tests") as piece:
        with writing(settings) as con:
            refuse_held(con, settings)
            unchanged = builds.is_up_to_date(con, settings, stage) and not context.is_subset
            follows = unchanged or builds.begin(con, settings, stage)
            if context.is_subset:
                builds.forget_models(con)
        if unchanged:
            piece.note = "nothing new"
            yield from _unchanged(context)
            return
        require_space(settings.home, build_space(settings), "building the models")
        refresh = [] if follows else ["--full-refresh"]
        results = build(settings, [*_selection(context, manifest, translator, stage), *refresh])
        rows = _row_counts(settings, manifest, results)
        piece.rows = sum(rows.values())
        models = sum(result.unique_id.startswith("model") for result in results)
        piece.note = f"{models} models, {len(results) - models} tests"
        yield from _events(context, manifest, translator, results, rows)
        failures = failures_text(settings, results)
        if failures:
            raise dg.Failure(f"dbt says:\n{failures}", allow_retries=False)
        if not context.is_subset:
            with writing(settings) as con:
                builds.record(con, settings, stage)


def _unchanged(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    """Every asset of the step is as its inputs are: say so, rebuild nothing."""
    # Dagster asks for the order of the graph, which the order of the specs need not be.
    deps = {spec.key: {dep.asset_key for dep in spec.deps} for spec in context.assets_def.specs}
    for key in TopologicalSorter(deps).static_order():
        if key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=key, metadata={"changed": False})


def _selection(
    context: dg.AssetExecutionContext, manifest: Mapping[str, Any], translator: Translator, stage: str
) -> Sequence[str]:
    """What to build: the whole step, or the assets picked in the UI.

    A test that compares a model of UNIFY with one of MODEL belongs to MODEL, where both stand.
    """
    arguments, indirect = get_subset_selection_for_context(
        context=context,
        manifest=manifest,
        select=context.op.tags.get(DAGSTER_DBT_SELECT_METADATA_KEY),
        exclude=context.op.tags.get(DAGSTER_DBT_EXCLUDE_METADATA_KEY),
        selector=None,
        dagster_dbt_translator=translator,
        current_dbt_indirect_selection_env=None,
    )
    indirect = indirect or ("cautious" if stage == UNIFY else "eager")
    return [*arguments, "--indirect-selection", indirect]


def _row_counts(settings: Settings, manifest: Mapping[str, Any], results: Sequence[NodeResult]) -> dict[str, int]:
    """Rows of each table built, by dbt id, in one query. Views are not counted: that would run them."""
    tables = [
        (node["schema"], node["alias"], result.unique_id)
        for result in results
        if result.is_ok
        and (node := manifest["nodes"].get(result.unique_id)) is not None
        and node["config"].get("materialized") in ("table", "incremental")
    ]
    if not tables:
        return {}
    union = " union all ".join(
        f'select \'{unique_id}\', count(*) from "{schema}"."{name}"' for schema, name, unique_id in tables
    )
    with writing(settings) as con:
        return dict(con.execute(union).fetchall())


def _events(
    context: dg.AssetExecutionContext,
    manifest: Mapping[str, Any],
    translator: Translator,
    results: Sequence[NodeResult],
    rows: Mapping[str, int],
) -> Iterator[StepResult]:
    """Results of dbt in Dagster's words: a materialisation a model, a check result a test."""
    selected_checks = context.selected_asset_check_keys
    for result in results:
        node = manifest["nodes"].get(result.unique_id)
        if node is None or result.status == "skipped":
            continue
        if node["resource_type"] == "test":
            key = get_asset_check_key_for_test(manifest, translator, result.unique_id, None)
            if key is not None and key in selected_checks:
                yield dg.AssetCheckEvaluation(
                    passed=result.status == "pass",
                    asset_key=key.asset_key,
                    check_name=key.name,
                    severity=dg.AssetCheckSeverity.WARN if result.status == "warn" else dg.AssetCheckSeverity.ERROR,
                    metadata={"failing rows": result.failures or 0, "seconds": result.seconds},
                )
        elif result.is_ok:
            metadata: dict[str, Any] = {"changed": True, "seconds": result.seconds}
            if result.unique_id in rows:
                metadata["dagster/row_count"] = rows[result.unique_id]
            yield dg.MaterializeResult(asset_key=translator.get_asset_key(node), metadata=metadata)
