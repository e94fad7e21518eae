"""The audit: one scan of a batch that tags every row with the rules it breaks.

Belongs here: the tagging scan, unique keys, counts and samples. Does not belong here: what a batch is made of
(`batches.py`) and what follows from the result (`verdict.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from orchestration.guard.compiler import CompiledRule, CompiledSuite
from orchestration.guard.results import SAMPLE_KEYS, GuardError, RuleResult
from orchestration.guard.sql import identifier, literal

BROKEN = "guard_broken"
"""Temporary table: one row per batch and row that breaks any rule, with its tags."""

_IMPOSSIBLE = (duckdb.ConversionException, duckdb.BinderException, duckdb.OutOfRangeException)
"""What the engine raises where a rule cannot be applied to the values of its column."""

KEY = "_key"
"""Column of every batch of a source table: the key of the record."""

_BITS = 60
"""Rules per mask column; the sign bit of a 64-bit integer and a few more are left alone."""


@dataclass(frozen=True)
class Batch:
    """A relation to audit against one suite.

    Attributes:
        compiled: The suite and its SQL.
        relation: Name of a temporary view with a column `_row` that numbers the rows.
        prefix: What rule ids begin with in place of the suite's name, when one table feeds an entity twice.
        sample: SQL that names a row to people without personal data.
        skipped: Ids of rules that do not apply to this batch.
        details: SQL of the details that reasons quote, by name, where the relation has no such column: what is
            written of bad rows only need not be worked out for the good ones.
    """

    compiled: CompiledSuite
    relation: str
    sample: str
    prefix: str | None = None
    skipped: frozenset[str] = frozenset()
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def rules(self) -> tuple[CompiledRule, ...]:
        """The rules that apply."""
        return tuple(rule for rule in self.compiled.rules if rule.rule.rule_id not in self.skipped)

    def rule_id(self, rule: CompiledRule) -> str:
        """The id of a rule in this batch."""
        return rename(rule.rule.rule_id, self.prefix)


def rename(rule_id: str, prefix: str | None) -> str:
    """A rule id under another suite name."""
    return rule_id if prefix is None else f"{prefix}.{rule_id.partition('.')[2]}"


def mark_of(rule_id: str) -> str:
    """The end of a quarantine reason, by which the rows that broke a rule are found."""
    return f" [{rule_id}]"


def audit(con: duckdb.DuckDBPyConnection, batches: Sequence[Batch]) -> list[RuleResult]:
    """Tag the rows of all batches and count.

    Leaves the temporary table `guard_broken` behind, which `bad_rows` reads.

    Args:
        con: Connection that sees the batches.
        batches: What to audit.

    Returns:
        One result per rule that applies, batch by batch.
    """
    masks = max(-(-len(_row_rules(batch)) // _BITS) for batch in batches) or 1
    try:
        scans = [_scan(con, number, batches, masks) for number in range(len(batches))]
        con.execute(f"create or replace temp table {BROKEN} as {' union all '.join(scans)}")
        results = _all_results(con, batches)
    except _IMPOSSIBLE:
        # Without the cause, which may quote a value.
        raise _impossible_rule(con, batches) from None
    for number, batch in enumerate(batches):
        for position, rule in enumerate(batch.rules):
            if rule.is_unique:
                con.execute(f"drop table if exists {_duplicates(number, position)}")
    return results


def _impossible_rule(con: duckdb.DuckDBPyConnection, batches: Sequence[Batch]) -> GuardError:
    """Name the rule that cannot be applied to the values of its column."""
    for batch in batches:
        for rule in batch.rules:
            conditions = [f"count(*) filter ({sql})" for sql in (rule.scope, rule.given, rule.failing) if sql]
            for condition in [*conditions, *filter(None, [rule.broken])]:
                try:
                    con.execute(f"select {condition} from {batch.relation}")
                except _IMPOSSIBLE:
                    return GuardError(
                        f"{batch.compiled.suite.path}: rule {rule.rule.rule_id} compares "
                        f"{', '.join(rule.rule.columns)} with constants of another type; values of CSV and JSON "
                        "are text as sent: use a regular expression there, or a rule of the entity"
                    )
    return GuardError("the audit failed on a value that does not fit its column's type")


def bad_rows(batches: Sequence[Batch]) -> str:
    """A query for the rows to quarantine: `_row` and all its `reasons`."""
    parts = []
    for number, batch in enumerate(batches):
        critical = [(rule, tag) for rule, tag in _tags(batch) if rule.rule.quarantines]
        if not critical:
            continue
        reasons = ", ".join(f"case when {tag} then {_reason(batch, rule)} end" for rule, tag in critical)
        parts.append(
            f"select {number} as batch, _row, list_filter([{reasons}], lambda reason: reason is not "
            "null) as reasons "
            f"from {BROKEN} where batch = {number} and ({' or '.join(tag for _, tag in critical)})"
        )
    if not parts:
        return "select 0::ubigint as _row, []::varchar[] as reasons where false"
    union = " union all ".join(parts)
    return f"select _row, flatten(list(reasons order by batch)) as reasons from ({union}) group by _row"


def untolerated(batches: Sequence[Batch], results: Sequence[RuleResult]) -> list[str]:
    """What speaks against a load as a whole, one sentence per critical rule.

    These are rules with `mostly` that fail for more rows than tolerated, and broken rules about the batch.
    """
    by_id = {result.rule_id: result for result in results}
    sentences = []
    for batch in batches:
        for rule in batch.rules:
            result = by_id[batch.rule_id(rule)]
            if rule.rule.severity != "critical" or not result.failed:
                continue
            if rule.is_about_batch:
                sentences.append(result.description)
            elif rule.rule.tolerance and result.failed / result.checked > rule.rule.tolerance:
                sentences.append(
                    f"{result.description}: {result.failed / result.checked:.1%} of the rows break it, "
                    f"tolerated are {rule.rule.tolerance:.1%}"
                )
    return sentences


def broken_by(
    con: duckdb.DuckDBPyConnection, rules: Sequence[CompiledRule], relation: str
) -> tuple[int, list[list[dict[str, Any]]]]:
    """The rows of a small relation that break its rules, whole: for the sentences people are told.

    Returns:
        How many rows there are, and for each rule those that break it.
    """
    tests = ", ".join(f"coalesce({_all(rule.scope, rule.given, rule.failing)}, false)" for rule in rules)
    cursor = con.execute(f"select [{tests}] as _broken, * from {relation}")
    names = [column[0] for column in cursor.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return len(rows), [[row for row in rows if row["_broken"][position]] for position in range(len(rules))]


def _row_rules(batch: Batch) -> list[CompiledRule]:
    return [rule for rule in batch.rules if not rule.is_about_batch]


def _tags(batch: Batch) -> list[tuple[CompiledRule, str]]:
    """Each row rule with the SQL that is true for a row of `guard_broken` that breaks it."""
    return [
        (rule, f"(mask_{index // _BITS} & {1 << (index % _BITS)}) <> 0") for index, rule in enumerate(_row_rules(batch))
    ]


def _details(batch: Batch) -> list[str]:
    return sorted({rule.rule.detail for rule in batch.rules if rule.rule.detail})


def _reason(batch: Batch, rule: CompiledRule) -> str:
    complaint, mark = literal(rule.rule.complaint), literal(mark_of(batch.rule_id(rule)))
    if rule.rule.detail is None:
        return f"{complaint} || {mark}"
    position = _details(batch).index(rule.rule.detail) + 1
    return f"{complaint} || coalesce(' (' || details[{position}] || ')', '') || {mark}"


def _scan(con: duckdb.DuckDBPyConnection, number: int, batches: Sequence[Batch], masks: int) -> str:
    batch = batches[number]
    failing = [_failing(con, number, position, batches) for position in range(len(batch.rules))]
    row_rules = [condition for condition in failing if condition is not None]
    columns = []
    for mask in range(masks):
        bits = [
            f"case when {condition} then {1 << bit}::ubigint else 0 end"
            for bit, condition in enumerate(row_rules[mask * _BITS : (mask + 1) * _BITS])
        ]
        columns.append(f"({' | '.join(bits) or '0::ubigint'}) as mask_{mask}")
    details = ", ".join(f"({batch.details.get(name, identifier(name))})::varchar" for name in _details(batch))
    broken = " or ".join(f"mask_{mask} <> 0" for mask in range(masks))
    return (
        f"select * from (select {number} as batch, _row::ubigint as _row, {', '.join(columns)}, "
        f"[{details}]::varchar[] as details, ({batch.sample})::varchar as sample from {batch.relation}) "
        f"where {broken}"
    )


def _failing(con: duckdb.DuckDBPyConnection, number: int, position: int, batches: Sequence[Batch]) -> str | None:
    batch = batches[number]
    rule = batch.rules[position]
    if rule.is_about_batch:
        return None
    if not rule.is_unique:
        return _all(rule.scope, rule.given, rule.failing)
    columns = ", ".join(identifier(column) for column in rule.rule.columns)
    given = " and ".join(f"{identifier(column)} is not null" for column in rule.rule.columns)
    table = _duplicates(number, position)
    narrowed = _within_known(con, number, position, batches)
    con.execute(
        f"create or replace temp table {table} as select {columns} from {batch.relation} "
        f"where {_all(rule.scope, rule.given, given, narrowed)} group by all having count(*) > 1"
    )
    if con.execute(f"select 1 from {table} limit 1").fetchone() is None:
        return "false"  # The usual case needs no look-up in the scan.
    return _all(rule.scope, rule.given, f"({columns}) in (select ({columns}) from {table})")


def _within_known(con: duckdb.DuckDBPyConnection, number: int, position: int, batches: Sequence[Batch]) -> str | None:
    """Which rows can hold a duplicate at all, where a column is the key and the duplicates of that are known.

    An id that is the key of its table is asked for twice: as sent, and by the rules of its entity. The second
    time only the few rows need be grouped that the first one found.
    """
    [column, *others] = batches[number].rules[position].rule.columns
    for known, batch in enumerate(batches[:number]):
        for place, rule in enumerate(batch.rules):
            if others or not (rule.is_unique and rule.rule.columns == (KEY,) and rule.scope is None):
                continue
            differs = (
                f"select 1 from {batches[number].relation} where {identifier(column)} is distinct from {KEY} limit 1"
            )
            if con.execute(differs).fetchone() is None:
                return f"{KEY} in (select {KEY} from {_duplicates(known, place)})"
    return None


def _duplicates(number: int, position: int) -> str:
    return f"guard_duplicates_{number}_{position}"


def _all(*conditions: str | None) -> str:
    return " and ".join(f"({condition})" for condition in conditions if condition)


def _all_results(con: duckdb.DuckDBPyConnection, batches: Sequence[Batch]) -> list[RuleResult]:
    broken = {number for (number,) in con.execute(f"select distinct batch from {BROKEN}").fetchall()}
    results = []
    for number, batch in enumerate(batches):
        results += _results(con, number, batch, is_broken=number in broken)
    return results


def _results(con: duckdb.DuckDBPyConnection, number: int, batch: Batch, *, is_broken: bool) -> list[RuleResult]:
    # Only row conditions narrow what counts as checked, as in GX: a missing value is looked at and let pass. So this
    # pass reads few columns; the rules about the batch are judged by it too.
    scopes = [f"count(*) filter ({rule.scope})" if rule.scope else "count(*)" for rule in batch.rules]
    about_batch = [rule.broken for rule in batch.rules if rule.broken]
    checked = _row(con, f"select {', '.join([*scopes, *about_batch])} from {batch.relation}")
    broken = iter(checked[len(scopes) :])
    counted = ", ".join(
        f"count(*) filter ({tag}), arg_min(sample, _row, {SAMPLE_KEYS}) filter ({tag})" for _, tag in _tags(batch)
    )
    unbroken = (0, None) * len(_row_rules(batch))
    found = iter(_row(con, f"select {counted} from {BROKEN} where batch = {number}") if is_broken else unbroken)
    results = []
    for rule, rows in zip(batch.rules, checked, strict=False):
        if rule.is_about_batch:
            failed, samples = int(next(broken)), None
        else:
            failed, samples = next(found), next(found)
        results.append(
            RuleResult(
                rule_id=batch.rule_id(rule),
                expectation_type=rule.rule.expectation_type,
                column=rule.rule.column,
                severity=rule.rule.severity,
                description=rule.rule.complaint,
                failed=failed,
                checked=rows,
                sample_keys=[str(sample) for sample in samples or ()],
                tolerance=rule.rule.tolerance,
            )
        )
    return results


def _row(con: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    return con.execute(query).fetchone() or ()
