"""A second chance for quarantined rows."""

from __future__ import annotations

import json
import sys

import pytest
from guarded_shop import ORDER_COLUMNS, Shop, order

from orchestration.guard import replay
from orchestration.guard.results import GuardError
from orchestration.settings import EntityMapping
from orchestration.warehouse import utc_now


def remapped(shop: Shop) -> Shop:
    """The same shop after cem.yml learnt what `EURO` means."""
    columns = ORDER_COLUMNS | {"currency": {"column": "currency", "map": {"EURO": "EUR"}}}
    return shop.with_table(entities=(EntityMapping(entity="order", columns=columns),))


def bad_load(shop: Shop) -> None:
    shop.load([order(1), order(2, currency="EURO"), order(3, currency="EURO"), order(4, currency="EURO", total="-1")])
    assert len(shop.quarantined()) == 3


def test_rows_that_pass_by_now_are_promoted_and_booked(shop: Shop):
    bad_load(shop)
    verdict = replay(shop.con, remapped(shop).settings, "shop", "orders", by="Ada")
    assert (verdict.extracted, verdict.promoted, verdict.quarantined) == (3, 2, 1)
    assert shop.raw("no", "currency") == [("o1", "EUR"), ("o2", "EURO"), ("o3", "EURO")]
    # What stays has only the reasons of today.
    assert shop.quarantined() == {
        "o4": ["order.amount: must not be negative unless the order was returned [order.amount_not_negative]"]
    }
    released = shop.con.execute(
        "select key, released_by from quarantine.rows where released_at is not null order by key"
    )
    assert released.fetchall() == [("o2", "replay by Ada"), ("o3", "replay by Ada")]
    booked = shop.con.execute(
        "select extracted, promoted, quarantined, reason from ops.loads where load_id <> 'load0001'"
    )
    assert booked.fetchall() == [(3, 2, 1, "replay of 3 quarantined rows by Ada")]
    loads = {row[0] for row in shop.raw("_load_id")}
    assert len(loads) == 2


def test_a_second_replay_finds_only_what_stayed(shop: Shop):
    bad_load(shop)
    settings = remapped(shop).settings
    replay(shop.con, settings, "shop", "orders")
    verdict = replay(shop.con, settings, "shop", "orders")
    assert (verdict.extracted, verdict.promoted, verdict.quarantined) == (1, 0, 1)


def test_rows_are_picked_by_key_or_by_rule(shop: Shop):
    bad_load(shop)
    settings = remapped(shop).settings
    assert replay(shop.con, settings, "shop", "orders", keys=["o3"]).promoted == 1
    assert set(shop.quarantined()) == {"o2", "o4"}
    assert replay(shop.con, settings, "shop", "orders", rule="order.amount_not_negative").promoted == 0
    assert replay(shop.con, settings, "shop", "orders", rule="order.currency_known").promoted == 1
    with pytest.raises(GuardError, match="no row in quarantine matches"):
        replay(shop.con, settings, "shop", "orders", keys=["o999"])
    with pytest.raises(GuardError, match="no row in quarantine matches"):
        replay(shop.con, settings, "shop", "orders", rule="currency_known")


def test_a_row_can_be_mended_and_the_source_does_not_undo_it(shop: Shop):
    bad_load(shop)
    changes = {"currency": "EUR", "total": "1"}
    assert replay(shop.con, shop.settings, "shop", "orders", keys=["o4"], changes=changes).promoted == 1
    assert ("o4", "1", "EUR") in shop.raw("no", "total", "currency")
    kept = shop.con.execute("select row from quarantine.rows where key = 'o4'").fetchone()[0]
    assert json.loads(kept)["total"] == "-1"
    verdict = shop.load([order(4, currency="EURO", total="-1")])
    assert (verdict.status, verdict.deduplicated) == ("unchanged", 1)
    assert ("o4", "1", "EUR") in shop.raw("no", "total", "currency")


def test_a_value_can_be_emptied(shop: Shop):
    shop.load([order(1), order(2, delivered="2020-01-01")])
    assert replay(shop.con, shop.settings, "shop", "orders", changes={"delivered": None}).promoted == 1
    assert ("o2", None) in shop.raw("no", "delivered")
    with pytest.raises(GuardError, match="has no column colour to change"):
        replay(shop.con, shop.settings, "shop", "orders", changes={"colour": "red"})


def test_rows_that_share_a_key_do_not_slip_in_together(shop: Shop):
    shop.load([order(1), order(2), order(2, total="99")])
    verdict = replay(shop.con, shop.settings, "shop", "orders")
    assert (verdict.promoted, verdict.quarantined) == (0, 2)
    assert shop.con.execute("select count(*) from quarantine.rows where released_at is null").fetchone() == (2,)


def test_a_row_without_a_key_stays(shop: Shop):
    shop.load([order(1), order(2) | {"no": None}])
    assert replay(shop.con, shop.settings, "shop", "orders").promoted == 0


def test_a_row_is_promoted_under_the_key_it_is_given(shop: Shop):
    shop.load([order(1), order(2, total="-1"), order(4) | {"no": None}])
    for given, change in ((["o2"], {"no": "\u200bo\u06f3 ", "total": "5"}), (None, {"no": "o5"})):
        assert replay(shop.con, shop.settings, "shop", "orders", keys=given, changes=change).promoted == 1
    assert shop.raw("_key", "total") == [("o1", "12.50"), ("o3", "5"), ("o5", "12.50")]
    # When the record itself comes there is one of it.
    shop.load([order(3, total="7")])
    assert shop.raw("_key", "total") == [("o1", "12.50"), ("o3", "7"), ("o5", "12.50")]


def test_no_row_takes_the_key_of_a_record_that_is_promoted(shop: Shop):
    shop.load([order(1), order(2, total="-1")])
    with pytest.raises(GuardError, match="1 rows would get the key of a record that is promoted already"):
        replay(shop.con, shop.settings, "shop", "orders", changes={"no": "o1", "total": "5"})
    assert shop.raw("no", "total") == [("o1", "12.50")]
    assert set(shop.quarantined()) == {"o2"}
    # Its own key is none of another record.
    shop.con.execute("update quarantine.rows set key = 'o1', row = replace(row::text, 'o2', 'o1')::json")
    assert replay(shop.con, shop.settings, "shop", "orders", changes={"no": "o1", "total": "5"}).promoted == 1


def test_a_row_is_promoted_as_the_version_it_is_given(shop: Shop):
    versions = shop.with_table(cursor="changed")
    versions.load([order(1, changed="2024-03-02"), order(2, total="-1", changed="2024-03-02")])
    for mended, expected in (("2024-03-07", "2024-03-07T00:00:00.000000"), ("2999-01-01", utc_now().isoformat())):
        shop.con.execute("update quarantine.rows set released_at = null, released_by = null")
        changes = {"changed": mended, "total": "5"}
        assert replay(shop.con, versions.settings, "shop", "orders", changes=changes).promoted == 1
        [(given,)] = shop.con.execute("select _cursor from raw_shop.orders where _key = 'o2'").fetchall()
        assert given[:10] == expected[:10]


def test_a_row_older_than_what_is_promoted_is_released_without_being_promoted(shop: Shop):
    versions = shop.with_table(cursor="at")
    versions.load([order(1, at="2024-03-02", total="-1", delivered=None), order(2)])
    # The newer version came while the older one was being mended elsewhere.
    shop.con.execute("update quarantine.rows set released_at = now(), released_by = 'x'")
    versions.load([order(1, at="2024-03-05", delivered=None)])
    shop.con.execute("update quarantine.rows set released_at = null, released_by = null")
    verdict = replay(shop.con, versions.settings, "shop", "orders", changes={"total": "5"})
    assert (verdict.promoted, verdict.quarantined, verdict.deduplicated) == (0, 0, 1)
    assert versions.raw("no", "total")[0] == ("o1", "12.50")
    assert not versions.quarantined()


def test_native_values_come_back_exactly(shop: Shop):
    types = {"exact": "decimal(38,10)", "list": "integer[]", "bytes": "blob", "total": "double", "when": "timestamptz"}
    values = {
        "exact": "12345678901234567890.0123456789",
        "list": [1, 2],
        "bytes": b"\x00\xff",
        "total": -0.1,
        "when": "2024-01-01 00:00:00+03",
    }
    shop.load([order(1) | values, order(2) | values | {"total": 0.1}], types=types)
    replay(shop.con, shop.settings, "shop", "orders", changes={"state": "returned"})
    picked = ("exact", "list", "bytes", "when")
    first, second = shop.raw(*picked)
    assert first == second
    assert [row[0] for row in shop.raw("total")] == [-0.1, 0.1]


def test_nothing_changes_when_a_replay_fails(shop: Shop, monkeypatch: pytest.MonkeyPatch):

    bad_load(shop)
    monkeypatch.setattr(sys.modules["orchestration.guard.replay"], "_settle", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        replay(shop.con, remapped(shop).settings, "shop", "orders")
    assert shop.raw("no") == [("o1",)]
    assert len(shop.quarantined()) == 3
    assert shop.count("ops.loads") == 1
