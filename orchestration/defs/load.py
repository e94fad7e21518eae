"""The stages EXTRACT and GUARD: one step a source, which lands each table as a candidate and audits it.

Both stages of a table run in one step because the gate is in the data: a candidate that no audit followed
would be invisible to the rest anyway, and a step costs more than most audits.
"""

from collections.abc import Iterator, Sequence

import dagster as dg
import duckdb

from orchestration import guard
from orchestration.defs import hold
from orchestration.defs.demo import COMPANY
from orchestration.defs.results import StepResult, keep_quiet_about_checks, rule_metadata
from orchestration.guard import pages, wording
from orchestration.progress import progress
from orchestration.publication import current_staleness
from orchestration.settings import Settings, Source, Table
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import Extracted, extract_table
from orchestration.sources.volume import bytes_to_read
from orchestration.space import SpaceError, bytes_of, lay_reserve, require_space
from orchestration.stages import EXTRACT, GUARD
from orchestration.warehouse import MemoryLimitError, WarehouseBrokenError, columns_of, new_load_id, writing

EXTRACTION_RETRY = dg.RetryPolicy(
    # A source that is down for a moment comes back within minutes; one that is down for longer is for a human.
    max_retries=3,
    delay=10,
    backoff=dg.Backoff.EXPONENTIAL,
    jitter=dg.Jitter.PLUS_MINUS,
)

LOAD_SPACE_FACTOR = 5
"""Bytes to have free per byte to read: candidate, promoted rows, log, an unpacked copy (measured: 3.8 for SQLite)."""

LOAD_SPACE_MARGIN = 32 * 2**20
"""Bytes to have free for any load."""

HOLD_CHECK = "load_is_promoted"
"""The check that fails when a load is held. It blocks everything downstream."""


def candidate_key(table: Table) -> dg.AssetKey:
    """The asset of a load that waits for its audit."""
    return dg.AssetKey([f"candidate_{table.source}", table.name])


def raw_key(table: Table) -> dg.AssetKey:
    """The asset of the promoted rows of a source table."""
    return dg.AssetKey([f"raw_{table.source}", table.name])


def build_load_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """One step for each source of cem.yml."""
    return [_load_source(settings, source) for source in settings.sources]


def _load_source(settings: Settings, source: Source) -> dg.AssetsDefinition:
    specs = [
        spec for table in source.tables for spec in (_candidate_spec(settings, source, table), _raw_spec(source, table))
    ]

    @dg.multi_asset(
        name=f"load_{source.name}",
        specs=specs,
        check_specs=[spec for table in source.tables for spec in _check_specs(settings, table)],
        can_subset=True,
        retry_policy=EXTRACTION_RETRY,
    )
    def load(context: dg.AssetExecutionContext) -> Iterator[StepResult]:
        keep_quiet_about_checks(context)
        tables = [
            table for table in source.tables if {candidate_key(table), raw_key(table)} & context.selected_asset_keys
        ]
        if not tables:
            raise dg.Failure(
                f"{source.name}: only checks were asked for, and those are of a load: materialize the assets with them",
                allow_retries=False,
            )
        try:
            with writing(settings) as con:
                lay_reserve(settings.home, bytes_of(settings.engine.disk_reserve))
                require_space(settings.home, load_space(con, settings, source), f"loading {source.name}")
                verdicts, unreadable = _extract_and_guard(con, settings, source, tables)
                judged = [
                    pages.JudgedLoad(table, extracted.load_id, verdict)
                    for table, extracted, verdict in verdicts
                    if verdict.rules
                ]
                if judged:
                    pages.write_page(con, settings, context.run_id, judged)
                for table, extracted, verdict in verdicts:
                    yield from _results(context, con, settings, table, extracted, verdict)
                held = [(table, verdict) for table, _, verdict in verdicts if verdict.status == "held"]
                told = hold.tell_readers(con, settings) if held else ""
                standing = current_staleness(con, settings) if held else None
        except (guard.GuardError, SpaceError, MemoryLimitError, WarehouseBrokenError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        if standing is not None:
            context.log_event(hold.observation(standing))
        if held or unreadable:
            texts = [f"{table.source}.{table.name} is held: {verdict.reason}" for table, verdict in held]
            raise dg.Failure(
                "; ".join([*map(str, unreadable), *texts]) + told,
                allow_retries=any(error.is_transient for error in unreadable),
            )

    return load


def load_space(con: duckdb.DuckDBPyConnection, settings: Settings, source: Source) -> int:
    """Bytes of disk that the next load of a source may take."""
    return LOAD_SPACE_FACTOR * bytes_to_read(con, settings, source) + LOAD_SPACE_MARGIN


def _extract_and_guard(
    con: duckdb.DuckDBPyConnection, settings: Settings, source: Source, tables: Sequence[Table]
) -> tuple[list[tuple[Table, Extracted, guard.Verdict]], list[SourceError]]:
    """Verdicts on the tables that could be read, and what is wrong with the others: one does not wait for another."""
    load_id = new_load_id()
    loads, unreadable = [], []
    with progress(EXTRACT, source.name) as piece:
        for table in tables:
            try:
                loads.append((table, extract_table(con, settings, table, load_id)))
            except SourceError as error:
                unreadable.append(error)
        piece.rows = sum(extracted.extracted for _, extracted in loads)
        unread = sum(extracted.skipped for _, extracted in loads)
        piece.note = f"{len(tables)} tables" + (f", {unread} unchanged and not read" if unread else "")
        piece.note += f", {len(unreadable)} NOT READABLE" if unreadable else ""
    with progress(GUARD, source.name) as piece:
        verdicts = [
            (table, extracted, guard.guard_table(con, settings, table, extracted)) for table, extracted in loads
        ]
        piece.rows = sum(verdict.promoted for _, _, verdict in verdicts)
        quarantined = sum(verdict.quarantined for _, _, verdict in verdicts)
        held = [table.name for table, _, verdict in verdicts if verdict.status == "held"]
        changed = any(verdict.status != "unchanged" for _, _, verdict in verdicts)
        piece.note = f"promoted, {quarantined:,} quarantined" if changed else "nothing new"
        piece.note += f", HELD: {', '.join(held)}" if held else ""
    return verdicts, unreadable


def _results(
    context: dg.AssetExecutionContext,
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    table: Table,
    extracted: Extracted,
    verdict: guard.Verdict,
) -> Iterator[StepResult]:
    if candidate_key(table) in context.selected_asset_keys:
        yield dg.MaterializeResult(
            asset_key=candidate_key(table),
            metadata={
                "extracted": extracted.extracted,
                "deduplicated": extracted.deduplicated,
                "dagster/row_count": extracted.candidates,
                "load_id": extracted.load_id,
            },
        )
    if raw_key(table) in context.selected_asset_keys and verdict.status != "held":
        yield dg.MaterializeResult(asset_key=raw_key(table), metadata=_raw_metadata(con, table, verdict))
    page = pages.link_to(settings, context.run_id, f"{table.source}.{table.name}")
    for result in _check_results(table, extracted.load_id, verdict, page):
        if dg.AssetCheckKey(raw_key(table), result.check_name or "") in context.selected_asset_check_keys:
            yield result


def _raw_metadata(
    con: duckdb.DuckDBPyConnection, table: Table, verdict: guard.Verdict
) -> dict[str, dg.MetadataValue | int | str | bool]:
    schema, name = f"raw_{table.source}", table.name
    columns = columns_of(con, schema, name)
    count = con.execute(f'select count(*) from "{schema}"."{name}"').fetchone() if columns else (0,)
    return {
        "changed": verdict.status == "promoted",
        "promoted": verdict.promoted,
        "quarantined": verdict.quarantined,
        "deduplicated": verdict.deduplicated,
        "dagster/row_count": count[0] if count else 0,
        "dagster/column_schema": dg.MetadataValue.table_schema(
            dg.TableSchema([dg.TableColumn(column, type=data_type) for column, data_type in columns.items()])
        ),
    }


def _candidate_spec(settings: Settings, source: Source, table: Table) -> dg.AssetSpec:
    from_demo = settings.demo is not None and source.name.startswith("demo_")
    return dg.AssetSpec(
        key=candidate_key(table),
        deps=[COMPANY] if from_demo else [],
        group_name=EXTRACT,
        description=f"One row per new, changed or deleted record of `{table.name}` in `{source.name}`, exactly as "
        "the source sent it. It waits here for its audit and is gone once it is promoted.",
        kinds={"duckdb", source.engine or source.kind},
    )


def _raw_spec(source: Source, table: Table) -> dg.AssetSpec:
    grain = " and ".join(f"`{column}`" for column in table.key) or "line of the file"
    entities = ", ".join(sorted({mapping.entity for mapping in table.entities}))
    return dg.AssetSpec(
        key=raw_key(table),
        deps=[candidate_key(table)],
        group_name=GUARD,
        description=f"One row per {grain} of `{table.name}` in `{source.name}`: the latest version that passed its "
        f"audit, as sent. Feeds {entities}.",
        kinds={"duckdb", "greatexpectations"},
    )


def _check_specs(settings: Settings, table: Table) -> list[dg.AssetCheckSpec]:
    specs = [
        dg.AssetCheckSpec(
            HOLD_CHECK,
            asset=raw_key(table),
            blocking=True,
            description="The load as a whole is fit to build on. Fails when it is held; nothing downstream runs then.",
        )
    ]
    specs += [
        dg.AssetCheckSpec(
            guard.check_name(rule.rule_id),
            asset=raw_key(table),
            description=f"{rule.description} ({rule.severity}: {wording.consequence(rule)})",
        )
        for rule in guard.rules_of(settings, table)
    ]
    return specs


def _check_results(
    table: Table, load_id: str, verdict: guard.Verdict, page: str
) -> Iterator[dg.AssetCheckResult | dg.AssetCheckEvaluation]:
    """One result for the load, one for each rule; a load that nothing was judged of has no page."""
    link = {"page": dg.MetadataValue.url(page)} if verdict.rules else {}
    is_held = verdict.status == "held"
    yield dg.AssetCheckResult(
        asset_key=raw_key(table),
        check_name=HOLD_CHECK,
        passed=not is_held,
        severity=dg.AssetCheckSeverity.ERROR,
        description=wording.held_text(table.source, table.name, load_id, verdict.reason or "")
        if is_held
        else verdict.reason or "",
        metadata={
            "extracted": verdict.extracted,
            "promoted": verdict.promoted,
            "quarantined": verdict.quarantined,
            "deduplicated": verdict.deduplicated,
            "load_id": load_id,
            **link,
        },
    )
    for rule in verdict.rules:
        is_about_the_load = wording.is_about_the_load(rule)
        yield dg.AssetCheckEvaluation(
            asset_key=raw_key(table),
            check_name=guard.check_name(rule.rule_id),
            passed=rule.failed == 0,
            # A bad row is not a bad load: it is out of the way in quarantine, so the check warns.
            severity=dg.AssetCheckSeverity.ERROR
            if is_about_the_load and rule.severity == "critical"
            else dg.AssetCheckSeverity.WARN,
            description=wording.load_finding(table.source, table.name, load_id, verdict, rule),
            metadata={**rule_metadata(rule), **link},
        )
