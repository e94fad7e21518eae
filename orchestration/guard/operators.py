"""What people decide: which loads wait, releasing and discarding them, and what is in quarantine.

Belongs here: the operators' commands on held loads and the quarantine, each booked in `ops` with a name. Does
not belong here: the verdict itself, and replaying rows (`replay.py`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb

from orchestration.guard import history
from orchestration.guard.audit import audit, bad_rows, mark_of
from orchestration.guard.batches import key_is_impersonal, key_looks_personal, table_batches
from orchestration.guard.promotion import (
    HELD_STATE,
    Load,
    book_decision,
    candidate_name,
    promote,
    transaction,
    values_of,
    with_rules,
    write_state,
)
from orchestration.guard.results import (
    SAMPLE_KEYS,
    Decision,
    GuardError,
    HeldLoad,
    QuarantinedRow,
    QuarantineKind,
    Verdict,
)
from orchestration.guard.schema import GONE, converts
from orchestration.guard.sql import aligned, as_sent, identifier, literal, scalar
from orchestration.guard.verdict import ACCEPTED_SHAPE, add_absent_columns, released
from orchestration.settings import Table
from orchestration.warehouse import columns_of, utc_now

if TYPE_CHECKING:
    from orchestration.settings import Settings

SHOWN_ROWS = 20
"""Quarantined rows listed one by one; beyond that people look at the counts per rule."""


DETAIL = r" \(([a-z0-9_,]+|(line|record) [0-9]+.*)\) \["
"""What a reason quotes of its row: names of unreadable columns, or the place in a file."""


def held_loads(con: duckdb.DuckDBPyConnection) -> list[HeldLoad]:
    """The loads that wait for a decision, oldest first. While there is any, nothing new may be built."""
    rows = con.execute(
        "select load_id, source, table_name, coalesce(reason, ''), started_at from ops.loads "
        "where status = 'held' order by started_at, source, table_name"
    ).fetchall()
    return [HeldLoad(*row) for row in rows]


def is_blocked(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether a held load blocks everything downstream."""
    return bool(held_loads(con))


def find_table(settings: Settings, source: str, table: str) -> Table:
    """The source table of that name.

    Raises:
        GuardError: cem.yml has none.
    """
    found = _configured(settings, source, table)
    if found is not None:
        return found
    known = ", ".join(sorted(f"{each.source}.{each.name}" for each in settings.tables()))
    raise GuardError(f"cem.yml has no table {source}.{table}; tables: {known}")


def _configured(settings: Settings, source: str, table: str) -> Table | None:
    return next((each for each in settings.tables() if (each.source, each.name) == (source, table)), None)


def release(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    load_id: str,
    source: str,
    table: str,
    by: str,
    reason: str,
) -> Verdict:
    """Promote a held load on a person's word. Bad rows still go to quarantine; only the hold is lifted.

    Columns that are gone are NULL in the rows of the load; a column whose type changed becomes text.

    Args:
        con: The warehouse, open for writing and not in a transaction.
        settings: The settings.
        load_id: The held load.
        source: Its source.
        table: Its table.
        by: Who decided.
        reason: Why.

    Raises:
        GuardError: There is no such held load, it cannot be read, its table is gone from cem.yml, or nobody says
            who decides and why.
    """
    decision = Decision("release", by, reason)
    load, held_for = _held(con, load_id, source, table)
    found = _configured(settings, source, table)
    if found is None:
        raise GuardError(
            f"cem.yml no longer has the table {source}.{table}, by whose rules load {load_id} would be released: "
            "discard the load, or put the table back first"
        )
    load = replace(load, table=found)
    note = f"{held_for}; released by {by}: {reason}"
    if not columns_of(con, f"candidate_{source}", table):
        con.execute(
            f"create schema if not exists {identifier(f'candidate_{source}')}; "
            f"create table {load.relation} as select * from {_empty(con, load)}"
        )
    _check_candidate(con, load)
    load = _fit(con, load)
    with table_batches(con, settings, found, load.relation, utc_now()) as batches:
        rules = audit(con, batches)
    load = replace(released(with_rules(load, rules, note), "released", note), decision=decision)
    return promote(con, load, bad_rows(batches))


def discard(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    load_id: str,
    source: str,
    table: str,
    by: str,
    reason: str,
) -> None:
    """Throw a held load away: nothing of it is promoted, and what it held back is free again.

    The delivered files are remembered as seen, so that the same delivery does not come back tomorrow. A
    cursor does not move: what the source still says is read again by the next run.

    Args:
        con: The warehouse, open for writing and not in a transaction.
        settings: The settings, as for a release.
        load_id: The held load.
        source: Its source.
        table: Its table, which cem.yml need not have any more.
        by: Who decided.
        reason: Why.

    Raises:
        GuardError: There is no such held load, or nobody says who decides and why.
    """
    decision = Decision("discard", by, reason)
    load, held_for = _held(con, load_id, source, table)
    with transaction(con):
        con.execute(
            "update ops.loads set status = 'discarded', finished_at = ?, reason = ? "
            "where load_id = ? and source = ? and table_name = ?",
            [utc_now(), f"{held_for}; discarded by {by}: {reason}", load_id, source, table],
        )
        write_state(con, load, leaving_out=("cursor",))
        history.decide(con, load_id, (source, table), "discarded")
        con.execute(
            "delete from ops.held_state where load_id = ? and source = ? and table_name = ?",
            [load_id, source, table],
        )
        con.execute(f"drop table if exists {load.relation}")
        book_decision(con, load, decision, load.extracted - load.deduplicated)


def list_quarantine(
    con: duckdb.DuckDBPyConnection,
    source: str | None = None,
    table: str | None = None,
    rule: str | None = None,
    *,
    with_rows: bool = False,
    limit: int | None = None,
) -> list[QuarantinedRow]:
    """The rows that wait in quarantine, newest first.

    Args:
        con: The warehouse.
        source: Only this source.
        table: Only this table.
        rule: Only rows that broke this rule (its id).
        with_rows: Whether to give the rows themselves, which may hold personal data.
        limit: At most so many.
    """
    condition, parameters = quarantine_filter(source, table, rule)
    rows = con.execute(
        f"select load_id, source, table_name, key, {key_looks_personal('key')}, reasons, quarantined_at, "
        f"{'row' if with_rows else 'null'} "
        f"from quarantine.rows where {condition} order by quarantined_at desc, source, table_name, key "
        + (f"limit {int(limit)}" if limit is not None else ""),
        parameters,
    ).fetchall()
    return [
        QuarantinedRow(
            load_id, place, name, key, is_personal, reasons, since, None if row is None else values_of(json.loads(row))
        )
        for load_id, place, name, key, is_personal, reasons, since, row in rows
    ]


def quarantine_filter(
    source: str | None, table: str | None, rule: str | None, keys: list[str] | None = None
) -> tuple[str, list[object]]:
    """SQL and parameters that pick open rows of the quarantine."""
    conditions: list[str] = ["released_at is null"]
    parameters: list[object] = []
    for column, value in (("source", source), ("table_name", table)):
        if value is not None:
            conditions.append(f"{column} = ?")
            parameters.append(value)
    if keys is not None:
        conditions.append("list_contains(?::varchar[], key)")
        parameters.append(keys)
    if rule is not None:
        conditions.append("len(list_filter(reasons, lambda reason: suffix(reason, ?))) > 0")
        parameters.append(mark_of(rule))
    return " and ".join(conditions), parameters


def describe_loads(con: duckdb.DuckDBPyConnection) -> str:
    """The last load of each table and every held one, as lines for people."""
    rows = con.execute(
        "select load_id, source || '.' || table_name, status, extracted, promoted, quarantined, "
        "deduplicated, reason "
        "from ops.loads qualify status = 'held' "
        "or row_number() over (partition by source, table_name order by started_at desc, load_id desc) = 1 "
        "order by 2, 1"
    ).fetchall()
    if not rows:
        return "No load yet."
    head = ("load", "table", "status", "read", "promoted", "quarantined", "left out")
    lines = _aligned([head, *[(*row[:3], *[f"{count:,}" for count in row[3:7]]) for row in rows]])
    texts = [lines[0]]
    for line, row in zip(lines[1:], rows, strict=True):
        texts.append(line)
        if row[7]:
            texts.append(f"    {row[7]}")
    if any(row[2] == "held" for row in rows):
        texts.append("Held loads block everything downstream: cem load release | discard, or mend the source.")
    return "\n".join(texts)


def describe_quarantine(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    source: str | None = None,
    table: str | None = None,
    *,
    show_personal: bool = False,
) -> str:
    """What waits in quarantine, as lines for people: counts per rule, then some rows.

    Args:
        con: The warehouse.
        settings: The settings, which say whose keys hold no personal data.
        source: Only this source.
        table: Only this table.
        show_personal: Whether to name rows by their keys where those may be personal.
    """
    kinds = quarantine_kinds(con, settings, source, table)
    condition, parameters = quarantine_filter(source, table, None)
    total = scalar(con, f"select count(*) from quarantine.rows where {condition}", *parameters)
    if not total:
        return "Nothing is in quarantine."
    lines = [f"{total:,} rows are in quarantine. A row may break several rules:"]
    lines += _aligned([(f"{kind.source}.{kind.table_name}", f"{kind.count:,}", kind.reason) for kind in kinds])
    lines.append("")
    impersonal = _impersonal_tables(settings)
    for row in list_quarantine(con, source, table, limit=SHOWN_ROWS):
        is_shown = show_personal or ((row.source, row.table_name) in impersonal and not row.key_looks_personal)
        name = row.key if is_shown else "a row whose key may be personal"
        lines.append(f"{row.source}.{row.table_name} {name} (load {row.load_id}): {'; '.join(row.reasons)}")
    if total > SHOWN_ROWS:
        lines.append(f"… and {total - SHOWN_ROWS:,} more, in quarantine.rows")
    return "\n".join(lines)


def quarantine_kinds(
    con: duckdb.DuckDBPyConnection, settings: Settings, source: str | None = None, table: str | None = None
) -> list[QuarantineKind]:
    """What waits in quarantine by reason, the most frequent first within a table.

    Args:
        con: The warehouse.
        settings: The settings, which say whose keys hold no personal data.
        source: Only this source.
        table: Only this table.
    """
    condition, parameters = quarantine_filter(source, table, None)
    rows = con.execute(
        "with reasons as (select source, table_name, key, quarantined_at, unnest(reasons) as reason "
        f"from quarantine.rows where {condition}) "
        # What a reason quotes of its row would split the counts.
        f"select source, table_name, regexp_replace(reason, {literal(DETAIL)}, ' [') as kind, count(*), "
        f"coalesce(arg_max(key, (quarantined_at, key), {SAMPLE_KEYS}) filter (not {key_looks_personal('key')}), []) "
        "from reasons group by source, table_name, kind order by 1, 2, 4 desc, 3",
        parameters,
    ).fetchall()
    impersonal = _impersonal_tables(settings)
    return [
        QuarantineKind(place, name, reason, count, tuple(keys) if (place, name) in impersonal else ())
        for place, name, reason, count, keys in rows
    ]


def _impersonal_tables(settings: Settings) -> set[tuple[str, str]]:
    """Tables whose keys are known to hold no personal data."""
    return {(table.source, table.name) for table in settings.tables() if key_is_impersonal(table)}


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _held(con: duckdb.DuckDBPyConnection, load_id: str, source: str, table: str) -> tuple[Load, str]:
    """A held load as booked, and why it is held. Of its table only the names are told: cem.yml may have it no more."""
    con.execute(HELD_STATE)
    row = con.execute(
        "select extracted, deduplicated, coalesce(reason, ''), started_at, state from ops.loads "
        "left join ops.held_state using (load_id, source, table_name) "
        "where status = 'held' and load_id = ? and source = ? and table_name = ?",
        [load_id, source, table],
    ).fetchone()
    if row is None:
        waiting = ", ".join(f"{load.load_id} {load.source}.{load.table_name}" for load in held_loads(con))
        raise GuardError(f"load {load_id} of {source}.{table} is not held; held: {waiting or 'none'}")
    bare = Table(source=source, name=table)
    load = Load(
        table=bare,
        load_id=load_id,
        relation=candidate_name(bare),
        extracted=row[0],
        deduplicated=row[1],
        state=[(item[0], item[1], item[2]) for item in json.loads(row[4] or "[]")],
        started_at=row[3],
    )
    return load, row[2]


def _empty(con: duckdb.DuckDBPyConnection, load: Load) -> str:
    if not columns_of(con, f"raw_{load.table.source}", load.table.name):
        raise GuardError(
            f"load {load.load_id} of {load.table.source}.{load.table.name} brought nothing, not even "
            "columns: discard it, "
            "or declare `optional: true` in cem.yml and run again"
        )
    return f"{load.raw} limit 0"


def _check_candidate(con: duckdb.DuckDBPyConnection, load: Load) -> None:
    other = scalar(con, f"select count(*) from {load.relation} where _load_id <> {literal(load.load_id)}")
    if other:
        raise GuardError(
            f"{load.relation} holds another load than {load.load_id}: an extraction began since; run again first"
        )


def _fit(con: duckdb.DuckDBPyConnection, load: Load) -> Load:
    """Make a load and the raw table fit each other where the hold was about their shapes.

    Returns:
        The load, which also writes down what was accepted, so that the next load of the same shape passes.
    """
    place = load.table.source, load.table.name
    old = as_sent(columns_of(con, f"raw_{place[0]}", place[1]))
    new = aligned(as_sent(columns_of(con, f"candidate_{place[0]}", place[1])), old)
    gone = [column for column in old if column not in new]
    add_absent_columns(con, load, gone)
    accepted = [(ACCEPTED_SHAPE, column, GONE) for column in gone]
    for column, kind in new.items():
        if column in old and kind != old[column] and not converts(old[column], kind):
            # Text holds both the old and the new values without loss; the load itself keeps its type.
            con.execute(f"alter table {load.raw} alter {identifier(column)} type varchar")
            accepted.append((ACCEPTED_SHAPE, column, kind))
    return replace(load, state=[*load.state, *accepted])
