"""A SQLite database through extraction and the guard: as sent, by increments, with its deletions."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from loaded_table import Loaded

from orchestration.settings import Settings
from orchestration.sources.errors import SourceError

CONFIG = """
    sources:
      - name: crm
        kind: sql
        engine: sqlite
        connection: crm.db
        time_zone: UTC
        tables:
          - name: people
            table: contacts
            key: id
            cursor: changed
            deletes: sweep
            entity: person
            columns: {person_id: id, full_name: name, updated_at: changed}
"""


class Crm(Loaded):
    """The people of a CRM."""

    def __init__(self, path: Path, con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
        super().__init__(con, settings)
        self.path = path

    def change(self, *statements: str) -> None:
        with sqlite3.connect(self.path) as database:
            for statement in statements:
                database.execute(statement)
        database.close()


@pytest.fixture
def crm(tmp_path: Path, warehouse: duckdb.DuckDBPyConnection, write_config: Callable[[str], Settings]) -> Crm:
    crm = Crm(tmp_path / "crm.db", warehouse, write_config(CONFIG))
    crm.change(
        "create table contacts (id integer primary key, name text, age integer, photo blob, changed text)",
        "insert into contacts values (1, 'Ada', 36, x'00ff', '2024-01-01 10:00:00')",
        "insert into contacts values (2, 'علی', 'unknown', null, '2024-01-05T10:00:00')",
        "insert into contacts values (3, 'Zoë', 1.5, null, '2024-01-09 10:00:00')",
    )
    return crm


def test_any_value_in_any_column_arrives_as_sent(crm: Crm) -> None:
    crm.load()

    assert crm.live("id, name, age, photo, _key, _source_file") == [
        ("1", "Ada", "36", "00FF", "1", None),
        ("2", "علی", "unknown", "", "2", None),
        ("3", "Zoë", "1.5", "", "3", None),
    ]


def test_an_untouched_database_is_not_read(crm: Crm) -> None:
    assert crm.load().candidates == 3
    assert crm.load().skipped


def test_increments_bring_new_changed_and_late_rows(crm: Crm) -> None:
    crm.load()
    crm.change(
        "insert into contacts values (4, 'New', 1, null, '2024-01-10 10:00:00')",
        "insert into contacts values (5, 'Late', 1, null, '2024-01-09 09:55:00')",
        "insert into contacts values (6, 'Undated', 1, null, null)",
        "update contacts set name = 'Ada King', changed = '2024-01-10T11:00:00' where id = 1",
    )

    increment = crm.load()

    # Row 3 lies within the overlap and is known; row 2 is only seen by the sweep of keys.
    assert (increment.extracted, increment.deduplicated, increment.candidates) == (6, 2, 4)
    assert [row[0] for row in crm.live("name")] == ["Ada King", "علی", "Zoë", "New", "Late", "Undated"]


def test_deleted_rows_are_deleted_softly_and_may_return(crm: Crm) -> None:
    crm.load()
    crm.change("delete from contacts where id in (1, 3)")

    swept = crm.load()

    assert (swept.candidates, swept.deleted) == (0, 2)
    assert crm.live("id") == [("2",)]
    assert crm.con.execute("select count(*) from raw_crm.people where _deleted_at is not null").fetchone() == (2,)

    crm.change("insert into contacts values (3, 'Zoë', 1.5, null, '2024-02-01 10:00:00')")
    crm.load()
    assert crm.live("id") == [("2",), ("3",)]


def test_records_that_come_behind_the_cursor_are_read(crm: Crm) -> None:
    crm.load()
    crm.change("delete from contacts where id = 1")
    crm.load()
    crm.change(
        "insert into contacts values (1, 'Ada', 36, null, '2024-01-01 10:00:00')",
        "insert into contacts values (4, 'Imported', 1, null, '2020-01-01 00:00:00')",
    )

    read = crm.load()

    assert (read.extracted, read.deduplicated, read.candidates, read.deleted) == (4, 2, 2, 0)
    assert crm.live("id") == [("1",), ("2",), ("3",), ("4",)]

    crm.change("update contacts set name = 'Ada King', changed = '2024-02-01' where id = 1")
    increment = crm.load()
    assert (increment.extracted, increment.deduplicated, increment.candidates) == (4, 3, 1)


def test_a_cursor_ahead_of_the_clock_does_not_hide_what_comes(crm: Crm) -> None:
    crm.change("update contacts set changed = '2999-01-01 00:00:00' where id = 1")
    crm.load()
    (state,) = crm.con.execute("select value from ops.source_state where kind = 'cursor'").fetchall()

    assert state[0] < "2999"


def test_texts_that_do_not_sort_by_day_are_all_read(
    tmp_path: Path, warehouse: duckdb.DuckDBPyConnection, write_config: Callable[[str], Settings]
) -> None:
    config = CONFIG.replace("updated_at: changed", "updated_at: {column: changed, format: '%d.%m.%Y'}")
    crm = Crm(tmp_path / "crm.db", warehouse, write_config(config.replace("sweep", "keep")))
    crm.change(
        "create table contacts (id integer primary key, name text, changed text)",
        "insert into contacts values (1, 'a', '31.01.2024'), (2, 'b', '30.01.2024')",
    )
    crm.load()
    crm.change(
        "insert into contacts values (3, 'c', '02.02.2024')",
        "update contacts set name = 'B', changed = '01.02.2024' where id = 2",
    )

    crm.load()

    assert crm.live("name") == [("a",), ("B",), ("c",)]


def test_a_count_of_seconds_ahead_of_the_clock_does_not_hide_what_comes(
    tmp_path: Path, warehouse: duckdb.DuckDBPyConnection, write_config: Callable[[str], Settings]
) -> None:
    config = CONFIG.replace("updated_at: changed", "updated_at: {column: changed, format: epoch_seconds}")
    crm = Crm(tmp_path / "crm.db", warehouse, write_config(config.replace("sweep", "keep")))
    now = int(time.time())
    crm.change(
        "create table contacts (id integer primary key, name text, changed integer)",
        "insert into contacts values (1, 'a', 1700000000), (2, 'b', 4102444800)",
    )
    assert crm.load().ahead == 1
    crm.change(
        f"update contacts set name = 'A', changed = {now + 5} where id = 1",
        f"update contacts set name = 'B', changed = {now + 5} where id = 2",
    )

    crm.load()

    assert crm.live("name") == [("A",), ("B",)]


def test_numbers_as_cursors(
    tmp_path: Path, warehouse: duckdb.DuckDBPyConnection, write_config: Callable[[str], Settings]
) -> None:
    config = CONFIG.replace(", updated_at: changed", "").replace("deletes: sweep", "deletes: keep")
    crm = Crm(tmp_path / "crm.db", warehouse, write_config(config))
    crm.change(
        "create table contacts (id integer primary key, name text, changed text)",
        "insert into contacts values (1, 'a', '9'), (2, 'b', '10')",
    )
    crm.load()
    crm.change("insert into contacts values (3, 'c', '11'), (4, 'early', '8')")

    increment = crm.load()

    assert increment.candidates == 1
    assert [row[0] for row in crm.live("name")] == ["a", "b", "c"]


def test_an_absent_table_is_named_with_what_is_there(crm: Crm) -> None:
    crm.change("alter table contacts rename to kontakte")

    with pytest.raises(SourceError, match=r"crm\.people: the database has no table 'contacts'.*kontakte"):
        crm.load()


def test_an_absent_column_is_named_with_what_is_there(crm: Crm) -> None:
    crm.change("alter table contacts rename column name to full_name")

    with pytest.raises(SourceError, match=r"no column 'name' \(did you mean 'full_name'\?\)"):
        crm.load()
