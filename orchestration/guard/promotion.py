"""Promotion: the one transaction that moves a load past the guard.

Belongs here: everything that is written when a load is promoted, held or found unchanged: raw rows,
quarantine, bookkeeping, cursors. Does not belong here: deciding which of the three it is (`verdict.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb

from orchestration.guard import history
from orchestration.guard.audit import BROKEN
from orchestration.guard.history import Expected, Observed
from orchestration.guard.results import Decision, GuardError, RuleResult, Verdict
from orchestration.guard.schema import is_widening
from orchestration.guard.sql import (
    BOOKKEEPING,
    aligned,
    as_sent,
    describe,
    identifier,
    literal,
    qualified,
    scalar,
)
from orchestration.sources.keys import is_older
from orchestration.warehouse import columns_of, utc_now

if TYPE_CHECKING:
    from orchestration.settings import Table

BAD = "guard_bad"
"""Temporary table of the rows to quarantine: `_row`, `reasons`."""

STALE = "guard_stale"
"""Temporary table of the rows that are promoted already, or older than what is: `_row`."""

PROVENANCE = ("_key", "_cursor", "_source_file", "_source_row")
"""Bookkeeping kept with a quarantined row, so that it can be found in its source and replayed."""

UNIQUE_KEY_RULE = "sent.key_unique"
"""The rule after which the good rows of a load are known to have one row per key."""

HELD_STATE = """
create schema if not exists ops;
create table if not exists ops.held_state (
    load_id text not null,
    source text not null,
    table_name text not null,
    state json not null,
    primary key (load_id, source, table_name)
)
"""
"""What a held load would have written to `ops.source_state`, kept for its release."""


@dataclass(frozen=True)
class Load:
    """A load of one table on its way past the guard.

    Attributes:
        table: The source table.
        load_id: The load.
        relation: SQL name of the raw-shaped table that holds its rows.
        extracted: Rows read.
        deduplicated: Rows left out while reading.
        state: What `ops.source_state` is to hold once the load is promoted: kind, name, value.
        started_at: When the guard began, UTC.
        reason: What to say about the load, or None.
        rules: Results of the audit.
        status: Status it gets in `ops.loads` when it is promoted.
        keeps_relation: Whether the relation stays afterwards.
        decision: The person's decision by which it moves, or None.
        observed: How much it brought, and what was expected; None when it is no reading of the source.
        has_profile: Whether `guard_profile` tells how its columns look.
    """

    table: Table
    load_id: str
    relation: str
    extracted: int
    deduplicated: int
    state: Sequence[tuple[str, str, str]]
    started_at: datetime
    reason: str | None = None
    rules: Sequence[RuleResult] = ()
    status: str = "promoted"
    keeps_relation: bool = False
    decision: Decision | None = None
    observed: tuple[Observed, Expected | None] | None = None
    has_profile: bool = False

    @property
    def raw(self) -> str:
        """SQL name of the table of promoted rows."""
        return qualified(f"raw_{self.table.source}", self.table.name)


def candidate_name(table: Table) -> str:
    """SQL name of the table in which a load waits."""
    return qualified(f"candidate_{table.source}", table.name)


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing."""
    con.begin()
    try:
        yield
    except BaseException:
        con.rollback()
        raise
    con.commit()


def promote(con: duckdb.DuckDBPyConnection, load: Load, bad: str) -> Verdict:
    """Promote the good rows of a load and quarantine the others, in one transaction.

    Args:
        con: The warehouse.
        load: The load.
        bad: Query for the rows to quarantine: `_row` (row id in the relation) and `reasons`.

    Raises:
        GuardError: Rows would be lost or doubled; nothing is changed then.
    """
    con.execute(HELD_STATE)
    with transaction(con):
        prepare_raw(con, load)
        sort_out(con, load, bad)
        promoted = merge(con, load)
        quarantined = _quarantine(con, load)
        stale = scalar(con, f"select count(*) from {STALE}")
        verdict = Verdict(
            status="promoted",
            extracted=load.extracted,
            promoted=promoted,
            quarantined=quarantined,
            deduplicated=load.deduplicated + stale,
            reason=load.reason,
            rules=list(load.rules),
        )
        assert_conserved(load, verdict)
        book(con, load, verdict, load.status)
        replace_held(con, load)
        write_state(con, load)
        if not load.keeps_relation:
            con.execute(f"drop table {load.relation}")
        forget(con)
    return verdict


def hold(con: duckdb.DuckDBPyConnection, load: Load) -> Verdict:
    """Hold a load: it is booked with its reason, stays where it is, and blocks everything downstream."""
    con.execute(HELD_STATE)
    verdict = Verdict("held", load.extracted, 0, 0, load.deduplicated, load.reason, list(load.rules))
    with transaction(con):
        book(con, load, verdict, "held")
        replace_held(con, load)
        con.execute(
            "insert into ops.held_state values (?, ?, ?, ?) on conflict do update set state = excluded.state",
            [
                load.load_id,
                load.table.source,
                load.table.name,
                json.dumps([list(item) for item in load.state]),
            ],
        )
        forget(con)
    return verdict


def pass_unchanged(con: duckdb.DuckDBPyConnection, load: Load) -> Verdict:
    """Take note that a source brought nothing new: no load is booked, cursors and fingerprints move on."""
    con.execute(HELD_STATE)
    with transaction(con):
        # A source that says what it said before the held load has taken that load back.
        replace_held(con, load)
        write_state(con, load)
        _remember(con, load, "unchanged")
        con.execute(f"drop table if exists {load.relation}")
    return Verdict("unchanged", load.extracted, 0, 0, load.deduplicated, load.reason, list(load.rules))


def prepare_raw(con: duckdb.DuckDBPyConnection, load: Load) -> None:
    """Create the raw table, or give it the columns and types that the load brings."""
    schema, name = f"raw_{load.table.source}", load.table.name
    con.execute(f"create schema if not exists {identifier(schema)}")
    old = columns_of(con, schema, name)
    new = aligned(describe(con, load.relation), old)
    if not old:
        con.execute(f"create table {load.raw} as select * from {load.relation} limit 0")
        return
    for column, kind in as_sent(new).items():
        if column not in old:
            con.execute(f"alter table {load.raw} add column {identifier(column)} {kind}")
        elif is_widening(old[column], kind):
            con.execute(f"alter table {load.raw} alter {identifier(column)} type {kind}")


def sort_out(con: duckdb.DuckDBPyConnection, load: Load, bad: str) -> None:
    """Write down which rows of a load are promoted already or older than what is, and which of the others are bad."""
    # Cursors are texts that sort as the moments or numbers they are; NULL where there is none.
    con.execute(
        f"create or replace temp table {STALE} as select sent.rowid as _row from {load.relation} as sent "
        f"inner join {load.raw} as raw on sent._key = raw._key "
        "where sent._deleted_at is null and raw._deleted_at is null "
        f"and ({is_older('sent._cursor', 'raw._cursor')} "
        "or sent._row_hash = raw._row_hash and sent._cursor is not distinct from raw._cursor)"
    )
    con.execute(
        f"create or replace temp table {BAD} as select * from ({bad}) where _row not in (select _row from {STALE})"
    )


def merge(con: duckdb.DuckDBPyConnection, load: Load) -> int:
    """Put the good rows into the raw table, one per key, and delete softly what the source deleted.

    Returns:
        Number of good rows, deletions not among them.
    """
    old = columns_of(con, f"raw_{load.table.source}", load.table.name)
    new = aligned(describe(con, load.relation), old)
    picked = []
    for column, kind in old.items():
        name = identifier(column)
        if column not in new:
            picked.append(f"null::{kind} as {name}")
        elif new[column] == kind:
            picked.append(name)
        else:
            picked.append(f"{name}::{kind} as {name}")
    # Only what there is to leave out is looked for in every row: most loads are clean.
    left_out = [table for table in (BAD, STALE) if scalar(con, f"select count(*) from {table}")]
    good = " and ".join(f"rowid not in (select _row from {table})" for table in left_out) or "true"
    if not any(rule.rule_id == UNIQUE_KEY_RULE for rule in load.rules):
        # Without a rule that has sent them to quarantine, two rows of one key would both be inserted.
        twice = scalar(
            con,
            f"select count(*) from (select _key from {load.relation} where {good} group by _key having count(*) > 1)",
        )
        if twice:
            raise GuardError(f"{load.table.source}.{load.table.name}: {twice:,} keys occur twice; nothing was changed")
    known = scalar(
        con,
        f"select count(*) from {load.relation} as sent where {good} "
        f"and exists (select 1 from {load.raw} as raw where raw._key = sent._key)",
    )
    marked = scalar(
        con,
        f"update {load.raw} as raw set _deleted_at = sent._deleted_at, _load_id = sent._load_id, "
        "_loaded_at = sent._loaded_at, _cursor = sent._cursor, _source_file = sent._source_file, "
        f"_source_row = sent._source_row from (select * from {load.relation} where _deleted_at is not null and {good}) "
        "as sent where raw._key = sent._key",
    )
    # A row that is replaced goes, and comes again among the new ones. Changed in place, rows that lie scattered would
    # have every row group written anew, and read by whoever looks for what this load brought.
    alive = f"from {load.relation} where _deleted_at is null and {good}"
    replaced = scalar(con, f"delete from {load.raw} where _key in (select _key {alive})")
    if marked + replaced != known:
        raise GuardError(
            f"{load.table.source}.{load.table.name}: {known:,} rows have the keys of earlier ones, but in {load.raw} "
            f"these are {marked + replaced:,}: a key occurs twice there, which no load does; nothing was changed. "
            "Delete the rows that came otherwise (_load_id and _loaded_at tell them apart), and run again"
        )
    return scalar(con, f"insert into {load.raw} by name select {', '.join(picked)} {alive}")


def _quarantine(con: duckdb.DuckDBPyConnection, load: Load) -> int:
    """Release the predecessors of what the load brings, then quarantine its bad rows."""
    place = [load.table.source, load.table.name]
    fresh = f"select _key from {load.relation} where _key is not null and"
    is_bad = f"rowid in (select _row from {BAD})"
    is_stale = f"rowid in (select _row from {STALE})"
    if scalar(
        con,
        "select count(*) from quarantine.rows where released_at is null and source = ? and table_name = ?",
        *place,
    ):
        for by, keys in (
            ("deleted at the source", f"{fresh} _deleted_at is not null"),
            (f"newer version in load {load.load_id}", f"{fresh} {is_bad}"),
            ("source correction", f"{fresh} not {is_bad} and not {is_stale}"),
        ):
            con.execute(
                "update quarantine.rows set released_at = ?, released_by = ? "
                f"where released_at is null and source = ? and table_name = ? and key in ({keys})",
                [utc_now(), by, *place],
            )
    con.execute(
        "insert into quarantine.rows "
        f"select {literal(load.load_id)}, {literal(load.table.source)}, {literal(load.table.name)}, "
        "coalesce(sent._key, sent._source_file || '#' || sent._source_row, 'row ' || (sent.rowid + 1)), "
        "sent._row_hash, bad.reasons, "
        f"{_as_json(describe(con, load.relation))}, {_moment(utc_now())}, null, null "
        f"from {load.relation} as sent inner join {BAD} as bad on sent.rowid = bad._row"
    )
    return scalar(con, f"select count(*) from {BAD}")


def _as_json(columns: Iterable[str]) -> str:
    # Every value as its text: JSON's own numbers would lose digits, and the text casts back without loss.
    kept = [name for name in columns if name in PROVENANCE or name not in BOOKKEEPING]
    fields = ", ".join(f"{identifier(name)} := sent.{identifier(name)}::varchar" for name in kept)
    return f"to_json(struct_pack({fields}))"


def assert_conserved(load: Load, verdict: Verdict) -> None:
    """Refuse to commit when rows are lost or doubled.

    Raises:
        GuardError: extracted is not promoted + quarantined + deduplicated.
    """
    if verdict.extracted != verdict.promoted + verdict.quarantined + verdict.deduplicated:
        raise GuardError(
            f"{load.table.source}.{load.table.name}, load {load.load_id}: {verdict.extracted} rows "
            "were read, but "
            f"{verdict.promoted} promoted + {verdict.quarantined} quarantined + "
            f"{verdict.deduplicated} left out; "
            "nothing was changed. Please report this as a bug"
        )


def book(con: duckdb.DuckDBPyConnection, load: Load, verdict: Verdict, status: str) -> None:
    """Write the load and its rules to `ops`; a held load that is decided upon keeps its one row."""
    place = [load.load_id, load.table.source, load.table.name]
    con.execute(
        "insert into ops.loads values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set "
        "status = excluded.status, promoted = excluded.promoted, quarantined = excluded.quarantined, "
        "deduplicated = excluded.deduplicated, reason = excluded.reason, finished_at = excluded.finished_at",
        [
            *place,
            status,
            verdict.extracted,
            verdict.promoted,
            verdict.quarantined,
            verdict.deduplicated,
            verdict.reason,
            load.started_at,
            utc_now(),
        ],
    )
    if load.decision is not None:
        book_decision(con, load, load.decision, verdict.promoted + verdict.quarantined)
    _remember(con, load, status)
    if not verdict.rules:
        return
    columns = [
        [getattr(rule, name) for rule in verdict.rules]
        for name in ("rule_id", "severity", "description", "failed", "checked")
    ]
    con.execute(
        "insert into ops.load_rules select ?, ?, ?, unnest(?::varchar[]), unnest(?::varchar[]), "
        "unnest(?::varchar[]), "
        "unnest(?::bigint[]), unnest(?::bigint[]) "
        "on conflict do update set failed = excluded.failed, checked = excluded.checked",
        [*place, *columns],
    )


def book_decision(con: duckdb.DuckDBPyConnection, load: Load, decision: Decision, rows: int) -> None:
    """Write to `ops.decisions` who decided what about a load, and about how many rows."""
    con.execute(
        "insert into ops.decisions values (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            utc_now(),
            decision.kind,
            load.table.source,
            load.table.name,
            load.load_id,
            decision.by,
            decision.reason,
            rows,
        ],
    )


def _remember(con: duckdb.DuckDBPyConnection, load: Load, outcome: str) -> None:
    """Write down what the load teaches about its table."""
    place = (load.table.source, load.table.name)
    if load.observed is None:
        history.decide(con, load.load_id, place, outcome)
        return
    history.remember(con, load.load_id, place, *load.observed, outcome)
    if load.has_profile:
        history.remember_profile(con, load.load_id, place)


def replace_held(con: duckdb.DuckDBPyConnection, load: Load) -> None:
    """Close earlier held loads of the table: what they brought is read again by this load."""
    place = [load.table.source, load.table.name]
    con.execute(
        "update ops.loads set status = 'discarded', finished_at = ?, "
        f"reason = coalesce(reason || '; ', '') || {literal(f'replaced by load {load.load_id}')} "
        "where status = 'held' and source = ? and table_name = ? and load_id <> ?",
        [utc_now(), *place, load.load_id],
    )
    con.execute("delete from ops.held_state where source = ? and table_name = ?", place)


def write_state(con: duckdb.DuckDBPyConnection, load: Load, leaving_out: Sequence[str] = ()) -> None:
    """Move cursors and fingerprints of the source forward, but for kinds that are left out."""
    for kind, name, value in load.state:
        if kind in leaving_out:
            continue
        con.execute(
            "insert into ops.source_state values (?, ?, ?, ?, ?, ?) "
            "on conflict do update set value = excluded.value, updated_at = excluded.updated_at",
            [load.table.source, load.table.name, kind, name, value, utc_now()],
        )


def forget(con: duckdb.DuckDBPyConnection) -> None:
    """Drop the temporary tables of an audit."""
    for name in (BROKEN, BAD, STALE, history.PROFILE):
        con.execute(f"drop table if exists {name}")


def with_rules(load: Load, rules: Sequence[RuleResult], reason: str | None) -> Load:
    """The load with the results of its audit."""
    return replace(load, rules=tuple(rules), reason=reason)


def values_of(row: Mapping[str, Any]) -> dict[str, str | None]:
    """A quarantined row without its bookkeeping."""
    return {name: value for name, value in row.items() if name not in BOOKKEEPING}


def _moment(value: datetime) -> str:
    return f"{literal(value.isoformat(sep=' '))}::timestamp"
