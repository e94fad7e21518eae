"""The second boundary: marts before publication."""

from __future__ import annotations

from pathlib import Path

import pytest
from guarded_shop import Shop

from orchestration.guard import guard_marts, gx, mart_rules, prepare
from orchestration.guard.results import GuardError, RuleResult

KPI = {
    "metric": "nps",
    "period_grain": "month",
    "calendar": "gregorian",
    "period_start": "2024-01-01",
    "period_end": "2024-02-01",
    "slice": "all",
    "slice_value": "all",
    "n": 40,
    "value": 20.0,
    "ci_low": 0.0,
    "ci_high": 40.0,
    "reliability": "ok",
}


def build(shop: Shop, *changes: dict[str, object], customers: tuple[str, ...] = ("C0123456789abcdef",)) -> None:
    """Marts as dbt would leave them."""
    shop.con.execute("create schema if not exists marts")
    shop.con.execute(
        "create or replace table marts.kpi_parts (metric varchar, period_grain varchar, calendar varchar, "
        "period_start date, period_end date, slice varchar, slice_value varchar, n bigint, value double, "
        "ci_low double, ci_high double, reliability varchar)"
    )
    for row in [KPI, *[KPI | change for change in changes]]:
        shop.con.execute(f"insert into marts.kpi_parts values ({', '.join('?' * len(row))})", list(row.values()))
    shop.con.execute("create or replace view marts.mart_kpi as select * from marts.kpi_parts")
    shop.con.execute(
        "create or replace table marts.mart_customer_360 as select unnest(?) as customer_id", [list(customers)]
    )
    shop.con.execute(
        "create or replace table marts.dim_customer as select customer_id, "
        "2::bigint as record_count, 1::bigint as source_count, "
        "timestamp '2024-01-01' as first_seen_at, timestamp '2024-01-02' as last_seen_at from marts.mart_customer_360"
    )


def broken(shop: Shop) -> dict[str, RuleResult]:
    return {rule.rule_id: rule for rule in guard_marts(shop.con, shop.settings) if rule.failed}


def test_sound_marts_pass_every_rule(shop: Shop):
    build(shop, {"metric": "csat", "value": 1.0, "ci_low": 0.9, "ci_high": 1.0})
    assert broken(shop) == {}
    judged = [rule.rule_id for rule in guard_marts(shop.con, shop.settings)]
    assert judged == [rule.rule_id for rule in mart_rules(shop.settings)]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"metric": "a", "value": 41.0}, "mart_kpi.value_below_ci_high"),
        ({"metric": "a", "value": -1.0}, "mart_kpi.value_above_ci_low"),
        ({"metric": "a", "n": -1}, "mart_kpi.n_not_negative"),
        ({"metric": "a", "value": float("nan"), "ci_low": None, "ci_high": None}, "mart_kpi.value_finite"),
        ({"metric": "csat", "ci_high": 30.0}, "mart_kpi.shares_within_bounds"),
        ({}, "mart_kpi.key_unique"),
        ({"metric": "a", "period_end": "2023-12-31"}, "mart_kpi.period_end_after_start"),
    ],
)
def test_a_wrong_kpi_is_found_and_named(shop: Shop, change: dict[str, object], rule: str):
    build(shop, change)
    found = broken(shop)
    assert list(found) == [rule]
    assert found[rule].severity == "critical"
    metric = change.get("metric", "nps")
    assert found[rule].sample_keys[-1].startswith(f"{metric} / month / gregorian / 2024-01-01 / all / all")


def test_suppressed_values_and_rounding_are_no_errors(shop: Shop):
    build(
        shop,
        {"metric": "small", "value": 100.0, "ci_high": 98.5, "reliability": "suppressed"},
        {"metric": "round", "value": 0.3, "ci_low": 0.1 + 0.2, "ci_high": 0.3},
    )
    assert broken(shop) == {}


def test_customers_are_unique_and_well_formed(shop: Shop):
    build(shop, customers=("C0123456789abcdef", "C0123456789abcdef", "ada@example.org"))
    found = broken(shop)
    assert found["mart_customer_360.customer_id_unique"].failed == 2
    assert found["dim_customer.customer_id_format"].failed == 1


def test_prepared_marts_need_no_great_expectations(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    fresh = shop.settings.model_copy(update={"home": tmp_path / "fresh"})
    prepare(fresh)
    monkeypatch.setattr(gx, "row_conditions", lambda *given: pytest.fail("compiled again"))
    build(shop)
    assert not [rule for rule in guard_marts(shop.con, fresh) if rule.failed]


def test_a_mart_that_is_not_built_stops_publication(shop: Shop):
    build(shop)
    shop.con.execute("drop view marts.mart_kpi")
    with pytest.raises(GuardError, match=r"not built: marts\.mart_kpi"):
        guard_marts(shop.con, shop.settings)
