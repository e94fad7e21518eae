"""The stage PUBLISH: the marts pass their own audit, then go out as one version."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from orchestration import guard, snapshots
from orchestration.defs import hold
from orchestration.defs.freshness import FRESHNESS
from orchestration.defs.hold import PUBLISHED
from orchestration.defs.results import StepResult, keep_quiet_about_checks, rule_metadata
from orchestration.guard import pages, wording
from orchestration.progress import progress
from orchestration.publication import current_staleness, mart_specs, publish
from orchestration.settings import Settings
from orchestration.space import SpaceError
from orchestration.stages import GUARD, PUBLISH
from orchestration.warehouse import writing

logger = logging.getLogger("cem.publish")


def build_publish_assets(
    settings: Settings, manifest: Mapping[str, Any], marts: Sequence[dg.AssetKey]
) -> dg.AssetsDefinition:
    """The published marts: one asset, because a publication is one version or none."""
    specs = mart_specs(manifest)

    @dg.multi_asset(
        name="publish_marts",
        specs=[
            dg.AssetSpec(
                PUBLISHED,
                deps=list(marts),
                group_name=PUBLISH,
                description="One version of all public marts, which readers open while the next run writes: "
                f"{len(specs)} tables and views in marts.duckdb, and the same as Parquet.",
                kinds={"duckdb", "parquet"},
                freshness_policy=FRESHNESS,
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(
                guard.check_name(rule.rule_id),
                asset=PUBLISHED,
                description=f"{rule.description} ({rule.severity})",
            )
            for rule in guard.mart_rules(settings)
        ],
        can_subset=True,
    )
    def publish_marts(
        context: dg.AssetExecutionContext,
    ) -> Iterator[StepResult]:
        keep_quiet_about_checks(context)
        with writing(settings) as con:
            hold.refuse_held(con, settings)
            with progress(GUARD, "marts") as piece:
                rules = guard.guard_marts(con, settings)
                piece.rows = max((rule.checked for rule in rules), default=0)
                piece.note = f"{len(rules)} rules, {sum(rule.failed > 0 for rule in rules)} broken"
            pages.write_page(con, settings, context.run_id, marts=rules)
            page = dg.MetadataValue.url(pages.link_to(settings, context.run_id, "marts"))
            for rule in rules:
                if dg.AssetCheckKey(PUBLISHED, guard.check_name(rule.rule_id)) not in context.selected_asset_check_keys:
                    continue
                yield dg.AssetCheckEvaluation(
                    asset_key=PUBLISHED,
                    check_name=guard.check_name(rule.rule_id),
                    passed=rule.failed == 0,
                    severity=dg.AssetCheckSeverity.ERROR if rule.severity == "critical" else dg.AssetCheckSeverity.WARN,
                    description=wording.mart_finding(rule),
                    metadata={**rule_metadata(rule), "page": page},
                )
            if PUBLISHED not in context.selected_asset_keys:
                return  # only checks were asked for
            broken = [rule for rule in rules if rule.severity == "critical" and rule.failed]
            if broken:
                raise dg.Failure(
                    "Not published, the last version stays up: "
                    + "; ".join(f"{rule.description}: {wording.mart_finding(rule)}" for rule in broken),
                    allow_retries=False,
                )
            with progress(PUBLISH, "marts") as piece:
                publication = publish(con, settings, context.run_id, specs)
                piece.rows = publication.rows
                piece.note = (
                    f"version {publication.version}"
                    if publication.changed
                    else f"nothing new, version {publication.version} stays up"
                )
            standing = current_staleness(con, settings)
            yield dg.MaterializeResult(
                asset_key=PUBLISHED,
                metadata={
                    **(hold.metadata(standing) if standing else {}),
                    "changed": publication.changed,
                    "version": publication.version,
                    "dagster/row_count": publication.rows,
                    "path": dg.MetadataValue.path(str(publication.path)),
                    "page": page,
                },
            )
        with progress(PUBLISH, "snapshot") as piece:
            piece.note = _snapshot(settings)

    return publish_marts


def _snapshot(settings: Settings) -> str:
    """Keep what led to this publication; without room for it the run is good all the same, and says so."""
    try:
        taken = snapshots.take(settings)
    except (SpaceError, snapshots.SnapshotError) as error:
        logger.warning("no snapshot was taken, the last one stays: %s", error)
        return "NOT TAKEN, the last one stays"
    return taken.path.name if taken else "nothing new" if settings.engine.snapshots else "off"
