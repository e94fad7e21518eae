"""A load that comes again, whatever its kind, changes nothing: the tables have the same hash after each time."""

from __future__ import annotations

import gzip
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import openpyxl
import pytest
from api_server import serving

from orchestration.guard import guard_table, held_loads, release, replay
from orchestration.settings import Settings, Table
from orchestration.sources.extract import extract_table
from orchestration.warehouse import new_load_id

FILES = """
          - {name: lines, files: lines.csv, key: id, MAPPED}
          - {name: lines_without_key, files: lines.csv, MAPPED}
          - {name: lines_in_two_files, files: "part_*.csv", key: id, MAPPED}
          - {name: lines_with_versions, files: versions.csv, key: id, cursor: since, MAPPED}
          - {name: lines_swept, files: swept.csv, key: id, deletes: sweep, MAPPED}
          - {name: packed, files: lines.csv.gz, key: id, MAPPED}
          - {name: archived, files: lines.zip/lines.csv, key: id, MAPPED}
          - {name: objects, files: people.jsonl, key: id, MAPPED}
          - {name: columns, files: people.parquet, key: id, MAPPED}
          - {name: sheet, files: people.xlsx, key: id, MAPPED}
          - name: written
            rows: [{id: p1, name: Ada, since: "2024-01-01"}, {id: p2, name: Bo, since: soon}]
            key: id
            entity: person
            columns: {person_id: id, full_name: name, created_at: since}
"""
DATABASE = """
          - {name: whole, table: people, key: id, MAPPED}
          - {name: increment, table: people, key: id, cursor: since, MAPPED}
          - {name: swept, table: people, key: id, cursor: since, deletes: sweep, MAPPED}
"""
API = """
          - {name: listed, path: /people, key: id, MAPPED}
          - {name: new, path: /people, params: {after: "{since}"}, since: {format: iso}, cursor: since, key: id, MAPPED}
"""
AS_PERSON = "entity: person, columns: {person_id: id, full_name: name, created_at: since}"

CONFIG = f"""
company: Again
sources:
  - name: files
    kind: files
    folder: .
    time_zone: UTC
    tables:{FILES.replace("MAPPED", AS_PERSON).rstrip()}
  - name: database
    kind: sql
    engine: sqlite
    connection: people.db
    time_zone: UTC
    tables:{DATABASE.replace("MAPPED", AS_PERSON).rstrip()}
  - name: api
    kind: api
    url: URL
    time_zone: UTC
    tables:{API.replace("MAPPED", AS_PERSON).rstrip()}
"""

PEOPLE = [("p1", "Ada", "2024-01-01"), ("p2", "علی", "2024-01-02"), ("p3", "Zoë", "soon"), ("p1", "Ada", "2024-01-01")]
"""Two good ones, a bad one, and a repeat."""

TIMES = 3


def lines(rows: list[tuple[str, str, str]]) -> str:
    return "\n".join(",".join(row) for row in [("id", "name", "since"), *rows]) + "\n"


def write(folder: Path) -> None:
    (folder / "lines.csv").write_text(lines(PEOPLE))
    (folder / "part_1.csv").write_text(lines(PEOPLE[:2]))
    (folder / "part_2.csv").write_text(lines([("p1", "Ada L.", "2024-01-01"), PEOPLE[2]]))
    (folder / "versions.csv").write_text(lines([*PEOPLE, ("p2", "Ali", "2024-02-02")]))
    (folder / "swept.csv").write_text(lines(PEOPLE))
    (folder / "lines.csv.gz").write_bytes(gzip.compress(lines(PEOPLE).encode(), mtime=0))
    with zipfile.ZipFile(folder / "lines.zip", "w") as archive:
        archive.writestr("lines.csv", lines(PEOPLE))
    objects = [f'{{"id": "{key}", "name": "{name}", "since": "{since}"}}\n' for key, name, since in PEOPLE]
    (folder / "people.jsonl").write_text("".join(objects))
    with duckdb.connect() as con:
        con.execute("create table people (id text, name text, since text)")
        con.executemany("insert into people values (?, ?, ?)", PEOPLE)
        con.execute(f"copy people to '{folder}/people.parquet'")
    book = openpyxl.Workbook()
    for row in [("id", "name", "since"), *PEOPLE]:
        book.active.append(row)
    book.save(folder / "people.xlsx")
    with sqlite3.connect(folder / "people.db") as database:
        database.execute("create table people (id text, name text, since text)")
        database.executemany("insert into people values (?, ?, ?)", PEOPLE)
    database.close()


class Plant:
    """The sources, and the warehouse they are loaded into."""

    def __init__(self, folder: Path, con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
        self.folder, self.con, self.settings = folder, con, settings

    def load(self, table: Table) -> str:
        extracted = extract_table(self.con, self.settings, table, new_load_id())
        return guard_table(self.con, self.settings, table, extracted).status

    def forget(self) -> None:
        """Everything is read again as if it had never been seen."""
        self.con.execute("delete from ops.source_state")

    def hash_of(self, table: Table) -> tuple[object, ...]:
        """Of every column of every row of the table, its bookkeeping included, and of its quarantine and loads."""
        hashes = []
        for relation in (
            f'raw_{table.source}."{table.name}"',
            f"(select * from quarantine.rows where source = '{table.source}' and table_name = '{table.name}')",
            f"(select * from ops.loads where source = '{table.source}' and table_name = '{table.name}')",
        ):
            hashes += self.con.execute(f"select count(*), sum(hash(t::text)) from {relation} as t").fetchall()
        return tuple(hashes)


@pytest.fixture
def plant(tmp_path: Path, warehouse: duckdb.DuckDBPyConnection, write_config: Callable[[str], Settings]):
    write(tmp_path)
    people = [{"id": key, "name": name, "since": since} for key, name, since in PEOPLE]
    with serving(lambda _: people) as server:
        yield Plant(tmp_path, warehouse, write_config(CONFIG.replace("URL", server.url)))


def test_a_load_of_any_kind_that_comes_again_changes_nothing(plant: Plant):
    tables = plant.settings.tables()
    assert {plant.load(table) for table in tables} == {"promoted"}
    (plant.folder / "swept.csv").write_text(lines(PEOPLE[1:3]))
    with sqlite3.connect(plant.folder / "people.db") as database:
        database.execute("delete from people where id = 'p1'")
    database.close()
    for table in tables:
        plant.load(table)
    before = {(table.source, table.name): plant.hash_of(table) for table in tables}
    counts = {place: (raw[0], bad[0]) for place, (raw, bad, _) in before.items()}
    assert {place: count for place, count in counts.items() if not all(count)} == {}

    for _ in range(TIMES):
        plant.forget()
        for table in tables:
            assert plant.load(table) == "unchanged", table.name
        assert {(table.source, table.name): plant.hash_of(table) for table in tables} == before


def test_what_people_decided_is_not_undone_by_a_load_that_comes_again(plant: Plant):
    [table] = [table for table in plant.settings.tables() if table.name == "lines"]
    (plant.folder / "lines.csv").write_text(lines(PEOPLE).replace("\n", ",\n").replace("since,", "since,note"))
    plant.load(table)
    assert replay(plant.con, plant.settings, "files", "lines", changes={"since": "2024-03-03"}).promoted == 1
    # Without a column that is loaded and not mapped the next delivery is held, and released.
    (plant.folder / "lines.csv").write_text("id,name,since\np4,Di,2024-04-04\np5,Ed,soon\n")
    assert plant.load(table) == "held"
    [held] = held_loads(plant.con)
    release(plant.con, plant.settings, held.load_id, "files", "lines", "Ada", "notes are no longer sent")
    before = plant.hash_of(table)
    assert before[0][0] == 4

    for _ in range(TIMES):
        plant.con.execute("delete from ops.source_state where kind = 'file'")
        assert plant.load(table) == "unchanged"
        assert plant.hash_of(table) == before
