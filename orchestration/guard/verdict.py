"""The verdict on a load: promoted, held or unchanged.

Belongs here: what is found out about a load, and the order in which it is judged. Does not belong here: rules
about rows and about loads (`expectations/`), how a load is described to its rules (`load_rules.py`), what is usual
(`history.py`, `profiles.py`) and writing (`promotion.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb

from orchestration.guard import batches as _batches
from orchestration.guard.audit import BROKEN, Batch, audit, bad_rows, untolerated
from orchestration.guard.batches import UnreadableMappingError, compiled_folder, table_batches
from orchestration.guard.history import Expected, Observed, expect, observe
from orchestration.guard.load_rules import (
    Judgement,
    compiled_suites,
    describe_load,
    forget_load,
    judge,
    put,
    relation_of,
    unjudged,
)
from orchestration.guard.profiles import Mapped, judged_profile, profile, reaches
from orchestration.guard.promotion import Load, candidate_name, hold, pass_unchanged, promote, with_rules
from orchestration.guard.results import GuardError, RuleResult, Verdict
from orchestration.guard.schema import Drift, compare
from orchestration.guard.sql import aligned, as_sent, identifier, scalar
from orchestration.guard.times import open_questions
from orchestration.sources.contract import load_contract
from orchestration.warehouse import columns_of, utc_now

if TYPE_CHECKING:
    from orchestration.settings import Settings, Table
    from orchestration.sources.extract import Extracted

ACCEPTED_SHAPE = "accepted_shape"
"""Kind of `ops.source_state` that says which change of a column somebody accepted by releasing a load."""

NAMED_RULES = 3
"""Broken rules named in the reason of a held load; the rest is in `ops.load_rules`."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def rules_of(settings: Settings, table: Table) -> list[RuleResult]:
    """Every rule a source table is judged by, as results without counts. Reads suites only, no data."""
    return [*unjudged(), *_batches.rules_of(settings, table)]


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
        state=[(item.kind, item.name, item.value) for item in extracted.state],
        started_at=utc_now(),
    )
    describe_load(con)
    try:
        return _Judge(con, settings, load, extracted).verdict()
    finally:
        forget_load(con)


class _Judge:
    """Finds out what is to be known of one load, judges it, and acts."""

    def __init__(self, con: duckdb.DuckDBPyConnection, settings: Settings, load: Load, extracted: Extracted) -> None:
        self._con = con
        self._settings = settings
        self._load = load
        self._extracted = extracted
        self._suites = compiled_suites(compiled_folder(settings))
        self._facts: dict[str, object] = {}

    def verdict(self) -> Verdict:
        """Shape first, because the rows cannot be read without it; then the rows; then all together."""
        self._facts |= self._counts()
        if self._extracted.shortfall is not None:
            return self._hold(self._judge(), [])
        if not (self._extracted.candidates or self._extracted.deleted):
            return self._without_rows()
        drift = _drift(self._con, self._load)
        put(self._con, "load_column", _changes(self._con, self._load, drift))
        add_absent_columns(self._con, self._load, drift.absent)
        judgement = self._judge()
        if judgement.held_for:
            return self._hold(judgement, [])
        now = utc_now()
        try:
            with table_batches(self._con, self._settings, self._load.table, self._load.relation, now) as batches:
                self._facts |= _times(self._con, self._load)
                rules = audit(self._con, batches)
                self._facts["miscounted_rules"] = _miscounted(self._con, batches, rules)
                self._look_back(batches, now)
        except UnreadableMappingError as error:
            self._facts["unreadable_mapping"] = str(error)
            return self._hold(self._judge(), [])
        self._facts |= self._row_facts(batches, rules)
        judgement = self._judge()
        if judgement.held_for:
            return self._hold(judgement, rules)
        load = with_rules(self._load, [*judgement.results, *rules], "; ".join(judgement.told) or None)
        return promote(self._con, load, bad_rows(batches))

    def _judge(self) -> Judgement:
        put(self._con, "load", [self._facts])
        return judge(self._con, self._suites)

    def _hold(self, judgement: Judgement, rules: Sequence[RuleResult]) -> Verdict:
        return hold(self._con, with_rules(self._load, [*judgement.results, *rules], "; ".join(judgement.held_for)))

    def _without_rows(self) -> Verdict:
        """A load without candidates: nothing new, or less than there must be."""
        self._expect(observe(self._con, self._load.table, self._extracted, None, self._load.started_at))
        if self._load.table.optional:
            self._facts["expected_low"] = None
        judgement = self._judge()
        return self._hold(judgement, []) if judgement.held_for else pass_unchanged(self._con, self._load)

    # What is known

    def _counts(self) -> dict[str, object]:
        extracted, table = self._extracted, self._load.table
        staged, deleted, alive = extracted.candidates, 0, 0
        if extracted.candidates or extracted.deleted:
            staged = scalar(self._con, f"select count(*) from {self._load.relation} where _deleted_at is null")
            deleted = scalar(self._con, f"select count(*) from {self._load.relation} where _deleted_at is not null")
        promoted = _promoted_rows(self._con, self._load)
        if deleted > table.guard.max_bad_rows_floor:
            alive = scalar(self._con, f"select count(*) from {self._load.raw} where _deleted_at is null")
        # A read that begins at a cursor finds nothing on a quiet day; a full read must find something, and an
        # empty delivery of a swept table would delete everything.
        is_quiet = table.is_incremental and promoted > 0 and not deleted
        may_be_empty = extracted.skipped or table.optional or is_quiet
        return {
            "extracted": extracted.extracted,
            "deduplicated": extracted.deduplicated,
            "staged": staged,
            "shortfall": extracted.shortfall,
            "clock_ahead": _ahead(extracted.ahead),
            "accounted": staged + extracted.deduplicated,
            "fewest_rows": 0 if may_be_empty else 1,
            "deleted": deleted,
            "alive": alive,
            "deleted_share": deleted / alive if alive else None,
        }

    def _look_back(self, batches: Sequence[Batch], now: datetime) -> None:
        """Put the load beside the loads before it."""
        table = self._load.table
        if self._extracted.candidates == 0:
            return  # Deletions alone.
        mapped = _mapped(self._settings, table, batches)
        observed = observe(self._con, table, self._extracted, reaches(self._con, table, mapped, now), now)
        self._expect(observed)
        if observed is None or not mapped:
            return
        profile(self._con, self._settings, table, mapped)
        self._load = replace(self._load, has_profile=True)
        parents = " ".join(
            f"when entity = '{each.name}' and column_name = '{column.name}' then '{column.references}'"
            for each in mapped
            for column in each.columns()
            if column.references
        )
        parent = f"case {parents} end" if parents else "null"
        self._con.execute(
            f"insert into {relation_of('load_profile')} by name "
            f"select *, {parent} as parent from ({judged_profile(table, observed.mode)})"
        )

    def _expect(self, observed: Observed | None) -> None:
        if observed is None:
            return
        expected = expect(self._con, self._load.table, observed)
        self._load = replace(self._load, observed=(observed, expected))
        if expected is not None:
            self._facts |= {
                "counted": expected.counted,
                "period": _period(observed, expected),
                "expected_low": expected.low,
                "expected_high": expected.high,
            }

    def _row_facts(self, batches: Sequence[Batch], rules: Sequence[RuleResult]) -> dict[str, object]:
        bad = scalar(self._con, f"select count(*) from ({bad_rows(batches)})")
        total, limits = scalar(self._con, f"select {self._facts['staged']}"), self._load.table.guard
        allowed = max(limits.max_bad_rows_floor, int(limits.max_bad_share * total))
        if bad == total and _promoted_rows(self._con, self._load) == 0:
            allowed = max(0, total - 1)  # Nothing is good, and there is no earlier data that it could spoil.
        return {
            "bad_rows": bad,
            "bad_rows_allowed": allowed,
            "bad_share": bad / total if total else 0.0,
            "max_bad_share": limits.max_bad_share,
            "worst_rules": "; ".join(_worst(batches, rules)),
            "untolerated_rules": "; ".join(untolerated(batches, rules)) or None,
        }


def _ahead(rows: int) -> str | None:
    if not rows:
        return None
    return f"{rows:,} rows have a cursor in the future; it counts as now, so that later changes are seen"


def _times(con: duckdb.DuckDBPyConnection, load: Load) -> dict[str, object]:
    """What the times of a load leave open, by the fact that tells it."""
    found: dict[str, list[str]] = {}
    for fact, text, _ in open_questions(con, load.table, load.relation):
        found.setdefault(fact, []).append(text)
    return {fact: "; ".join(texts) for fact, texts in found.items()}


def _mapped(settings: Settings, table: Table, batches: Sequence[Batch]) -> list[Mapped]:
    """The entity projections among the batches."""
    return [
        Mapped(batch.prefix or audited.suite.name, audited.mapping, batch.relation)
        for audited, batch in zip(_batches.table_suites(settings, table), batches, strict=True)
        if audited.mapping is not None and not audited.is_beside and audited.suite.name in load_contract()
    ]


def _period(observed: Observed, expected: Expected) -> str:
    """The time that a load is judged for, as words."""
    if observed.mode == "full":
        return "in the whole table"
    days = max(1, round(expected.days))
    return f"in {days} days" if days > 1 else f"in the day up to {WEEKDAYS[observed.through.weekday()]}"


def _promoted_rows(con: duckdb.DuckDBPyConnection, load: Load) -> int:
    if not columns_of(con, f"raw_{load.table.source}", load.table.name):
        return 0
    return scalar(con, f"select count(*) from {load.raw}")


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


def _changes(con: duckdb.DuckDBPyConnection, load: Load, drift: Drift) -> list[dict[str, object]]:
    """One row per column as sent, of the load or of those before it."""
    table = load.table
    old = as_sent(columns_of(con, f"raw_{table.source}", table.name))
    new = aligned(as_sent(columns_of(con, f"candidate_{table.source}", table.name)), old)
    changes = dict.fromkeys(drift.added, "added") | dict.fromkeys(drift.absent, "absent")
    changes |= dict.fromkeys(drift.removed, "removed") | dict.fromkeys(drift.changed, "retyped")
    return [
        {
            "column_name": column,
            "change": changes.get(column, "none"),
            "earlier_type": old.get(column),
            "sent_type": new.get(column),
            "likely_name": f", probably renamed to '{name}'" if (name := drift.removed.get(column)) else None,
        }
        for column in dict.fromkeys([*old, *new])
    ]


def _result(rules: Sequence[RuleResult], rule_id: str) -> RuleResult:
    return next(result for result in rules if result.rule_id == rule_id)


def _worst(batches: Sequence[Batch], rules: Sequence[RuleResult]) -> list[str]:
    quarantining = {batch.rule_id(rule) for batch in batches for rule in batch.rules if rule.rule.quarantines}
    broken = sorted(
        (rule for rule in rules if rule.failed and rule.rule_id in quarantining),
        key=lambda rule: -rule.failed,
    )
    return [f"{rule.description} ({rule.failed:,} rows)" for rule in broken[:NAMED_RULES]]


def _miscounted(con: duckdb.DuckDBPyConnection, batches: Sequence[Batch], rules: Sequence[RuleResult]) -> str | None:
    """Prove suites that were changed here: GX's own counts on this very batch must equal ours."""
    texts = []
    for batch in batches:
        if not batch.compiled.needs_proof:
            continue
        differing = [pair for pair in compare_with_gx(con, batch, rules) if pair.ours != pair.gx]
        if not differing:
            batch.compiled.proven()
        texts += [
            f"rule {pair.rule_id}: we count {pair.ours:,} failures, Great Expectations {pair.gx:,}"
            for pair in differing
        ]
    return "; ".join(texts) or None


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
