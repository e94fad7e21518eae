"""What was planted can be found: effects between what happens to customers and what they do, and their sizes."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from tests.unit.demo.conftest import value

# One worker generates the shared companies once.
pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture
def asked(con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Answers about tickets beside their tickets, and the truth about who gave them, as `csat`."""
    con.execute(
        """
        create temp view csat as
        select answer.score, ticket.first_reply_minutes, ticket.requester_id, who_is_who.true_person_id
        from answer
        inner join ticket on answer.ticket_ref = ticket.ticket_id
        inner join who_is_who on who_is_who.source = 'demo_support' and who_is_who.record_id = ticket.requester_id
        where answer.question_id = 'TKT-CSAT' and answer.score is not null
        """
    )
    return con


def test_a_late_reply_lowers_csat(asked: duckdb.DuckDBPyConnection) -> None:
    assert -0.7 < value(asked, "select corr(ln(1 + first_reply_minutes), score) from csat") < -0.3
    quick = value(asked, "select avg((score >= 4)::int) from csat where first_reply_minutes < 60")
    late = value(asked, "select avg((score >= 4)::int) from csat where first_reply_minutes > 1440")
    assert quick - late > 0.25


def test_the_effect_is_not_deterministic(asked: duckdb.DuckDBPyConnection) -> None:
    assert value(asked, "select count(*) from csat where first_reply_minutes < 60 and score <= 3") > 5
    assert value(asked, "select count(*) from csat where first_reply_minutes > 1440 and score = 5") > 3


def test_low_csat_comes_with_leaving(asked: duckdb.DuckDBPyConnection) -> None:
    left = """
        select avg((left_at is not null)::int)
        from (select true_person_id, min(score) as lowest from csat group by all)
        inner join customers using (true_person_id)
        where lowest {}
    """
    assert value(asked, left.format("<= 3")) - value(asked, left.format(">= 4")) > 0.08


def test_promoters_buy_more_than_detractors(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        """
        create temp view buyer as
        select answerer.true_person_id, arg_max(answer.score, answer.answered) as score
        from answer
        inner join who_is_who as answerer
            on answerer.source = 'demo_survey' and answerer.record_id = answer.respondent_id
        where answer.question_id = 'REL-NPS' and answer.score <= 10
        group by all
        """
    )
    orders = """
        select count(orders.order_id) / count(distinct buyer.true_person_id)
        from buyer
        inner join who_is_who using (true_person_id)
        left join crm.orders on orders.person_id = who_is_who.record_id
        where who_is_who.source = 'demo_crm' and buyer.score {}
    """
    assert value(con, orders.format(">= 9")) > 1.15 * value(con, orders.format("<= 6"))


def test_late_deliveries_lower_the_score_of_the_order(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        """
        create temp view delivered as
        select answer.score, orders.delivered_at > orders.promised_at as is_late
        from answer
        inner join crm.orders on answer.order_ref = orders.order_id
        where answer.question_id = 'ORD-NPS' and answer.score <= 10
        """
    )
    in_time = value(con, "select avg(score) from delivered where not is_late")
    assert in_time - value(con, "select avg(score) from delivered where is_late") > 0.8


def test_regions_are_served_differently(con: duckdb.DuckDBPyConnection) -> None:
    late = "select avg((delivered_at > promised_at)::int) from crm.orders where delivered_at is not null and region {}"
    assert value(con, late.format("= 'Azerbaijan'")) > value(con, late.format("!= 'Azerbaijan'")) + 0.04


def test_both_effort_questions_agree_with_satisfaction(con: duckdb.DuckDBPyConnection) -> None:
    together = """
        select corr(effort.score, csat.score)
        from answer as effort
        inner join answer as csat on effort.invitation_id = csat.invitation_id and csat.question_id = 'TKT-CSAT'
        where effort.question_id = '{}'
    """
    assert value(con, together.format("TKT-CES1")) < -0.4
    assert value(con, together.format("TKT-CES2")) > 0.4


def test_sales_have_seasons_weeks_and_growth(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create temp view sold as select try_cast(ordered_at as timestamp) as sold_at from crm.orders")
    a_day = "select count(*) / count(distinct cast(sold_at as date)) from sold where {}"
    assert value(con, a_day.format("month(sold_at) in (3, 11, 12)")) > 1.2 * value(
        con, a_day.format("month(sold_at) in (4, 5, 7, 8, 9)")
    )
    assert value(con, a_day.format("isodow(sold_at) in (4, 5, 6)")) > 1.1 * value(
        con, a_day.format("isodow(sold_at) in (1, 2, 3)")
    )
    assert value(con, a_day.format("sold_at >= '2025-07-01'")) > 1.2 * value(
        con, a_day.format("sold_at < '2025-07-01'")
    )


def test_nps_is_a_plausible_one(con: duckdb.DuckDBPyConnection) -> None:
    share = "select avg((score {})::int) from answer where question_id = 'REL-NPS' and score <= 10"
    assert 0.3 < value(con, share.format(">= 9")) < 0.75
    assert 0.05 < value(con, share.format("<= 6")) < 0.3


def test_true_risk_foretells_who_leaves(later: duckdb.DuckDBPyConnection, company: Path) -> None:
    """Calibrated within what chance allows, and higher for those who then leave."""
    later.execute(
        f"""
        create temp view outcome as
        select known.churn_risk_90_days as risk, coalesce(customers.left_at < timestamp '2026-09-29', false) as has_left
        from read_parquet('{company}/_truth/customers.parquet') as known
        inner join customers using (true_person_id)
        where known.churn_risk_90_days is not null
        """
    )
    expected = value(later, "select sum(risk) from outcome")
    # Tickets still to come add to what is known at the clock, so a few more leave than foretold.
    assert 0.8 * expected < value(later, "select sum(has_left::int) from outcome") < 1.6 * expected
    mean = "select avg(risk) from outcome where has_left = {}"
    assert value(later, mean.format("true")) > 1.2 * value(later, mean.format("false"))
