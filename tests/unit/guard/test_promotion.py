"""The promoting transaction: conservation, versions, deletions, and rows kept as they came."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from guarded_shop import Shop, order

from orchestration.guard import batches, guard_table, promotion, release
from orchestration.guard.results import GuardError
from orchestration.guard.suites import sent_suite
from orchestration.sources.extract import StateEntry


def content(shop: Shop) -> list[tuple[object, ...]]:
    """Everything that readers of raw see, without what names the load."""
    return shop.con.execute(
        "select * exclude (_load_id, _loaded_at, _deleted_at), _deleted_at is null as is_live "
        "from raw_shop.orders order by all"
    ).fetchall()


def test_a_load_is_booked_with_everything_it_read(shop: Shop):
    rows = [order(1), order(1), order(2, total="-1"), order(3)]
    verdict = shop.load(rows, state=[StateEntry("file", "a.csv", "f1"), StateEntry("cursor", "at", "9")])
    assert (verdict.extracted, verdict.promoted, verdict.quarantined, verdict.deduplicated) == (4, 2, 1, 1)
    booked = shop.con.execute("select * exclude (started_at, finished_at) from ops.loads").fetchall()
    assert booked == [("load0001", "shop", "orders", "promoted", 4, 2, 1, 1, None)]
    state = shop.con.execute("select source, table_name, kind, name, value from ops.source_state order by kind")
    assert state.fetchall() == [("shop", "orders", "cursor", "at", "9"), ("shop", "orders", "file", "a.csv", "f1")]
    assert shop.con.execute(
        "select count(*) from duckdb_tables() where temporary and table_name like 'guard%'"
    ).fetchone() == (0,)
    assert shop.con.execute("select count(*) from duckdb_views() where view_name like 'guard%'").fetchone() == (0,)


def test_loading_the_same_three_times_changes_nothing(shop: Shop):
    rows = [order(1), order(2, total="-1"), order(3)]
    shop.load(rows)
    before, quarantined = content(shop), shop.con.execute("select * from quarantine.rows").fetchall()
    for _ in range(2):
        verdict = shop.load(rows)
        assert (verdict.status, verdict.extracted, verdict.deduplicated) == ("unchanged", 3, 3)
    assert content(shop) == before
    assert shop.con.execute("select * from quarantine.rows").fetchall() == quarantined
    assert shop.count("ops.loads") == 1


def test_names_that_differ_in_case_are_one_column(shop: Shop):
    shop.load([order(1, note="a")])
    verdict = shop.load([order(2) | {"NOTE": "b"}])
    assert (verdict.status, verdict.reason) == ("promoted", None)
    assert shop.raw("no", "note") == [("o1", "a"), ("o2", "b")]


def test_a_new_version_replaces_the_old_one_in_every_column(shop: Shop):
    shop.load([order(1, note="old"), order(2, note="stays")])
    shop.load([order(1, note=None, total="99")])
    assert shop.raw("no", "total", "note", "_load_id") == [
        ("o1", "99", None, "load0002"),
        ("o2", "12.50", "stays", "load0001"),
    ]


def test_an_older_version_than_the_promoted_one_is_left_out_and_counted(shop: Shop):
    versions = shop.with_table(cursor="at")
    versions.load([order(1, at="2024-03-05", delivered=None)])
    verdict = versions.load([order(1, at="2024-03-01", delivered=None), order(2)])
    assert (verdict.promoted, verdict.deduplicated) == (1, 1)
    assert versions.raw("no", "at")[0] == ("o1", "2024-03-05")


def test_a_bad_new_version_leaves_the_good_old_one_up(shop: Shop):
    shop.load([order(1)])
    shop.load([order(1, total="-5")])
    assert shop.raw("no", "total") == [("o1", "12.50")]
    assert list(shop.quarantined()) == ["o1"]


def test_a_correction_clears_its_quarantined_predecessor(shop: Shop):
    shop.load([order(1), order(2, total="-1"), order(3, total="-1")])
    shop.load([order(2, total="1")])
    assert list(shop.quarantined()) == ["o3"]
    cleared = shop.con.execute("select key, released_by, released_at is not null from quarantine.rows where key = 'o2'")
    assert cleared.fetchall() == [("o2", "source correction", True)]
    assert shop.raw("no", "total") == [("o1", "12.50"), ("o2", "1")]


def test_a_bad_version_takes_the_place_of_an_earlier_bad_one(shop: Shop):
    shop.load([order(1), order(2, total="-1")])
    shop.load([order(2, total="-2")])
    rows = shop.con.execute("select load_id, released_by from quarantine.rows order by load_id").fetchall()
    assert rows == [("load0001", "newer version in load load0002"), ("load0002", None)]


def test_a_deletion_at_the_source_is_soft_and_can_be_undone(shop: Shop):
    shop.load([order(1), order(2), order(3, total="-1")])
    verdict = shop.load([order(1)], columns=list(order(1)), gone=["o2"])
    assert (verdict.status, verdict.promoted, verdict.deduplicated) == ("promoted", 0, 1)
    assert shop.raw("no") == [("o1",)]
    kept = shop.con.execute("select total, _load_id from raw_shop.orders where _deleted_at is not null").fetchall()
    assert kept == [("12.50", "load0002")]
    shop.load([order(2, total="7")])
    assert shop.raw("no", "total") == [("o1", "12.50"), ("o2", "7")]


def test_rows_go_to_quarantine_as_they_came(shop: Shop):
    odd = order(1, total="-1") | {"we\"ird 'name'": "x\x00y", "نام": "سارا"}
    shop.load([odd, order(2) | {"نام": None}])
    row = json.loads(shop.con.execute("select row from quarantine.rows").fetchone()[0])
    assert {name: value for name, value in row.items() if not name.startswith("_")} == odd
    assert (row["_source_file"], row["_source_row"]) == ("file.csv", "1")


def test_native_values_keep_every_digit_in_quarantine(shop: Shop):
    types = {"exact": "decimal(38,10)", "list": "integer[]", "bytes": "blob", "total": "double"}
    values = {"exact": "12345678901234567890.0123456789", "list": [1, 2], "bytes": b"\x00\xff", "total": -0.1}
    shop.load([order(1) | values, order(2) | values | {"total": 1.5}], types=types)
    row = json.loads(shop.con.execute("select row from quarantine.rows").fetchone()[0])
    assert row["exact"] == "12345678901234567890.0123456789"
    assert (row["list"], row["total"]) == ("[1, 2]", "-0.1")


def test_sql_in_names_and_values_is_data(shop: Shop):
    evil = "x'); drop table ops.loads; --"
    verdict = shop.load([order(1) | {evil: evil, "customer": evil}, order(2, total="-1") | {evil: evil}])
    assert (verdict.promoted, verdict.quarantined) == (1, 1)
    assert shop.raw("customer", evil) == [(evil, evil)]
    assert shop.count("ops.loads") == 1


def test_a_row_without_a_key_is_quarantined_by_its_place(shop: Shop):
    shop.load([order(1), order(2) | {"no": None}])
    [(key, reasons)] = shop.quarantined().items()
    assert key == "file.csv#2"
    assert any("[sent.key_given]" in reason for reason in reasons)
    # Another keyless row is another record: it must not push the first one out.
    shop.load([order(3), order(4) | {"no": None}])
    assert shop.con.execute("select count(*) from quarantine.rows where released_at is null").fetchone() == (2,)


def test_tables_without_a_key_take_every_row(shop: Shop):
    log = shop.with_table(key=())
    verdict = log.load([order(1), order(2), order(3, total="-2")])
    assert (verdict.promoted, verdict.quarantined) == (2, 1)
    assert list(log.quarantined()) == ["file.csv#3"]


def test_a_doubled_row_is_refused_and_nothing_changes(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    shop.load([order(1)])
    before = content(shop)
    # As if somebody had taken the rules on unique keys out of the suites.
    lax = [batches.TableSuite(sent_suite(), skipped=frozenset({"sent.key_unique"}))]
    monkeypatch.setattr(batches, "table_suites", lambda *given: lax)
    delivery = shop.deliver([order(1, total="1"), order(1, total="2")])

    with pytest.raises(GuardError, match="keys occur twice"):
        guard_table(shop.con, shop.settings, shop.table(), delivery)
    assert content(shop) == before
    assert shop.count("ops.loads") == 1
    assert shop.count("candidate_shop.orders") == 2


def test_a_key_that_is_twice_in_the_warehouse_is_refused_and_nothing_changes(shop: Shop):
    shop.load([order(1)])
    shop.con.execute("insert into raw_shop.orders from raw_shop.orders")
    before = content(shop)

    with pytest.raises(GuardError, match=r"1 rows have the keys of earlier ones, but in .* these are 2"):
        shop.load([order(1, total="5")])
    assert content(shop) == before


def test_a_lost_row_is_refused_and_nothing_changes(shop: Shop):
    shop.load([order(1)])
    delivery = replace(shop.deliver([order(2), order(3)]), extracted=3)
    verdict = guard_table(shop.con, shop.settings, shop.table(), delivery)
    assert verdict.status == "held"
    assert verdict.reason.startswith("3 records were read, but 2 are accounted for (2 to audit, 0 repeated or known)")
    # Not even a person can let it pass.
    with pytest.raises(GuardError, match="3 rows were read, but 2 promoted"):
        release(shop.con, shop.settings, delivery.load_id, "shop", "orders", "Ada", "never mind")
    assert shop.raw("no") == [("o1",)]
    assert shop.status(delivery.load_id)[0] == "held"


def test_an_error_while_promoting_leaves_everything_as_it_was(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    shop.load([order(1), order(2, total="-1")])
    before = content(shop), shop.con.execute("select * from quarantine.rows").fetchall()
    monkeypatch.setattr(promotion, "write_state", lambda *given: 1 / 0)
    delivery = shop.deliver([order(1, total="5"), order(2, total="5"), order(4, colour="red")])
    with pytest.raises(ZeroDivisionError):
        guard_table(shop.con, shop.settings, shop.table(), delivery)
    assert (content(shop), shop.con.execute("select * from quarantine.rows").fetchall()) == before
    monkeypatch.undo()
    assert guard_table(shop.con, shop.settings, shop.table(), delivery).promoted == 3
