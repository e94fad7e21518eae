"""Files and databases through extraction and guard: what is refused, kept, held and told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from orchestration.cli import main
from orchestration.guard import (
    Verdict,
    describe_loads,
    describe_quarantine,
    guard_table,
    held_loads,
    is_blocked,
    release,
    replay,
    validate_with_gx,
)
from orchestration.settings import Settings, load_settings
from orchestration.sources.extract import extract_table
from orchestration.sources.mapping import mapped_select
from orchestration.warehouse import connect, new_load_id

CONFIG = """
company: Shop
sources:
  - name: shop
    kind: files
    folder: delivered
    time_zone: UTC
    tables:
      - name: orders
        files: orders*.csv
        key: no
        entity: order
        columns: {order_id: no, person_id: customer, ordered_at: at, amount: total, currency: currency}
      - name: people
        files: people.jsonl
        optional: true
        key: id
        entity: person
        columns: {person_id: id, email: mail, full_name: name, phone: phone, created_at: since}
      - name: visits
        files: visits.parquet
        optional: true
        key: id
        entity: web_session
        columns: {web_session_id: id, person_id: who, started_at: began, ended_at: ended}
  - name: crm
    kind: sql
    engine: sqlite
    connection: ${CRM_DATABASE}
    tables:
      - name: subscriptions
        key: id
        deletes: sweep
        optional: true
        entity: subscription
        columns: {subscription_id: id, person_id: who, started_at: began, ended_at: ended, monthly_amount: fee}
"""

HEADER = "no,customer,at,total,currency,note\n"

pytestmark = pytest.mark.xdist_group("guard_loads")


class Plant:
    """A folder of deliveries, a database, and the warehouse they are loaded into."""

    def __init__(self, con: duckdb.DuckDBPyConnection, settings: Settings, folder: Path) -> None:
        self.con = con
        self.settings = settings
        self.folder = folder

    def write(self, name: str, text: str) -> None:
        path = self.folder / "delivered" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def orders(self, numbers: range, name: str = "orders.csv", header: str = HEADER, total: str = "12.50") -> None:
        lines = (f"o{number},c{number % 9},2024-03-01 10:00,{total},EUR,n{number}\n" for number in numbers)
        self.write(name, header + "".join(lines))

    def load(self, source: str = "shop", name: str = "orders") -> Verdict:
        [table] = [table for table in self.settings.source(source).tables if table.name == name]
        return guard_table(self.con, self.settings, table, extract_table(self.con, self.settings, table, new_load_id()))

    def staged(self) -> list[tuple[object, ...]]:
        """What the staging view of the orders shows: all that dbt ever sees."""
        [table] = [table for table in self.settings.source("shop").tables if table.name == "orders"]
        query = mapped_select(table, table.entities[0], "raw_shop.orders")
        return self.con.execute(f"select * from ({query}) order by all").fetchall()

    def quarantined(self) -> list[tuple[str, list[str]]]:
        return self.con.execute(
            "select key, reasons from quarantine.rows where released_at is null order by key"
        ).fetchall()

    def one(self, query: str) -> object:
        return self.con.execute(query).fetchone()[0]


@pytest.fixture
def plant(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    database = tmp_path / "crm.db"
    with sqlite3.connect(database) as crm:
        crm.execute("create table subscriptions (id text primary key, who text, began text, ended text, fee real)")
    monkeypatch.setenv("CRM_DATABASE", str(database))
    (tmp_path / "cem.yml").write_text(CONFIG, encoding="utf-8")
    settings = load_settings(tmp_path / "cem.yml", home)
    con = connect(settings.warehouse, settings.extensions, "1GB", 2)
    try:
        yield Plant(con, settings, tmp_path)
    finally:
        con.close()


def test_a_held_load_leaves_all_that_dbt_sees_as_it_was_until_somebody_decides(plant: Plant):
    plant.orders(range(50))
    assert plant.load().promoted == 50
    before = plant.staged()
    plant.orders(range(50, 150), "orders_2.csv", total="-12.50")
    verdict = plant.load()
    assert verdict.status == "held"
    assert "100 of 100 rows are bad" in verdict.reason
    assert plant.staged() == before
    assert is_blocked(plant.con)
    # The same delivery is read again, because its file was not booked as seen.
    again = plant.load()
    assert (again.status, again.extracted) == ("held", 100)
    [held] = held_loads(plant.con)
    release(plant.con, plant.settings, held.load_id, "shop", "orders", "Ada", "all of them are to wait")
    assert plant.staged() == before
    assert len(plant.quarantined()) == 100
    assert plant.load().status == "unchanged"


def test_a_mended_delivery_lifts_the_hold_by_itself(plant: Plant):
    plant.orders(range(50), total="-1")
    assert plant.load().status == "held"
    plant.orders(range(50))
    assert plant.load().promoted == 50
    assert not is_blocked(plant.con)
    assert plant.load().status == "unchanged"


def test_a_file_of_nothing_but_a_header_is_held(plant: Plant):
    plant.write("orders.csv", HEADER)
    verdict = plant.load()
    assert verdict.status == "held"
    assert "the delivery is empty" in verdict.reason


def test_lines_that_do_not_fit_the_header_are_quarantined_by_line(plant: Plant):
    plant.write(
        "orders.csv",
        HEADER
        + "o1,c1,2024-03-01,5,EUR,n\n"
        + "o2,c1,2024-03-01,5,EUR,n,one,two,too many\n"
        + "o3,c1,2024-03-01,5,EUR,n\n",
    )
    verdict = plant.load()
    assert (verdict.extracted, verdict.promoted, verdict.quarantined) == (3, 2, 1)
    [(_, reasons)] = plant.quarantined()
    assert any("the line does not fit the header" in reason for reason in reasons)
    row = json.loads(plant.one("select row from quarantine.rows"))
    assert (row["no"], row["_source_row"]) == ("o2,c1,2024-03-01,5,EUR,n,one,two,too many", "3")


def test_a_renamed_column_holds_the_load_with_its_likely_new_name(plant: Plant):
    plant.orders(range(50))
    plant.load()
    plant.orders(range(40, 90), header=HEADER.replace("note", "remark"))
    verdict = plant.load()
    assert verdict.status == "held"
    assert verdict.reason.startswith("column 'note' is gone, probably renamed to 'remark'")


def test_a_parquet_column_that_changes_its_type_holds_the_load(plant: Plant):
    path = plant.folder / "delivered" / "visits.parquet"
    path.parent.mkdir()
    row = "select 'v' || i as id, 'p' as who, timestamp '2024-01-01' as began, timestamp '2024-01-02' as ended"
    duckdb.sql(f"{row}, i::integer as pages from range(30) as r(i)").write_parquet(str(path))
    assert plant.load("shop", "visits").promoted == 30
    duckdb.sql(f"{row}, 'many' as pages from range(30, 60) as r(i)").write_parquet(str(path))
    verdict = plant.load("shop", "visits")
    assert verdict.reason == "column 'pages' changed its type from INTEGER to VARCHAR"
    duckdb.sql(f"{row}, i::bigint as pages from range(30, 60) as r(i)").write_parquet(str(path))
    assert plant.load("shop", "visits").status == "promoted"


def test_a_database_row_is_corrected_deleted_and_revived(plant: Plant):
    def write(*statements: str) -> Verdict:
        with sqlite3.connect(plant.folder / "crm.db") as crm:
            for statement in statements:
                crm.execute(statement)
        return plant.load("crm", "subscriptions")

    def live() -> list[tuple[object, ...]]:
        return plant.con.execute(
            "select id, fee::double from raw_crm.subscriptions where _deleted_at is null order by id"
        ).fetchall()

    verdict = write(
        "insert into subscriptions values ('s1', 'p1', '2024-01-01', null, 5)",
        "insert into subscriptions values ('s2', 'p1', '2024-01-01', '2023-01-01', 5)",
        "insert into subscriptions values ('s3', 'p1', '2024-01-01', null, -5)",
    )
    assert (verdict.promoted, verdict.quarantined) == (1, 2)
    write("update subscriptions set ended = null where id = 's2'")
    assert live() == [("s1", 5.0), ("s2", 5.0)]
    assert [key for key, _ in plant.quarantined()] == ["s3"]
    write("delete from subscriptions where id in ('s1')")
    assert live() == [("s2", 5.0)]
    write("insert into subscriptions values ('s1', 'p1', '2024-01-01', null, 7)")
    assert live() == [("s1", 7.0), ("s2", 5.0)]
    assert plant.load("crm", "subscriptions").status == "unchanged"


def test_a_record_that_is_deleted_and_there_in_one_delivery_is_for_people_to_decide(plant: Plant):
    told = CONFIG.replace("key: no\n", "key: no\n        deleted: note = 'gone'\n")
    (plant.folder / "cem.yml").write_text(told, encoding="utf-8")
    plant.settings = load_settings(plant.folder / "cem.yml", plant.folder / "home")
    plant.orders(range(5))
    assert plant.load().promoted == 5
    changed = "o{0},c1,2024-03-01,7,EUR,{1}\n"
    both = "".join(changed.format(number, note) for number in (1, 9) for note in ("n", "gone"))
    plant.write("orders.csv", HEADER + both + changed.format(2, "gone"))
    verdict = plant.load()
    assert (verdict.promoted, verdict.quarantined, verdict.deduplicated) == (0, 4, 1)
    assert [key for key, _ in plant.quarantined()] == ["o1", "o1", "o9", "o9"]
    assert all("no cursor says which is newest" in " ".join(reasons) for _, reasons in plant.quarantined())
    live = "select no, total from raw_shop.orders where _deleted_at is null order by 1"
    assert plant.con.execute(live).fetchall() == [(f"o{number}", "12.50") for number in (0, 1, 3, 4)]
    # While it says both it says nothing new, and of one of them it is believed.
    plant.write("orders.csv", HEADER + both)
    assert (plant.load().status, len(plant.quarantined())) == ("unchanged", 4)
    plant.write("orders.csv", HEADER + changed.format(1, "gone"))
    plant.load()
    assert plant.con.execute(live).fetchall() == [(f"o{number}", "12.50") for number in (0, 3, 4)]
    assert [key for key, _ in plant.quarantined()] == ["o9", "o9"]


def test_a_deletion_that_was_told_counts_until_something_newer_is(plant: Plant):
    row = "o{0},c1,2024-03-01,{1},EUR,{2}\n"
    live = "select no, total from raw_shop.orders where _deleted_at is null order by 1"

    def delivered(name: str, *rows: str) -> list[tuple[object, ...]]:
        plant.write(name, HEADER + "".join(rows))
        plant.load()
        return plant.con.execute(live).fetchall()

    assert delivered("orders1.csv", row.format(1, 5, "n"), row.format(2, 5, "gone")) == [("o1", "5"), ("o2", "5")]
    told = CONFIG.replace("key: no\n", "key: no\n        deleted: note = 'gone'\n")
    (plant.folder / "cem.yml").write_text(told, encoding="utf-8")
    plant.settings = load_settings(plant.folder / "cem.yml", plant.folder / "home")
    plant.load()
    assert plant.con.execute(live).fetchall() == [("o1", "5")]
    assert delivered("orders2.csv", row.format(1, 5, "gone"), row.format(3, 5, "n")) == [("o3", "5")]
    # An old file that comes again says nothing new.
    assert delivered("orders1.csv", row.format(1, 5, "n"), row.format(4, 5, "n")) == [("o3", "5"), ("o4", "5")]
    assert delivered("orders3.csv", row.format(1, 6, "n")) == [("o1", "6"), ("o3", "5"), ("o4", "5")]


def test_two_versions_of_a_record_do_not_take_turns(plant: Plant):
    row = "o{0},c1,2024-03-01,{1},EUR,n\n"
    plant.write("orders.csv", HEADER + row.format(1, 5) + row.format(2, 5))
    assert plant.load().promoted == 2
    # Each delivery brings another order, so that the file is read again.
    for number in (3, 4, 5):
        more = "".join(row.format(other, 5) for other in range(2, number + 1))
        plant.write("orders.csv", HEADER + row.format(1, 5) + row.format(1, 99) + more)
        verdict = plant.load()
        assert (verdict.promoted, verdict.quarantined) == (1, 1 if number == 3 else 0)
        assert [key for key, _ in plant.quarantined()] == ["o1"]
        assert plant.one("select total from raw_shop.orders where no = 'o1'") == "5"
    plant.write("orders.csv", HEADER + row.format(1, 99) + more)
    assert plant.load().promoted == 1
    assert plant.quarantined() == []
    assert plant.one("select total from raw_shop.orders where no = 'o1'") == "99"


def test_of_two_versions_the_one_that_stays_is_believed(plant: Plant):
    row = "o{0},c1,2024-03-01,{1},EUR,n\n"
    plant.write("orders.csv", HEADER + row.format(1, 5) + row.format(1, 99) + row.format(2, 5))
    assert (plant.load().quarantined, len(plant.quarantined())) == (2, 2)
    plant.write("orders.csv", HEADER + row.format(1, 99) + row.format(2, 5))
    assert (plant.load().promoted, plant.quarantined()) == (1, [])
    assert plant.one("select total from raw_shop.orders where no = 'o1'") == "99"


def test_a_row_that_was_given_another_key_is_not_brought_again(plant: Plant):
    bad = "o2,c1,2024-03-01,-5,EUR,n\n,c1,2024-03-01,5,EUR,n\n"
    plant.write("orders.csv", HEADER + "o1,c1,2024-03-01,5,EUR,n\n" + bad)
    assert plant.load().quarantined == 2
    replay(plant.con, plant.settings, "shop", "orders", keys=["o2"], changes={"no": "o3", "total": "6"})
    replay(plant.con, plant.settings, "shop", "orders", changes={"no": "o4"})
    plant.write("orders.csv", HEADER + "o9,c1,2024-03-01,5,EUR,n\n" + bad)
    verdict = plant.load()
    assert (verdict.promoted, verdict.quarantined, verdict.deduplicated) == (1, 0, 2)
    # Once the record itself has come, the row that was taken for it is wrong again.
    plant.write("orders.csv", HEADER + "o3,c1,2024-03-01,7,EUR,n\n")
    assert plant.load().promoted == 1
    plant.write("orders.csv", HEADER + bad)
    verdict = plant.load()
    assert (verdict.promoted, verdict.quarantined, verdict.deduplicated) == (0, 1, 1)
    assert plant.con.execute("select _key, total from raw_shop.orders order by 1").fetchall() == [
        ("o1", "5"),
        ("o3", "7"),
        ("o4", "5"),
        ("o9", "5"),
    ]


def test_a_row_that_was_given_another_key_is_gone_with_the_row_it_was_sent_as(plant: Plant):
    def load(statement: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(plant.folder / "crm.db") as crm:
            crm.execute(statement)
        plant.load("crm", "subscriptions")
        return plant.con.execute(
            "select id, fee::double from raw_crm.subscriptions where _deleted_at is null order by id"
        ).fetchall()

    load("insert into subscriptions values ('s1', 'p1', '2024-01-01', null, 5), ('s2', 'p1', '2024-01-01', null, -5)")
    replay(plant.con, plant.settings, "crm", "subscriptions", changes={"id": "s3", "fee": "6"})
    assert load("insert into subscriptions values ('s4', 'p1', '2024-01-01', null, 7)") == [
        ("s1", 5.0),
        ("s3", 6.0),
        ("s4", 7.0),
    ]
    assert plant.quarantined() == []
    assert load("delete from subscriptions where id = 's2'") == [("s1", 5.0), ("s4", 7.0)]


def test_a_corrected_mapping_lets_quarantined_rows_through(plant: Plant):
    plant.orders(range(50))
    plant.write("orders_b.csv", HEADER + "x1,c1,2024-03-01,5,EURO,n\nx2,c1,2024-03-01,6,EURO,n\n")
    assert plant.load().quarantined == 2
    mended = CONFIG.replace("currency: currency}", "currency: {column: currency, map: {EURO: EUR}}}")
    (plant.folder / "cem.yml").write_text(mended, encoding="utf-8")
    settings = load_settings(plant.folder / "cem.yml", plant.folder / "home")
    assert replay(plant.con, settings, "shop", "orders", rule="order.currency_known").promoted == 2
    assert plant.quarantined() == []
    assert plant.one("select count(*) from raw_shop.orders") == 52


def test_great_expectations_agrees_on_what_was_loaded(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    plant.orders(range(50))
    plant.load()
    [table] = [table for table in plant.settings.source("shop").tables if table.name == "orders"]
    pairs = validate_with_gx(plant.con, plant.settings, table)
    assert all(pair.ours == pair.gx for pair in pairs)
    plant.con.close()
    monkeypatch.setenv("CEM_CONFIG", str(plant.settings.config_path))
    monkeypatch.setenv("CEM_HOME", str(plant.settings.home))
    assert main(["validate", "shop", "orders"]) == 0
    assert f"for {len(pairs)} of {len(pairs)} rules" in capsys.readouterr().out


def test_personal_data_stays_in_the_rows(plant: Plant, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture):
    people = [
        {
            "id": f"canary{n}@example.org",
            "mail": f"canary{n}@example.org",
            "name": "Canary",
            "phone": "5E+9",
            "since": "x",
        }
        for n in range(40)
    ]
    people += [
        {"id": f"p{n}", "mail": "canary", "name": "Canary", "phone": "canary", "since": "2024"} for n in range(5)
    ]
    plant.write("people.jsonl", "".join(json.dumps(row) + "\n" for row in people))
    first = plant.load("shop", "people")
    assert first.status == "held"
    [held] = held_loads(plant.con)
    second = release(plant.con, plant.settings, held.load_id, "shop", "people", "Ada", "test")
    assert second.quarantined == 45
    texts = [repr(first), repr(second), caplog.text, *capfd.readouterr(), describe_loads(plant.con)]
    texts += [
        repr(plant.con.execute(f"select * from ops.{table}").fetchall())
        for table in ("loads", "load_rules", "source_state")
    ]
    texts.append(repr(plant.con.execute("select reasons from quarantine.rows").fetchall()))
    texts += [path.read_text(encoding="utf-8") for path in (plant.folder / "home" / "guard").glob("*.json")]
    assert not [text for text in texts if "anary" in text]
    assert "45 rows are in quarantine" in describe_quarantine(plant.con, plant.settings)
