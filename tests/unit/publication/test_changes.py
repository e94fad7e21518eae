"""Publications that follow the change: the same for readers as if everything had been written anew."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from orchestration.publication import MartColumn, MartSpec, PublicationError, changes, mark, publish, writer
from orchestration.settings import Settings

ORDERS = MartSpec(
    name="fct_order",
    description="One row per order.",
    owner="coalesce(customer_id, order_key)",
    columns=(
        MartColumn("order_key", "Order."),
        MartColumn("customer_id", "Customer, who may be unknown."),
        MartColumn("email", "Mail.", "email"),
        MartColumn("total", "Amount."),
    ),
)

VALUES = MartSpec(
    name="mart_golden_record",
    description="One row per order and value: a view over what is not published.",
    kind="view",
    owner="customer_id",
    columns=(
        MartColumn("customer_id", "Customer."),
        MartColumn("email", "Mail.", "email"),
        MartColumn("rank", "Rank of the value."),
    ),
)

CHANGES = {
    "a row of a customer": "update marts.fct_order set total = 7 where order_key = 'o1'",
    "a record without a customer": "update marts.fct_order set total = 9000 where order_key = 'o7@canary-mail.example'",
    "rows that move to another customer": "update marts.fct_order set customer_id = 'c2' where customer_id = 'c1'",
    "rows that lose their customer": "update marts.fct_order set customer_id = null where customer_id = 'c3'",
    "rows without any owner": "insert into marts.fct_order values (null, null, 'x@y.zz', 1), (null, null, null, 2)",
    "rows deleted": "delete from marts.fct_order where customer_id in ('c4', 'c5')",
    "a row twice": "insert into marts.fct_order from marts.fct_order where order_key = 'o9'",
    "personal data only": "update marts.fct_order set email = 'new@canary-mail.example' where order_key = 'o11'",
    "most rows": "update marts.fct_order set total = total + 1",
    "no row left": "delete from marts.fct_order",
    "a table without owners": "update marts.mart_kpi_parts set numerator = 42",
    "two tables": "update marts.fct_order set total = 8 where order_key = 'o1'; "
    "update marts.dim_customer set city = 'York' where customer_id like '%0001'",
    "rows behind a view": "update main.survived set rank = 9 where customer_id = 'c8'; "
    "delete from main.survived where customer_id = 'c9'",
    "only the load summary": "update ops.loads set status = 'released' where status = 'held'",
}


@pytest.fixture
def owned(marts) -> list[MartSpec]:
    return [replace(marts[0], owner="customer_id"), ORDERS, VALUES, *marts[1:]]


@pytest.fixture
def shop(warehouse):
    """The warehouse with orders of 60 customers, and of nobody; keys of some are mail addresses."""
    warehouse.execute(
        """
        create table marts.fct_order as
        select
            'o' || i || case when i % 7 = 0 then '@canary-mail.example' else '' end as order_key,
            case when i % 10 <> 7 then 'c' || i % 60 end as customer_id,
            'zahra' || i || '@canary-mail.example' as email,
            i as total,
        from range(600) as t (i);
        create table main.survived as select customer_id, email, total as rank from marts.fct_order;
        create view marts.mart_golden_record as select customer_id, email, rank from main.survived;
        """
    )
    return warehouse


def seen(published: Path) -> dict[str, object]:
    """All a reader can see of a published file, but which publication it is."""
    with duckdb.connect() as con:
        con.execute(f"attach '{published / 'marts.duckdb'}' as cem (read_only); use cem")
        names = con.execute("select table_schema || '.' || table_name from information_schema.tables").fetchall()
        found: dict[str, object] = {
            name: con.execute(f"from {name} order by all").fetchall()
            for (name,) in names
            if name != "marts._publication"
        }
        about = "schema_name, comment from duckdb_"
        found["about"] = [
            con.execute(f"select {what}_name, {about}{what}s() where database_name = 'cem' order by all").fetchall()
            for what in ("table", "view")
        ]
        found["columns"] = con.execute(
            "select schema_name, table_name, column_index, column_name, data_type, comment from duckdb_columns() "
            "where database_name = 'cem' order by all"
        ).fetchall()
        found["publication"] = con.execute(
            "select version, row_count, fingerprint, is_stale, held_loads from marts._publication"
        ).fetchall()
        for path in (published / "parquet").iterdir():
            if path.stem != "_publication":
                rows = con.execute(f"from '{path}' order by all").fetchall()
                assert rows == found[f"marts.{path.stem}"], path.stem
    return found


def whole(con: duckdb.DuckDBPyConnection, settings: Settings, marts: list[MartSpec]) -> dict[str, object]:
    """What readers see of the same version when nothing is known of the one before."""
    elsewhere = settings.home / "elsewhere"
    shutil.rmtree(elsewhere, ignore_errors=True)
    version = con.execute("select max(version) from ops.publications").fetchone()[0]
    con.execute("begin; delete from ops.published_file; delete from ops.publications where version = ?", [version])
    con.execute("commit")
    shutil.move(settings.published, elsewhere)
    assert publish(con, settings, "run-whole", marts).version == version
    return seen(settings.published)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_readers_see_what_a_file_written_whole_shows(shop, settings, owned, change):
    publish(shop, settings, "run-1", owned)
    shop.execute(change)
    publication = publish(shop, settings, "run-2", owned)
    assert publication.changed and len(publication.written) < 3
    followed = seen(settings.published)
    assert followed == whole(shop, settings, owned)


def test_only_what_changed_is_written(shop, settings, owned, monkeypatch):
    monkeypatch.setattr(changes, "MOST_GROWTH", 10)  # of some kilobytes, the first changes make half as many more
    assert publish(shop, settings, "run-1", owned).written == {
        "dim_customer",
        "fct_order",
        "mart_golden_record",
        "mart_kpi_parts",
    }
    before = {path.stem: path.stat().st_ino for path in (settings.published / "parquet").iterdir()}
    shop.execute("update marts.fct_order set total = 7 where order_key = 'o1'")

    assert publish(shop, settings, "run-2", owned).written == frozenset()

    after = {path.stem: path.stat().st_ino for path in (settings.published / "parquet").iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"_publication", "fct_order"}
    shop.execute("update marts.mart_kpi_parts set numerator = 42")
    assert publish(shop, settings, "run-3", owned).written == {"mart_kpi_parts"}
    last = {path.stem: path.stat().st_ino for path in (settings.published / "parquet").iterdir()}
    assert {name for name in after if after[name] != last[name]} == {"_publication", "mart_kpi", "mart_kpi_parts"}


def test_many_versions_of_changes_end_where_one_does(shop, settings, owned, monkeypatch):
    monkeypatch.setattr(changes, "MOST_GROWTH", 100)
    publish(shop, settings, "run-0", owned)
    for number in range(12):
        shop.execute(f"update marts.fct_order set total = -{number} where hash(order_key) % 40 = {number}")
        shop.execute(f"delete from marts.fct_order where customer_id = 'c{number}'")
        assert publish(shop, settings, f"run-{number}", owned).written == frozenset()
    followed = seen(settings.published)
    assert followed == whole(shop, settings, owned)


@pytest.mark.parametrize("reason", ["documented", "key", "grown", "old", "another file", "nothing remembered"])
def test_the_file_is_written_whole_when_it_cannot_be_carried_on(shop, settings, owned, monkeypatch, reason):
    publish(shop, settings, "run-1", owned)
    shop.execute("update marts.fct_order set total = 7 where order_key = 'o1'")
    if reason == "documented":
        owned[-1] = replace(owned[-1], description="Other words.")
    elif reason == "key":
        (settings.home / "secret.key").write_text("f" * 64)
    elif reason == "grown":
        monkeypatch.setattr(changes, "MOST_GROWTH", 0.5)
    elif reason == "old":
        monkeypatch.setattr(changes, "MOST_VERSIONS", 1)
    elif reason == "another file":
        shop.execute("update ops.published_file set fingerprint = 'of another one'")
    else:
        shop.execute("delete from ops.published_file")

    assert publish(shop, settings, "run-2", owned).written == {
        "dim_customer",
        "fct_order",
        "mart_golden_record",
        "mart_kpi_parts",
    }
    assert seen(settings.published) == whole(shop, settings, owned)


def test_a_file_that_names_people_is_written_whole(shop, settings_with, owned):
    kept = settings_with(personal_data="kept")
    publish(shop, kept, "run-1", owned)
    shop.execute("delete from marts.fct_order where order_key = 'o1'")

    # else the bytes of deleted rows would stay in it
    assert publish(shop, kept, "run-2", owned).written == {
        "dim_customer",
        "fct_order",
        "mart_golden_record",
        "mart_kpi_parts",
    }
    assert seen(kept.published) == whole(shop, kept, owned)


def test_another_number_of_rows_than_in_the_warehouse_is_made_good(shop, settings, owned, caplog):
    publish(shop, settings, "run-1", owned)
    shop.execute("update marts.fct_order set total = 7 where order_key = 'o1'")
    with duckdb.connect(str(settings.published / "marts.duckdb")) as spoiler:
        spoiler.execute("delete from marts.marts.fct_order where customer_id = 'c50'")

    with caplog.at_level(logging.WARNING):
        assert publish(shop, settings, "run-2", owned).written == {"fct_order"}

    assert "fct_order has another number of rows" in caplog.text and "c50" not in caplog.text
    assert seen(settings.published) == whole(shop, settings, owned)


def test_a_published_file_that_cannot_be_changed_is_written_whole(shop, settings, owned, monkeypatch, caplog):
    publish(shop, settings, "run-1", owned)
    shop.execute("update marts.fct_order set total = 7 where order_key = 'o1'")
    monkeypatch.setattr(writer, "of_touched_owners", lambda _: "error('zahra')")

    assert publish(shop, settings, "run-2", owned).written == {
        "dim_customer",
        "fct_order",
        "mart_golden_record",
        "mart_kpi_parts",
    }

    assert "written whole" in caplog.text and "zahra" not in caplog.text
    assert seen(settings.published) == whole(shop, settings, owned)


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_damaged_parquet_file_is_written_anew(shop, settings, owned, damage):
    publish(shop, settings, "run-1", owned)
    path = settings.published / "parquet" / "dim_customer.parquet"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut off":
        path.write_bytes(content[: len(content) // 2])
    shop.execute("update marts.mart_kpi_parts set numerator = 42")

    publish(shop, settings, "run-2", owned)

    assert seen(settings.published) == whole(shop, settings, owned)


def test_a_crash_leaves_the_old_version_and_the_next_follows(shop, settings, owned, monkeypatch):
    publish(shop, settings, "run-1", owned)
    before = seen(settings.published)
    shop.execute("update marts.fct_order set total = 7 where order_key = 'o1'")
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_write_about", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(shop, settings, "run-2", owned)
    assert seen(settings.published) == before and not list(settings.published.glob("*.tmp*"))

    assert publish(shop, settings, "run-3", owned).written == frozenset()
    assert seen(settings.published) == whole(shop, settings, owned)


def test_a_version_that_was_not_booked_is_followed_all_the_same(shop, settings, owned, monkeypatch):
    publish(shop, settings, "run-1", owned)
    shop.execute("update marts.fct_order set total = 7 where order_key = 'o1'")
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_book", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish(shop, settings, "run-2", owned)
    assert not publish(shop, settings, "run-3", owned).changed

    shop.execute("delete from marts.fct_order where customer_id = 'c3'")
    assert publish(shop, settings, "run-4", owned).written == frozenset()
    assert seen(settings.published) == whole(shop, settings, owned)


def test_a_stale_mark_is_taken_away_and_an_open_reader_keeps_its_version(shop, settings, owned):
    shop.execute("delete from ops.loads where status = 'held'")
    publish(shop, settings, "run-1", owned)
    with duckdb.connect(str(settings.published / "cem.duckdb"), read_only=True) as reader:
        old = "select sum(total) from marts.fct_order"
        total = reader.execute(old).fetchone()
        shop.execute(
            "insert into ops.loads values ('2', 'crm', 'people', 'held', 90, 0, 0, 0, 'x', '2024-05-02', '2024-05-02')"
        )
        assert mark(shop, settings).is_stale
        shop.execute("update ops.loads set status = 'discarded' where status = 'held'")
        shop.execute("update marts.fct_order set total = 7000 where order_key = 'o1'")
        assert publish(shop, settings, "run-2", owned).written == frozenset()
        assert reader.execute(old).fetchone() == total
    followed = seen(settings.published)
    assert followed["publication"][0][3:] == (False, 0)
    assert followed == whole(shop, settings, owned)


def test_an_owner_that_is_no_expression_over_the_columns_is_refused(shop, settings, owned):
    owned[1] = replace(ORDERS, owner="customer")
    with pytest.raises(PublicationError, match=r"fct_order: its owner, customer, .*meta"):
        publish(shop, settings, "run-1", owned)
