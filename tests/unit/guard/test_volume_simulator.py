"""Half, empty and doubled loads are noticed, and ordinary ones are not: over simulated histories, by the real query."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import pytest

from orchestration.guard.volume import expected_ranges

START = datetime(2024, 1, 1, 3)
FAULTS = {"none": 1.0, "half": 0.5, "zero": 0.0, "double": 2.0}
TURNS = ("none", "half", "none", "zero", "none", "double")


@dataclass(frozen=True)
class World:
    """Tables with a weekly season and a trend, whose newest load is the one to judge."""

    level: float
    noise: float
    days: int
    tables: int = 180
    holiday_share: float = 8 / 365
    holiday_factor: float = 0.7

    def loads(self) -> list[tuple[object, ...]]:
        draw = random.Random(f"{self}")
        rows: list[tuple[object, ...]] = []
        for number in range(self.tables):
            fault = TURNS[number % len(TURNS)]
            season = [draw.gauss(0, 0.4) for _ in range(7)]
            trend = draw.gauss(0, 0.002)
            days = self.days + draw.randrange(7)
            for day in range(days + 1):
                through = START + timedelta(days=day)
                mean = self.level * math.exp(season[through.weekday()] + trend * day + draw.gauss(0, self.noise))
                # The newest load is on a holiday only where it has no other fault: two faults may cancel out.
                if draw.random() < self.holiday_share and (day < days or fault == "none"):
                    mean *= self.holiday_factor
                rows_in = max(0, round(draw.gauss(mean, math.sqrt(mean))))
                if day == days:
                    rows_in = round(rows_in * FAULTS[fault])
                rows.append((f"{number}", fault, day, through, 1.0, rows_in, False, False))
        return rows


def alarms(con: duckdb.DuckDBPyConnection, loads: list[tuple[object, ...]]) -> dict[str, tuple[int, int]]:
    """Loads out of range and loads judged, by fault (which stands in for the table's name)."""
    con.execute(
        "create or replace temp table loads (source text, table_name text, load_no bigint, through timestamp, "
        "days double, counted bigint, is_level boolean, is_released boolean)"
    )
    columns = list(zip(*loads, strict=True))
    con.execute(
        "insert into loads select unnest(?::text[]), unnest(?::text[]), unnest(?::bigint[]), unnest(?::timestamp[]), "
        "unnest(?::double[]), unnest(?::bigint[]), unnest(?::boolean[]), unnest(?::boolean[])",
        [list(column) for column in columns],
    )
    found = con.execute(
        "select table_name, count(*) filter (counted not between expected_low and expected_high), count(*) "
        f"from ({expected_ranges('loads', 14)}) group by 1"
    ).fetchall()
    return {fault: (out, judged) for fault, out, judged in found}


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as opened:
        opened.execute("set threads = 1")
        yield opened


def together(con: duckdb.DuckDBPyConnection, worlds: list[World]) -> dict[str, float]:
    """Share of loads out of range over several worlds, by fault."""
    found = [alarms(con, world.loads()) for world in worlds]
    return {
        fault: sum(world[fault][0] for world in found) / sum(world[fault][1] for world in found) for fault in FAULTS
    }


def test_half_empty_and_doubled_loads_are_out_of_range_and_others_are_not(con: duckdb.DuckDBPyConnection):
    shares = together(con, [World(level, noise, 63) for level in (500, 5_000, 100_000) for noise in (0.03, 0.08)])
    assert (shares["half"] + shares["zero"] + shares["double"]) / 3 >= 0.99
    assert shares["none"] <= 0.02


def test_noisy_tables_are_seldom_out_of_range_and_noticed_when_empty(con: duckdb.DuckDBPyConnection):
    shares = together(con, [World(level, noise, 56) for level in (800, 40_000) for noise in (0.1, 0.3)])
    assert shares["zero"] >= 0.99
    assert shares["none"] <= 0.03


def test_small_tables_are_not_judged(con: duckdb.DuckDBPyConnection):
    assert alarms(con, World(20, 0.2, 56).loads()) == {}


def judge(con: duckdb.DuckDBPyConnection, *loads: tuple[float, int], level: bool = False, released: int = -1):
    """Whether the last of some loads (days covered, rows) is out of range; None when it is not judged."""
    through, rows = START, []
    for number, (days, counted) in enumerate(loads):
        through += timedelta(days=days)
        rows.append(("s", "t", number, through, float(days), counted, level, number == released))
    found = alarms(con, rows).get("t")
    return None if found is None else bool(found[0])


WEEK = (1000, 1040, 980, 1010, 990, 300, 250)


def daily(weeks: int) -> list[tuple[float, int]]:
    return [(1, WEEK[day % 7] + day % 5) for day in range(7 * weeks)]


def test_too_short_a_history_judges_nothing(con: duckdb.DuckDBPyConnection):
    assert judge(con, *daily(1), (1, 0)) is None
    assert judge(con, *daily(5), (1, 0)) is True


def test_a_weekend_is_no_half_load_and_a_weekday_like_one_is(con: duckdb.DuckDBPyConnection):
    assert judge(con, *daily(5), *[(1, count) for count in WEEK[:6]]) is False
    assert judge(con, *daily(5), (1, 300)) is True


def test_catching_up_after_days_without_runs_is_no_flood(con: duckdb.DuckDBPyConnection):
    assert judge(con, *daily(5), (3, sum(WEEK[:3]))) is False
    assert judge(con, *daily(5), (3, WEEK[0])) is True


def test_several_runs_a_day_are_added_up(con: duckdb.DuckDBPyConnection):
    thirds = [(1 / 3, round(count * share)) for _, count in daily(6) for share in (0.1, 0.5, 0.4)]
    assert judge(con, *thirds) is False
    assert judge(con, *thirds, (0.001, 0)) is False
    assert judge(con, *thirds, (1 / 3, 100), (1 / 3, 0), (1 / 3, 0)) is True


def test_runs_on_working_days_only_know_their_mondays(con: duckdb.DuckDBPyConnection):
    week = [(3, 1500), (1, 1000), (1, 1010), (1, 990), (1, 1000)]
    assert judge(con, *week * 6, (3, 1480)) is False
    assert judge(con, *week * 6, (3, 700)) is True


def test_a_table_that_grows_steadily_is_followed(con: duckdb.DuckDBPyConnection):
    growing = [(1, round(100_000 * 1.02**day)) for day in range(60)]
    assert judge(con, *growing, level=True) is False
    assert judge(con, *growing, (1, growing[-1][1] // 2), level=True) is True


def test_a_released_load_teaches_that_its_level_is_right(con: duckdb.DuckDBPyConnection):
    tripled = [(1, 3 * count) for _, count in daily(1)]
    history = [*daily(5), tripled[0]]
    assert judge(con, *history) is True
    assert judge(con, *history, tripled[1], released=len(history) - 1) is False
    # It may have been a single event: the level before it stays right too.
    assert judge(con, *history, (1, WEEK[1]), released=len(history) - 1) is False
