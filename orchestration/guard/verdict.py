"""The verdict on a load: promoted, held or unchanged.

Belongs here: the rules about a load as a whole (emptiness, shape, share of bad rows, agreement with Great
Expectations) and the order in which a load is judged. Does not belong here: rules about rows
(`expectations/`) and writing (`promotion.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import duckdb

from orchestration.guard import batches as _batches
from orchestration.guard.audit import BROKEN, Batch, audit, bad_rows, untolerated
from orchestration.guard.batches import UnreadableMappingError, table_batches
from orchestration.guard.promotion import Load, candidate_name, hold, pass_unchanged, promote, with_rules
from orchestration.guard.results import GuardError, RuleResult, Severity, Verdict
from orchestration.guard.schema import Drift, compare
from orchestration.guard.sql import aligned, as_sent, columns_of, identifier, scalar
from orchestration.guard.times import HOURS_REGULAR, ORDER_KNOWN, ZONES_KNOWN, open_questions
from orchestration.warehouse import utc_now

if TYPE_CHECKING:
    from orchestration.settings import Settings, Table
    from orchestration.sources.extract import Extracted

CLOCK_PLAUSIBLE = "load.clock_plausible"

LOAD_RULES: tuple[tuple[str, Severity, str], ...] = (
    (
        "load.not_empty",
        "critical",
        "a delivery must not be empty, unless cem.yml declares the table optional",
    ),
    ("load.complete", "critical", "as many records must arrive as the source says that it has"),
    ("load.columns_kept", "critical", "every column of earlier loads, and every mapped one, must be there"),
    ("load.types_kept", "critical", "no column may change its type"),
    ("load.columns_known", "warning", "new columns are kept, and not used until cem.yml maps them"),
    (ZONES_KNOWN, "critical", "times need a zone: their own, or one that cem.yml declares"),
    (ORDER_KNOWN, "critical", "dates must be ISO, or in an order that cem.yml declares"),
    (HOURS_REGULAR, "warning", "local times should not lie in an hour that daylight saving skips or repeats"),
    (CLOCK_PLAUSIBLE, "warning", "the cursor must not be ahead of the clock by more than a day"),
    ("load.deletions_plausible", "critical", "a sweep must not delete most of the table"),
    ("load.rows_mostly_good", "critical", "the share of bad rows must stay within guard.max_bad_share"),
    (
        "load.rules_tolerated",
        "critical",
        "rules with a tolerated share must stay within it, and rules about the batch must hold",
    ),
    ("load.counts_agree", "critical", "our counts must equal Great Expectations' own"),
)
"""Rules about a load as a whole: id, severity, what must hold."""

ACCEPTED_SHAPE = "accepted_shape"
"""Kind of `ops.source_state` that says which change of a column somebody accepted by releasing a load."""

MAX_SWEPT_SHARE = 0.5
"""A sweep that deletes more of a table at once is held: half a page or a lost permission looks like it."""

NAMED_RULES = 3
"""Broken rules named in the reason of a held load; the rest is in `ops.load_rules`."""


@dataclass(frozen=True)
class Finding:
    """A broken rule about the load as a whole.

    Attributes:
        rule_id: One of `LOAD_RULES`.
        text: What happened, in words.
        rows: Rows it is about; 1 where it is about the load.
    """

    rule_id: str
    text: str
    rows: int = 1


def rules_of(settings: Settings, table: Table) -> list[RuleResult]:
    """Every rule a source table is judged by, as results without counts. Reads suites only, no data."""
    return [*_load_results([]), *_batches.rules_of(settings, table)]


def guard_table(con: duckdb.DuckDBPyConnection, settings: Settings, table: Table, extracted: Extracted) -> Verdict:
    """Judge the load of one source table and act on it: promote, hold, or note that nothing is new.

    Args:
        con: The warehouse, open for writing and not in a transaction.
        settings: The settings.
        table: The source table.
        extracted: What extraction did; its candidate waits in `candidate_<source>.<table>`.

    Returns:
        The verdict. Of a held load nothing is promoted and its candidate stays.

    Raises:
        GuardError: A suite is wrong, or rows would be lost; nothing is changed then.
    """
    load = Load(
        table=table,
        load_id=extracted.load_id,
        relation=candidate_name(table),
        extracted=extracted.extracted,
        deduplicated=extracted.deduplicated,
        state=_state(extracted),
        started_at=utc_now(),
    )
    if extracted.shortfall is not None:
        return _hold(con, load, [Finding("load.complete", extracted.shortfall)], [])
    if not (extracted.candidates or extracted.deleted) or _is_swept_empty(load, extracted):
        return _judge_nothing(con, load, extracted)
    drift = _drift(con, load)
    add_absent_columns(con, load, drift.absent)
    findings = _shape_findings(drift) + _sweep_findings(con, load) + _clock_findings(extracted)
    if any(finding.rule_id in _CRITICAL for finding in findings):
        return _hold(con, load, findings, [])
    now = utc_now()
    try:
        with table_batches(con, settings, table, load.relation, now) as batches:
            findings += [Finding(*found) for found in open_questions(con, table, load.relation)]
            rules = audit(con, batches)
            findings += _disagreements(con, batches, rules)
    except UnreadableMappingError as error:
        return _hold(con, load, [*findings, Finding("load.columns_kept", str(error))], [])
    findings += _row_findings(con, load, batches, rules)
    findings += [Finding("load.rules_tolerated", sentence) for sentence in untolerated(batches, rules)]
    if any(finding.rule_id in _CRITICAL for finding in findings):
        return _hold(con, load, findings, rules)
    reason = "; ".join(finding.text for finding in findings) or None
    return promote(con, with_rules(load, [*_load_results(findings), *rules], reason), bad_rows(batches))


_CRITICAL = frozenset(rule_id for rule_id, severity, _ in LOAD_RULES if severity == "critical")


def _state(extracted: Extracted) -> list[tuple[str, str, str]]:
    return [(item.kind, item.name, item.value) for item in extracted.state]


def _judge_nothing(con: duckdb.DuckDBPyConnection, load: Load, extracted: Extracted) -> Verdict:
    """A load without candidates: nothing new, or a delivery that is empty where it must not be."""
    table = load.table
    if extracted.skipped or extracted.extracted > 0 or table.optional:
        return pass_unchanged(con, load)
    # A read that begins at a cursor finds nothing on a quiet day; a full read must find something.
    if table.is_incremental and _promoted_rows(con, load) > 0:
        return pass_unchanged(con, load)
    finding = Finding(
        "load.not_empty",
        "the delivery is empty; mend the source, or declare `optional: true` in cem.yml if it may be",
    )
    return _hold(con, load, [finding], [])


def _is_swept_empty(load: Load, extracted: Extracted) -> bool:
    """An empty delivery of a swept table would delete everything."""
    return extracted.extracted == 0 and not extracted.skipped and not load.table.optional


def _clock_findings(extracted: Extracted) -> list[Finding]:
    if not extracted.ahead:
        return []
    text = f"{extracted.ahead:,} rows have a cursor in the future; it counts as now, so that later changes are seen"
    return [Finding(CLOCK_PLAUSIBLE, text, extracted.ahead)]


def _sweep_findings(con: duckdb.DuckDBPyConnection, load: Load) -> list[Finding]:
    deleted = scalar(con, f"select count(*) from {load.relation} where _deleted_at is not null")
    if deleted <= load.table.guard.max_bad_rows_floor:
        return []
    alive = scalar(con, f"select count(*) from {load.raw} where _deleted_at is null")
    if deleted <= MAX_SWEPT_SHARE * alive:
        return []
    return [Finding("load.deletions_plausible", f"{deleted:,} of {alive:,} records are gone from the source at once")]


def _promoted_rows(con: duckdb.DuckDBPyConnection, load: Load) -> int:
    if not columns_of(con, f"raw_{load.table.source}", load.table.name):
        return 0
    return scalar(con, f"select count(*) from {load.raw}")


def _hold(
    con: duckdb.DuckDBPyConnection, load: Load, findings: Sequence[Finding], rules: Sequence[RuleResult]
) -> Verdict:
    critical = [finding for finding in findings if finding.rule_id in _CRITICAL]
    reason = "; ".join(finding.text for finding in critical)
    return hold(con, with_rules(load, [*_load_results(findings), *rules], reason))


def _load_results(findings: Sequence[Finding]) -> list[RuleResult]:
    broken: dict[str, int] = {}
    for finding in findings:
        broken[finding.rule_id] = broken.get(finding.rule_id, 0) + finding.rows
    return [
        RuleResult(rule_id, "load", None, severity, text, failed=broken.get(rule_id, 0), checked=1)
        for rule_id, severity, text in LOAD_RULES
    ]


def _drift(con: duckdb.DuckDBPyConnection, load: Load) -> Drift:
    table = load.table
    old = as_sent(columns_of(con, f"raw_{table.source}", table.name))
    new = as_sent(columns_of(con, f"candidate_{table.source}", table.name))
    return compare(
        con,
        load.relation,
        load.raw,
        aligned(new, old),
        old,
        optional_fields=table.format == "jsonl",
        accepted=dict(
            con.execute(
                "select name, value from ops.source_state where source = ? and table_name = ? and kind = ?",
                [table.source, table.name, ACCEPTED_SHAPE],
            ).fetchall()
        ),
    )


def add_absent_columns(con: duckdb.DuckDBPyConnection, load: Load, absent: Sequence[str]) -> None:
    """Give a load the columns of earlier loads that it lacks, empty, so that its mapping can be read."""
    old = columns_of(con, f"raw_{load.table.source}", load.table.name)
    for column in absent:
        con.execute(f"alter table {load.relation} add column {identifier(column)} {old[column]}")


def _shape_findings(drift: Drift) -> list[Finding]:
    findings = []
    for column, name in drift.removed.items():
        hint = f", probably renamed to '{name}'" if name else ""
        findings.append(Finding("load.columns_kept", f"column '{column}' is gone{hint}"))
    for column, (old, new) in drift.changed.items():
        findings.append(Finding("load.types_kept", f"column '{column}' changed its type from {old} to {new}"))
    if drift.added:
        names = ", ".join(f"'{column}'" for column in drift.added)
        findings.append(Finding("load.columns_known", f"new columns, not used until cem.yml maps them: {names}"))
    return findings


def _row_findings(
    con: duckdb.DuckDBPyConnection, load: Load, batches: Sequence[Batch], rules: Sequence[RuleResult]
) -> list[Finding]:
    findings = []
    bad = scalar(con, f"select count(*) from ({bad_rows(batches)})")
    total = scalar(con, f"select count(*) from {load.relation} where _deleted_at is null")
    limits = load.table.guard
    # So few bad rows are somebody's typing errors in a small table, whatever their share. But a first load of
    # which nothing is good was mapped wrongly, and there is no earlier data that it could spoil.
    is_hopeless = bad == total > 0 and _promoted_rows(con, load) == 0
    if is_hopeless or (bad > limits.max_bad_rows_floor and bad > limits.max_bad_share * total):
        findings.append(
            Finding(
                "load.rows_mostly_good",
                f"{bad:,} of {total:,} rows are bad ({bad / total:.1%}, limit {limits.max_bad_share:.1%}): "
                + "; ".join(_worst(batches, rules)),
            )
        )
    return findings


def _result(rules: Sequence[RuleResult], rule_id: str) -> RuleResult:
    return next(result for result in rules if result.rule_id == rule_id)


def _worst(batches: Sequence[Batch], rules: Sequence[RuleResult]) -> list[str]:
    quarantining = {batch.rule_id(rule) for batch in batches for rule in batch.rules if rule.rule.quarantines}
    broken = sorted(
        (rule for rule in rules if rule.failed and rule.rule_id in quarantining),
        key=lambda rule: -rule.failed,
    )
    return [f"{rule.description} ({rule.failed:,} rows)" for rule in broken[:NAMED_RULES]]


def _disagreements(
    con: duckdb.DuckDBPyConnection, batches: Sequence[Batch], rules: Sequence[RuleResult]
) -> list[Finding]:
    """Prove suites that were changed here: GX's own counts on this very batch must equal ours."""
    findings = []
    for batch in batches:
        if not batch.compiled.needs_proof:
            continue
        differing = [pair for pair in compare_with_gx(con, batch, rules) if pair.ours != pair.gx]
        if not differing:
            batch.compiled.proven()
        for pair in differing:
            text = f"rule {pair.rule_id}: we count {pair.ours:,} failures, Great Expectations {pair.gx:,}"
            findings.append(Finding("load.counts_agree", text))
    return findings


@dataclass(frozen=True)
class CountPair:
    """One rule, counted by us and by Great Expectations.

    Attributes:
        rule_id: The rule.
        ours: Rows that break it by our scan.
        gx: Rows that break it by Great Expectations' own validation.
    """

    rule_id: str
    ours: int
    gx: int


def compare_with_gx(con: duckdb.DuckDBPyConnection, batch: Batch, rules: Sequence[RuleResult]) -> list[CountPair]:
    """Great Expectations' own counts of a batch beside ours. Imports it, which takes seconds."""
    from orchestration.guard import gx

    counts = gx.unexpected_counts(con, batch.compiled.suite, batch.relation)
    return [
        CountPair(batch.rule_id(rule), _result(rules, batch.rule_id(rule)).failed, counts[rule.rule.rule_id])
        for rule in batch.rules
    ]


def validate_with_gx(con: duckdb.DuckDBPyConnection, settings: Settings, table: Table) -> list[CountPair]:
    """Validate a source table with Great Expectations itself and compare every count with ours.

    The batch is the load that waits (a held one), else the promoted rows.

    Raises:
        GuardError: There is nothing to validate, or a suite is wrong.
    """
    for schema in (f"candidate_{table.source}", f"raw_{table.source}"):
        if columns_of(con, schema, table.name):
            relation = f"{identifier(schema)}.{identifier(table.name)}"
            break
    else:
        raise GuardError(f"{table.source}.{table.name}: nothing is loaded yet, so there is nothing to validate")
    with table_batches(con, settings, table, relation, utc_now()) as batches:
        rules = audit(con, batches)
        pairs = [pair for batch in batches for pair in compare_with_gx(con, batch, rules)]
    con.execute(f"drop table if exists {BROKEN}")
    return pairs


def released(load: Load, status: str, reason: str) -> Load:
    """The load as it is promoted by a person's decision."""
    return replace(load, status=status, reason=reason)
