"""SQL expressions that read a text as sent: trimmed, as a number, a boolean, a moment, a day.

Belongs here: how one value is read. Does not belong here: which column it comes from (`mapping.py`).

Each function takes the SQL of a text and gives the SQL of its value. What cannot be read gives NULL, never
an error and never a guess: a number that is rounded, a two-digit year or a day that may be a month is NULL.
Most values are plain ASCII, so a cheap look comes first and the costly cleaning only for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LINE = 92
"""Longest expression on one line; the indentation comes on top."""

CLEAN = "[!-~]([ -~]*[!-~])?"
"""Printable ASCII without blanks around it: nothing to clean."""

BLANKS_AROUND = "^[\\pZ\\pC]+|[\\pZ\\pC]+$"
"""Blanks of any script, control and invisible characters, at both ends."""

INVISIBLE = "\\p{Cf}"
"""Zero-width characters, direction marks, soft hyphens: they come along with a copy from a page."""

DIGITS = "۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩"
LATIN_DIGITS = "01234567890123456789"

TRUE_WORDS = ("1", "1.0", "t", "true", "y", "yes")
FALSE_WORDS = ("0", "0.0", "f", "false", "n", "no")

OFFSET = "[0-9]{4}-.*[0-9]:[0-9].*(Z|UTC|[-+][0-9]{2}(:?[0-9]{2})?)"
"""An ISO time that says its distance from UTC."""

OFFSET_FORMATS = (
    "%Y-%m-%dT%H:%M%z",
    "%Y-%m-%d %H:%M%z",
    "%Y-%m-%d %H:%M %z",
    "%Y-%m-%d %H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S.%f %z",
)
"""Forms with an offset that a plain cast does not read."""

HALF_DAY_FORMATS = ("%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %I:%M %p", "%Y-%m-%d %I:%M:%S%p", "%Y-%m-%d %I:%M%p")

REORDER = {
    "dmy": ("^([0-9]{1,2})[-/.]([0-9]{1,2})[-/.]([0-9]{4})", "\\3-\\2-\\1"),
    "mdy": ("^([0-9]{1,2})[-/.]([0-9]{1,2})[-/.]([0-9]{4})", "\\3-\\1-\\2"),
    "ymd": ("^([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})", "\\1-\\2-\\3"),
}
"""How a date in a declared order becomes ISO. Years need four digits: `03` has no century."""

EPOCHS = {
    "epoch_seconds": "to_timestamp(try_cast({text} as double)) at time zone 'UTC'",
    "epoch_milliseconds": "to_timestamp(try_cast({text} as double) / 1000) at time zone 'UTC'",
    # Excel counts days from the end of 1899 and keeps the time of day as a fraction.
    "excel": "timestamp '1899-12-30'"
    " + to_microseconds(cast(round(try_cast({text} as double) * 86400) as bigint) * 1000000)",
}
"""Formats that are numbers, not texts."""

FORMAT = re.compile(r"(?=.*%)([^%]|%-?[dmyHIMSj]|%[aAbBcfgGhnpTuUVwWxXYzZ%])+", re.DOTALL)
"""A format of strptime that the engine knows."""

NUMERIC = "[0-9]{1,15}([.][0-9]+)?"

MIDNIGHT = "[ T]00:00(:00([.]0*)?)?$"
"""End of a time that is probably only a day: programs write midnight where they have no time."""

TIME_DIRECTIVES = ("%H", "%I", "%T", "%X", "%c", "%s")
"""What makes a format say a time of day."""

ZONE_DIRECTIVES = ("%z", "%Z")
"""What makes a format say the zone."""

JALALI_DATE = "1[2-4][0-9]{2}-[0-9]{1,2}-[0-9]{1,2}"
"""A day of the Solar Hijri calendar, year first: a Gregorian year is greater by 621."""


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def case(*branches: tuple[str, str], otherwise: str | None = None) -> str:
    """A `case` over several lines."""
    lines = ["case"]
    for condition, value in branches:
        line = f"    when {condition} then {value}"
        is_short = "\n" not in line and len(line) <= LINE
        lines.append(line if is_short else f"    when {condition}\n        then {nested(value, 2)}")
    if otherwise is not None:
        lines.append(f"    else {nested(otherwise)}")
    return "\n".join([*lines, "end"])


def call(function: str, *arguments: str) -> str:
    """A function call, over several lines when one is too long."""
    short = f"{function}({', '.join(arguments)})"
    if "\n" not in short and len(short) <= LINE:
        return short
    inner = ",\n".join(f"    {nested(argument)}" for argument in arguments)
    return f"{function}(\n{inner}\n)"


def nested(text: str, levels: int = 1) -> str:
    """The text with every line but the first one indented."""
    return text.replace("\n", "\n" + "    " * levels)


def matches(text: str, pattern: str) -> str:
    """Whether the whole text has the form of the pattern."""
    return f"regexp_full_match({text}, {literal(pattern)})"


def trimmed(text: str) -> str:
    """The text without blanks around it, NULL when nothing is left."""
    bare = call("regexp_replace", text, literal(BLANKS_AROUND), "''", "'g'")
    return case((matches(text, CLEAN), text), otherwise=call("nullif", bare, "''"))


def normalised(text: str, decimal: str = ".") -> str:
    """Like `trimmed`, for ids, words, numbers and times: no invisible characters, Latin digits and marks."""
    visible = call("regexp_replace", text, literal(f"{BLANKS_AROUND}|{INVISIBLE}"), "''", "'g'")
    latin = call("translate", visible, literal(DIGITS + "٫٬"), literal(f"{LATIN_DIGITS}{decimal}'"))
    return case((matches(text, CLEAN), text), otherwise=call("nullif", latin, "''"))


def iso_ordered(text: str, date_order: str | None) -> str:
    """The text of a time with year, month and day in the order of ISO 8601."""
    if date_order is None:
        return text
    pattern, order = REORDER[date_order]
    return call("regexp_replace", text, literal(pattern), literal(order))


def word(text: str) -> str:
    """A word of a closed list: `On Hold` and `on-hold` are `on_hold`."""
    return f"replace(replace(lower({text}), ' ', '_'), '-', '_')"


def number(text: str, duckdb_type: str, decimal: str, *, is_locale_strict: bool, is_declared: bool = True) -> str:
    """The text as a number; NULL when it is none, is infinite, or would have to be rounded to an integer.

    Args:
        text: SQL of a normalised text.
        duckdb_type: bigint, double or a decimal.
        decimal: Decimal mark of the source.
        is_locale_strict: Whether numbers are only ever written with that mark. Where values come typed
            (JSON, Parquet, databases, sheets) a point is a decimal mark too.
        is_declared: Whether the configuration names the mark. If not, `1,234` is ambiguous and gives NULL.
    """
    whole = duckdb_type == "bigint"
    point = "([.]0*)?" if whole else "([.][0-9]*)?([eE][-+]?[0-9]{1,2})?"
    comma = "(,0*)?" if whole else "(,[0-9]*)?"

    def cast(value: str) -> str:
        return f"try_cast({value} as {duckdb_type})"

    plain = (matches(text, f"[-+]?[0-9]+{point}"), cast(f"split_part({text}, '.', 1)" if whole else text))
    leading = [] if whole else [(matches(text, "[-+]?[.,][0-9]+"), cast(f"replace({text}, ',', '.')"))]
    if decimal == ".":
        fraction = point.partition("([eE]")[0]
        grouped = matches(text, f"[-+]?[0-9]{{1,3}}([, '][0-9]{{3}})+{fraction}")
        if not (is_declared or whole):
            grouped = f"{grouped}\nand not {matches(text, '[-+]?[0-9]{1,3},[0-9]{3}')}"
        return case(plain, (grouped, cast(f"translate({text}, ', ''', '')")), *leading)
    marks = " '" if not is_locale_strict else ". '"
    mark_literal = literal(marks)
    pointed = f"replace({text}, ',', '.')"
    value = f"split_part({pointed}, '.', 1)" if whole else pointed
    written = (matches(text, f"[-+]?[0-9]+{comma}"), cast(value))
    grouped = matches(text, f"[-+]?[0-9]{{1,3}}([{marks}][0-9]{{3}})+{comma}")
    ungrouped = f"replace(translate({text}, {mark_literal}, ''), ',', '.')"
    first = [] if is_locale_strict else [plain]
    return case(*first, written, (grouped, cast(ungrouped)), *leading)


def boolean(text: str) -> str:
    """The text as true or false."""
    return case(
        (f"lower({text}) in ({', '.join(map(literal, TRUE_WORDS))})", "true"),
        (f"lower({text}) in ({', '.join(map(literal, FALSE_WORDS))})", "false"),
    )


def timestamp(text: str, *, zone: str, formats: Sequence[str] = (), is_sheet: bool = False) -> str:
    """The text as a moment in UTC; NULL unless it is ISO 8601 (see `iso_ordered`) or has one of the formats.

    Args:
        text: SQL of a normalised text.
        zone: Zone of times written without one.
        formats: How times are written; then nothing else is read.
        is_sheet: Whether a bare number is a day count of a spreadsheet.
    """
    if formats:
        parts = [_formatted(text, given, zone) for given in formats]
        return parts[0] if len(parts) == 1 else call("coalesce", *parts)
    with_offset = call(
        "try_strptime", f"regexp_replace({text}, ' ?(Z|UTC)$', '+00')", _list(map(literal, OFFSET_FORMATS))
    )
    moment = call("coalesce", f"try_cast({text} as timestamptz)", with_offset)
    half_day = call("try_strptime", text, _list(map(literal, HALF_DAY_FORMATS)))
    branches = [
        (matches(text, OFFSET), f"{moment} at time zone 'UTC'"),
        (f"regexp_matches({text}, '(?i)[ap]m$')", _zoned(half_day, zone)),
        (f"{text} like '____-%'", _zoned(f"try_cast({text} as timestamp)", zone)),
    ]
    if is_sheet:
        branches.append((matches(text, NUMERIC), _formatted(text, "excel", zone)))
    return case(*branches)


def day(text: str, *, formats: Sequence[str] = (), is_sheet: bool = False) -> str:
    """The text as a date: the day as written, in no time zone."""
    local = timestamp(text, zone="UTC", formats=formats, is_sheet=is_sheet)
    if formats:
        return f"cast({local} as date)"
    iso_day = (f"{text} like '____-__-__%'", f"try_cast(left({text}, 10) as date)")
    return case(iso_day, otherwise=f"cast({local} as date)")


def sortable(text: str, *, formats: Sequence[str] = ()) -> str:
    """A text that sorts as the value does, be it a number, a time or a word: for cursors and orders.

    Args:
        text: SQL of a normalised text; times as `iso_ordered` gives them.
        formats: How times are written, where it is not ISO.
    """
    local = timestamp(text, zone="UTC", formats=formats)
    padded = f"lpad(split_part({text}, '.', 1), 30, '0') || '.' || split_part({text}, '.', 2)"
    moment = call("coalesce", call("strftime", local, "'%Y-%m-%dT%H:%M:%S.%f'"), text)
    if not all(form in EPOCHS or form.startswith("%Y") for form in formats):
        return moment  # digits too: 31012024 is before 01022024
    return case((matches(text, "[0-9]{1,30}([.][0-9]+)?"), padded), otherwise=moment)


def is_day(text: str, *, formats: Sequence[str] = (), is_sheet: bool = False) -> str:
    """Whether the text of a time is only a day, midnight included.

    Args:
        text: SQL of a text that `timestamp` reads.
        formats: As for `timestamp`.
        is_sheet: As for `timestamp`.
    """
    with_time = [each for each in formats if any(mark in each for mark in TIME_DIRECTIVES)]
    if formats and not with_time and not EPOCHS.keys() & set(formats):
        return "true"
    if formats and (len(with_time) == len(formats) or EPOCHS.keys() & set(formats)):
        return "false"
    bare = f"not contains({text}, ':') and not contains({text}, '.')" if is_sheet else f"not contains({text}, ':')"
    return f"({bare} or regexp_matches({text}, {literal(MIDNIGHT)}))"


def has_zone(text: str, *, formats: Sequence[str] = ()) -> str:
    """Whether the text of a time says how far it is from UTC.

    Args:
        text: SQL of a text that `timestamp` reads.
        formats: As for `timestamp`.
    """
    if formats:
        zoned = [mark in each for each in formats for mark in ZONE_DIRECTIVES]
        is_epoch = all(each in EPOCHS and each != "excel" for each in formats)
        return "true" if any(zoned) or is_epoch else "false"
    return matches(text, OFFSET)


def gregorian(text: str) -> str:
    """The text of a time with its Solar Hijri (Jalali) day as the Gregorian one; other texts as they are.

    A leap year is one whose number plus 1595 leaves 0, 4, … or 28 over 33, as in the years 1178 to 1633.

    Args:
        text: SQL of a normalised text, as `iso_ordered` gives it for year, month, day.
    """
    form = literal(f"^{JALALI_DATE}")
    year = f"(cast(left({text}, 4) as integer) + 1595)"
    month, of_month = (f"cast(split_part(regexp_extract({text}, {form}), '-', {n}) as integer)" for n in (2, 3))
    is_leap = f"({year} % 33 % 4 = 0 and {year} % 33 < 32)"
    length = f"case when {month} < 7 then 31 when {month} < 12 or {is_leap} then 30 else 29 end"
    before = f"case when {month} < 7 then 31 * ({month} - 1) else 30 * ({month} - 7) + 186 end"
    # Days since the first day of the proleptic Gregorian year 1.
    days = f"365 * {year} + {year} // 33 * 8 + ({year} % 33 + 3) // 4 + {before} + {of_month} - 356034"
    converted = f"cast(date '0001-01-01' + ({days}) as varchar) || regexp_replace({text}, {form}, '')"
    is_real = f"{month} between 1 and 12\nand {of_month} between 1 and {length}"
    return case(
        (f"not regexp_matches({text}, {form})", text),
        (is_real, converted),
        otherwise=text,
    )


def _formatted(text: str, form: str, zone: str) -> str:
    if form in EPOCHS:
        value = EPOCHS[form].format(text=text)
        return _zoned(value, zone) if form == "excel" else value
    parsed = f"try_strptime({text}, {literal(form)})"
    return f"{parsed} at time zone 'UTC'" if "%z" in form or "%Z" in form else _zoned(parsed, zone)


def _zoned(local: str, zone: str) -> str:
    """A local time of a zone as a moment in UTC."""
    return local if zone == "UTC" else f"(({local}) at time zone {literal(zone)}) at time zone 'UTC'"


def _list(items: Iterable[str]) -> str:
    """A list over several lines."""
    return "[\n" + ",\n".join(f"    {item}" for item in items) + "\n]"
