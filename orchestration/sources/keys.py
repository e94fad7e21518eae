"""Keys and cursors: which record a row is about, and which of its versions.

Belongs here: how both are written as texts, at extraction and when a quarantined row is mended. Does not belong here:
what follows from them (`extract.py`, `guard/`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import duckdb

from orchestration.settings import Table
from orchestration.sources.mapping import column_text
from orchestration.sources.values import iso_ordered, literal, normalised, sortable


def key_text(table: Table, file: str | None = None) -> str:
    """SQL of the key of a row as text; NULL when a part of it is missing.

    Args:
        table: The table.
        file: What the rows are from; without a key their place in it (`sent._source_row`) names them.
    """
    if not table.key:
        return f"{literal(f'{file}#')} || sent._source_row"
    parts = [normalised(column_text(table, column)) for column in table.key]
    if len(parts) == 1:
        return parts[0]
    # A separator within a part would make two keys one.
    escaped = [f"replace(replace({part}, '\\', '\\\\'), '|', '\\|')" for part in parts]
    return " || '|' || ".join(escaped)


def cursor_text(table: Table) -> str:
    """SQL of the cursor of a row as it is written, times in the order of ISO 8601; NULL where there is none."""
    if table.cursor is None:
        return "null::varchar"
    return iso_ordered(normalised(column_text(table, table.cursor)), table.date_order)


def cursor(table: Table, text: str) -> str:
    """SQL of a cursor as a text that sorts as it does.

    Args:
        table: The table.
        text: SQL of its `cursor_text`.
    """
    return "null::varchar" if table.cursor is None else sortable(text)


def clamp_cursors(con: duckdb.DuckDBPyConnection, table: Table, relation: str, moment: datetime) -> int:
    """Let a cursor from the future count as now: it would hide every later change of its record.

    Local times are compared with the local clock, those with an offset at most by that much too late.

    Args:
        con: The warehouse.
        table: The table.
        relation: SQL name of the table that holds its rows.
        moment: Now, UTC.

    Returns:
        How many were in the future.
    """
    if table.cursor is None:
        return 0
    local = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(table.time_zone or "UTC"))
    now = max(moment, local.replace(tzinfo=None)).isoformat(timespec="microseconds")
    is_ahead = f"_cursor like '____-__-__T%' and _cursor > {literal(now)}"
    row = con.execute(f"select count(*) from {relation} where {is_ahead}").fetchone()
    ahead = int(row[0]) if row else 0
    if ahead:
        con.execute(f"update {relation} set _cursor = {literal(now)} where {is_ahead}")
    return ahead


def is_named_by(table: Table, column: str) -> bool:
    """Whether the key of a record is made of a column as sent."""
    return any(_is_read_from(table, part, column) for part in table.key)


def is_versioned_by(table: Table, column: str) -> bool:
    """Whether the cursor of a record is made of a column as sent."""
    return table.cursor is not None and _is_read_from(table, table.cursor, column)


def _is_read_from(table: Table, given: str, column: str) -> bool:
    head = given.partition(".")[0] if table.has_nested_values else given
    return column.casefold() in (given.casefold(), head.casefold())
