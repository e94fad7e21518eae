"""The classes of bad input: real files, and what the daily job must make of them.

A class is one `Case`: a file (or several) as a source would deliver it and what becomes of its rows. To add one,
add a case to `ROWS` (rows are mended, quarantined or warned of), to `LATER` (what counts is a second delivery) or
to `HELD` (the load waits, and what was published stays); the tests take it from there.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import openpyxl

HEADER = "id,who,at,total,currency,state,note"
GOOD = "g1,p1,2024-03-01 10:00,12.50,EUR,placed,fine\ng2,p2,2024-03-02 11:00,7,EUR,paid,well"
"""Two rows without fault, so that a case shows what happens to the rest of a file."""

KEY = "{expression: \"id || ':NAME'\"}"
"""All tables are of one source, in which an id may occur once: it ends in the name of its table."""

ORDERED = f"entity: order, columns: {{order_id: {KEY}, person_id: who, ordered_at: at"
ORDER = f"{ORDERED}, amount: total, currency: currency, status: state}}"
DELIVERED = f"{ORDERED}, amount: total, currency: currency, delivered_at: got}}"
NAMED = f"{ORDERED}}}"
PERSON = f"entity: person, columns: {{person_id: {KEY}, full_name: name, email: mail, phone: phone}}"
PEOPLE = "id,name,mail,phone\ng1,Ada,ada@example.org,+49301234567\n"
TICKET = (
    f"entity: ticket, columns: {{ticket_id: {KEY}, status: state, subject: text, created_at: began, closed_at: ended}}"
)
TICKETS = "id,state,text,began,ended\ng1,closed,hm,2024-03-01 10:00,2024-03-02 10:00\n"
CONSENT = (
    f"entity: consent, columns: {{consent_id: {KEY}, person_id: who, purpose: what, is_granted: agreed, "
    "occurred_at: at}"
)
ANSWER = (
    f"entity: response, columns: {{response_id: {KEY}, question_id: {{value: recommend}}, score: score, "
    "answered_at: at}"
)


@dataclass(frozen=True)
class Delivery:
    """What a source delivers: files of one kind, in the order of their names."""

    contents: tuple[bytes, ...]
    ending: str = "csv"

    def __add__(self, other: Delivery) -> Delivery:
        """This file, then the other one."""
        return Delivery((*self.contents, *other.contents), self.ending)

    def names(self, table: str) -> list[str]:
        """Names of the files."""
        return [f"{table}.{number}.{self.ending}" for number, _ in enumerate(self.contents, start=1)]


@dataclass(frozen=True)
class Case:
    """One class of bad input.

    Attributes:
        name: Name of its table; the number is that of the list in expectations/README.md.
        delivery: Its files.
        mapping: What the rows become, as in cem.yml.
        options: More settings of the table, as in cem.yml.
        kept: Rows that are promoted.
        bad: Rule that each quarantined row breaks, by the key of the row; `#3` is the third row of a file.
        known: Rows that are left out as repeated or known.
        warned: Rules that count rows but let them pass: id and rows.
        shows: What dbt sees: query over `mapped` (the mapped rows) or `raw` (as sent), and its rows.
        told: What the failed run says of a held load.
        then: The second delivery.
    """

    name: str
    delivery: Delivery
    mapping: str = ORDER
    options: str = "key: id"
    kept: int = 2
    bad: Mapping[str, str] = field(default_factory=dict)
    known: int = 0
    warned: Mapping[str, int] = field(default_factory=dict)
    shows: tuple[str, list[tuple[object, ...]]] | None = None
    told: str = ""
    then: Delivery | None = None

    def table(self) -> str:
        """The table in cem.yml."""
        ending = self.delivery.ending
        mapping = self.mapping.replace("NAME", self.name)
        return f"      - {{name: {self.name}, files: ['{self.name}.*.{ending}'], {self.options}, {mapping}}}\n"


def orders(*rows: str | bytes, header: str = HEADER) -> Delivery:
    """A CSV file with the two good rows and these."""
    lines = [row if isinstance(row, bytes) else row.encode() for row in rows]
    return Delivery((b"\n".join([header.encode(), GOOD.encode(), *lines]) + b"\n",))


def text(*lines: str, encoding: str = "utf-8", ending: str = "csv") -> Delivery:
    """A text file of these lines."""
    return Delivery((("\n".join(lines) + "\n").encode(encoding),), ending)


def objects(*rows: str) -> Delivery:
    """A JSON Lines file with a good order and these."""
    good = '{"id": "g1", "who": "p1", "at": "2024-03-01T10:00:00Z", "total": 5, "currency": "EUR", "state": "paid"}'
    return text(good, *rows, ending="jsonl")


def sheet(*rows: list[object]) -> Delivery:
    """An Excel file."""
    book, content = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(content)
    return Delivery((content.getvalue(),), "xlsx")


def parquet(select: str) -> Delivery:
    """A Parquet file with the rows of a query."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        duckdb.sql(select).write_parquet(str(path))
        return Delivery((path.read_bytes(),), "parquet")


def order(key: str, **given: str) -> str:
    """A line of an order that is good but for what is given."""
    row = {"who": "p1", "at": "2024-03-03 10:00", "total": "5", "currency": "EUR", "state": "paid", "note": "", **given}
    return ",".join([key, *row.values()])


# Rows that are mended, quarantined or warned of. Times are of Europe/Berlin unless they say otherwise.

ROWS = [
    Case("c02_byte_order_mark", Delivery((b"\xef\xbb\xbf" + orders().contents[0],))),
    Case(
        "c02_byte_order_mark_inside",
        orders("\ufeff" + order("x1")),
        kept=3,
        shows=("select count(*) from mapped where _key = 'x1'", [(1,)]),
    ),
    Case(
        "c03_one_byte_is_not_utf8",
        orders(order("x1").encode() + b"caf\xe9", order("x2", note="café")),
        kept=3,
        bad={"x1": "sent.values_decodable"},
    ),
    Case("c04_nul_byte", orders(order("x1", note="a\0b")), bad={"x1": "sent.values_without_nul"}),
    Case(
        "c05_invisible_characters",
        orders(order("\u200bx1\u00a0", state="\u200bplaced\u200f ")),
        kept=3,
        shows=("select _key, status from mapped where _key like 'x%'", [("x1", "placed")]),
    ),
    Case(
        "c05_direction_marks",
        orders(order("x1", at="\u200f2024-03-03\u200e", total="\u200e5\u200f")),
        kept=3,
        shows=("select amount::varchar from mapped where _key = 'x1'", [("5.0000",)]),
    ),
    Case(
        "c06_look_alike_letters",
        text(PEOPLE.strip(), "x1,Bob,b\u043eb@example.org,"),
        PERSON,
        kept=1,
        bad={"x1": "person.email_one_alphabet"},
    ),
    Case(
        "c07_arabic_letters",
        text(PEOPLE.strip(), "x1,\u0639\u0644\u064a,ali@example.org,"),
        PERSON,
        shows=("select full_name from mapped where _key = 'x1'", [("\u0639\u0644\u064a",)]),
    ),
    Case(
        "c08_persian_digits",
        orders(order("x1", at="۲۰۲۴-۰۳-۰۳ ۱۰:۰۰", total="۱۲٫۵۰"), order("x2", total="١٬٢٣٤")),
        kept=4,
        shows=(
            "select amount::double, ordered_at::varchar from mapped where _key in ('x1', 'x2') order by all",
            [(12.5, "2024-03-03 09:00:00"), (1234.0, "2024-03-03 09:00:00")],
        ),
    ),
    Case(
        "c09_decimal_comma",
        orders(order("x1", total='"1.234,50"'), order("x2", total='"7,5"')),
        options="key: id, decimal: comma",
        kept=3,
        bad={"g1": "order.values_readable"},
        shows=("select amount::double from mapped where _key like 'x%' order by 1", [(7.5,), (1234.5,)]),
    ),
    Case(
        "c09_ambiguous_decimal",
        orders(order("x1", total='"1,234"'), order("x2", total='"1,234.50"')),
        kept=3,
        bad={"x1": "order.values_readable"},
    ),
    Case(
        "c10_phone_from_a_spreadsheet",
        text(PEOPLE.strip(), "x1,Bob,bob@example.org,9.12E+11"),
        PERSON,
        kept=1,
        bad={"x1": "person.phone_not_rounded"},
    ),
    Case(
        "c11_long_ids",
        objects('{"id": 12345678901234567890123, "who": 9223372036854775809, "at": "2024-03-03"}'),
        shows=(
            "select _key, person_id from mapped where person_id like '9%'",
            [("12345678901234567890123", "9223372036854775809")],
        ),
    ),
    Case(
        "c13_jalali_declared",
        text(HEADER, "j1,p1,1403/01/15 10:00,5,EUR,paid,", "j2,p1,۱۴۰۳/۱۲/۳۰,5,EUR,paid,"),
        options="key: id, calendar: jalali, time_zone: UTC",
        shows=(
            "select ordered_at::varchar from mapped order by 1",
            [("2024-04-03 10:00:00",), ("2025-03-20 00:00:00",)],
        ),
    ),
    Case("c13_jalali_unknown", orders(order("x1", at="1403-01-15 10:00")), bad={"x1": "order.ordered_at_plausible"}),
    Case(
        "c15_zones_mixed",
        orders(
            order("x1", at="2024-03-03T10:00:00Z"),
            order("x2", at="2024-03-03 13:30:00+03:30"),
            order("x3", at="2024-03-03 11:00"),
        ),
        kept=5,
        shows=("select distinct ordered_at::varchar from mapped where _key like 'x%'", [("2024-03-03 10:00:00",)]),
    ),
    Case(
        "c16_daylight_saving",
        orders(order("x1", at="2024-03-31 02:30"), order("x2", at="2023-10-29 02:30")),
        kept=4,
        warned={"load.hours_regular": 1},
        shows=(
            "select ordered_at::varchar from mapped where _key like 'x%' order by 1",
            [("2023-10-29 01:30:00",), ("2024-03-31 01:30:00",)],
        ),
    ),
    Case("c17_future", orders(order("x1", at="2099-01-01")), bad={"x1": "order.ordered_at_not_in_future"}),
    Case(
        "c19_placeholder_dates",
        text(
            "id,who,at,total,currency,got",
            "g1,p1,2024-03-01,5,EUR,9999-12-31 23:59:59",
            "g2,p1,2024-03-01,5,EUR,1970-01-01",
            "x1,p1,1970-01-01,5,EUR,",
        ),
        DELIVERED,
        bad={"x1": "order.ordered_at_no_placeholder"},
        warned={"order.no_placeholder_dates": 2},
        shows=("select distinct delivered_at from mapped", [(None,)]),
    ),
    Case(
        "c20_score_off_its_scale",
        text("id,score,at", "g1,9,2024-03-01", "g2,99,2024-03-01", "x1,11,2024-03-01", "x2,-1,2024-03-01"),
        ANSWER,
        options='key: id, missing: ["99"]',
        bad={"x1": "response.score_not_above_scale", "x2": "response.score_not_below_scale"},
        shows=("select score from mapped where _key = 'g2'", [(None,)]),
    ),
    Case(
        "c22_no_number",
        objects(
            '{"id": "x1", "who": "p1", "at": "2024-03-03", "total": NaN}',
            '{"id": "x2", "who": "p1", "at": "2024-03-03", "total": "Infinity"}',
        ),
        kept=1,
        bad={"x1": "order.values_readable", "x2": "order.values_readable"},
    ),
    Case(
        "c23_negative_money",
        orders(order("x1", total="-5"), order("x2", total="-5", state="returned")),
        kept=3,
        bad={"x1": "order.amount_not_negative"},
    ),
    Case(
        "c24_unknown_currency",
        orders(order("x1", currency="EURO"), order("x2", currency="USD")),
        kept=3,
        bad={"x1": "order.currency_known"},
    ),
    Case("c25_exact_repeats", orders(*GOOD.splitlines()), known=2),
    Case(
        "c26_versions",
        text(
            HEADER,
            "g1,p1,2024-03-01 10:00,12.50,EUR,placed,2024-03-07",
            "g1,p1,2024-03-01 10:00,99,EUR,paid,2024-03-09",
            "g1,p1,2024-03-01 10:00,50,EUR,paid,2024-03-08",
        ),
        options="key: id, cursor: note",
        kept=1,
        known=2,
        shows=("select amount::double from mapped where _key = 'g1'", [(99.0,)]),
    ),
    Case(
        "c26_ties",
        orders(order("x1", total="5"), order("x1 ", total="6"), order("X1")),
        kept=3,
        bad={"x1": "sent.key_unique"},
    ),
    Case(
        "c27_orphans",
        orders(order("x1", who="nobody")),
        kept=3,
        shows=("select count(*) from mapped where person_id = 'nobody'", [(1,)]),
    ),
    Case(
        "c28_closed_before_opened",
        text(TICKETS.strip(), "x1,closed,hm,2024-03-02 10:00,2024-03-01 10:00"),
        TICKET,
        kept=1,
        bad={"x1": "ticket.closed_after_creation"},
    ),
    Case(
        "c28_same_day",
        text(
            "id,who,at,total,currency,got",
            "g1,p1,2024-03-01 10:00,5,EUR,2024-03-01",
            "g2,p1,2024-03-01 10:00,5,EUR,2024-03-01 00:00:00",
            "x1,p1,2024-03-01 10:00,5,EUR,2024-02-29",
        ),
        DELIVERED,
        bad={"x1": "order.delivered_after_order"},
    ),
    Case(
        "c29_closed_without_a_time",
        text(TICKETS.strip(), "w1,closed,hm,2024-03-02 10:00,", "w2,open,hm,2024-03-02 10:00,2024-03-03 10:00"),
        TICKET,
        kept=3,
        warned={"ticket.closed_at_given_when_closed": 1, "ticket.closed_at_absent_when_open": 1},
    ),
    Case(
        "c37_ragged_lines",
        orders("x1,p1", order("x2") + ",more,fields", order("x3")),
        kept=3,
        bad={"#4": "sent.key_given", "#5": "sent.key_given"},
    ),
    Case("c38_megabytes", orders(order("x1", note="x" * 3_000_000)), bad={"x1": "sent.values_of_sane_length"}),
    Case(
        "c41_formulas",
        orders(order("x1", note="=1+1"), order("x2", note="@SUM(A1)")),
        kept=4,
        shows=("select note from raw where id like 'x%' order by 1", [("=1+1",), ("@SUM(A1)",)]),
    ),
    Case(
        "c42_markup",
        text(TICKETS.strip(), "x1,open,<script>alert(1)</script>,2024-03-02 10:00,"),
        TICKET,
        shows=("select subject from mapped where _key = 'x1'", [("<script>alert(1)</script>",)]),
    ),
    Case(
        "c45_sql_in_names_and_values",
        orders(
            order("x1'; drop table raw_bad.c02_byte_order_mark; --", note="{{ 1 }}"),
            header=HEADER.replace("note", '"note""); drop schema ops; --"'),
        ),
        kept=3,
        shows=("select count(*) from mapped where _key like 'x1%drop%'", [(1,)]),
    ),
    Case("d01_header_midway", orders(HEADER, order("x1")), kept=3, bad={"id": "order.values_readable"}),
    Case("d02_totals_row", orders("Total,,,19.50,,,"), bad={"Total": "order.person_id_given"}),
    Case(
        "d03_columns_in_another_order",
        orders() + text("note,total,at,currency,who,id,state", "hm,5,2024-03-03,EUR,p1,x1,paid"),
        kept=3,
        shows=("select person_id from mapped where _key = 'x1'", [("p1",)]),
    ),
    Case(
        "d04_mixed_line_endings", Delivery(((HEADER + "\r\n" + GOOD + "\r\n" + order("x1") + "\n").encode(),)), kept=3
    ),
    Case(
        "d05_quoted_newlines",
        orders(order("x1", note='"two\nlines, ""quoted"""')),
        kept=3,
        shows=("select note from raw where id = 'x1'", [('two\nlines, "quoted"',)]),
    ),
    Case(
        "d06_emoji",
        orders(order("x1", note="👍🏽 علی‌رضا")),
        kept=3,
        shows=("select note from raw where id = 'x1'", [("👍🏽 علی‌رضا",)]),
    ),
    Case(
        "d06_surrogate_pair",
        objects('{"id": "x1", "who": "p1", "at": "2024-03-03", "note": "\\ud83d\\udc4d"}'),
        shows=("select note from raw where id = 'x1'", [("👍",)]),
    ),
    Case(
        "d06_half_a_surrogate_pair",
        objects('{"id": "x1", "who": "p1", "at": "2024-03-03", "note": "\\ud83d"}'),
        kept=1,
        bad={"x1": "sent.values_decodable"},
    ),
    Case(
        "d07_dates_of_a_sheet",
        sheet(["id", "who", "at"], ["g1", "p1", 45352.5], ["g2", "p1", "2024-03-01 12:00"]),
        NAMED,
        shows=("select distinct ordered_at::varchar from mapped", [("2024-03-01 11:00:00",)]),
    ),
    Case("d07_day_count_outside_a_sheet", orders(order("x1", at="45352")), bad={"x1": "order.values_readable"}),
    Case(
        "d08_booleans",
        text(
            "id,who,what,agreed,at",
            "g1,p1,mail,Yes,2024-03-01",
            "g2,p1,mail,FALSE,2024-03-01",
            "g3,p1,mail,1.0,2024-03-01",
            "x1,p1,mail,maybe,2024-03-01",
        ),
        CONSENT,
        kept=3,
        bad={"x1": "consent.values_readable"},
        shows=("select is_granted from mapped order by _key", [(True,), (False,), (True,)]),
    ),
    Case("d09_blank_lines", orders("", order("x1"), ""), kept=3),
    Case("d10_key_missing", orders(order(" ")), bad={"#3": "sent.key_given"}),
]


# What only shows at a second delivery: it is in `then`, and the rest of the case says what becomes of it.

LATER = [
    Case(
        "c12_zeros_lost",
        parquet("select '007' as id, 'p1' as who, date '2024-03-01' as at"),
        NAMED,
        then=parquet("select 7 as id, 'p1' as who, date '2024-03-01' as at"),
        told="column 'id' changed its type from VARCHAR to INTEGER",
    ),
    Case(
        "c30_column_added",
        orders(),
        then=text(f"{HEADER},colour", f"{order('x1')},red"),
        kept=1,
        warned={"load.columns_known": 1},
    ),
    Case(
        "c31_column_removed",
        orders(),
        then=text("id,who,at,total,currency,state", "x1,p1,2024-03-03,5,EUR,paid"),
        told="column 'note' is gone",
    ),
    Case(
        "c32_column_renamed",
        orders(),
        then=orders(order("x1"), header=HEADER.replace("note", "notes")),
        told="column 'note' is gone, probably renamed to 'notes'",
    ),
    Case(
        "c33_type_changed",
        parquet("select 'g1' as id, 'p1' as who, date '2024-03-01' as at, 5 as total"),
        NAMED,
        then=parquet("select 'g2' as id, 'p1' as who, date '2024-03-01' as at, 'five' as total"),
        told="column 'total' changed its type from INTEGER to VARCHAR",
    ),
    Case(
        "c43_deleted_at_the_source",
        orders(),
        options="key: id, deletes: sweep",
        then=text(HEADER, GOOD.splitlines()[0]),
        kept=0,
        known=1,
        shows=("select _key from mapped where _deleted_at is not null", [("g2",)]),
    ),
    Case(
        "c44_old_version_sent_again",
        text(HEADER, order("g1", total="9", note="2024-03-09")),
        options="key: id, cursor: note",
        then=text(HEADER, order("g1", total="1", note="2024-03-08"), order("g2", note="2024-03-10")),
        kept=1,
        known=1,
        shows=("select amount::double from mapped where _key = 'g1'", [(9.0,)]),
    ),
]

# Loads that wait, in a source that declares neither zone nor encoding.

HELD = [
    Case(
        "c01_windows_1256",
        text(HEADER, order("x1", note="سلام"), order("x2", note="خوبم"), encoding="cp1256"),
        told="c01_windows_1256.1.csv is not utf-8 at byte",
    ),
    Case(
        "c01_latin_1",
        text(HEADER, order("x1", note="Zoë"), order("x2"), order("x3", note="Chloé"), encoding="latin-1"),
        told="c01_latin_1.1.csv is not utf-8 at byte",
    ),
    Case("c01_utf_16", text(HEADER, order("x1"), encoding="utf-16"), told="c01_utf_16.1.csv is not utf-8 at byte 0"),
    Case(
        "c14_day_or_month",
        text(HEADER, order("x1", at="03/04/2024"), order("x2", at="04/03/2024 10:00")),
        told="ordered_at (from 'at') holds 2 dates such as 03/04/2024",
    ),
    Case("c15_no_zone", orders(), told="ordered_at (from 'at') holds 2 times without a time zone"),
    Case("c34_headers_collide", text("id,who,at,Name,name ", "x1,p1,2024-03-01,a,b"), NAMED, told="have the same name"),
    Case("c35_empty_file", Delivery((b"",)), told="c35_empty_file is held: the delivery is empty"),
    Case("c35_header_only", text(HEADER), told="c35_header_only is held: the delivery is empty"),
    Case(
        "c37_quotation_mark_left_open",
        orders(order("x1", note='"open')),
        told="c37_quotation_mark_left_open.1.csv, line 4: a quotation mark is never closed",
    ),
    Case(
        "d11_sheet_missing",
        sheet(["id", "who", "at"], ["g1", "p1", "2024-03-01"]),
        NAMED,
        options="key: id, sheet: Orders",
        told="held.d11_sheet_missing: d11_sheet_missing.1.xlsx",
    ),
    Case(
        "d12_nothing_but_bad_rows",
        text(HEADER, order("x1", total="-1"), order("x2", currency="?")),
        told="d12_nothing_but_bad_rows is held",
    ),
]
