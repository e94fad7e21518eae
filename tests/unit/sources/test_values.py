"""One value at a time: what is read, and what is left unread rather than guessed."""

from __future__ import annotations

import string
from datetime import date, datetime
from decimal import Decimal

import duckdb
import pytest

from orchestration.sources import values


def read(expression: str, text: str | None) -> object:
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        row = con.execute(f"select {expression} from (select ?::varchar as sent)", [text]).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("abc", "abc"),
        ("  abc\t", "abc"),
        ("\u00a0abc\ufeff", "abc"),
        ("علی\u200cرضا ", "علی\u200cرضا"),
        ("  \u00a0", None),
        ("", None),
        (None, None),
    ],
)
def test_free_text_loses_only_what_is_around_it(sent: str | None, meant: str | None) -> None:
    assert read(values.trimmed("sent"), sent) == meant


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("C\u200b1", "C1"),
        ("۱۲٣", "123"),
        ("\u200f42\u200e", "42"),
        ("007", "007"),
        ("12345678901234567890", "12345678901234567890"),
    ],
)
def test_ids_lose_what_is_invisible_and_keep_their_zeros(sent: str, meant: str) -> None:
    assert read(values.normalised("sent"), sent) == meant


@pytest.mark.parametrize(
    ("sent", "decimal", "meant"),
    [
        ("12.5", ".", 12.5),
        ("1,234.5", ".", 1234.5),
        ("1 234 567", ".", 1234567.0),
        ("1'234.5", ".", 1234.5),
        ("-.5", ".", -0.5),
        ("1e3", ".", 1000.0),
        ("12,5", ".", None),
        ("1.234,5", ",", 1234.5),
        ("1.234", ",", 1234.0),
        ("12,5", ",", 12.5),
        ("12.5", ",", None),
        ("NaN", ".", None),
        ("Infinity", ".", None),
        ("1e999", ".", None),
        ("0x1F", ".", None),
        ("1_000", ".", None),
        ("12 34", ".", None),
        ("$5", ".", None),
    ],
)
def test_numbers_are_read_by_the_mark_of_the_source(sent: str, decimal: str, meant: float | None) -> None:
    assert read(values.number("sent", "double", decimal, is_locale_strict=True), sent) == meant


@pytest.mark.parametrize(("sent", "meant"), [("12.5", 12.5), ("12,5", 12.5), ("1 234,5", 1234.5), ("1.234", 1.234)])
def test_typed_sources_may_write_a_point_whatever_the_mark_of_their_texts(sent: str, meant: float) -> None:
    assert read(values.number("sent", "double", ",", is_locale_strict=False), sent) == meant


@pytest.mark.parametrize(
    ("sent", "meant"), [("12", 12), ("12.0", 12), ("1,234", 1234), ("12.5", None), ("1e3", None), ("9" * 30, None)]
)
def test_integers_are_never_rounded(sent: str, meant: int | None) -> None:
    assert read(values.number("sent", "bigint", ".", is_locale_strict=True), sent) == meant


def test_money_is_exact() -> None:
    assert read(values.number("sent", "decimal(18,4)", ".", is_locale_strict=True), "0.1") == Decimal("0.1000")


def test_persian_digits_and_marks_are_numbers() -> None:
    text = read(values.normalised("sent"), "۱٬۲۳۴٫۵")

    assert read(values.number("sent", "double", ".", is_locale_strict=True), str(text)) == 1234.5


@pytest.mark.parametrize(
    ("sent", "meant"), [("Yes", True), ("f", False), ("1", True), ("0.0", False), ("maybe", None), (None, None)]
)
def test_booleans_are_words_of_two_lists(sent: str | None, meant: bool | None) -> None:
    assert read(values.boolean("sent"), sent) == meant


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("2024-07-01 10:00:00", datetime(2024, 7, 1, 8)),
        ("2024-01-01T10:00", datetime(2024, 1, 1, 9)),
        ("2024-07-01", datetime(2024, 6, 30, 22)),
        ("2024-07-01T10:00:00Z", datetime(2024, 7, 1, 10)),
        ("2024-07-01T10:00Z", datetime(2024, 7, 1, 10)),
        ("2024-07-01 10:00:00+02", datetime(2024, 7, 1, 8)),
        ("2024-07-01T10:00:00.5+0330", datetime(2024, 7, 1, 6, 30, 0, 500000)),
        ("2024-07-01 10:00:00 -02:00", datetime(2024, 7, 1, 12)),
        ("2024-07-01 01:30 PM", datetime(2024, 7, 1, 11, 30)),
        ("1/7/2024", None),
        ("2024-13-01", None),
        ("20240701", None),
        ("infinity", None),
        ("10:00", None),
    ],
)
def test_iso_times_become_utc(sent: str, meant: datetime | None) -> None:
    assert read(values.timestamp("sent", zone="Europe/Berlin"), sent) == meant


@pytest.mark.parametrize(
    ("order", "sent", "meant"),
    [
        ("dmy", "5/3/2016 01:16", datetime(2016, 3, 5, 1, 16)),
        ("dmy", "05.03.2016", datetime(2016, 3, 5)),
        ("dmy", "2016-03-05", datetime(2016, 3, 5)),
        ("dmy", "13/13/2016", None),
        ("dmy", "5/3/16", None),
        ("mdy", "3/5/2016 1:16 PM", datetime(2016, 3, 5, 13, 16)),
        ("mdy", "25/12/2016", None),
        ("ymd", "2016/3/5 01:16:00", datetime(2016, 3, 5, 1, 16)),
        (None, "5/3/2016", None),
    ],
)
def test_other_dates_need_a_declared_order(order: str | None, sent: str, meant: datetime | None) -> None:
    expression = values.timestamp("sent", zone="UTC")

    assert read(expression.replace("sent", f"({values.iso_ordered('sent', order)})"), sent) == meant


@pytest.mark.parametrize(
    ("formats", "sent", "meant"),
    [
        (["%Y%m%d"], "20240701", datetime(2024, 7, 1)),
        (["%d.%m.%y", "%d.%m.%Y %H:%M"], "01.07.2024 10:00", datetime(2024, 7, 1, 10)),
        (["%Y-%m-%dT%H:%M:%S%z"], "2024-07-01T10:00:00+0200", datetime(2024, 7, 1, 8)),
        (["epoch_seconds"], "1719828000", datetime(2024, 7, 1, 10)),
        (["epoch_milliseconds"], "1719828000500", datetime(2024, 7, 1, 10, 0, 0, 500000)),
        (["excel"], "45293.12777777778", datetime(2024, 1, 2, 3, 4)),
        (["%Y%m%d"], "2024-07-01", None),
    ],
)
def test_a_declared_format_is_the_only_one_read(formats: list[str], sent: str, meant: datetime | None) -> None:
    assert read(values.timestamp("sent", zone="UTC", formats=formats), sent) == meant


@pytest.mark.parametrize(
    ("sent", "meant"), [("2024-07-01", date(2024, 7, 1)), ("2024-07-01T23:30:00-05:00", date(2024, 7, 1)), ("x", None)]
)
def test_a_day_is_the_day_as_written(sent: str, meant: date | None) -> None:
    assert read(values.day("sent"), sent) == meant


def test_formats_are_known_as_the_engine_knows_them() -> None:
    directives = [f"%{flag}{letter}" for flag in ("", "-") for letter in f"{string.ascii_letters}%"]
    with duckdb.connect() as con:
        for directive in directives:
            try:
                con.execute("select try_strptime('', ?)", [directive])
            except duckdb.Error:
                assert values.FORMAT.fullmatch(directive) is None, directive
            else:
                assert values.FORMAT.fullmatch(f"{directive}/%Y"), directive
    assert values.FORMAT.fullmatch("%d/%m/%Y %") is values.FORMAT.fullmatch("dd/MM/yyyy") is None


@pytest.mark.parametrize(
    "ascending",
    [
        ["9", "10", "10.5", "100"],
        ["2024-01-01", "2024-01-01 09:00", "2024-01-01T09:00:00.5", "2024-01-02"],
        ["2024-01-01T10:00:00+02:00", "2024-01-01T09:00:00Z"],
        ["a", "b"],
    ],
)
def test_cursors_sort_as_their_values_do(ascending: list[str]) -> None:
    texts = [str(read(values.sortable("sent"), text)) for text in ascending]

    assert texts == sorted(texts)
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [("1,234", None), ("12,34", None), ("1,234.5", 1234.5), ("1,234,567", 1234567.0), ("۱٬۲۳۴", 1234.0)],
)
def test_a_single_separator_is_ambiguous_where_no_mark_is_declared(sent: str, meant: float | None) -> None:
    number = values.number(values.normalised("sent"), "double", ".", is_locale_strict=True, is_declared=False)
    assert read(number, sent) == meant


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("1403-01-01", "2024-03-20"),
        ("1403-1-15 10:30", "2024-04-03 10:30"),
        ("1403-12-30", "2025-03-20"),
        ("1404-01-01T00:00:00", "2025-03-21T00:00:00"),
        ("1357-11-22", "1979-02-11"),
        ("1408-06-31", "2029-09-21"),
        # No such day: left as it is, too early for any rule on dates.
        ("1404-12-30", "1404-12-30"),
        ("1403-07-31", "1403-07-31"),
        ("1403-13-01", "1403-13-01"),
        ("2024-03-01", "2024-03-01"),
        ("soon", "soon"),
    ],
)
def test_solar_hijri_days_become_gregorian(sent: str, meant: str) -> None:
    assert read(values.gregorian("sent"), sent) == meant
