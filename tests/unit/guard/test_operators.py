"""What people decide about held loads, and what they are shown."""

from __future__ import annotations

import pytest
from guarded_shop import Shop, order, person

from orchestration.guard import (
    describe_loads,
    describe_quarantine,
    discard,
    held_loads,
    is_blocked,
    list_quarantine,
    pages,
    release,
    replay,
)
from orchestration.guard.operators import quarantine_kinds
from orchestration.guard.results import GuardError
from orchestration.sources.extract import StateEntry


def hold_half(shop: Shop) -> str:
    """A held load of 60 orders, half of them bad."""
    shop.load([order(1)])
    verdict = shop.load(
        [order(number, total="-1" if number % 2 else "1") for number in range(100, 160)],
        state=[StateEntry("file", "b.csv", "2"), StateEntry("cursor", "at", "5")],
    )
    assert verdict.status == "held"
    return "load0002"


def state(shop: Shop) -> dict[str, str]:
    return dict(shop.con.execute("select kind, value from ops.source_state where kind <> 'accepted_shape'").fetchall())


def test_a_released_load_is_promoted_and_its_bad_rows_still_are_not(shop: Shop):
    load_id = hold_half(shop)
    verdict = release(shop.con, shop.settings, load_id, "shop", "orders", "Ada", "refunds without a status")
    assert (verdict.promoted, verdict.quarantined) == (30, 30)
    assert not is_blocked(shop.con)
    assert len(shop.raw("no")) == 31
    assert len(shop.quarantined()) == 30
    status, reason = shop.status(load_id)
    assert status == "released"
    assert reason.startswith("30 of 60 rows are bad")
    assert reason.endswith("; released by Ada: refunds without a status")
    counts = shop.con.execute("select extracted, promoted, quarantined from ops.loads where load_id = ?", [load_id])
    assert counts.fetchall() == [(60, 30, 30)]
    assert state(shop) == {"file": "2", "cursor": "5"}
    assert shop.count("ops.held_state") == 0


def test_a_discarded_load_is_gone_and_the_same_files_do_not_come_back(shop: Shop):
    load_id = hold_half(shop)
    discard(shop.con, shop.settings, load_id, "shop", "orders", "Ada", "test delivery")
    assert not is_blocked(shop.con)
    assert shop.raw("no") == [("o1",)]
    assert not shop.exists(schema="candidate_shop")
    assert shop.status(load_id)[0] == "discarded"
    assert shop.status(load_id)[1].endswith("; discarded by Ada: test delivery")
    # The file is known, the cursor has not moved: what the source still says is read again.
    assert state(shop) == {"file": "2"}


@pytest.mark.parametrize("decide", [release, discard])
def test_only_held_loads_can_be_decided_upon(shop: Shop, decide: object):
    hold_half(shop)
    with pytest.raises(GuardError, match=r"load load0001 of shop\.orders is not held; held: load0002 shop\.orders"):
        decide(shop.con, shop.settings, "load0001", "shop", "orders", "Ada", "?")
    with pytest.raises(GuardError, match=r"load load0002 of shop\.invoices is not held; held: load0002 shop\.orders"):
        decide(shop.con, shop.settings, "load0002", "shop", "invoices", "Ada", "?")


def test_a_load_of_a_table_that_left_the_configuration_can_be_discarded(shop: Shop):
    load_id = hold_half(shop)
    source = shop.settings.sources[0]
    fewer = source.model_copy(update={"tables": (shop.table("people"),)})
    settings = shop.settings.model_copy(update={"sources": (fewer,)})
    with pytest.raises(GuardError, match=r"no longer has the table shop\.orders.*: discard the load, or put"):
        release(shop.con, settings, load_id, "shop", "orders", "Ada", "?")
    assert is_blocked(shop.con)
    discard(shop.con, settings, load_id, "shop", "orders", "Ada", "we no longer read orders")
    pages.write_decision(shop.con, settings, "shop", "orders", None)
    assert not is_blocked(shop.con)
    assert not shop.exists(schema="candidate_shop")
    assert shop.status(load_id)[1].endswith("; discarded by Ada: we no longer read orders")


def test_a_candidate_of_another_load_is_not_released(shop: Shop):
    load_id = hold_half(shop)
    shop.deliver([order(5)])
    with pytest.raises(GuardError, match="holds another load"):
        release(shop.con, shop.settings, load_id, "shop", "orders", "Ada", "?")
    assert is_blocked(shop.con)


def test_a_released_gone_column_is_accepted_from_then_on(shop: Shop):
    shop.load([order(1, note="n")])
    assert shop.load([order(2)]).status == "held"
    release(shop.con, shop.settings, "load0002", "shop", "orders", "Ada", "they dropped it")
    assert shop.raw("no", "note") == [("o1", "n"), ("o2", None)]
    assert shop.load([order(3)]).status == "promoted"


def test_a_released_type_change_is_accepted_from_then_on(shop: Shop):
    shop.load([order(1, size="007")], types={"size": "varchar"})
    assert shop.load([order(2, size=8)], types={"size": "integer"}).status == "held"
    release(shop.con, shop.settings, "load0002", "shop", "orders", "Ada", "sizes are numbers now")
    assert shop.load([order(3, size=9)], types={"size": "integer"}).status == "promoted"
    assert shop.raw("no", "size") == [("o1", "007"), ("o2", "8"), ("o3", "9")]


def test_a_type_that_no_text_fits_becomes_text_when_released(shop: Shop):
    shop.load([order(1, size=7)], types={"size": "integer"})
    assert shop.load([order(2, size="XL")], types={"size": "varchar"}).status == "held"
    release(shop.con, shop.settings, "load0002", "shop", "orders", "Ada", "sizes have letters now")
    assert shop.raw("no", "size") == [("o1", "7"), ("o2", "XL")]
    assert shop.load([order(3, size="S")], types={"size": "varchar"}).status == "promoted"


def test_an_empty_delivery_can_be_released_once_there_is_a_table(shop: Shop):
    assert shop.load([], columns=list(order(1))).status == "held"
    shop.load([order(1)])
    assert shop.load([], columns=list(order(1)), state=[StateEntry("file", "c.csv", "9")]).status == "held"
    load_id = held_loads(shop.con)[0].load_id
    verdict = release(shop.con, shop.settings, load_id, "shop", "orders", "Ada", "closed for the holidays")
    assert (verdict.promoted, verdict.quarantined) == (0, 0)
    assert state(shop) == {"file": "9"}
    assert shop.raw("no") == [("o1",)]


def test_the_quarantine_can_be_listed_and_looked_into(shop: Shop):
    shop.load([order(1), order(2, total="-1"), order(3, currency="??", customer=None)])
    assert [row.key for row in list_quarantine(shop.con)] == ["o2", "o3"]
    [row] = list_quarantine(shop.con, "shop", "orders", rule="order.currency_known", with_rows=True)
    assert row.key == "o3"
    assert row.row == order(3, currency="??", customer=None)
    assert list_quarantine(shop.con)[0].row is None
    assert list_quarantine(shop.con, "shop", "people") == []
    assert len(list_quarantine(shop.con, limit=1)) == 1


def test_people_read_what_waits(shop: Shop):
    assert describe_loads(shop.con) == "No load yet."
    assert describe_quarantine(shop.con, shop.settings) == "Nothing is in quarantine."
    shop.load([order(1), order(2, total="-1"), order(3, at="soon"), order(4, total="x"), order(5) | {"no": None}])
    shop.load([order(number, total="-1") for number in range(100, 130)])
    loads = describe_loads(shop.con).splitlines()
    assert loads[0].split() == ["load", "table", "status", "read", "promoted", "quarantined", "left", "out"]
    assert loads[1].split()[:7] == ["load0002", "shop.orders", "held", "30", "0", "0", "0"]
    assert "30 of 30 rows are bad" in loads[2]
    assert "cem load release | discard" in loads[-1]
    quarantine = describe_quarantine(shop.con, shop.settings, "shop", "orders")
    assert quarantine.startswith("4 rows are in quarantine.")
    # Two rows that break one rule in different columns are two of one kind.
    assert "2  order: has values that cannot be read as their type [order.values_readable]" in quarantine
    # Where a row stands is no kind either.
    assert "does not fit the header [sent.key_given]" in quarantine.split("\n\n")[0]
    assert "shop.orders o2 (load load0001): order.amount: must not be negative" in quarantine


def test_keys_that_may_be_personal_are_shown_only_when_asked_for(shop: Shop):
    named_by_mail = shop.with_table("people", key=("mail",))
    named_by_mail.load([person(1), person(2, mail="ada@example.org", since="soon")], "people")
    shown = describe_quarantine(shop.con, named_by_mail.settings)
    assert "ada@example.org" not in shown
    assert "shop.people a row whose key may be personal" in shown
    assert "ada@example.org" in describe_quarantine(shop.con, named_by_mail.settings, show_personal=True)


@pytest.mark.parametrize("key", ["09123456789", "+98 912 345 6789", "۰۹۱۲۳۴۵۶۷۸۹", "ada@example.org"])
def test_a_key_of_impersonal_columns_that_is_a_phone_or_a_mail_is_no_name_of_a_row(shop: Shop, key: str):
    shop.load([order(1), order(2, no=key, total="-1"), order(3, total="-1")])
    shown = describe_quarantine(shop.con, shop.settings)
    assert key not in shown
    assert "shop.orders a row whose key may be personal" in shown
    assert "shop.orders o3 (load" in shown
    [kind] = quarantine_kinds(shop.con, shop.settings)
    assert (kind.count, kind.sample_keys) == (2, ("o3",))
    assert key in describe_quarantine(shop.con, shop.settings, show_personal=True)


def test_a_phone_in_a_key_of_several_columns_is_seen_too(shop: Shop):
    by_two = shop.with_table("orders", key=("customer", "no"))
    by_two.load([order(1, customer="09123456789", total="-1")])
    assert "09123456789" not in describe_quarantine(by_two.con, by_two.settings)


def test_every_decision_is_booked_with_who_and_why(shop: Shop):
    load_id = hold_half(shop)
    release(shop.con, shop.settings, load_id, "shop", "orders", "Ada", "refunds")
    replay(shop.con, shop.settings, "shop", "orders", keys=["o101", "o103"], by="Bo", changes={"total": "7"})
    shop.load([order(number, total="-1") for number in range(200, 260)])
    [held] = held_loads(shop.con)
    discard(shop.con, shop.settings, held.load_id, "shop", "orders", "Cy", "a test delivery")
    decisions = shop.con.execute(
        "select kind, source, table_name, decided_by, reason, row_count from ops.decisions order by decided_at"
    ).fetchall()
    assert decisions == [
        ("release", "shop", "orders", "Ada", "refunds", 60),
        ("replay", "shop", "orders", "Bo", "picked by key, after a change of total", 2),
        ("discard", "shop", "orders", "Cy", "a test delivery", 60),
    ]


@pytest.mark.parametrize("decide", [release, discard])
@pytest.mark.parametrize(("by", "reason"), [(" ", "why"), ("Ada", "")])
def test_nobody_decides_without_a_name_and_a_reason(shop: Shop, decide: object, by: str, reason: str):
    load_id = hold_half(shop)
    with pytest.raises(GuardError, match="name of who decides and a reason"):
        decide(shop.con, shop.settings, load_id, "shop", "orders", by, reason)
    assert is_blocked(shop.con)
