"""Entities follow the loads: what new loads changed is what a build of everything would have made of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from unittest.mock import Mock

import pytest
from dbt.adapters.duckdb.environments.local import LocalEnvironment

from orchestration import builds, warehouse
from orchestration.settings import Settings, load_settings
from orchestration.stages import UNIFY
from orchestration.transform import build, failures_text, prepare
from orchestration.warehouse import utc_now, writing

CONFIG = """
    company: Shop
    sources:
      - name: crm
        kind: files
        tables:
          - name: people
            files: people.csv
            key: line
            entities:
              - {entity: person, where: state <> 'test', columns: {person_id: id, email: mail}}
          - name: sellers
            files: sellers.csv
            key: line
            entity: person
            columns: {person_id: {expression: "'s' || id"}, email: mail}
          - name: updates
            files: updates.csv
            key: line
            cursor: changed
            entity: ticket
            one_per_key: true
            order_by: step
            columns: {ticket_id: number, person_id: step, created_at: changed, status: state}
          - name: contacts
            files: contacts.csv
            key: line
            entity: person
            one_per_key: true
            order_by: step
            columns: {person_id: number, email: state}
"""

FIRST = {
    "people": [("1", "a", "a@x.org", "new"), ("2", "b", "b@x.org", "new"), ("3", "c", "c@x.org", "new")],
    # The same keys of rows as in the other table: each is followed by itself.
    "sellers": [("1", "a", "s@x.org", "new"), ("2", "b", "t@x.org", "new")],
    "updates": [("1", "T1", "1", "new"), ("2", "T1", "2", "open"), ("3", "T2", "1", "new"), ("4", "T3", "9", "new")],
    "contacts": [("1", "K", "1", "old@x.org"), ("2", "K", "2", "new@x.org"), ("3", "M", "1", "m@x.org")],
}
SECOND = {
    # Another id, none of ours any more, another mail, a new one; the last row is gone.
    "people": [("1", "z", "a@x.org", "new"), ("2", "b", "b@x.org", "test"), ("4", "d", "d@x.org", "new")],
    "sellers": [("2", "b", "changed@x.org", "new")],
    # The last word on T1 turns out to be about T2; T3 is gone, and the person that only it names; T4 is new.
    "updates": [("2", "T2", "2", "closed"), ("5", "T4", "1", "new")],
    # The last word on K is gone: an older one counts again, which no new load brings.
    "contacts": [],
}
GONE = {"people": "3", "updates": "4", "contacts": "2"}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What dbt made of the configuration, which any state folder can take over."""
    folder = tmp_path_factory.mktemp("parsed")
    (folder / "cem.yml").write_text(dedent(CONFIG))
    settings = load_settings(folder / "cem.yml", folder / "home")
    prepare(settings)
    return settings.home / "dbt"


@pytest.fixture
def settings(write_config: Callable[[str], Settings], parsed: Path) -> Settings:
    settings = write_config(CONFIG)
    shutil.copytree(parsed, settings.home / "dbt")
    return settings


def load(settings: Settings, name: str, rows: dict[str, list[tuple[str, ...]]], status: str = "promoted") -> None:
    """Bring rows into the raw tables, each in the place of an earlier one of its key, and book the loads."""
    columns = "line varchar, {0} varchar, {1} varchar, state varchar"
    booked = (
        "_key varchar, _row_hash ubigint, _cursor varchar, _source_file varchar, _source_row bigint,"
        " _load_id varchar, _loaded_at timestamp, _deleted_at timestamp"
    )
    with writing(settings) as con:
        con.execute("create schema if not exists raw_crm")
        for table, brought in rows.items():
            names = columns.format(*(("number", "step") if table in ("updates", "contacts") else ("id", "mail")))
            extra = ", changed varchar" if table == "updates" else ""
            con.execute(f"create table if not exists raw_crm.{table} ({names}{extra}, {booked})")
            for row in brought:
                con.execute(f"delete from raw_crm.{table} where _key = ?", [row[0]])
                given = [*row, *(["2024-01-01 10:00:00"] if extra else []), row[0]]
                marks = ", ".join("?" for _ in given)
                con.execute(
                    f"insert into raw_crm.{table} values ({marks}, 1, null, 'f', 1, ?, ?, null)",
                    [*given, name, utc_now()],
                )
            if name != "first" and table in GONE:
                con.execute(
                    f"update raw_crm.{table} set _deleted_at = ?, _load_id = ? where _key = ?",
                    [utc_now(), name, GONE[table]],
                )
            con.execute(
                "insert or replace into ops.loads values (?, 'crm', ?, ?, 1, 1, 0, 0, null, ?, ?)",
                [name, table, status, utc_now(), utc_now()],
            )


def unify(settings: Settings, *arguments: str) -> dict[str, list[tuple[object, ...]]]:
    """Build the entities and the persons that identity reads, and what they hold."""
    models = ["staging", "intermediate.unioned", "int_person__unseen", "int_person_record__collected"]
    selection = ["--select", *models, "--indirect-selection", "cautious"]
    assert failures_text(settings, build(settings, [*selection, *arguments])) == ""
    with writing(settings) as con:
        collected = con.execute("from intermediate.int_person_record__collected order by all").fetchall()
    return {"collected": collected, **{name: rows(settings, name) for name in ("person", "ticket")}}


def rows(settings: Settings, entity: str, columns: str = "*") -> list[tuple[object, ...]]:
    with writing(settings) as con:
        return con.execute(f"select {columns} from intermediate.int_{entity}__unioned order by all").fetchall()


def book(settings: Settings) -> None:
    """The entities stand on these loads, and models on them."""
    with writing(settings) as con:
        builds.record(con, settings, UNIFY)
        con.execute("insert or replace into ops.builds values ('model', '', now(), '', now())")


def test_records_of_new_loads_take_the_place_of_what_their_rows_were(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    load(settings, "first", FIRST)
    unify(settings, "--full-refresh")
    book(settings)

    load(settings, "second", SECOND)
    followed = unify(settings)

    assert unify(settings) == followed  # a build that was not booked is done again, and nothing is doubled
    opened = Mock(wraps=LocalEnvironment.initialize_db)
    monkeypatch.setattr(LocalEnvironment, "initialize_db", opened)
    monkeypatch.setattr(warehouse, "HELD_SHARE", 0.00001)
    assert unify(settings, "--full-refresh") == followed
    assert opened.call_count > 1  # in between, as too much memory was held
    assert rows(settings, "person", "person_id, email") == [
        ("K", "old@x.org"),
        ("M", "m@x.org"),
        ("d", "d@x.org"),
        ("sa", "s@x.org"),
        ("sb", "changed@x.org"),
        ("z", "a@x.org"),
    ]
    assert rows(settings, "ticket", "ticket_id, status") == [("T1", "new"), ("T2", "closed"), ("T4", "new")]


def test_a_load_that_is_released_later_is_taken_in_then(settings: Settings):
    load(settings, "first", FIRST)
    with writing(settings) as con:  # held: its rows are in no raw table
        con.execute("insert into ops.loads values ('held', 'crm', 'people', 'held', 1, 0, 0, 0, 'why', now(), now())")
    load(settings, "third", {"sellers": [("9", "q", "q@x.org", "new")]})
    unify(settings, "--full-refresh")
    book(settings)

    load(settings, "held", {"people": [("7", "w", "w@x.org", "new")]}, status="released")

    unify(settings)
    assert ("w",) in rows(settings, "person", "person_id")


def test_what_everything_stands_on_is_remembered_until_it_is_built_anew(settings: Settings):
    load(settings, "first", FIRST)
    with writing(settings) as con:
        assert not builds.begin(con, settings, UNIFY)
    unify(settings, "--full-refresh")
    book(settings)
    with writing(settings) as con:
        assert builds.begin(con, settings, UNIFY)
        con.execute("alter table raw_crm.people add column note varchar")
        assert not builds.begin(con, settings, UNIFY)
        con.execute("alter table raw_crm.people drop column note")
        # What was begun on another basis, and did not end, may be half of it.
        assert not builds.begin(con, settings, UNIFY)
