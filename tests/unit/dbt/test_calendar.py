"""The Jalali calendar and the weeks of `macros/calendar.sql`, day by day against `jdatetime` and `datetime`."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import duckdb
import jdatetime
import jinja2
import pytest

MACROS = Path(__file__).resolve().parents[3] / "dbt_project" / "macros" / "calendar.sql"
FIRST = jdatetime.date(1300, 1, 1).togregorian()
LAST = jdatetime.date(1501, 1, 1).togregorian() - timedelta(days=1)


def query(text: str) -> list[tuple[object, ...]]:
    """Rows of a query over every day of 1300 to 1500 AP, column `d`, with the macros at hand."""
    body = jinja2.Environment(autoescape=False).from_string(MACROS.read_text() + text).render()
    days = f"select cast(unnest(generate_series(date '{FIRST}', date '{LAST}', interval 1 day)) as date) as d"
    return duckdb.sql(f"with days as ({days}), jalali as ({body}) select * from jalali order by all").fetchall()


@pytest.fixture(scope="module")
def days() -> list[date]:
    return [FIRST + timedelta(days=i) for i in range((LAST - FIRST).days + 1)]


def test_every_day_is_converted(days: list[date]) -> None:
    """Year, month and day of 201 years, leap days and turns of the year included."""
    converted = query("select d, {{ jalali_year('d') }}, {{ jalali_month('d') }}, {{ jalali_day('d') }} from days")
    jalali = [jdatetime.date.fromgregorian(date=day) for day in days]
    expected = [(day, one.year, one.month, one.day) for day, one in zip(days, jalali, strict=True)]
    assert converted == expected
    assert sum(month == 12 and number == 30 for _, _, month, number in converted) == 49


def test_day_of_year_begins_at_nowruz(days: list[date]) -> None:
    """The position in the year is 0 on 1 Farvardin."""
    converted = query("select d, {{ jalali_day_of_year('d') }} from days")
    assert converted == [(day, jdatetime.date.fromgregorian(date=day).yday() - 1) for day in days]


def test_months_begin_where_the_library_says() -> None:
    """The first day of each month, and the month after the last one of a year."""
    rows = query(
        "select y, m, {{ jalali_month_start('y', 'm') }} "
        "from range(1300, 1500) as years(y) cross join range(1, 14) as months(m)"
    )
    expected = [
        (year, month, jdatetime.date(year + month // 13, (month - 1) % 12 + 1, 1).togregorian())
        for year in range(1300, 1500)
        for month in range(1, 14)
    ]
    assert rows == expected


@pytest.mark.parametrize("name", ["monday", "saturday", "sunday"])
def test_weeks_begin_on_the_day_named(name: str, days: list[date]) -> None:
    """Each day belongs to the seven days from the last day of that name."""
    rows = query("select d, {{ week_start('d', weekday_number('" + name + "')) }} from days")
    for day, start in rows[:2000]:
        assert isinstance(day, date)
        assert isinstance(start, date)
        assert start.strftime("%A").lower() == name
        assert 0 <= (day - start).days <= 6
    assert len(rows) == len(days)
