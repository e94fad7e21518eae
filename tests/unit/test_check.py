"""`cem check` tells what a run would trip over, with file and line, and shows what mappings make of rows."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.check import check
from orchestration.settings import Settings
from orchestration.sources.text_files import _end_of_records

WriteConfig = Callable[[str], Settings]

PEOPLE = """
    sources:
      - name: shop
        kind: files
        folder: in
        tables:
          - name: people
            files: people.csv
            key: id
            entity: person
            columns:
              person_id: id
              full_name: name
              email: mail
              created_at: {column: since, date_order: dmy}
"""


@pytest.fixture
def people(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "people.csv"
    path.write_text("id,name,mail,since\n1,Ada Lovelace,ada@example.com,10/12/2015\nbob@example.com,Bob,,1/2/2016\n")
    return path


def test_a_fitting_configuration_is_shown_mapped_and_masked(people: Path, write_config: WriteConfig) -> None:
    report = check(write_config(PEOPLE))

    assert report.problems == report.notes == ()
    (preview,) = report.previews
    assert (preview.table, preview.entity) == ("shop.people", "person")
    assert preview.columns == ("person_id", "full_name", "email", "created_at")
    assert preview.rows == (
        ("1", "‹name›", "‹email›", "2015-12-10 00:00:00"),
        ("‹email›", "‹name›", "·", "2016-02-01 00:00:00"),
    )
    assert "No problems" in report.text()
    assert "Ada" not in report.text()


def test_personal_data_is_shown_when_asked_for(people: Path, write_config: WriteConfig) -> None:
    text = check(write_config(PEOPLE), rows=1, show_personal=True).text()

    assert "Ada Lovelace" in text and "ada@example.com" in text
    assert "Bob" not in text


def test_nothing_is_written_but_extensions(people: Path, write_config: WriteConfig, home: Path) -> None:
    settings = write_config(PEOPLE)

    check(settings)

    assert not settings.warehouse.exists()


@pytest.mark.parametrize(
    ("before", "after", "line", "field", "told"),
    [
        ("email: mail", "email: mial", 14, "entities.person.columns.email", "did you mean 'mail'?"),
        ("key: id", "key: number", 9, "key", "no column 'number'"),
        ("files: people.csv", "files: persons.csv", 7, "name", "no file matches persons.csv"),
        (
            "full_name: name",
            "full_name: {expression: name::int}",
            13,
            "entities.person.columns.full_name",
            "fails on a row: ConversionException",
        ),
        (
            "full_name: name",
            "full_name: {expression: nosuch(name)}",
            13,
            "entities.person.columns.full_name",
            "does not fit the columns",
        ),
        ("date_order: dmy", "date_order: mdy", 15, "entities.person.columns.created_at", None),
        ("date_order: dmy", "date_order: ymd", 15, "entities.person.columns.created_at", "2 of 2 values"),
    ],
)
def test_what_does_not_fit_is_told_with_its_line(
    people: Path, write_config: WriteConfig, before: str, after: str, line: int, field: str, told: str | None
) -> None:
    report = check(write_config(PEOPLE.replace(before, after)))

    if told is None:
        assert report.problems == ()
        return
    (problem,) = report.problems
    assert problem.place.line == line
    assert problem.field == f"sources.shop.tables.people.{field}"
    assert told in problem.text
    assert "Ada" not in report.text() and "10/12/2015" not in report.text()


def test_single_unreadable_values_are_only_noted(people: Path, write_config: WriteConfig) -> None:
    with people.open("a") as handle:
        handle.write("3,C,,soon\n")

    report = check(write_config(PEOPLE))

    assert report.problems == ()
    (note,) = report.notes
    assert "1 of 3 values of the sample cannot be read as timestamp" in note.text


def test_a_json_field_that_no_object_has_is_noted(tmp_path: Path, write_config: WriteConfig) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "people.jsonl").write_text('{"id": 1, "name": "A"}\n')
    text = PEOPLE.replace("people.csv", "people.jsonl").replace("created_at: {column: since, date_order: dmy}", "")

    report = check(write_config(text))

    assert report.problems == ()
    assert ["no column 'mail'" in note.text for note in report.notes] == [True]
    assert len(report.previews) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1256"])
def test_of_a_long_text_only_the_beginning_is_read(
    tmp_path: Path, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setattr("orchestration.sources.text_files.PREVIEW_BYTES", 997)
    (tmp_path / "in").mkdir()
    rows = "".join(f'{number},"سارا\nک {number}",s{number}@example.org,1/2/2016\n' for number in range(200))
    content = f"id,name,mail,since\n{rows}".encode(encoding)
    # Further on there is neither an end of the archive nor a text.
    (tmp_path / "in" / "people.csv.gz").write_bytes(gzip.compress(content, 0)[:5000])

    report = check(write_config(PEOPLE.replace("people.csv", f"people.csv.gz\n            encoding: {encoding}")), 1000)

    assert report.problems == report.notes == ()
    (preview,) = report.previews
    assert 5 < len(preview.rows) < 50


@pytest.mark.parametrize(
    "content", ['[{"id": 1},\n{"id": 2}]', '{"id": 1}\n{"id": 2}\n', "\ufeff[\n" + '{"id":1},' * 9 + '{"id":2}]']
)
def test_json_is_not_cut_within_an_array(
    tmp_path: Path, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr("orchestration.sources.text_files.PREVIEW_BYTES", 15)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "people.jsonl").write_text(content)

    report = check(write_config(PEOPLE[: PEOPLE.index("full_name")].replace("people.csv", "people.jsonl")))

    assert report.problems == ()
    assert report.previews[0].rows[0] == ("1",)


@pytest.mark.parametrize(
    ("block", "kept"),
    [
        ('a,b\n1,"x\ny"\n2,"z\n', 'a,b\n1,"x\ny"\n'),
        ('a,b\n1,5" pipe\n2,x\n3,y', 'a,b\n1,5" pipe\n2,x\n'),
        ("a,b\r1,2\r3,", "a,b\r1,2\r"),
        ("one long line", "one long line"),
    ],
)
def test_a_beginning_ends_with_a_whole_record(block: str, kept: str) -> None:
    assert block[: _end_of_records(block.encode(), b'"')] == kept


def test_databases_are_checked_too(tmp_path: Path, write_config: WriteConfig) -> None:
    with sqlite3.connect(tmp_path / "crm.db") as database:
        database.execute("create table persons (id integer, name text)")
        database.execute("insert into persons values (1, 'Ada')")
    text = """
        sources:
          - name: crm
            kind: sql
            engine: sqlite
            connection: crm.db
            tables:
              - {name: people, table: Person, key: id, entity: person, columns: {person_id: id}}
              - {name: persons, key: id, entity: person, columns: {person_id: id, full_name: name}}
          - name: gone
            kind: sql
            engine: sqlite
            connection: nothing.db
            tables: [{name: people, key: id}]
    """

    report = check(write_config(text))

    assert [problem.place.line for problem in report.problems] == [8, 14]
    assert "no table 'Person' (did you mean 'persons'?)" in report.problems[0].text
    assert "no SQLite file" in report.problems[1].text
    assert [preview.rows for preview in report.previews] == [(("1", "‹name›"),)]


def test_what_a_run_would_hold_as_empty_is_told(people: Path, tmp_path: Path, write_config: WriteConfig) -> None:
    with sqlite3.connect(tmp_path / "crm.db") as database:
        database.execute("create table persons (id integer, name text)")
    people.write_text("id,name,mail,since\n")
    empty = """
      - name: crm
        kind: sql
        engine: sqlite
        connection: crm.db
        tables: [{name: persons, key: id, entity: person, columns: {person_id: id}}]
    """

    report = check(write_config(PEOPLE + empty))

    told = "is empty; declare `optional: true` if it may be"
    assert [problem.text for problem in report.problems] == [f"shop.people {told}", f"crm.persons {told}"]
    optional = write_config((PEOPLE + empty).replace("key: id", "optional: true\n            key: id", 1))
    assert [problem.text for problem in check(optional).problems] == [f"crm.persons {told}"]

    (people.parent / "people2.csv").write_text("id,name,mail,since\n1,Ada,ada@example.com,1/2/2016\n")
    report = check(write_config(PEOPLE.replace("people.csv", "people*.csv")))
    assert (report.problems, len(report.previews)) == ((), 1)


def test_a_demo_company_that_is_not_there_yet_is_no_problem(write_config: WriteConfig) -> None:
    report = check(write_config("sources: [{name: demo, kind: demo}]"))

    assert report.problems == ()
    assert ["the demo company is not there yet" in note.text for note in report.notes] == [True]


def test_rules_of_a_table_that_there_is_not_are_noticed(write_config: WriteConfig, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id\n1\n")
    custom = tmp_path / "expectations" / "custom"
    custom.mkdir(parents=True)
    for name in ("crm__people.json", "crm__peple.json"):
        (custom / name).write_text('{"name": "own", "expectations": []}')

    report = check(
        write_config("""
        sources:
          - name: crm
            kind: files
            tables: [{name: people, files: people.csv, key: id, entity: person, columns: {person_id: id}}]
    """)
    )

    assert report.problems == ()
    assert [Path(note.place.file).name for note in report.notes] == ["crm__peple.json"]
