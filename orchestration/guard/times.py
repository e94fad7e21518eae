"""What a load leaves open about its times: their zone, the order of day and month, hours of daylight saving.

Belongs here: what only the texts as sent can tell, against what cem.yml declares. Does not belong here: how a
time is read (`sources/values.py`), rules about the moments themselves (`expectations/`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import duckdb

from orchestration.sources.contract import load_contract
from orchestration.sources.mapping import mapping_ctes, with_ctes
from orchestration.sources.values import has_zone, is_day, literal, timestamp

if TYPE_CHECKING:
    from orchestration.settings import ColumnMapping, EntityMapping, Table

ZONES_KNOWN, ORDER_KNOWN, HOURS_REGULAR = "zones_unknown", "dates_unordered", "hours_irregular"
"""Facts of a load, which rules of `expectations/load.json` ask for."""

UNORDERED = "^[0-9]{1,2}[-/.][0-9]{1,2}[-/.]([0-9]{4}|[0-9]{2})([^0-9]|$)"
"""A date whose day and month only its source can tell apart."""

UNORDERED_SHARE = 0.5
"""From this share of a column on, such dates are how it is written; below, they are slips of single rows."""

FIRST_YEAR, LAST_YEAR = 1970, 2040
"""Years whose changes of the clock are looked at."""


def open_questions(con: duckdb.DuckDBPyConnection, table: Table, relation: str) -> Iterator[tuple[str, str, int]]:
    """What must be declared before the times of a load can be read, and what had to be assumed.

    Args:
        con: The warehouse.
        table: The source table.
        relation: SQL name of the load.

    Yields:
        Fact about the load, what to say, and number of rows.
    """
    live = f"(select * from {relation} where _deleted_at is null)"
    for mapping in table.entities:
        texts = with_ctes(*_texts(table, mapping, live))
        for name, given in _columns(mapping, "timestamp"):
            yield from _zone(con, table, name, given, texts)
            yield from _hours(con, table, name, given, texts)
        for name, given in (*_columns(mapping, "timestamp"), *_columns(mapping, "date")):
            yield from _order(con, table, name, given, texts)


def _texts(table: Table, mapping: EntityMapping, relation: str) -> tuple[list[tuple[str, str]], str]:
    """The mapped columns as texts, before they are read as their types."""
    ctes = mapping_ctes(table, mapping, relation, prefix="")
    [until] = [position for position, (name, _) in enumerate(ctes) if name == "known"]
    return ctes[: until + 1], "known"


def _columns(mapping: EntityMapping, kind: str) -> list[tuple[str, ColumnMapping]]:
    columns = load_contract()[mapping.entity].columns
    return [(name, given) for name, given in mapping.columns.items() if columns[name].type == kind]


def _local(table: Table, name: str, given: ColumnMapping) -> str:
    return timestamp(name, zone="UTC", formats=given.format, is_sheet=table.format == "excel")


def _is_bare(table: Table, name: str, given: ColumnMapping) -> str:
    """Whether the text is a time of day that says no zone."""
    bare_day = is_day(name, formats=given.format, is_sheet=table.format == "excel")
    return f"{name} is not null and not {bare_day} and not {has_zone(name, formats=given.format)}"


def _zone(
    con: duckdb.DuckDBPyConnection, table: Table, name: str, given: ColumnMapping, texts: str
) -> Iterator[tuple[str, str, int]]:
    if given.time_zone or table.time_zone:
        return
    rows = _count(con, texts, f"{_is_bare(table, name, given)} and {_local(table, name, given)} is not null")
    if rows:
        origin = f" (from '{given.column}')" if given.column else ""
        yield (
            ZONES_KNOWN,
            f"{name}{origin} holds {rows:,} times without a time zone; declare `time_zone` of the source, the table "
            "or the column in cem.yml",
            rows,
        )


def _order(
    con: duckdb.DuckDBPyConnection, table: Table, name: str, given: ColumnMapping, texts: str
) -> Iterator[tuple[str, str, int]]:
    if given.format or given.date_order or table.date_order:
        return
    rows = _count(con, texts, f"regexp_matches({name}, {literal(UNORDERED)})")
    if rows and rows >= UNORDERED_SHARE * _count(con, texts, f"{name} is not null"):
        origin = f" (from '{given.column}')" if given.column else ""
        yield (
            ORDER_KNOWN,
            f"{name}{origin} holds {rows:,} dates such as 03/04/2024, of which nobody says whether the day or the "
            "month comes first; declare `date_order` or a `format` in cem.yml",
            rows,
        )


def _hours(
    con: duckdb.DuckDBPyConnection, table: Table, name: str, given: ColumnMapping, texts: str
) -> Iterator[tuple[str, str, int]]:
    zone = given.time_zone or table.time_zone
    if zone is None or not irregular_hours(zone) or has_zone(name, formats=given.format) == "true":
        return
    windows = ", ".join(
        f"(timestamp '{start}', timestamp '{end}', timestamp '{hour}')"
        for start, end in irregular_hours(zone)
        for hour in _whole_hours(start, end)
    )
    rows = _count(
        con,
        f"select local from (select {_local(table, name, given)} as local from ({texts}) "
        f"where {_is_bare(table, name, given)}) inner join (values {windows}) as hours(began, ended, hour) "
        "on date_trunc('hour', local) = hour where local >= began and local < ended",
        "true",
    )
    if rows:
        yield (
            HOURS_REGULAR,
            f"{name}: {rows:,} times lie in an hour that daylight saving skips or repeats in {zone}; a skipped one "
            "is read as an hour later, a repeated one as its second time",
            rows,
        )


def _count(con: duckdb.DuckDBPyConnection, query: str, condition: str) -> int:
    row = con.execute(f"select count(*) from ({query}) where {condition}").fetchone()
    return int(row[0]) if row else 0


@lru_cache(maxsize=64)
def irregular_hours(zone: str) -> tuple[tuple[datetime, datetime], ...]:
    """Local times that a zone skips or has twice: begin and end, without the end."""
    info = ZoneInfo(zone)
    found = []
    moment, end = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(LAST_YEAR, 1, 1, tzinfo=UTC)
    before = _offset(info, moment)
    while moment < end:
        later = moment + timedelta(days=1)
        after = _offset(info, later)
        if after != before:
            change = _change(info, moment, later, before)
            began, ended = sorted((change + before, change + after))
            found.append((began, ended))
        moment, before = later, after
    return tuple(found)


def _offset(info: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(info).utcoffset() or timedelta()


def _change(info: ZoneInfo, first: datetime, last: datetime, before: timedelta) -> datetime:
    """The minute at which the offset changes, UTC without zone."""
    while last - first > timedelta(minutes=1):
        middle = first + (last - first) // 2
        middle = middle.replace(second=0, microsecond=0)
        if middle <= first:
            break
        if _offset(info, middle) == before:
            first = middle
        else:
            last = middle
    return last.replace(tzinfo=None)


def _whole_hours(start: datetime, end: datetime) -> Iterator[datetime]:
    hour = start.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        yield hour
        hour += timedelta(hours=1)
