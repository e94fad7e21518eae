"""Keys and cursors: which record a row is about, and which of its versions.

Belongs here: how both are written as texts, at extraction and when a quarantined row is mended. Does not belong here:
what follows from them (`extract.py`, `guard/`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import duckdb

from orchestration.settings import Table
from orchestration.sources.mapping import column_text
from orchestration.sources.values import iso_ordered, literal, matches, normalised, sortable

MOMENT = "[0-9]{4}-[0-9]{2}-[0-9]{2}T.*"
"""A cursor that is a time, as `values.sortable` writes it."""

COUNT = "[0-9]{30}[.].*"
"""A cursor that is a number."""

EPOCH_UNITS = {"epoch_seconds": 1, "epoch_milliseconds": 1000}
"""Formats of times that are numbers: by how much these grow in a second."""


@dataclass(frozen=True)
class CursorForm:
    """How a cursor is written: as the mappings of its column say, else as the table does.

    Attributes:
        formats: Its strptime formats; none where it is ISO, a number or in `date_order`.
        date_order: Order of day, month and year.
        time_zone: Zone of its local times.
    """

    formats: tuple[str, ...]
    date_order: str | None
    time_zone: str

    @property
    def begins_with_iso_date(self) -> bool:
        """Whether its texts sort by the day."""
        if self.formats:
            return all(form.startswith("%Y-%m-%d") for form in self.formats)
        return self.date_order not in {"dmy", "mdy"}


def cursor_form(table: Table) -> CursorForm:
    """How the cursor of a table is written."""
    mapped = [column for mapping in table.entities for column in mapping.columns.values() if column.column is not None]
    given = [column for column in mapped if column.column == table.cursor]
    return CursorForm(
        next((column.format for column in given if column.format), ()),
        next((column.date_order for column in given if column.date_order), table.date_order),
        next((column.time_zone for column in given if column.time_zone), table.time_zone or "UTC"),
    )


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
    text, form = normalised(column_text(table, table.cursor)), cursor_form(table)
    return text if form.formats else iso_ordered(text, form.date_order)


def cursor(table: Table, text: str) -> str:
    """SQL of a cursor as a text that sorts as it does.

    Args:
        table: The table.
        text: SQL of its `cursor_text`.
    """
    return "null::varchar" if table.cursor is None else sortable(text, formats=cursor_form(table).formats)


def is_older(cursor: str, other: str) -> str:
    """SQL of whether a cursor is older than another one.

    A time and a text tell nothing of each other: one of them was read before cem.yml said how cursors are written.
    """
    return f"({cursor} < {other} and {matches(cursor, MOMENT)} = {matches(other, MOMENT)})"


@dataclass(frozen=True)
class _Now:
    """Now, as cursors of one kind may say it: by the clock of the table or that of UTC."""

    kind: str
    earliest: str
    latest: str


def _now(table: Table, moment: datetime) -> Iterator[_Now]:
    form, utc = cursor_form(table), moment.replace(tzinfo=UTC)
    clocks = (moment, utc.astimezone(ZoneInfo(form.time_zone)).replace(tzinfo=None))
    earliest, latest = sorted(clock.isoformat(timespec="microseconds") for clock in clocks)
    yield _Now(MOMENT, earliest, latest)
    units = {EPOCH_UNITS[name] for name in form.formats if name in EPOCH_UNITS}
    if len(units) == 1:
        count = f"{int(utc.timestamp() * units.pop()):030d}."
        yield _Now(COUNT, count, count)


def cursor_state(table: Table, latest: str, moment: datetime) -> str:
    """What to remember of the newest cursor; a clock that is ahead must not make us skip what is to come.

    Args:
        table: The table.
        latest: The greatest `_cursor`, as `values.sortable` writes it.
        moment: Now, UTC.
    """
    return next((min(latest, now.earliest) for now in _now(table, moment) if re.fullmatch(now.kind, latest)), latest)


def clamp_cursors(con: duckdb.DuckDBPyConnection, table: Table, relation: str, moment: datetime) -> int:
    """Let a cursor from the future count as now: it would hide every later change of its record.

    Nobody knows whether a time is of the local clock or of UTC: what is ahead of both is of the future, and counts as
    what the slower one says.

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
    ahead = 0
    for now in _now(table, moment):
        is_ahead = f"_cursor > {literal(now.latest)} and {matches('_cursor', now.kind)}"
        row = con.execute(f"select count(*) from {relation} where {is_ahead}").fetchone()
        if row and row[0]:
            con.execute(f"update {relation} set _cursor = {literal(now.earliest)} where {is_ahead}")
            ahead += int(row[0])
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
