"""The second boundary: marts before publication."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from guarded_shop import Shop

from orchestration.guard import guard_marts, gx, mart_rules, prepare
from orchestration.guard.batches import declared_columns
from orchestration.guard.results import GuardError, RuleResult
from orchestration.guard.sql import identifier
from orchestration.guard.suites import mart_suites

KPI = {
    "metric": "nps",
    "period_grain": "month",
    "calendar": "gregorian",
    "period_start": "2024-01-01",
    "period_end": "2024-02-01",
    "slice": "all",
    "slice_value": "all",
    "n": 40,
    "is_complete": True,
    "value": 20.0,
    "ci_low": 0.0,
    "ci_high": 40.0,
    "reliability": "ok",
}


CUSTOMER = {"customer_id": "C0123456789abcdef", "record_count": 2, "source_count": 1, "identity_score": 0.9}

ROWS: dict[str, dict[str, object]] = {
    "mart_kpi": KPI,
    "dim_customer": CUSTOMER,
    "mart_customer_360": {
        "customer_id": "C0123456789abcdef", "order_count": 3, "other_currency_order_count": 1, "revenue_amount": 7,
        "margin_amount": 2, "clv_to_date_amount": 2, "active_subscription_count": 0, "ticket_count": 2,
        "open_ticket_count": 1, "mention_count": 0, "profile_completeness": 0.5, "record_count": 2, "is_active": True,
        "latest_nps_score": 9, "latest_nps_band": "promoter", "latest_nps_at": "2024-01-01", "net_sentiment": -100,
    },
    "dim_metric": {
        "metric": "nps", "definition": "d", "formula": "f", "unit": "points", "multiplier": 100.0, "sort_order": 1,
        "direction": "higher_is_better", "interval_kind": "adjusted_wald", "period_kind": "flow", "owner": "o",
    },
    "fct_ticket": {"ticket_key": "t", "surviving_ticket_key": "t", "is_merged": False, "public_human_reply_count": 0},
    "mart_clv": {
        "customer_id": "C0123456789abcdef", "frequency": 2, "recency_weeks": 4.0, "age_weeks": 9.0, "currency": "EUR",
        "probability_alive": 1.0, "value_basis": "margin", "horizon_months": 12, "observation_end": "2024-01-01",
    },
    "mart_subscription_survival": {
        "plan": "all", "months": 0, "at_risk": 9, "ended": 1, "survival": 0.9, "ci_low": 0.7, "ci_high": 0.95,
        "reliability": "low",
    },
}  # fmt: skip
"""A good row of some marts."""

columns_of = cache(declared_columns)


def build(shop: Shop, *changes: dict[str, object], mart: str = "mart_kpi") -> None:
    """Marts as dbt would leave them: a good row in some, the changed rows besides in one, nothing in the others."""
    shop.con.execute("create schema if not exists marts")
    for suite in mart_suites():
        columns = columns_of(suite.name)
        fields = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns.items())
        # Readers are handed tables and views.
        table = "kpi_table" if suite.name == "mart_kpi" else suite.name
        shop.con.execute(f"create or replace table marts.{table} ({fields})")
        good = ROWS.get(suite.name)
        for row in filter(None, [good, *[{**(good or {}), **change} for change in changes if suite.name == mart]]):
            names = ", ".join(identifier(name) for name in row)
            shop.con.execute(
                f"insert into marts.{table} ({names}) values ({', '.join('?' * len(row))})", [*row.values()]
            )
    shop.con.execute("create or replace view marts.mart_kpi as select * from marts.kpi_table")


def broken(shop: Shop) -> dict[str, RuleResult]:
    """The broken rules, but for those that say that a mart is empty."""
    return {
        rule.rule_id: rule
        for rule in guard_marts(shop.con, shop.settings)
        if rule.failed and not rule.rule_id.endswith(".rows_present")
    }


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
        ({"n": None}, "mart_kpi.n_given"),
        ({"value": 101.0, "ci_high": 102.0}, "mart_kpi.net_scores_within_bounds"),
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


@pytest.mark.parametrize("name", ["ada@example.org", "+49 170 1234567", "crm:0049-170-1234567", "۰۹۱۲۳۴۵۶۷۸۹"])
def test_a_wrong_row_that_is_named_like_a_person_is_told_by_its_number(shop: Shop, name: str):
    build(shop, {"metric": name, "value": -1.0})
    [result] = broken(shop).values()
    assert [sample.split()[0] for sample in result.sample_keys] == ["row"]
    assert name not in str(result)


def test_suppressed_values_and_rounding_are_no_errors(shop: Shop):
    build(
        shop,
        {"metric": "small", "value": 100.0, "ci_high": 98.5, "reliability": "suppressed"},
        {"metric": "round", "value": 0.3, "ci_low": 0.1 + 0.2, "ci_high": 0.3},
    )
    assert broken(shop) == {}
    build(shop, {"language": "fa", "method": "model", "evaluated_count": 9}, mart="mart_sentiment_model")
    assert broken(shop) == {}


@pytest.mark.parametrize(
    ("mart", "change", "rule"),
    [
        ("dim_customer", {"customer_id": "ada@example.org"}, "customer_id_format"),
        ("dim_customer", {"source_count": 3}, "records_cover_sources"),
        ("mart_customer_360", {"open_ticket_count": 3}, "tickets_cover_open_ones"),
        ("mart_customer_360", {"is_churned": True, "is_active": False}, "churned_says_when"),
        ("mart_customer_360", {"net_sentiment": 100.5}, "net_sentiment_within_bounds"),
        ("mart_customer_360", {"latest_nps_band": None}, "nps_score_has_band"),
        ("mart_clv", {}, "customer_id_unique"),
        ("mart_clv", {"customer_id": "C" + "0" * 16, "probability_alive": 1.5}, "probability_alive_within_bounds"),
        ("mart_subscription_survival", {"survival": 0.96}, "survival_below_ci_high"),
        ("mart_sentiment_model", {"language": "fa", "method": "model"}, "model_is_measured"),
        ("fct_ticket", {"surviving_ticket_key": "other"}, "unmerged_survives_itself"),
        ("fct_ticket", {"is_answered": False, "first_response_minutes": 3.0}, "unanswered_has_no_response_time"),
    ],
)  # fmt: skip
def test_what_readers_must_not_see_is_found(shop: Shop, mart: str, change: dict[str, object], rule: str):
    build(shop, change, mart=mart)
    found = broken(shop)
    assert (f"{mart}.{rule}", found[f"{mart}.{rule}"].severity) == (f"{mart}.{rule}", "critical")
    assert len(found) == 1


def test_prepared_marts_need_no_great_expectations(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    fresh = shop.settings.model_copy(update={"home": tmp_path / "fresh"})
    prepare(fresh)
    monkeypatch.setattr(gx, "conditions", lambda *given: pytest.fail("compiled again"))
    build(shop)
    assert {rule.rule_id.partition(".")[2] for rule in guard_marts(shop.con, fresh) if rule.failed} == {"rows_present"}


def test_a_mart_that_is_not_built_stops_publication(shop: Shop):
    build(shop)
    shop.con.execute("drop view marts.mart_kpi")
    with pytest.raises(GuardError, match=r"not built: marts\.mart_kpi"):
        guard_marts(shop.con, shop.settings)
