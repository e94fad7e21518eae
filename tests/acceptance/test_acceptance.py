"""Real data through the whole job, by configuration only: published figures, and counts from the files."""

from __future__ import annotations

import csv
import io
import zipfile

import duckdb
import pytest
from profiles import of_profile, profiles

OLIST = "read_csv('{data}/olist/olist_%s_dataset.csv', all_varchar = true)"
SFO = "read_csv('{data}/sfo/2017_customer_survey.csv', all_varchar = true)"
TELCO = "read_csv('{data}/telco/Telco-Customer-Churn.csv', all_varchar = true)"

KPI = (
    "select {columns} from marts.mart_kpi where metric = '{metric}' and calendar = 'gregorian' "
    "and period_grain = 'all' and slice = 'all'"
)
LOADS = "select table_name, status, row_count, promoted, quarantined from ops.load_summary order by all"


# Every profile


@pytest.mark.parametrize("profile", profiles("olist", "incidents", "sfo", "cdnow", "telco"))
def test_every_row_is_accounted_for(run_profile, profile):
    run = run_profile(profile)
    loads = run.rows(LOADS)
    assert loads and all(load[1] == "promoted" for load in loads)
    assert all(load[2] == load[3] for load in loads), "rows in the warehouse are the rows let through"
    with duckdb.connect(str(run.home / "warehouse.duckdb"), read_only=True) as con:
        figures = con.execute("from marts.mart_kpi order by all").fetchall()
    assert figures and run.rows("from marts.mart_kpi order by all") == figures


@pytest.mark.parametrize("profile", profiles("olist", "incidents"))
def test_a_second_run_changes_nothing(run_profile, profile):
    run = run_profile(profile)
    before = run.rows(LOADS)
    published = run.home / "published" / "marts.duckdb"
    inode = published.stat().st_ino

    run.cem("run")

    assert published.stat().st_ino == inode
    assert run.rows(LOADS) == before


# Olist: CRM, orders, reviews, funnel


@of_profile("olist")
def test_olist_people_orders_and_revenue_are_those_of_the_files(run_profile, files):
    run = run_profile("olist")
    people = files(f"select count(distinct customer_unique_id), count(*) from {OLIST % 'customers'}")
    assert run.row("select count(*), sum(record_count) from marts.dim_customer") == people
    assert run.row("select count(*), count(distinct customer_id) from marts.fct_order") == files(
        f"select count(*), count(distinct customer_unique_id) from {OLIST % 'orders'} "
        f"inner join {OLIST % 'customers'} using (customer_id)"
    )
    assert run.row("select count(*), sum(amount)::decimal(18, 2) from marts.fct_order_line") == files(
        f"select count(*), sum(price::decimal(18, 2) + freight_value::decimal(18, 2)) from {OLIST % 'order_items'}"
    )
    assert run.row(
        "select sum(amount)::decimal(18, 2), count(*) filter (where is_revenue), "
        "count(*) filter (where amount is null) from marts.fct_order where is_revenue or amount is null"
    ) == files(
        f"""
        with amounts as (
            select order_id, sum(price::decimal(18, 2) + freight_value::decimal(18, 2)) as amount
            from {OLIST % "order_items"} group by order_id
        ),
        orders as (
            select *, order_status not in ('canceled', 'unavailable') as counts
            from {OLIST % "orders"} left join amounts using (order_id)
        )
        select
            sum(amount) filter (where counts),
            count(*) filter (where counts),
            count(*) filter (where amount is null)
        from orders
        """
    )


@of_profile("olist")
def test_olist_orders_are_late_and_dated_as_in_the_files(run_profile, files):
    run = run_profile("olist")
    assert run.row(
        "select count(*) filter (where is_late and delivered_at is not null), "
        "min(ordered_date)::text, max(ordered_date)::text from marts.fct_order"
    ) == files(
        f"select count(*) filter (where order_delivered_customer_date > order_estimated_delivery_date), "
        f"min(left(order_purchase_timestamp, 10)), max(left(order_purchase_timestamp, 10)) "
        f"from {OLIST % 'orders'}"
    )


@of_profile("olist")
def test_olist_reviews_give_the_csat_of_the_file(run_profile, files):
    run = run_profile("olist")
    satisfied, answers = files(
        f"select count(*) filter (where review_score in ('4', '5')), count(*) from {OLIST % 'order_reviews'}"
    )
    assert answers == 19_986
    numerator, denominator = run.row(KPI.format(columns="numerator, denominator", metric="csat"))
    assert (numerator, denominator) == (satisfied, answers)
    linked, people = run.row(
        "select count(order_key), count(customer_id) from marts.fct_survey_response where metric = 'csat'"
    )
    assert linked == people == answers, "every review belongs to the customer of its order"


@of_profile("olist")
def test_olist_reviews_train_a_judge_of_their_language(run_profile):
    run = run_profile("olist")
    method, labelled, evaluated, low, macro_f1, high = run.row(
        "select method, negative_count + neutral_count + positive_count, evaluated_count, macro_f1_low, macro_f1, "
        "macro_f1_high from marts.mart_sentiment_model where language = 'pt'"
    )
    assert (method, evaluated) == ("model", labelled)
    # Three stars of five are praise and blame at once: of the three classes that is the one hard to tell.
    assert 0.55 < low < macro_f1 < high < 0.8
    judged, known = run.row(
        "select count(sentiment), count(*) filter (where sentiment_by = 'model') from marts.fct_survey_response"
    )
    assert judged == known > 5_000


@of_profile("olist")
def test_olist_funnel_counts_leads_and_won_deals(run_profile, files):
    run = run_profile("olist")
    (leads,) = files(f"select count(*) from {OLIST % 'marketing_qualified_leads'}")
    won, backwards, won_per_day = files(
        f"""
        select
            count(*),
            count(*) filter (where won_date::timestamp < strptime(first_contact_date, '%m/%d/%Y')),
            count(distinct won_date::date)
        from {OLIST % "closed_deals"} inner join {OLIST % "marketing_qualified_leads"} using (mql_id)
        """
    )
    assert (leads, won, backwards) == (8_000, 842, 1)
    assert run.rows("select stage, count(*) from marts.fct_opportunity_stage_event group by stage order by stage") == [
        ("lead", leads),
        ("won", won),
    ]
    assert run.row("select count(*) from marts.fct_opportunity") == (leads,)
    assert run.row(
        "select count(*) filter (where stage = 'won' and stage_number = 1), "
        "count(distinct entered_date) filter (where stage = 'won') from marts.fct_opportunity_stage_event"
    ) == (backwards, won_per_day)
    # US dates: the first of December is not the twelfth of January.
    assert run.rows("select created_date::text, count(*) from marts.fct_opportunity group by 1 order by 1") == _by_day(
        files, "marketing_qualified_leads", "first_contact_date", "%m/%d/%Y"
    )


def _by_day(files, table, column, form):
    (days,) = files(
        f"""
        with days as (
            select strptime({column}, '{form}')::date::text as d, count(*) as n
            from {OLIST % table} group by 1
        )
        select list((d, n) order by d) from days
        """
    )
    return days


# ServiceNow incidents: one row per update


@pytest.fixture(scope="module")
def incidents(real_data):
    """The last update of each incident, by the csv module of Python."""
    last = {}
    updates = 0
    with (
        zipfile.ZipFile(real_data / "incidents" / "incident_event_log.zip") as archive,
        archive.open("incident_event_log.csv") as handle,
    ):
        for row in csv.DictReader(io.TextIOWrapper(handle, "utf-8")):
            updates += 1
            known = last.get(row["number"])
            if known is None or int(row["sys_mod_count"]) >= int(known["sys_mod_count"]):
                last[row["number"]] = row
    return updates, list(last.values())


@of_profile("incidents")
def test_incidents_reproduce_the_published_shares(run_profile):
    tickets, made_sla, reopened, untouched = run_profile("incidents").row(
        """
        select
            count(*), avg(native_is_sla_met::int), avg((native_reopen_count > 0)::int),
            avg((native_reopen_count = 0 and native_reassignment_count = 0)::int)
        from marts.fct_ticket
        """
    )
    assert tickets == 24_918
    assert round(made_sla, 4) == 0.6342
    assert round(reopened, 4) == 0.0110
    assert round(untouched, 4) == 0.5413


@of_profile("incidents")
def test_incidents_met_their_service_level_as_published(run_profile):
    met, judged = run_profile("incidents").row(KPI.format(columns="value, n", metric="sla_met_rate"))
    assert (round(met, 4), judged) == (0.6342, 24_918)
    compared = run_profile("incidents").rows("select figure, native_count from marts.mart_native_difference order by 1")
    assert ("reopens", 24_918) in compared


@of_profile("incidents")
def test_incidents_end_in_the_state_of_their_last_update(run_profile, incidents):
    run = run_profile("incidents")
    updates, last = incidents
    assert (updates, len(last)) == (141_712, 24_918)
    assert {row["incident_state"] for row in last} == {"Closed"}
    assert run.rows("select status, count(*) from marts.fct_ticket group by status") == [("closed", len(last))]
    # Every incident was worked on before: the states on the way are the intervals of its status.
    assert run.row("select count(distinct status) from marts.fct_ticket_status_interval") == (6,)
    assert run.row("select sum(promoted) from ops.load_summary") == (updates,)
    priorities = {"1 - Critical": "urgent", "2 - High": "high", "3 - Moderate": "normal", "4 - Low": "low"}
    counted = {word: sum(row["priority"] == sent for row in last) for sent, word in priorities.items()}
    assert dict(run.rows("select priority, count(*) from marts.fct_ticket group by priority")) == counted
    assert run.row("select count(customer_id), count(distinct customer_id) from marts.fct_ticket") == (
        sum(row["caller_id"] != "?" for row in last),
        len({row["caller_id"] for row in last} - {"?"}),
    )


@of_profile("incidents")
def test_incidents_are_dated_day_first(run_profile, incidents):
    _, last = incidents
    by_month = {}
    for row in last:
        _, month, year = row["opened_at"].split(" ")[0].split("/")
        key = f"{year}-{int(month):02d}"
        by_month[key] = by_month.get(key, 0) + 1
    rows = run_profile("incidents").rows(
        "select strftime(created_at, '%Y-%m'), count(*) from marts.fct_ticket group by 1 order by 1"
    )
    assert rows == sorted(by_month.items())


# SFO: NPS and CSAT with weights


@of_profile("sfo")
def test_sfo_reproduces_the_published_nps_and_its_interval(run_profile):
    value, low, high, n, invalid = run_profile("sfo").row(
        KPI.format(columns="value, ci_low, ci_high, n, n_invalid", metric="nps")
    )
    assert (round(value, 2), round(low, 2), round(high, 2)) == (39.84, 37.18, 42.41)
    assert (n, invalid) == (2_746, 0), "11 is declared a blank: no answer, and none off the scale"


@of_profile("sfo")
def test_sfo_reproduces_the_published_csat(run_profile, files):
    numerator, denominator = run_profile("sfo").row(KPI.format(columns="numerator, denominator", metric="csat"))
    assert (numerator, denominator) == files(
        f"select count(*) filter (where Q7ALL in ('4', '5')), "
        f"count(*) filter (where Q7ALL in ('1', '2', '3', '4', '5')) from {SFO}"
    )
    assert round(numerator / denominator, 4) == 0.8207


@of_profile("sfo")
def test_sfo_weights_are_used_and_cost_certainty(run_profile, files):
    run = run_profile("sfo")
    weighted, n, effective = files(
        f"""
        with answers as (
            select NETPRO::int as score, WEIGHT::double as w from {SFO} where NETPRO::int between 0 and 10
        )
        select
            100 * (sum(w) filter (where score >= 9) - sum(w) filter (where score <= 6)) / sum(w),
            count(*), sum(w) ** 2 / sum(w ** 2)
        from answers
        """
    )
    value, found_n, n_eff = run.row(KPI.format(columns="value, n, n_eff", metric="nps_weighted"))
    assert (value, found_n, n_eff) == (pytest.approx(weighted), n, pytest.approx(effective))
    assert n_eff < n
    assert run.row("select count(distinct customer_id), count(*) from marts.fct_survey_response") == (
        2_831,
        5_662,
    )


# CDNOW: repeat purchases


@of_profile("cdnow")
def test_cdnow_keeps_every_purchase(run_profile, real_data):
    lines = [line.split() for line in (real_data / "cdnow" / "CDNOW_sample.txt").read_text().splitlines()]
    purchases = [line for line in lines if line and line[0].isdigit()]
    spent = round(sum(float(line[-1]) for line in purchases), 2)
    assert len(purchases) - len({tuple(line) for line in purchases}) == 21, "repeated lines are purchases too"

    found = run_profile("cdnow").row(
        "select count(*), count(distinct customer_id), sum(amount)::double, "
        "count(*) filter (where amount = 0), min(ordered_date)::text, max(ordered_date)::text "
        "from marts.fct_order where is_revenue"
    )

    assert found == (6_919, 2_357, pytest.approx(spent), 8, "1997-01-01", "1998-06-30")
    assert len({line[0] for line in purchases}) == 2_357


@of_profile("cdnow")
def test_cdnow_reproduces_the_published_parameters(run_profile):
    run = run_profile("cdnow")
    found = {
        (model, parameter): value
        for model, parameter, value in run.rows("select model, parameter, value from marts.mart_clv_parameters")
    }
    fader_hardie_lee = {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}
    assert {name: round(found["bg_nbd", name], 3) for name in fader_hardie_lee} == fader_hardie_lee
    fader_hardie = {"p": 6.25, "q": 3.74, "v": 15.44}
    assert {name: round(found["gamma_gamma", name], 2) for name in fader_hardie} == fader_hardie
    assert run.row(
        "select round(any_value(log_likelihood), 1), any_value(n_customers) "
        "from marts.mart_clv_parameters where model = 'bg_nbd'"
    ) == (-9582.4, 2_357)


# Telco: subscriptions


@of_profile("telco")
def test_telco_reproduces_the_published_churn(run_profile, files):
    run = run_profile("telco")
    customers, churned = run.row("select count(*), count(*) filter (where is_churned) from marts.mart_customer_360")
    assert (customers, churned) == files(f"select count(*), count(*) filter (where Churn = 'Yes') from {TELCO}")
    assert round(100 * churned / customers, 2) == 26.54
    assert run.row("select sum(monthly_amount)::decimal(18, 2) from marts.fct_subscription where is_active") == files(
        f"select sum(MonthlyCharges::decimal(18, 2)) from {TELCO} where Churn = 'No'"
    )


@of_profile("telco")
def test_telco_reproduces_the_published_survival(run_profile, files):
    curve = dict(
        run_profile("telco").rows(
            "select months, round(survival, 4) from marts.mart_subscription_survival where plan = 'all'"
        )
    )
    assert {month: curve[month] for month in (12, 24, 72)} == {12: 0.8432, 24: 0.7887, 72: 0.5928}
    at_risk, low, high = run_profile("telco").row(
        "select at_risk, ci_low, ci_high from marts.mart_subscription_survival where plan = 'all' and months = 24"
    )
    assert (at_risk,) == files(f"select count(*) from {TELCO} where tenure::int >= 24")
    assert low < 0.7887 < high and high - low < 0.03
