"""Files of every format arrive exactly as sent, or are refused with their name and the reason."""

from __future__ import annotations

import errno
import gzip
import io
import os
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pytest

from orchestration.settings import Settings, Table
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import Extracted, extract_table
from orchestration.sources.mapping import mapped_select
from orchestration.sources.reading import without_secrets
from orchestration.sources.text_files import readable
from orchestration.sources.volume import bytes_to_read

WriteConfig = Callable[[str], Settings]


class Shop:
    """A source of files in a test's folder, and the warehouse it is read into."""

    def __init__(self, folder: Path, con: duckdb.DuckDBPyConnection, write_config: WriteConfig) -> None:
        self.folder = folder
        self.con = con
        self._write_config = write_config
        self._loads = 0

    def declare(self, files: str, *options: str, entity: str = "person", columns: str = "person_id: id") -> None:
        lines = "\n                ".join((f"files: {files}" if files else "", *options))
        self.settings = self._write_config(f"""
        sources:
          - name: shop
            kind: files
            folder: {self.folder}
            tables:
              - name: things
                {lines}
                entity: {entity}
                columns: {{{columns}}}
        """)

    @property
    def table(self) -> Table:
        return self.settings.tables()[0]

    def extract(self) -> Extracted:
        self._loads += 1
        return extract_table(self.con, self.settings, self.table, f"load{self._loads}")

    def promote(self, extracted: Extracted) -> None:
        """What the guard does with a load in which every row is good."""
        self.con.execute("create schema if not exists raw_shop")
        if not extracted.skipped:
            self.con.execute("create table if not exists raw_shop.things as from candidate_shop.things limit 0")
            self.con.execute("delete from raw_shop.things where _key in (select _key from candidate_shop.things)")
            self.con.execute("insert into raw_shop.things by name from candidate_shop.things")
        for entry in extracted.state:
            self.con.execute(
                "insert or replace into ops.source_state values ('shop', 'things', ?, ?, ?, now()::timestamp)",
                [entry.kind, entry.name, entry.value],
            )

    def load(self) -> Extracted:
        extracted = self.extract()
        self.promote(extracted)
        return extracted

    def sent(self, columns: str = "* exclude (_row_hash, _loaded_at)") -> list[tuple[Any, ...]]:
        return self.con.execute(f"select {columns} from candidate_shop.things order by _key, _source_row").fetchall()

    def live(self, columns: str) -> list[tuple[Any, ...]]:
        return self.con.execute(
            f"select {columns} from raw_shop.things where _deleted_at is null order by _key"
        ).fetchall()

    def write(self, name: str, text: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.fixture
def shop(tmp_path: Path, warehouse: duckdb.DuckDBPyConnection, write_config: WriteConfig) -> Shop:
    folder = tmp_path / "in"
    folder.mkdir()
    return Shop(folder, warehouse, write_config)


# As sent


def test_csv_values_arrive_as_texts_with_their_place(shop: Shop) -> None:
    shop.write("a.csv", '\ufeffid , name\n007,"a ""b""\nc"\n12345678901234567890,\n3,""\n')
    shop.declare("a.csv", "key: id")

    extracted = shop.extract()

    assert (extracted.extracted, extracted.candidates, extracted.deduplicated) == (3, 3, 0)
    assert shop.sent("id, name, _key, _source_file, _source_row, _load_id") == [
        ("007", 'a "b"\nc', "007", "a.csv", 1, "load1"),
        ("12345678901234567890", None, "12345678901234567890", "a.csv", 2, "load1"),
        ("3", "", "3", "a.csv", 3, "load1"),
    ]


def test_persian_headers_in_a_windows_encoding(shop: Shop) -> None:
    shop.write("a.csv", "شناسه;نام;شهر\r\n1;علي;تهران\r\n".encode("cp1256"))
    shop.declare("a.csv", "encoding: cp1256", "key: شناسه", columns="person_id: شناسه, full_name: نام, city: شهر")

    shop.extract()

    assert shop.sent("شناسه, نام, شهر, _key") == [("1", "علي", "تهران", "1")]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_declared_encodings(shop: Shop, encoding: str) -> None:
    shop.write("a.csv", "id,name\n1,Zoë\n".encode(encoding))
    shop.declare("a.csv", f"encoding: {encoding}", "key: id")

    shop.extract()

    assert shop.sent("name") == [("Zoë",)]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_separator_is_seen_in_the_header(shop: Shop, delimiter: str) -> None:
    shop.write("a.csv", f'"id, old"{delimiter}id\n1{delimiter}2,5\n')
    shop.declare("a.csv", "key: id")

    shop.extract()

    assert shop.sent('"id, old", id') == [("1", "2,5")]


def test_columns_aligned_by_blanks_without_a_header(shop: Shop) -> None:
    shop.write("a.txt", " 00004 0001 19970101  2   29.33\r\n 00004 0001 19970118 10    9.73\r\n")
    shop.declare("a.txt", "delimiter: whitespace", "header: false", "names: [id, sample, day, number, amount]")

    shop.extract()

    assert shop.sent("id, sample, day, number, amount, _key") == [
        ("00004", "0001", "19970101", "2", "29.33", "a.txt#1"),
        ("00004", "0001", "19970118", "10", "9.73", "a.txt#2"),
    ]


def test_columns_of_fixed_widths(shop: Shop) -> None:
    shop.write("a.txt", "0001Ada  Berlin\n0002     Tehran\n")
    shop.declare("a.txt", "widths: [4, 5, 6]", "header: false", "names: [id, name, city]", "key: id")

    shop.extract()

    assert shop.sent("id, name, city") == [("0001", "Ada", "Berlin"), ("0002", None, "Tehran")]


def test_json_keys_that_come_late_are_not_lost(shop: Shop) -> None:
    early = "".join(f'{{"id": {number}}}\n' for number in range(30_000))
    late = '{"id": 12345678901234567890123, "tags": ["a", {"b": 1}], "نام": "علی", "ok": true, "none": null}\n'
    shop.write("a.jsonl", early + late)
    shop.declare("a.jsonl", "key: id", columns="person_id: id, city: address.city")

    extracted = shop.extract()

    assert extracted.extracted == 30_001
    rows = shop.con.execute(
        'select id, tags, "نام", ok, "none", address from candidate_shop.things where _source_row = 30001'
    ).fetchall()
    assert rows == [("12345678901234567890123", '["a",{"b":1}]', "علی", "true", None, None)]


def test_a_json_array_with_a_byte_order_mark(shop: Shop) -> None:
    shop.write("a.json", '\ufeff[{"id": 1, "a": 1.5},\n {"id": 2}]')
    shop.declare("a.json", "key: id")

    shop.extract()

    assert shop.sent("id, a") == [("1", "1.5"), ("2", None)]


def test_an_empty_list_is_empty(shop: Shop) -> None:
    shop.write("a.json", "[\n]\n")
    shop.declare("a.json", "key: id")
    with pytest.raises(SourceError, match="a\\.json holds no JSON objects"):
        shop.extract()

    shop.declare("a.json", "key: id", "optional: true")
    assert shop.extract().extracted == 0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": 2, "name": "Sara", "name": "Doe"}', "an object has the same field twice"),
        ('"Sara"', "not a JSON object"),
        ('{"id": 2, "name": "Sara', "the file is cut off"),
    ],
)
def test_errors_of_json_say_the_line_and_quote_no_record(shop: Shop, line: str, told: str) -> None:
    shop.write("a.jsonl", '{"id": 1, "name": "Ada"}\n' + line)
    shop.declare("a.jsonl", "key: id")

    with pytest.raises(SourceError, match=rf"shop\.things: a\.jsonl, line 2: {told}") as refused:
        shop.extract()

    assert "Sara" not in str(refused.value)


def test_lines_may_end_in_a_carriage_return_alone(shop: Shop) -> None:
    shop.write("a.csv", "id;name\r1;a,b,c\r2;d\r")
    shop.declare("a.csv", "key: id")

    shop.extract()

    assert shop.sent("id, name, _key") == [("1", "a,b,c", "1"), ("2", "d", "2")]


def test_a_quotation_mark_of_the_header_that_is_never_closed_is_told(shop: Shop) -> None:
    shop.write("a.csv", 'id,"name\n' + "1,Sara\n" * 60_000)
    shop.declare("a.csv", "key: id")

    with pytest.raises(SourceError, match=r"a\.csv, line 1: a quotation mark is never closed"):
        shop.extract()


@pytest.mark.parametrize(
    ("options", "columns", "field"),
    [
        ("deleted: cast(state as int) = 2", "person_id: id", "deleted"),
        ("format: csv", "person_id: id, city: {expression: cast(state as int)}", "entities.person.columns.city"),
    ],
)
def test_sql_that_fails_on_a_row_is_named_without_the_row(shop: Shop, options: str, columns: str, field: str) -> None:
    shop.write("a.csv", "id,state\n" + "".join(f"{number},1\n" for number in range(3000)) + "9999,Sara\n")
    shop.declare("a.csv", "key: id", options, columns=columns)
    with pytest.raises(SourceError, match=rf"shop\.things: {field} fails on a row: .*try_cast") as refused:
        shop.extract()

    assert (refused.value.field, "Sara" in str(refused.value)) == (field, False)


def test_parquet_keeps_its_types(shop: Shop) -> None:
    shop.con.execute(
        f"copy (select 1::bigint as id, timestamp '2024-01-01 10:00' as moment, [1, 2] as list, 1.5::double as x) "
        f"to '{shop.folder}/a.parquet' (format parquet)"
    )
    shop.declare("a.parquet", "key: id")

    shop.extract()

    assert shop.sent("id, moment, list, x, _key, _source_row") == [(1, datetime(2024, 1, 1, 10), [1, 2], 1.5, "1", 1)]


def test_excel_values_arrive_as_texts(shop: Shop) -> None:
    book = openpyxl.Workbook()
    book.create_sheet("people")
    sheet = book["people"]
    first = [1, datetime(2024, 1, 2, 3, 4), "007", "=1+1"]
    for row in (["id", "born", "code", "note"], first, [], [2, None, None, "x"]):
        sheet.append(row)
    book.save(shop.folder / "a.xlsx")
    shop.declare("a.xlsx", "sheet: people", "key: id", columns="person_id: id, created_at: born")

    assert shop.extract().extracted == 2
    assert [row[:3] for row in shop.sent("id, code, _source_row")] == [("1", "007", 1), ("2", None, 3)]
    query = mapped_select(shop.table, shop.table.entities[0], "candidate_shop.things")
    assert shop.con.execute(f"select created_at, _uncast from ({query}) order by person_id").fetchall() == [
        (datetime(2024, 1, 2, 3, 4), None),
        (None, None),
    ]


def test_archives_globs_and_several_files(shop: Shop) -> None:
    with zipfile.ZipFile(shop.folder / "b.zip", "w") as archive:
        archive.writestr("data/people.csv", "id,name\n3,c\n")
        archive.writestr("data/readme.md", "nothing")
    shop.write("a1.csv", "id,name\n1,a\n")
    shop.write("a2.csv.gz", gzip.compress(b"name,id,city\nb,2,Bonn\n", mtime=0))
    shop.declare("['a*.csv', 'a*.csv.gz', 'b.zip/data/*.csv']", "key: id")

    shop.extract()

    assert shop.sent("id, name, city, _source_file") == [
        ("1", "a", None, "a1.csv"),
        ("2", "b", "Bonn", "a2.csv.gz"),
        ("3", "c", None, "b.zip/data/people.csv"),
    ]


def test_rows_of_the_configuration(shop: Shop) -> None:
    shop.declare("", "rows: [{id: 01, city: Bonn}, {id: 02, city: ~}]", "key: id")
    shop.load()
    assert shop.live("id, city") == [("01", "Bonn"), ("02", None)]
    assert shop.load().skipped

    shop.declare("", "rows: [{id: 01, city: Köln}]", "key: id")
    assert shop.load().deleted == 1
    assert shop.live("id, city") == [("01", "Köln")]


# What is new


def test_a_second_read_of_the_same_finds_nothing(shop: Shop) -> None:
    shop.write("a.csv", "id,name\n1,a\n2,b\n")
    shop.declare("a.csv", "key: id")
    shop.load()

    assert shop.load().skipped

    # Touched without a change, the file is read and every row known.
    shop.write("a.csv", "id,name\n1,a\n2,b\n")
    again = shop.load()
    assert (again.skipped, again.extracted, again.deduplicated, again.candidates) == (False, 2, 2, 0)


def test_only_changed_and_new_rows_wait_for_the_guard(shop: Shop) -> None:
    shop.write("a.csv", "id,name\n1,a\n2,b\n")
    shop.declare("a.csv", "key: id")
    shop.load()

    shop.write("a.csv", "name,id\na,1\nB,2\nc,3\n")
    changed = shop.extract()

    assert (changed.extracted, changed.deduplicated, changed.candidates) == (3, 1, 2)
    assert shop.sent("id, name") == [("2", "B"), ("3", "c")]


def test_a_load_that_was_not_promoted_is_read_again(shop: Shop) -> None:
    shop.write("a.csv", "id,name\n1,a\n")
    shop.declare("a.csv", "key: id")

    shop.extract()

    assert shop.extract().candidates == 1


def test_rows_in_quarantine_are_not_brought_again(shop: Shop) -> None:
    shop.write("a.csv", "id,name\n1,a\n2,b\n")
    shop.declare("a.csv", "key: id")
    shop.extract()
    shop.con.execute(
        "insert into quarantine.rows select 'load1', 'shop', 'things', _key, _row_hash, ['bad'], '{}', "
        "now()::timestamp, null, null from candidate_shop.things where id = '2'"
    )

    assert shop.extract().candidates == 1
    assert shop.sent("id") == [("1",)]


def test_repeats_and_older_versions_are_left_out_and_equals_are_not(shop: Shop) -> None:
    shop.write(
        "a.csv",
        "id,name,changed\n1,a,2024-01-02\n1,a,2024-01-02\n2,old,9/1/2024\n2,new,10/1/2024\n3,x,2024-01-01\n3,y,2024-01-01\n",
    )
    shop.declare("a.csv", "key: id", "cursor: changed", "date_order: dmy")

    extracted = shop.extract()

    assert shop.sent("id, name") == [("1", "a"), ("2", "new"), ("3", "x"), ("3", "y")]
    assert (extracted.extracted, extracted.deduplicated, extracted.candidates) == (6, 2, 4)


@pytest.mark.parametrize("written", ["format: '%d.%m.%Y %H:%M'", "date_order: dmy"])
def test_a_cursor_is_read_as_its_mapping_says(shop: Shop, written: str) -> None:
    shop.write("a.csv", "id,name,changed\n1,old,31.01.2024 10:00\n")
    shop.declare("'*.csv'", "key: id", "cursor: changed")
    shop.load()
    columns = f"person_id: id, updated_at: {{column: changed, {written}}}"
    shop.declare("'*.csv'", "key: id", "cursor: changed", columns=columns)

    shop.write("b.csv", "id,name,changed\n1,new,01.02.2024 10:00\n")
    shop.load()
    assert shop.live("name, _cursor") == [("new", "2024-02-01T10:00:00.000000")]

    shop.write("c.csv", "id,name,changed\n1,older,15.01.2024 10:00\n")
    shop.load()
    assert shop.live("name") == [("new",)]


def test_an_old_version_sent_again_does_not_undo_a_new_one(shop: Shop) -> None:
    shop.write("a.csv", "id,name,version\n1,new,10\n")
    shop.declare("'*.csv'", "key: id", "cursor: version")
    shop.load()

    shop.write("b.csv", "id,name,version\n1,old,9\n")
    again = shop.load()

    assert (again.deduplicated, again.candidates) == (1, 0)


def test_without_a_cursor_the_later_file_counts(shop: Shop) -> None:
    shop.write("day-1.csv", "id,name\n1,old\n")
    shop.write("day-2.csv", "id,name\n1,new\n")
    shop.declare("day-*.csv", "key: id")
    shop.load()
    assert shop.live("name") == [("new",)]

    # The early file delivered again.
    shop.write("day-1.csv", "id,name\n1,older\n")
    shop.load()
    assert shop.live("name") == [("new",)]


def test_a_sweep_deletes_what_is_gone_and_brings_back_what_returns(shop: Shop) -> None:
    shop.declare("'*.csv'", "key: id", "deletes: sweep")
    shop.write("a.csv", "id\n1\n2\n")
    shop.write("b.csv", "id\n3\n")
    shop.load()

    shop.write("a.csv", "id\n1\n")
    (shop.folder / "b.csv").unlink()
    swept = shop.load()
    assert (swept.extracted, swept.candidates, swept.deleted) == (1, 0, 2)
    assert shop.live("id") == [("1",)]
    assert shop.load().skipped

    shop.write("b.csv", "id\n3\n")
    assert shop.load().candidates == 1
    assert shop.live("id") == [("1",), ("3",)]


@pytest.mark.parametrize("key", ["key: id", "key: [id, country]"])
def test_a_sweep_keeps_the_record_of_a_line_that_does_not_fit(shop: Shop, key: str) -> None:
    lines = "".join(f"n{number},{number},de\n" for number in range(3))
    shop.write("a.csv", f"name,id,country\n{lines}x,7,de\ny,8,de\n")
    shop.declare("a.csv", key, "deletes: sweep")
    shop.load()

    shop.write("a.csv", f"name,id,country\n{lines}x,junior,7,de\n")
    swept = shop.extract()

    assert (swept.extracted, swept.candidates, swept.deleted) == (4, 1, 1)
    assert shop.sent("_key[1], _deleted_at is not null") == [("8", True), (None, False)]


def test_a_sweep_refuses_a_file_that_is_empty_among_others(shop: Shop) -> None:
    shop.write("a.csv", "id\n1\n")
    shop.write("b.csv", "id\n2\n")
    shop.declare("'*.csv'", "key: id", "deletes: sweep")
    shop.load()

    shop.write("b.csv", "")
    with pytest.raises(SourceError, match=r"shop\.things: b\.csv is empty, and all its records would be deleted"):
        shop.extract()

    shop.declare("'*.csv'", "key: id", "deletes: sweep", "optional: true")
    assert shop.load().deleted == 1


def test_without_a_sweep_nothing_is_deleted(shop: Shop) -> None:
    shop.declare("'*.csv'", "key: id")
    shop.write("a.csv", "id\n1\n2\n")
    shop.load()

    shop.write("a.csv", "id\n1\n")
    shop.load()

    assert shop.live("id") == [("1",), ("2",)]


def test_another_way_of_reading_reads_the_same_file_again(shop: Shop) -> None:
    shop.write("a.csv", "id;name\n1;a\n")
    shop.declare("a.csv", "key: id", "delimiter: ';'")
    shop.load()

    shop.declare("a.csv", "key: [id, name]", "delimiter: ';'")

    assert not shop.extract().skipped


def test_parts_of_a_key_cannot_run_into_each_other(shop: Shop) -> None:
    shop.write("a.csv", "id,part\na|b,c\na,b|c\n\u200b9 , 1\n,5\n")
    shop.declare("a.csv", "key: [id, part]")

    shop.extract()

    keys = [row[0] for row in shop.sent("_key")]
    assert len(set(keys)) == 4
    assert "9|1" in keys and None in keys


# What is refused


def zipped(flags: int = 0, method: int = 8, place: int = 0) -> bytes:
    """An archive with a member whose data is damaged, or that says of itself what no archive of Python's can be."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("a.csv"), "id\n1\n2\n")  # which says no time, as names of tests must stay
    content = bytearray(packed.getvalue())
    end = content.rindex(b"PK\5\6")
    directory = content.index(b"PK\1\2")
    content[directory + 8], content[directory + 10] = flags, method
    content[end + 16] += place
    content[directory - 3] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "id,name\n1,Zoë\n".encode("cp1252"), "a.csv is not utf-8 at byte 12; declare its `encoding`"),
        ("a.csv", "id,name\n1,a\n2,Zoë\n3,Chloé\n".encode("cp1252"), "a.csv is not utf-8 at byte 16"),
        ("a.csv", "id,größe\n1,a\n2,b\n".encode("cp1252"), "a.csv is not utf-8 at byte 5"),
        ("a.csv", "id,name\n1,a\n".encode("utf-16"), "a.csv is not utf-8 at byte 0"),
        ("a.csv", "id,name\n1,a\n".encode("utf-16-le"), "a.csv is not utf-8 at byte 1"),
        ("a.csv", b"id,Name,name \n1,2,3\n", "columns 'Name' and 'name' of a.csv have the same name"),
        ("a.csv", b"id,_key\n1,2\n", "column '_key' of a.csv has a reserved name"),
        ("a.csv", b"ID_,name\n1,2\n", "a.csv has no column 'id' (did you mean 'ID_'?), which cem.yml uses"),
        ("a.csv", b'id,name\n1,"a\n2,b\n', "a.csv, line 2: a quotation mark is never closed"),
        ("a.csv", b"<!DOCTYPE html><html>", "a.csv is a web page, not csv"),
        ("a.csv.gz", gzip.compress(b"id\n" + b"1\n" * 9999, mtime=0)[:-12], "a.csv.gz is broken or cut off"),
        ("a.csv.gz", b"id\n1\n", "a.csv.gz is broken or cut off"),
        ("a.zip", b"PK", "a.zip is broken or cut off"),
        ("a.zip", zipped(), "a.zip/a.csv is broken or cut off"),
        ("a.zip", zipped(flags=0x1), "a.zip/a.csv is protected by a password; deliver it without one"),
        ("a.zip", zipped(method=9), "a.zip/a.csv is packed in a way that is not read here"),
        ("a.zip", zipped(place=99), "a.zip/a.csv is broken or cut off"),
        ("a.jsonl", b'{"id": 1}\n{"id": ', "a.jsonl, line 2: the file is cut off"),
        ("a.jsonl", b'{"id": 1}\nid=2\n', "a.jsonl, line 2: not valid JSON"),
        ("a.jsonl", b'{"id": "\xc7"}\n', "a.jsonl is not utf-8 at byte 8"),
        ("a.jsonl", b"<html></html>\n", "a.jsonl is a web page, not jsonl"),
        ("a.jsonl", b'{"key": 1}\n', "a.jsonl has no column 'id'"),
        ("a.parquet", b"id\n1\n", "a.parquet: not a Parquet file"),
        ("a.xlsx", b"id\n1\n", "a.xlsx: not an Excel file"),
    ],
)
def test_a_file_that_is_not_as_declared_is_refused_by_name(shop: Shop, name: str, content: bytes, told: str) -> None:
    shop.write(name, content)
    shop.declare(name, "key: id")

    with pytest.raises(SourceError) as caught:
        shop.extract()

    assert str(caught.value).startswith("shop.things: ")
    assert told in str(caught.value)
    assert shop.con.execute("from duckdb_tables() where schema_name = 'candidate_shop'").fetchall() == []


def test_a_file_that_cannot_be_read_is_refused_by_name(shop: Shop) -> None:
    (shop.folder / "a.csv").symlink_to("/proc/self/mem")  # a plain file by its kind, whose first byte nobody can read
    shop.declare("a.csv", "key: id")

    with pytest.raises(SourceError, match=r"shop\.things: a\.csv cannot be read: Input/output error; look at the disk"):
        shop.extract()


@pytest.mark.parametrize(
    ("number", "told", "is_transient"),
    [(errno.EACCES, "may not be read by the user", False), (errno.ENOENT, "went away while", True)],
)
def test_what_keeps_a_file_from_being_read_is_told(shop: Shop, number: int, told: str, is_transient: bool) -> None:
    shop.declare("a.csv", "key: id")

    with pytest.raises(SourceError, match=f"shop\\.things: a\\.csv {told}") as caught, readable(shop.table, "a.csv"):
        raise OSError(number, os.strerror(number))

    assert caught.value.is_transient == is_transient


def test_a_full_disk_is_not_put_down_to_the_file(shop: Shop) -> None:
    shop.declare("a.csv", "key: id")

    with pytest.raises(OSError, match="No space left"), readable(shop.table, "a.csv"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_broken_file_takes_no_room_and_keeps_no_other_table_waiting(shop: Shop) -> None:
    shop.write("a.zip", b"PK")
    shop.write("b.csv", "id\n1\n")
    shop.declare("a.zip", "key: id")
    other = shop.table.model_copy(update={"name": "others", "files": ("b.csv",)})
    source = shop.settings.sources[0].model_copy(update={"tables": (shop.table, other)})

    assert bytes_to_read(shop.con, shop.settings, source) == 5


@pytest.mark.parametrize(
    "line", ["o1,ada@example.org,paid", "o1,Ada Secret,+49 170 1234567", "o1,Ada Secret,12.50", "o1,Ada S,Ada S,7"]
)
def test_a_file_without_its_header_line_is_refused_without_a_word_of_its_first_row(shop: Shop, line: str) -> None:
    shop.write("a.csv", f"{line}\n{line}\n".encode())
    shop.declare("a.csv", "key: id")

    with pytest.raises(SourceError, match="the first line looks like data, not names") as caught:
        shop.extract()

    assert not [value for value in line.split(",") if len(value) > 1 and value in str(caught.value)]


def test_half_a_character_in_json_is_kept_in_its_row(shop: Shop) -> None:
    shop.write(
        "a.jsonl",
        b'{"id": "1", "name": "\\ud83d\\ude00"}\n{"id": "2", "name": "a\\ud83d"}\n'
        b'{"id": "3", "name": "\\\\ud83d"}\n{"id": "4", "name": "\\ude00b\\ud83d\\ud83d\\ude00"}\n',
    )
    shop.declare("a.jsonl", "key: id")

    shop.extract()

    found = shop.con.execute("select id, name from candidate_shop.things order by id").fetchall()
    assert found == [
        ("1", "\U0001f600"),
        ("2", "a\ufdd0\\ud83d"),
        ("3", "\\ud83d"),
        ("4", "\ufdd0\\ude00b\ufdd0\\ud83d\U0001f600"),
    ]


@pytest.mark.parametrize(
    "said",
    [
        'connection to "postgres://me:pa@ss@host:5432/db" failed',
        'could not translate host name "ss@host" to address: Name or service not known',
        "postgres://me:pa@ss@host:5432/db",
        "password=pa@ss host=host",
    ],
)
def test_no_part_of_a_password_is_told(said: str) -> None:
    told = without_secrets(said, "postgres://me:pa@ss@host:5432/db")
    assert "pa@" not in told and "ss@" not in told


@pytest.mark.parametrize("encoding", ["", "encoding: utf-8"])
def test_bytes_that_are_not_utf8_are_kept_in_their_row(shop: Shop, encoding: str) -> None:
    shop.write("a.csv", "id,name\n1,Zoë\n2,Zo".encode() + b"\xeb\x80\n3,Zo" + "ë\n".encode())
    shop.declare("a.csv", f"key: id\n{' ' * 16}{encoding}")

    shop.extract()

    found = shop.con.execute("select id, name from candidate_shop.things order by id").fetchall()
    assert found == [("1", "Zoë"), ("2", "Zo\ufdd0\\xEB\ufdd0\\x80"), ("3", "Zoë")]


def test_errors_do_not_quote_rows(shop: Shop) -> None:
    shop.write("a.csv", 'id,mail\n1,"ada@example.com\n')
    shop.declare("a.csv", "key: id")

    with pytest.raises(SourceError) as caught:
        shop.extract()

    assert "ada" not in str(caught.value)


def test_lines_with_a_wrong_number_of_fields_are_kept_for_the_guard(shop: Shop) -> None:
    shop.write("a.csv", "id,name\n1,a\n2\n3,c,d\n4,e\n")
    shop.declare("a.csv", "key: id")

    extracted = shop.extract()

    assert extracted.extracted == extracted.candidates == 4
    assert shop.sent("_key, id, name") == [
        ("1", "1", "a"),
        ("4", "4", "e"),
        (None, "2", None),
        (None, "3,c,d", None),
    ]
    assert shop.con.execute(
        "select _source_row from candidate_shop.things where _key is null order by 1"
    ).fetchall() == [(3,), (4,)]


def test_absent_files_are_refused_unless_they_may_be_absent(shop: Shop) -> None:
    shop.declare("a*.csv", "key: id", columns="person_id: id, city: {expression: upper(town)}")
    with pytest.raises(SourceError, match=r"no file matches a\*\.csv") as caught:
        shop.extract()
    assert caught.value.is_transient

    shop.declare("a*.csv", "key: id", "optional: true", columns="person_id: id, city: {expression: upper(town)}")
    assert shop.extract().extracted == 0


@pytest.mark.parametrize("content", [None, "", "id,town\n"])
def test_an_optional_table_has_its_place_before_its_first_row(shop: Shop, content: str | None) -> None:
    if content is not None:
        shop.write("a.csv", content)
    shop.declare("a.csv", "key: id", "optional: true", columns="person_id: id, city: {expression: upper(town)}")

    assert shop.extract().extracted == 0

    names = {row[0] for row in shop.con.execute("describe raw_shop.things").fetchall()}
    assert {"id", "town", "_key", "_deleted_at"} <= names


def test_sql_that_is_none_is_refused_with_its_field(shop: Shop) -> None:
    shop.write("a.csv", "id\n1\n")
    shop.declare("a.csv", "key: id", columns="person_id: id, city: {expression: 'upper('}")

    with pytest.raises(SourceError, match=r"entities\.person\.columns\.city\.expression is not valid SQL"):
        shop.extract()


def test_too_little_memory_is_not_put_down_to_the_file(shop: Shop) -> None:
    shop.con.execute(
        f"copy (select range as id, repeat('x', 5000) as name from range(4000)) to '{shop.folder}/a.parquet'"
    )
    shop.declare("a.parquet")
    shop.con.execute("set memory_limit = '8MB'; set max_temp_directory_size = '0B'")
    with pytest.raises(duckdb.OutOfMemoryException):
        shop.extract()
