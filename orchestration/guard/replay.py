"""Replay: rows in quarantine get a second chance under the suite and mapping of today.

Belongs here: bringing quarantined rows back as a small load of their own. Does not belong here: listing them
(`operators.py`) and judging them (`audit.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import duckdb

from orchestration.guard.audit import audit, bad_rows
from orchestration.guard.batches import table_batches
from orchestration.guard.operators import find_table, quarantine_filter
from orchestration.guard.promotion import (
    BAD,
    STALE,
    Load,
    assert_conserved,
    book,
    forget,
    merge,
    sort_out,
    transaction,
)
from orchestration.guard.results import Decision, GuardError, Verdict
from orchestration.guard.sql import as_sent, identifier, literal, qualified, scalar
from orchestration.sources.keys import clamp_cursors, cursor, cursor_text, is_named_by, is_versioned_by, key_text
from orchestration.warehouse import columns_of, new_load_id, utc_now

if TYPE_CHECKING:
    from orchestration.settings import Settings, Table

REPLAYED = "guard_replay"
"""Temporary table, shaped like a candidate: the rows that are replayed."""

ORIGIN = "_row_in_quarantine"
"""Column of the replayed rows: the quarantined row each came from (row ids hold within a transaction)."""


def replay(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    source: str,
    table: str,
    keys: Sequence[str] | None = None,
    rule: str | None = None,
    by: str = "operator",
    changes: Mapping[str, str | None] | None = None,
    reason: str | None = None,
) -> Verdict:
    """Audit quarantined rows again and promote those that pass now, in one transaction.

    The replay is booked in `ops.loads` as a load of its own. Rows that still fail stay in quarantine with
    today's reasons. Rows that are older than what is promoted by now are released without being promoted.

    Args:
        con: The warehouse, open for writing and not in a transaction.
        settings: The settings.
        source: Source of the rows.
        table: Table of the rows.
        keys: Only rows of these record keys; None: all.
        rule: Only rows that broke this rule (its id); None: all.
        by: Who asked for it.
        changes: Values to replace first, by column as sent. A row gets the key and the cursor that it would have had
            with them. The quarantined row keeps what the source sent, and the source's own row stays known, so that
            the next load does not undo the change.
        reason: Why; by default which rows were picked.

    Raises:
        GuardError: There is no such table or column, no row to replay, or a row would get the key of a record that
            is promoted.
    """
    found = find_table(settings, source, table)
    now = utc_now()
    with transaction(con):
        load_id = new_load_id()
        count = _bring_back(con, found, load_id, keys, rule, changes or {})
        load = Load(
            table=found,
            load_id=load_id,
            relation=REPLAYED,
            extracted=count,
            deduplicated=0,
            state=(),
            started_at=now,
            reason=_reason(count, keys, rule, by, changes),
            keeps_relation=True,
            decision=Decision("replay", by, reason or ", ".join(_picked(keys, rule, changes)) or "all of the table"),
        )
        with table_batches(con, settings, found, REPLAYED, now) as batches:
            rules = audit(con, batches)
        sort_out(con, load, bad_rows(batches))
        promoted = merge(con, load)
        verdict = Verdict(
            status="promoted",
            extracted=count,
            promoted=promoted,
            quarantined=scalar(con, f"select count(*) from {BAD}"),
            deduplicated=scalar(con, f"select count(*) from {STALE}"),
            reason=load.reason,
            rules=rules,
        )
        assert_conserved(load, verdict)
        book(con, load, verdict, "promoted")
        _settle(con, by)
        forget(con)
        con.execute(f"drop table {REPLAYED}")
    return verdict


def _bring_back(
    con: duckdb.DuckDBPyConnection,
    table: Table,
    load_id: str,
    keys: Sequence[str] | None,
    rule: str | None,
    changes: Mapping[str, str | None],
) -> int:
    """Fill the replay tables from the quarantine; the types are those of the raw table."""
    columns = columns_of(con, f"raw_{table.source}", table.name)
    if not columns:
        raise _nothing_to_replay(table)
    unknown = [column for column in changes if column not in as_sent(columns)]
    if unknown:
        raise GuardError(f"{table.source}.{table.name} has no column {', '.join(unknown)} to change")
    condition, parameters = quarantine_filter(table.source, table.name, rule, list(keys) if keys is not None else None)
    # A JSON patch drops what is set to NULL; that makes no difference, as absent reads as NULL.
    patch = literal(json.dumps(dict(changes)))
    values = [f"cast(sent[{literal(name)}] as {kind}) as {identifier(name)}" for name, kind in as_sent(columns).items()]
    now = utc_now()
    moment = literal(now.isoformat(sep=" "))
    is_renamed = any(is_named_by(table, column) for column in changes)
    is_another_version = any(is_versioned_by(table, column) for column in changes)
    renewed = [f"{key_text(table)} as _key"] if is_renamed else []
    renewed += [f"{cursor(table, cursor_text(table))} as _cursor"] if is_another_version else []
    replaced = f"replace ({', '.join(renewed)})" if renewed else ""
    try:
        con.execute(
            f"create or replace temp table {REPLAYED} as with patched as (select rowid as {ORIGIN}, row_hash, "
            f'cast(json_merge_patch("row", {patch}::json) as map(varchar, varchar)) as sent '
            f"from quarantine.rows where {condition}), "
            f"typed as (select {', '.join(values)}, {ORIGIN}, "
            "sent['_key'] as _key, row_hash as _row_hash, sent['_cursor'] as _cursor, "
            "sent['_source_file'] as _source_file, cast(sent['_source_row'] as bigint) as _source_row, "
            f"{literal(load_id)} as _load_id, {moment}::timestamp as _loaded_at, "
            f"null::timestamp as _deleted_at from patched) select * {replaced} from typed",
            parameters,
        )
    except duckdb.ConversionException:
        # Without the cause, which quotes the value.
        raise GuardError(
            f"{table.source}.{table.name}: a row holds a value that does not fit the type its column has by now; "
            "replay the others by key"
        ) from None
    count = scalar(con, f"select count(*) from {REPLAYED}")
    if not count:
        raise _nothing_to_replay(table)
    if is_another_version:
        clamp_cursors(con, table, REPLAYED, now)
    if is_renamed:
        _refuse_taken_keys(con, table)
    return count


def _refuse_taken_keys(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Let no mended row replace a record that it was not about before."""
    taken = scalar(
        con,
        f"select count(*) from {REPLAYED} as sent "
        f"inner join {qualified(f'raw_{table.source}', table.name)} as raw on sent._key = raw._key "
        f"inner join quarantine.rows as bad on bad.rowid = sent.{ORIGIN} "
        "where raw._deleted_at is null and (bad.\"row\" ->> '_key') is distinct from sent._key",
    )
    if taken:
        raise GuardError(
            f"{table.source}.{table.name}: {taken:,} rows would get the key of a record that is promoted already; "
            "nothing was changed. Give them keys of their own, or have the source correct that record"
        )


def _nothing_to_replay(table: Table) -> GuardError:
    return GuardError(f"{table.source}.{table.name}: no row in quarantine matches, so nothing is replayed")


def _reason(
    count: int,
    keys: Sequence[str] | None,
    rule: str | None,
    by: str,
    changes: Mapping[str, str | None] | None,
) -> str:
    return ", ".join([f"replay of {count:,} quarantined rows by {by}", *_picked(keys, rule, changes)])


def _picked(keys: Sequence[str] | None, rule: str | None, changes: Mapping[str, str | None] | None) -> list[str]:
    """Which rows were picked, without naming one: a key may be personal."""
    parts = []
    if keys is not None:
        parts.append("picked by key")
    if rule is not None:
        parts.append(f"that broke {rule}")
    if changes:
        parts.append(f"after a change of {', '.join(sorted(changes))}")
    return parts


def _settle(con: duckdb.DuckDBPyConnection, by: str) -> None:
    """Release what passed or is outdated; write today's reasons to what stays."""
    con.execute(
        "update quarantine.rows set released_at = ?, released_by = 'newer version already promoted' "
        "where rowid in "
        f"(select {ORIGIN} from {REPLAYED} where rowid in (select _row from {STALE}))",
        [utc_now()],
    )
    con.execute(
        "update quarantine.rows set released_at = ?, released_by = ? where rowid in "
        f"(select {ORIGIN} from {REPLAYED} where rowid not in (select _row from {STALE}) "
        f"and rowid not in (select _row from {BAD}))",
        [utc_now(), f"replay by {by}"],
    )
    con.execute(
        f"update quarantine.rows set reasons = bad.reasons from {REPLAYED} as replayed inner join {BAD} as bad "
        f"on replayed.rowid = bad._row where quarantine.rows.rowid = replayed.{ORIGIN}"
    )
