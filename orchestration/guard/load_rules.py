"""A load as a whole, as rows: what is known of it, judged by the suites `expectations/load*.json`.

Belongs here: the three relations that describe a load and their audit. Does not belong here: rules (the suites),
where the facts come from (`schema.py`, `history.py`, `profiles.py`) and what follows (`verdict.py`).

    guard_load           one row: the load
    guard_load_column    one row per column as sent, of this load or of those before
    guard_load_profile   one row per mapped column

What is not known yet is NULL, and rules let it pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from orchestration.guard.audit import broken_by
from orchestration.guard.compiler import CompiledSuite, compile_suite
from orchestration.guard.results import GuardError, RuleResult
from orchestration.guard.sql import identifier
from orchestration.guard.suites import Rule, load_suites

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "load": {
        "extracted": "BIGINT",
        "deduplicated": "BIGINT",
        "staged": "BIGINT",
        "accounted": "BIGINT",
        "shortfall": "VARCHAR",
        "fewest_rows": "BIGINT",
        "deleted": "BIGINT",
        "alive": "BIGINT",
        "deleted_share": "DOUBLE",
        "unreadable_mapping": "VARCHAR",
        "zones_unknown": "VARCHAR",
        "dates_unordered": "VARCHAR",
        "hours_irregular": "VARCHAR",
        "clock_ahead": "VARCHAR",
        "counted": "BIGINT",
        "period": "VARCHAR",
        "expected_low": "DOUBLE",
        "expected_high": "DOUBLE",
        "bad_rows": "BIGINT",
        "bad_rows_allowed": "BIGINT",
        "bad_share": "DOUBLE",
        "max_bad_share": "DOUBLE",
        "worst_rules": "VARCHAR",
        "untolerated_rules": "VARCHAR",
        "miscounted_rules": "VARCHAR",
    },
    "load_column": {
        "column_name": "VARCHAR",
        "change": "VARCHAR",
        "earlier_type": "VARCHAR",
        "sent_type": "VARCHAR",
        "likely_name": "VARCHAR",
    },
    "load_profile": {
        "entity": "VARCHAR",
        "column_name": "VARCHAR",
        "parent": "VARCHAR",
        "row_count": "BIGINT",
        "null_share": "DOUBLE",
        "usual_null_share": "DOUBLE",
        "null_limit": "DOUBLE",
        "null_hold_limit": "DOUBLE",
        "shift": "DOUBLE",
        "shift_limit": "DOUBLE",
        "shift_hold_limit": "DOUBLE",
        "orphans": "BIGINT",
        "reference_count": "BIGINT",
        "orphan_share": "DOUBLE",
        "usual_orphan_share": "DOUBLE",
        "orphan_limit": "DOUBLE",
        "orphan_hold_limit": "DOUBLE",
    },
}
"""Columns of the relations by the name of their suite; the relation is called `guard_<suite>`."""

TOLD = 3
"""Columns told one by one where a rule is broken by many."""


@dataclass(frozen=True)
class Judgement:
    """How a load fared as a whole.

    Attributes:
        results: One result per rule.
        held_for: Why it must be held, one sentence a cause; empty when it need not be.
        told: What else is to be told.
    """

    results: Sequence[RuleResult]
    held_for: Sequence[str] = ()
    told: Sequence[str] = ()


def load_rule_id(rule: Rule) -> str:
    """The id of a rule on a load as a whole, whatever relation it is about."""
    return f"load.{rule.rule_id.partition('.')[2]}"


def unjudged() -> list[RuleResult]:
    """The rules on loads as a whole, as results without counts. Reads suites only."""
    return [_result(rule, 0, 0) for suite in load_suites() for rule in suite.rules]


def relation_of(suite: str) -> str:
    """Name of the temporary table that a suite on loads judges."""
    return f"guard_{suite}"


def describe_load(con: duckdb.DuckDBPyConnection) -> None:
    """Make the relations anew, empty."""
    for name, columns in COLUMNS.items():
        fields = ", ".join(f"{identifier(column)} {kind}" for column, kind in columns.items())
        con.execute(f"create or replace temp table {relation_of(name)} ({fields})")


def put(con: duckdb.DuckDBPyConnection, suite: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Replace the rows of a relation; what a row does not name is NULL."""
    relation, columns = relation_of(suite), COLUMNS[suite]
    con.execute(f"truncate {relation}")
    if rows:
        con.executemany(
            f"insert into {relation} values ({', '.join('?' * len(columns))})",
            [[row.get(column) for column in columns] for row in rows],
        )


def forget_load(con: duckdb.DuckDBPyConnection) -> None:
    """Drop the relations."""
    for name in COLUMNS:
        con.execute(f"drop table if exists {relation_of(name)}")


def compiled_suites(folder: Path) -> list[CompiledSuite]:
    """The suites on loads with their SQL.

    Args:
        folder: Where compiled suites are kept.
    """
    return [compile_suite(folder, suite, COLUMNS[suite.name], trusted=True) for suite in load_suites()]


def judge(con: duckdb.DuckDBPyConnection, suites: Sequence[CompiledSuite]) -> Judgement:
    """Judge the load that the relations describe.

    Args:
        con: The connection that sees the relations.
        suites: What `compiled_suites` gives.

    Raises:
        GuardError: A suite was changed here and Great Expectations counts otherwise than we do.
    """
    results: list[RuleResult] = []
    held_for: list[str] = []
    told: list[str] = []
    for compiled in suites:
        checked, broken = broken_by(con, compiled.rules, relation_of(compiled.suite.name))
        for rule, rows in zip(compiled.rules, broken, strict=True):
            found = _sentences(rule.rule, rows)
            results.append(replace(_result(rule.rule, len(rows), checked), found="; ".join(found)))
            if rule.rule.severity != "info":
                (held_for if rule.rule.severity == "critical" else told).extend(found)
        _prove(con, compiled, [len(rows) for rows in broken])
    return Judgement(results, held_for, told)


def _result(rule: Rule, failed: int, checked: int) -> RuleResult:
    return RuleResult(
        load_rule_id(rule), rule.expectation_type, None, rule.severity, rule.description, failed=failed, checked=checked
    )


def _sentences(rule: Rule, broken: Sequence[Mapping[str, object]]) -> list[str]:
    told = []
    for row in broken[:TOLD]:
        known = {name: "" if value is None else value for name, value in row.items()}
        told.append((rule.sentence or rule.description).format(**known))
    if len(broken) > TOLD:
        told.append(f"… and {len(broken) - TOLD} more: {rule.description}")
    return told


def _prove(con: duckdb.DuckDBPyConnection, compiled: CompiledSuite, counts: Sequence[int]) -> None:
    if not compiled.needs_proof:
        return
    from orchestration.guard import gx

    theirs = gx.unexpected_counts(con, compiled.suite, relation_of(compiled.suite.name))
    for rule, count in zip(compiled.rules, counts, strict=True):
        rule_id = rule.rule.rule_id
        if theirs[rule_id] != count:
            raise GuardError(
                f"{compiled.suite.path}: rule {rule_id}: we count {count:,} failures, Great Expectations "
                f"{theirs[rule_id]:,}; write it another way"
            )
    compiled.proven()
