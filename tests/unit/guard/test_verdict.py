"""What becomes of a load: promoted, held or unchanged, and what people are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from guarded_shop import Shop, order, person

from orchestration.guard import held_loads, is_blocked, rules_of, validate_with_gx
from orchestration.guard.results import GuardError
from orchestration.settings import EntityMapping, Guard
from orchestration.sources.extract import StateEntry


def test_good_rows_are_promoted_and_bad_rows_keep_all_their_reasons(shop: Shop):
    verdict = shop.load([order(1), order(2, total="-3"), order(3, at="soon", total="x", currency="EURO")])
    assert (verdict.status, verdict.promoted, verdict.quarantined) == ("promoted", 1, 2)
    assert shop.raw("no") == [("o1",)]
    assert shop.quarantined() == {
        "o2": ["order.amount: must not be negative unless the order was returned [order.amount_not_negative]"],
        "o3": [
            "order: has values that cannot be read as their type (ordered_at,amount) [order.values_readable]",
            "order.ordered_at: must not be empty [order.ordered_at_given]",
            "order.currency: must be a currency code of ISO 4217 [order.currency_known]",
        ],
    }
    assert not shop.exists(schema="candidate_shop")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"delivered": "2024-02-01"}, "order.delivered_after_order"),
        ({"at": "2190-01-01"}, "order.ordered_at_not_in_future"),
        ({"at": "1403-01-15"}, "order.ordered_at_plausible"),
        ({"at": "1970-01-01"}, "order.ordered_at_no_placeholder"),
        ({"total": "NaN"}, "order.values_readable"),
        ({"total": "1e400"}, "order.values_readable"),
        ({"state": "lost in space"}, "order.status_known"),
        ({"customer": None}, "order.person_id_given"),
        ({"currency": "??"}, "order.currency_known"),
        ({"state": "a\x00b"}, "sent.values_without_nul"),
        ({"customer": "c" * 1_000_001}, "sent.values_of_sane_length"),
    ],
)
def test_bad_values_are_quarantined_for_the_right_reason(shop: Shop, changes: dict[str, object], rule: str):
    verdict = shop.load([order(1), order(2, **changes)])
    assert (verdict.promoted, verdict.quarantined) == (1, 1)
    assert any(reason.endswith(f" [{rule}]") for reason in shop.quarantined()["o2"])


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"mail": "s\u043emeone@example.org"}, "person.email_one_alphabet"),
        ({"phone": "9.12E+11"}, "person.phone_not_rounded"),
    ],
)
def test_corrupted_contacts_are_quarantined(shop: Shop, changes: dict[str, object], rule: str):
    shop.load([person(1), person(2, **changes)], "people")
    assert [reason.rpartition(" ")[2] for reason in shop.quarantined()["p2"]] == [f"[{rule}]"]


def test_a_refund_may_be_negative(shop: Shop):
    assert shop.load([order(1, total="-3", state="returned")]).promoted == 1


def test_warnings_are_counted_and_the_row_passes(shop: Shop):
    verdict = shop.load([person(1, mail="nobody at home"), person(2)], "people")
    assert (verdict.promoted, verdict.quarantined) == (2, 0)
    [rule] = [rule for rule in verdict.rules if rule.rule_id == "person.email_format"]
    assert (rule.severity, rule.failed, rule.checked, rule.sample_keys) == ("warning", 1, 2, ["p1"])
    booked = shop.con.execute("select failed, checked from ops.load_rules where rule_id = 'person.email_format'")
    assert booked.fetchall() == [(1, 2)]


def test_the_rules_announced_are_the_rules_judged(shop: Shop):
    for rows, name in (([order(1)], "orders"), ([person(1)], "people")):
        verdict = shop.load(rows, name)
        announced = [rule.rule_id for rule in rules_of(shop.settings, shop.table(name))]
        assert [rule.rule_id for rule in verdict.rules] == announced
        assert len(set(announced)) == len(announced)


def test_the_same_key_twice_with_different_content_is_quarantined_whole(shop: Shop):
    verdict = shop.load([order(1), order(2), order(2, total="99")])
    assert (verdict.promoted, verdict.quarantined) == (1, 2)
    assert shop.raw("no") == [("o1",)]
    rows = shop.con.execute("select key, reasons[1] from quarantine.rows").fetchall()
    assert [row[0] for row in rows] == ["o2", "o2"]
    assert all("occurs more than once in this load" in row[1] for row in rows)


def test_two_entities_from_one_table_are_both_audited(shop: Shop):
    orders = shop.table().entities[0]
    people = EntityMapping(entity="person", columns={"person_id": {"column": "customer"}, "email": {"column": "m"}})
    both = shop.with_table(entities=(orders, people))
    rows = [order(1, m="a@example.org"), order(2, total="-1", m="\u0430dam@example.org"), order(3, m=None)]
    verdict = both.load(rows)
    assert verdict.promoted == 2
    assert [reason.partition(":")[0] for reason in both.quarantined()["o2"]] == ["order.amount", "person.email"]


def test_an_entity_fed_twice_keeps_its_rules_apart(shop: Shop):
    first = EntityMapping(entity="person", columns={"person_id": {"column": "customer"}})
    second = EntityMapping(entity="person", columns={"person_id": {"column": "payer"}}, where="payer is not null")
    both = shop.with_table(entities=(first, second))
    verdict = both.load([order(1, payer=None), order(2, customer=None, payer="p")])
    failed = {rule.rule_id: (rule.failed, rule.checked) for rule in verdict.rules}
    assert failed["person_1.person_id_given"] == (1, 2)
    assert failed["person_2.person_id_given"] == (0, 1)


def test_several_rows_of_one_record_are_no_duplicates_where_declared(shop: Shop):
    mapping = (
        shop.table().entities[0].model_copy(update={"one_per_key": True, "columns": shop.table().entities[0].columns})
    )
    log = shop.with_table(key=(), entities=(mapping,))
    assert log.load([order(1), order(1, total="3"), order(1, total="-3")]).promoted == 2


# Held loads


def held(shop: Shop, verdict: object) -> str:
    """The reason of a held load, after checking that nothing of it went anywhere."""
    assert verdict.status == "held"
    assert (verdict.promoted, verdict.quarantined) == (0, 0)
    [load] = held_loads(shop.con)
    assert load.reason == verdict.reason
    assert is_blocked(shop.con)
    assert shop.con.execute("select count(*) from quarantine.rows").fetchone() == (0,)
    return verdict.reason


def test_too_large_a_share_of_bad_rows_holds_the_load(shop: Shop):
    shop.load([order(number) for number in range(5)], state=[StateEntry("file", "a.csv", "1")])
    before = shop.raw("no", "total", "_load_id")
    bad = [order(number, total="-1" if number % 2 else "1") for number in range(100, 200)]
    verdict = shop.load(bad, state=[StateEntry("file", "a.csv", "2")])
    reason = held(shop, verdict)
    assert "50 of 100 rows are bad (50.0%, limit 5.0%)" in reason
    assert "order.amount: must not be negative unless the order was returned (50 rows)" in reason
    assert shop.raw("no", "total", "_load_id") == before
    assert shop.count("candidate_shop.orders") == 100
    # The source is read again by the next run, because its fingerprint did not move.
    assert shop.con.execute("select value from ops.source_state").fetchall() == [("1",)]


def test_few_bad_rows_never_hold_a_small_load(shop: Shop):
    shop.load([order(1)])
    assert shop.load([order(2, total="-1"), order(3, total="-1"), order(4)]).status == "promoted"


def test_limits_are_settings(shop: Shop):
    strict = shop.with_table(guard=Guard(max_bad_share=0.0, max_bad_rows_floor=0))
    strict.load([order(1)])
    assert "1 of 2 rows" in held(strict, strict.load([order(2), order(3, total="-1")]))


def test_a_first_load_without_one_good_row_is_held_whatever_its_size(shop: Shop):
    assert "2 of 2 rows are bad" in held(shop, shop.load([order(1, at="?"), order(2, at="?")]))


def test_an_empty_delivery_is_held_unless_declared_optional(shop: Shop):
    assert "empty" in held(shop, shop.load([], columns=list(order(1))))
    assert shop.with_table(optional=True).load([], columns=list(order(1))).status == "unchanged"


def test_an_empty_delivery_does_not_sweep_the_table(shop: Shop):
    shop.load([order(1), order(2)])
    held(shop, shop.load([], columns=list(order(1)), gone=["o1", "o2"]))
    assert len(shop.raw("no")) == 2


def test_a_sweep_that_deletes_most_of_a_table_is_held(shop: Shop):
    shop.load([order(number) for number in range(60)])
    gone = [f"o{number}" for number in range(1, 60)]
    assert "59 of 60 records are gone" in held(shop, shop.load([order(0)], gone=gone))


def test_a_quiet_day_of_an_increment_is_no_empty_delivery(shop: Shop):
    increments = shop.with_table(files=(), cursor="at")
    increments.load([order(1)])
    assert increments.load([], columns=list(order(1))).status == "unchanged"


def test_a_column_that_is_gone_holds_the_load_and_names_its_likely_heir(shop: Shop):
    shop.load([order(number, extra=f"x{number}") for number in range(5)])
    reason = held(shop, shop.load([order(number + 9, bonus=f"x{number}") for number in range(3)]))
    assert reason == "column 'extra' is gone, probably renamed to 'bonus'"


def test_a_mapped_column_that_is_gone_holds_the_load(shop: Shop):
    row = order(1)
    del row["total"]
    reason = held(shop, shop.load([row]))
    assert "cem.yml maps a column" in reason
    assert "total" in reason


def test_rare_fields_of_json_may_be_missing_and_common_ones_may_not(shop: Shop):
    json_lines = shop.with_table(format="jsonl")
    json_lines.load(
        [order(number, rare="r" if number == 0 else None, common="c") for number in range(200)],
        columns=[*order(0), "rare", "common"],
    )
    verdict = json_lines.load([order(number, common="c") for number in range(200, 220)])
    assert verdict.status == "promoted"
    assert json_lines.con.execute("select count(rare), count(*) from raw_shop.orders").fetchone() == (1, 220)
    assert held(json_lines, json_lines.load([order(number) for number in range(300, 320)])) == (
        "column 'common' is gone"
    )


def test_a_changed_type_holds_the_load(shop: Shop):
    shop.load([order(1, size="007")], types={"size": "varchar"})
    reason = held(shop, shop.load([order(2, size=7)], types={"size": "integer"}))
    assert reason == "column 'size' changed its type from VARCHAR to INTEGER"


@pytest.mark.parametrize(
    ("old", "new"), [("integer", "bigint"), ("bigint", "integer"), ("decimal(8,2)", "decimal(12,4)")]
)
def test_a_type_that_only_grows_or_fits_is_taken(shop: Shop, old: str, new: str):
    shop.load([order(1, size=7)], types={"size": old})
    assert shop.load([order(2, size=8)], types={"size": new}).status == "promoted"
    assert [float(row[0]) for row in shop.raw("size")] == [7.0, 8.0]


def test_a_new_column_is_kept_and_told(shop: Shop):
    shop.load([order(1)])
    verdict = shop.load([order(2, colour="red")])
    assert verdict.status == "promoted"
    assert verdict.reason == "column 'colour' is new, and not used until cem.yml maps it"
    assert shop.raw("no", "colour") == [("o1", None), ("o2", "red")]


def test_a_later_good_load_lifts_the_hold(shop: Shop):
    first = shop.load([order(1, at="?")])
    assert first.status == "held"
    assert shop.load([order(1)]).status == "promoted"
    assert not is_blocked(shop.con)
    assert shop.status("load0001")[0] == "discarded"
    assert "replaced by load load0002" in shop.status("load0001")[1]


def test_nothing_new_lifts_a_hold_too_and_books_no_load(shop: Shop):
    shop.load([order(1)])
    shop.load([], columns=list(order(1)))
    assert is_blocked(shop.con)
    verdict = shop.load([order(1)], state=[StateEntry("file", "a.csv", "3")])
    assert (verdict.status, verdict.extracted, verdict.deduplicated) == ("unchanged", 1, 1)
    assert not is_blocked(shop.con)
    assert shop.con.execute("select value from ops.source_state").fetchall() == [("3",)]


# Custom suites and proof


def write_custom(shop: Shop, *expectations: dict[str, object]) -> None:
    path = shop.settings.config_path.parent / "expectations" / "custom" / "shop__orders.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"name": "shop__orders", "expectations": list(expectations)}), encoding="utf-8")


def custom(kind: str, name: str, severity: str = "critical", **kwargs: object) -> dict[str, object]:
    return {
        "type": kind,
        "kwargs": kwargs,
        "severity": severity,
        "description": f"breaks the rule {name}",
        "meta": {"rule": name},
    }


def test_own_rules_judge_the_columns_as_sent(shop: Shop):
    write_custom(
        shop,
        custom("expect_column_values_to_match_regex", "numbered", column="no", regex="^o[0-9]+$"),
        custom("expect_column_values_to_not_be_in_set", "no_cash", "warning", column="how", value_set=["cash"]),
    )
    verdict = shop.load([order(1, how="card"), order(2, how="cash"), order(3, how="card") | {"no": "X3"}])
    assert verdict.promoted == 2
    assert shop.quarantined() == {"X3": ["shop__orders.no: breaks the rule numbered [shop__orders.numbered]"]}
    counted = {rule.rule_id: rule.failed for rule in verdict.rules}
    assert counted["shop__orders.no_cash"] == 1


def test_a_tolerated_share_quarantines_nothing_and_holds_when_it_is_passed(shop: Shop):
    write_custom(shop, custom("expect_column_values_to_not_be_null", "mostly_known", column="how", mostly=0.5))
    rows = [order(number, how="card" if number > 3 else None) for number in range(10)]
    assert shop.load(rows).promoted == 10
    rows = [order(number, how="card" if number > 107 else None) for number in range(100, 110)]
    assert "80.0% of the rows break it, tolerated are 50.0%" in held(shop, shop.load(rows))


def test_an_own_suite_that_miscounts_holds_the_load(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    from orchestration.guard import gx

    write_custom(shop, custom("expect_column_values_to_not_be_null", "known", column="how"))
    original = gx.unexpected_counts
    monkeypatch.setattr(gx, "unexpected_counts", lambda *given: dict.fromkeys(original(*given), 7))
    reason = held(shop, shop.load([order(1, how="card")]))
    assert reason == "rule shop__orders.known: we count 0 failures, Great Expectations 7"


def test_an_own_suite_is_proven_once(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    from orchestration.guard import gx

    calls = []
    original = gx.unexpected_counts
    monkeypatch.setattr(gx, "unexpected_counts", lambda *given: calls.append(1) or original(*given))
    write_custom(shop, custom("expect_column_values_to_not_be_null", "proven_once", column="how"))
    shop.load([order(1, how="card")])
    shop.load([order(2, how="card")])
    assert len(calls) == 1


def test_a_wrong_own_suite_stops_the_load_and_changes_nothing(shop: Shop):
    write_custom(shop, custom("expect_column_values_to_not_be_null", "typo", column="hwo"))
    with pytest.raises(GuardError, match=r"shop__orders\.json.*there is no column hwo"):
        shop.load([order(1, how="card")])
    assert not shop.exists()


def test_a_rule_that_cannot_be_applied_is_named_without_values(shop: Shop):
    write_custom(shop, custom("expect_column_values_to_be_in_set", "small", column="how", value_set=[1, 2]))
    with pytest.raises(GuardError, match=r"rule shop__orders\.small compares how with constants") as caught:
        shop.load([order(1, how="canary")])
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_prepared_suites_need_no_great_expectations_later(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from orchestration.guard import gx, prepare

    fresh = shop.settings.model_copy(update={"home": tmp_path / "fresh"})
    prepare(fresh)
    monkeypatch.setattr(gx, "conditions", lambda *given: pytest.fail("compiled again"))
    other = Shop(shop.con, fresh)
    assert other.load([order(1)]).status == "promoted"
    assert other.load([person(1)], "people").status == "promoted"


def test_great_expectations_itself_agrees(shop: Shop):
    with pytest.raises(GuardError, match="nothing is loaded yet"):
        validate_with_gx(shop.con, shop.settings, shop.table())
    shop.load([order(number, currency="usd" if number == 3 else "USD") for number in range(20)])
    pairs = validate_with_gx(shop.con, shop.settings, shop.table())
    assert {pair.rule_id for pair in pairs} >= {"order.currency_known", "sent.key_unique", "order.rows_present"}
    assert all(pair.ours == pair.gx for pair in pairs)


# No personal data


def test_keys_are_shown_only_when_they_are_impersonal(shop: Shop):
    by_mail = shop.with_table(
        "people",
        key=("mail",),
        entities=(
            EntityMapping(
                entity="person",
                columns={"person_id": {"column": "mail"}, "email": {"column": "mail"}, "phone": {"column": "phone"}},
            ),
        ),
    )
    verdict = by_mail.load([person(1), person(2, phone="1E+9", mail="ada.secret@example.org")], "people")
    [rule] = [rule for rule in verdict.rules if rule.failed]
    assert rule.sample_keys == ["row 2"]


def test_verdicts_and_bookkeeping_hold_no_values_of_rows(shop: Shop):
    rows = [person(number, name="Canary Name", mail=f"canary{number}", phone="1E+9 canary") for number in range(60)]
    rows += [person(number, mail="canary\u0430@example.org", since="canary", phone="9E+9") for number in range(60, 90)]
    first = shop.load(rows, "people")
    second = shop.load([person(100, name="Canary Name")], "people")
    texts = repr(first) + repr(second) + repr(shop.con.execute("select * from ops.loads").fetchall())
    texts += repr(shop.con.execute("select * from ops.load_rules").fetchall())
    texts += repr(shop.con.execute("select reasons from quarantine.rows").fetchall())
    assert first.status == "held"
    assert "anary" not in texts


def with_custom(shop: Shop, *expectations: dict[str, object]) -> Shop:
    """The shop with the user's own suite on its orders."""
    path = shop.settings.config_path.parent / "expectations" / "custom" / "shop__orders.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"name": "shop__orders", "expectations": expectations}), encoding="utf-8")
    return shop


FEW_STATES = {
    "type": "expect_column_unique_value_count_to_be_between",
    "kwargs": {"column": "state", "max_value": 1},
    "description": "must have one value in a load",
    "meta": {"rule": "one_state"},
}


def test_a_broken_critical_rule_about_the_batch_holds_the_load(shop: Shop):
    with_custom(shop, {**FEW_STATES, "severity": "critical"})
    assert shop.load([order(1), order(2)]).promoted == 2
    reason = held(shop, shop.load([order(3), order(4, state="returned")]))
    assert "shop__orders.state: must have one value in a load" in reason


def test_a_broken_warning_about_the_batch_is_counted(shop: Shop):
    with_custom(shop, {**FEW_STATES, "severity": "warning"})
    verdict = shop.load([order(1), order(2, state="returned")])
    assert (verdict.status, verdict.promoted) == ("promoted", 2)
    [rule] = [rule for rule in verdict.rules if rule.rule_id == "shop__orders.one_state"]
    assert (rule.failed, rule.checked) == (1, 2)
