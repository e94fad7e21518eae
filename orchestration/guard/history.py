"""The history of each table's loads, by which the next one is judged: how much came, and how its columns looked.

Belongs here: `ops.load_facts` and `ops.load_columns`, what a load is compared with, and what each outcome teaches.
Does not belong here: the arithmetic of volumes (`volume.py`) and of columns (`profiles.py`), rules
(`expectations/load*.json`).

What a promoted load brought was right, and so is what somebody released; a load that is held or discarded
teaches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import duckdb

from orchestration.guard.sql import literal
from orchestration.guard.volume import expected_ranges

if TYPE_CHECKING:
    from orchestration.settings import Table
    from orchestration.sources.extract import Extracted

PROFILE = "guard_profile"
"""Temporary table: one row per mapped column of the load that is being judged, in the shape of `ops.load_columns`."""

TAUGHT = "('promoted', 'unchanged', 'released')"
"""Outcomes that say what is usual."""

LIVE = timedelta(days=3)
"""A table whose data reaches so near to the present lives by the clock: a day without rows is a day without rows."""

REMEMBERED_DAYS = 400
"""Loads older than that are not looked at: last year's level is no longer this year's."""

REMEMBERED_LOADS = 2000
"""… and neither are more loads than that: at one an hour, a quarter of a year."""


@dataclass(frozen=True)
class Observed:
    """How much a load brought.

    Attributes:
        mode: `first` (nothing to compare with), `full` (counted is the size of the table) or `increment`
            (counted is what is new or changed).
        read_at: When it was read, UTC.
        through: Until when its data reaches, UTC.
        days: Time it covers, in days; 0 when that is not known.
        counted: Rows.
    """

    mode: str
    read_at: datetime
    through: datetime
    days: float
    counted: int


@dataclass(frozen=True)
class Expected:
    """How much was expected of a load.

    Attributes:
        counted: Rows of the judged window: the load, with those before it that together cover about a day.
        days: What the window covers.
        low: Fewest rows.
        high: Most rows.
    """

    counted: int
    days: float
    low: float
    high: float


def observe(
    con: duckdb.DuckDBPyConnection, table: Table, extracted: Extracted, reaches: datetime | None, now: datetime
) -> Observed | None:
    """How much a load brought and what time it covers; None when it is no reading of the source at all.

    Args:
        con: The warehouse.
        table: The source table.
        extracted: What extraction did.
        reaches: The latest time in the rows of the load that is not the future; None where they have no time.
        now: When the load was read, UTC.
    """
    if extracted.skipped or table.rows is not None:
        return None
    before = _position(con, table)
    if _is_level(table):
        days = _days(now - before[0]) if before else 0.0
        return Observed("full", now, now, days, extracted.extracted)
    if before is None:
        return Observed("first", now, reaches or now, 0.0, extracted.candidates)
    read_before, reached_before = before
    by_clock = _days(now - read_before)
    if extracted.candidates == 0:
        if read_before - reached_before > LIVE:
            return None
        return Observed("increment", now, now, by_clock, 0)
    if reaches is None:
        return Observed("increment", now, now, by_clock, extracted.candidates)
    by_data = _days(reaches - reached_before)
    # A history that is caught up with, or a company that lives in the past, is dated by its data alone.
    days = max(by_data, by_clock) if now - reaches <= LIVE else by_data
    return Observed("increment", now, max(reaches, reached_before), days, extracted.candidates)


def _days(elapsed: timedelta) -> float:
    return max(0.0, elapsed / timedelta(days=1))


def _is_level(table: Table) -> bool:
    """Whether a load reads the whole table, so that what it counts is the size of it."""
    return table.deletes == "sweep" if table.files else not table.is_incremental


def _position(con: duckdb.DuckDBPyConnection, table: Table) -> tuple[datetime, datetime] | None:
    """When the table was last read for good, and until when its data reached then."""
    # The files of a discarded load are not read again; what a cursor brought is.
    consumed = TAUGHT if not table.files else TAUGHT.replace(")", ", 'discarded')")
    row = con.execute(
        "select read_at, through from ops.load_facts where source = ? and table_name = ? "
        f"and outcome in {consumed} order by read_at desc, load_id desc limit 1",
        [table.source, table.name],
    ).fetchone()
    return (row[0], row[1]) if row else None


def expect(con: duckdb.DuckDBPyConnection, table: Table, observed: Observed | None) -> Expected | None:
    """How much was to be expected of a load; None while too little is known or `guard.volume` is off."""
    if observed is None or observed.mode == "first" or table.guard.volume == "off":
        return None
    place = f"source = {literal(table.source)} and table_name = {literal(table.name)}"
    taught = (
        f"{place} and mode = {literal(observed.mode)} and outcome in {TAUGHT} "
        f"and read_at > {_moment(observed.read_at)} - interval {REMEMBERED_DAYS} days"
    )
    row = con.execute(f"select count(*) from ops.load_facts where {taught}").fetchone()
    if row is None or row[0] < table.guard.volume_min_loads:
        return None
    loads = (
        "(select *, row_number() over (order by read_at, load_id) as load_no from ("
        "select source, table_name, read_at, load_id, through, days, counted, "
        "mode = 'full' as is_level, outcome = 'released' as is_released "
        f"from ops.load_facts where {taught} order by read_at desc limit {REMEMBERED_LOADS}) union all by name "
        f"select {literal(table.source)} as source, {literal(table.name)} as table_name, "
        f"{_moment(observed.read_at)} as read_at, '~' as load_id, {_moment(observed.through)} as through, "
        f"{observed.days!r}::double as days, {observed.counted} as counted, "
        f"{observed.mode == 'full'} as is_level, false as is_released, "
        "(select count(*) + 1 from ops.load_facts) as load_no)"
    )
    ranges = expected_ranges(loads, table.guard.volume_min_loads)
    found = con.execute(f"select counted, days, expected_low, expected_high from ({ranges})").fetchone()
    return None if found is None else Expected(int(found[0]), found[1], found[2], found[3])


def remember(
    con: duckdb.DuckDBPyConnection,
    load_id: str,
    place: tuple[str, str],
    observed: Observed,
    expected: Expected | None,
    outcome: str,
) -> None:
    """Write down what a load brought, within the transaction that decides on it."""
    con.execute(
        "insert or replace into ops.load_facts values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            load_id,
            *place,
            observed.mode,
            outcome,
            observed.read_at,
            observed.through,
            observed.days,
            observed.counted,
            expected.low if expected else None,
            expected.high if expected else None,
        ],
    )


def remember_profile(con: duckdb.DuckDBPyConnection, load_id: str, place: tuple[str, str]) -> None:
    """Write down how the columns of a load look, within the transaction that decides on it."""
    con.execute("delete from ops.load_columns where load_id = ? and source = ? and table_name = ?", [load_id, *place])
    con.execute(
        f"insert into ops.load_columns by name select ? as load_id, ? as source, ? as table_name, * from {PROFILE}",
        [load_id, *place],
    )


def decide(con: duckdb.DuckDBPyConnection, load_id: str, place: tuple[str, str], outcome: str) -> None:
    """Note what became of a load that was held: `released` teaches that it was right, `discarded` nothing."""
    con.execute(
        "update ops.load_facts set outcome = ? where load_id = ? and source = ? and table_name = ?",
        [outcome, load_id, *place],
    )


def _moment(value: datetime) -> str:
    return f"{literal(value.isoformat(sep=' '))}::timestamp"
