"""Every KPI recomputed in plain Python from the written definitions, and compared cell by cell.

The real KPI models run in dbt on a small company made up here; the recomputation is `kpi_recomputation`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import forked
import pytest
from kpi_recomputation import DAY, TABLES, Facts, Row, Rules, disagreements, recompute

pytestmark = pytest.mark.xdist_group("kpi")

PROJECT = Path(__file__).resolve().parents[3] / "dbt_project"
FIRST, AS_OF = date(2023, 12, 20), date(2024, 5, 20)
SETTINGS: dict[str, Any] = {
    "time_zone": "UTC",
    "currency": "EUR",
    "as_of": "latest",
    "week_start": "monday",
    "suppressed_below": 3,
    "low_below": 8,
    "nps_window_days": 30,
    "inactive_after_days": 180,
    "survey_fatigue_days": 90,
    "journey_gap_days": 30,
    "self_service_days": 7,
    "feedback_contact_hours": 48,
    "feedback_close_days": 14,
    "inactive_gap_factor": 3.0,
    "complaint_types": ["complaint"],
    "complaint_tags": ["complaint"],
    "complaint_texts": ["comment", "mention"],
    "sla": [],
    "company": "Handmade",
}
RECORDS_TEST = """
with records as (
    {% set queries = [] %}
    {% for metric in kpi_metrics() %}{% for slice in ['all'] + metric.slices %}
    {% set query %}
    select
        '{{ metric.metric }}' as metric, calendar, period_grain, period_start, '{{ slice }}' as slice, slice_value,
        count(*) filter (where is_counted) as counted, count(*) filter (where not is_counted) as invalid
    from ({{ kpi_records(metric.metric, slice=slice) }})
    group by all
    {% endset %}
    {% do queries.append(query) %}
    {% endfor %}{% endfor %}
    {{ queries | join(' union all ') }}
),
cells as (
    select parts.*, case metrics.records_part when 'n' then parts.n else parts.numerator end as counted
    from {{ ref('mart_kpi_parts') }} as parts
    inner join {{ ref('dim_metric') }} as metrics on parts.metric = metrics.metric
)
select metric, calendar, period_grain, period_start, slice, slice_value
from cells
full join records using (metric, calendar, period_grain, period_start, slice, slice_value)
where
    coalesce(cells.counted, 0) <> coalesce(records.counted, 0)
    or coalesce(cells.n_invalid, 0) <> coalesce(records.invalid, 0)
"""
"""A data test the project leaves out for its cost: the records behind every cell of every metric."""


def survey_row(facts: Facts, survey: str, kind: str, metric: str, scale: tuple[int, int], **given: Any) -> None:
    """Add one answer, with what its scale makes of it."""
    low, high = scale
    score, negative = given["score"], given.pop("negative", False)
    is_valid = score is not None and low <= score <= high and (metric != "nps" or score == int(score))
    directed = (low + high - score if negative else score) if is_valid else None
    band = None
    if metric == "nps" and scale == (0, 10) and directed is not None:
        band = "promoter" if directed >= 9 else "passive" if directed >= 7 else "detractor"
    facts["fct_survey_response"].append(
        {
            "response_key": f"r{len(facts['fct_survey_response']):04}",
            "survey_key": survey,
            "survey_name": None if survey == "unnamed" else survey.upper(),
            "survey_kind": kind,
            "metric": metric,
            "scale_min": low,
            "scale_max": high,
            "is_valid": is_valid,
            "directed_score": directed,
            "score_100": None if directed is None else 100 * (directed - low) / (high - low),
            "band": band,
            "is_top_box": None if directed is None else directed >= high - 1,
            "answered_date": given["answered_at"].date(),
            "sentiment": given.pop("sentiment", None),
            **given,
        }
    )


def handmade_facts() -> Facts:
    """A company of 60 customers over five months that cross a leap day and Nowruz."""
    rng = random.Random(1403)
    facts: Facts = {name: [] for name in TABLES}
    facts["int_as_of__resolved"] = [{"as_of_at": datetime(2024, 5, 20, 18), "as_of_date": AS_OF}]
    ids = [f"C{i:02}" for i in range(60)]
    for customer_id in ids:
        facts["dim_customer"].append(
            {
                "customer_id": customer_id,
                "region": rng.choice(["north", "south", None]),
                "segment": rng.choice(["gold", "silver", None]),
            }
        )

    def moment() -> datetime:
        return datetime.combine(FIRST, datetime.min.time()) + timedelta(
            minutes=rng.randrange((AS_OF - FIRST).days * 1440)
        )

    for i in range(150):
        facts["fct_order"].append(
            {
                "order_key": f"o{i:03}",
                "customer_id": rng.choice([*ids[:45], None]),
                "ordered_date": moment().date(),
                "product_line": rng.choice(["tea", "coffee", None]),
                "margin_amount": rng.choice([None, *(rng.randrange(-500, 9000) / 100 for _ in range(6))]),
                "currency": rng.choices(["EUR", "USD"], [9, 1])[0],
                "is_revenue": rng.random() < 0.9,
            }
        )
    _add_answers(facts, rng, ids, moment)
    _add_tickets(facts, rng, ids, moment)
    for i in range(120):
        facts["fct_mention"].append(
            {
                "mention_key": f"m{i:03}",
                "customer_id": rng.choice([*ids, None, None]),
                "channel": rng.choice(["x", "instagram", None]),
                "published_date": moment().date(),
                "sentiment": rng.choice(["positive", "neutral", "negative", "unknown"]),
                "is_repost": rng.random() < 0.15,
            }
        )
    _add_stays(facts, rng, ids)
    _add_contacts(facts, ids)
    for row in facts["fct_ticket"]:
        for target in ("first_reply", "resolution"):
            if rng.random() < 0.8:
                status = rng.choice(["met", "met", "breached", "pending"])
                names = ("ticket_key", "customer_id", "created_date")
                due_at = rng.choice([row["created_at"] + timedelta(hours=8), datetime(2024, 5, 21), None])
                facts["fct_sla_event"].append(
                    {name: row[name] for name in names} | {"target": target, "due_at": due_at, "status": status}
                )
    return facts


def _add_answers(facts: Facts, rng: random.Random, ids: list[str], moment: Callable[[], datetime]) -> None:
    orders = [row["order_key"] for row in facts["fct_order"]]
    kinds = [
        ("loyalty", "relational", "nps", (0, 10), 130),
        ("airport", "relational", "nps", (0, 10), 60),
        ("unnamed", "relational", "nps", (1, 5), 6),
        ("delivery", "transactional", "nps", (0, 10), 60),
        ("delivery", "transactional", "csat", (1, 5), 70),
        ("airport", "relational", "csat", (1, 5), 40),
        ("thumbs", "transactional", "csat", (0, 1), 30),
        ("effort", "transactional", "ces", (1, 7), 60),
        ("hassle", "transactional", "ces", (1, 7), 40),
        ("old_effort", "transactional", "ces", (1, 5), 10),
    ]
    for survey, kind, metric, scale, count in kinds:
        for _ in range(count):
            # Some answers are off the scale, some questions were left open.
            score = rng.choices([rng.randint(*scale), scale[1] + 1, None], [18, 1, 1])[0]
            survey_row(
                facts,
                survey,
                kind,
                metric,
                scale,
                negative=survey == "hassle",
                score=score,
                customer_id=rng.choice([*ids, None, None, None]),
                person_key=rng.choice(["p1", None]),
                order_key=rng.choice([*orders, None]),
                channel=rng.choice(["email", "web", None]),
                sentiment=rng.choice(["positive", "neutral", "negative", "unknown", None, None]),
                weight=round(rng.uniform(0.2, 3), 4) if survey == "airport" else rng.choice([1.0, None]),
                answered_at=moment(),
            )
    # Two answers of one customer on one day, and one exactly as old as the window.
    for at, score in [(datetime(2024, 4, 3, 9), 2), (datetime(2024, 4, 3, 17), 10), (datetime(2024, 5, 3, 8), 0)]:
        survey_row(
            facts,
            "loyalty",
            "relational",
            "nps",
            (0, 10),
            score=score,
            customer_id="C59",
            person_key=None,
            order_key=None,
            channel="email",
            weight=1.0,
            answered_at=at,
        )


def _add_tickets(facts: Facts, rng: random.Random, ids: list[str], moment: Callable[[], datetime]) -> None:
    for i in range(140):
        created = moment().date()
        resolved = rng.choice([None, created + timedelta(days=rng.randrange(9))])
        answered = rng.choice([True, True, True, False, None])
        waited = None if answered is None else round(rng.lognormvariate(4, 1), rng.choice([-1, 3]))
        open_minutes = None if waited is None else rng.choice([round(waited / 3, 3), None])
        facts["fct_ticket"].append(
            {
                "ticket_key": f"t{i:03}",
                "customer_id": rng.choice([*ids, None]),
                "order_key": rng.choice([row["order_key"] for row in facts["fct_order"]] + [None]),
                "channel": rng.choice(["email", "phone", None]),
                "created_date": created,
                "resolved_date": resolved,
                "is_complaint": rng.random() < 0.3,
                "is_merged": rng.random() < 0.1,
                "is_answered": answered,
                "first_response_minutes": waited if answered else None,
                "first_response_business_minutes": open_minutes if answered else None,
                "native_is_sla_met": rng.choice([True, False, None]),
                "waited_minutes": waited,
                "waited_business_minutes": open_minutes,
                **{
                    f"is_fcr_{days}d": rng.choice([True, False])
                    if resolved and resolved + timedelta(days=days) <= AS_OF
                    else None
                    for days in (7, 14, 30)
                },
            }
        )


def _add_contacts(facts: Facts, ids: list[str]) -> None:
    """Invitations, help articles read, and who opened each ticket when."""
    rng = random.Random(7)

    def moment(day: date) -> datetime:
        return datetime.combine(day, datetime.min.time()) + timedelta(minutes=rng.randrange(1440))

    facts["int_person__resolved"] = [
        {"person_key": f"crm:{customer_id}", "customer_id": customer_id} for customer_id in ids
    ]
    for row in facts["fct_ticket"]:
        row["created_at"] = moment(row["created_date"])
        row["created_by"] = rng.choice(["customer", "customer", None, "agent"])
    days = [FIRST + i * DAY for i in range((AS_OF - FIRST).days + 1)]
    for i in range(160):
        facts["int_self_service_view__unioned"].append(
            {
                "self_service_view_key": f"v{i:03}",
                "person_key": rng.choice([*(f"crm:{customer_id}" for customer_id in ids[:30]), None]),
                "occurred_at": moment(rng.choice(days)),
            }
        )
    for i in range(150):
        survey = rng.choice(["s1", "s2"])
        facts["fct_survey_invitation"].append(
            {
                "invitation_key": f"i{i:03}",
                "customer_id": rng.choice([*ids, None]),
                "channel": rng.choice(["email", "sms", None]),
                "survey_key": survey,
                "survey_name": "Pulse" if survey == "s1" else None,
                "sent_date": rng.choice(days),
                "is_delivered": rng.random() < 0.9,
                "is_answered": rng.random() < 0.4,
            }
        )


def _add_stays(facts: Facts, rng: random.Random, ids: list[str]) -> None:
    for kind, members in (("contractual", ids[:40]), ("noncontractual", ids[25:])):
        for customer_id in members:
            start = FIRST - timedelta(days=rng.randrange(-100, 20))
            while start <= AS_OF:
                length = rng.choice([0, 3, 20, 45, 90, 400])
                end: date | None = start + timedelta(days=length)
                if end is not None and end > AS_OF:
                    end = None
                facts["int_customer_activity__spanned"].append(
                    {"customer_id": customer_id, "kind": kind, "started_date": start, "ended_date": end}
                )
                if kind == "contractual":
                    _add_subscriptions(facts, rng, customer_id, start, end)
                if end is None:
                    break
                start = end + timedelta(days=rng.choice([2, 5, 30, 60]))


def _add_subscriptions(facts: Facts, rng: random.Random, customer_id: str, start: date, end: date | None) -> None:
    """The stay as one subscription, or as two in a row with a change of plan on the day after."""
    change = start + timedelta(days=10)
    parts: list[tuple[date, date | None]] = [(start, end)]
    if rng.random() < 0.4 and (end is None or change + DAY < end) and change < AS_OF:
        parts = [(start, change), (change + DAY, end)]
    for started, ended in parts:
        facts["fct_subscription"].append(
            {
                "subscription_key": f"s{len(facts['fct_subscription']):03}",
                "customer_id": customer_id,
                "started_date": started,
                "ended_date": ended,
                "monthly_amount": rng.choice([None, 9.9, 9.9, 19.9, 50]),
                "currency": rng.choices(["EUR", "USD"], [9, 1])[0],
            }
        )


# --- The models


class Warehouse:
    """The KPI models of the project on handmade facts, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "w.duckdb"
        project = folder / "project"
        for part in ("macros", "models/intermediate/kpi", "models/marts/kpi", "tests/generic"):
            shutil.copytree(PROJECT / part, project / part)
        for test in (PROJECT / "tests").glob("assert_kpi_*.sql"):
            shutil.copy(test, project / "tests")
        (project / "tests" / "assert_records_explain_cells.sql").write_text(RECORDS_TEST)
        for name in ("dbt_project.yml", "profiles.yml"):
            shutil.copy(PROJECT / name, project)
        (folder / "models").mkdir()
        for name in TABLES:
            (folder / "models" / f"{name}.sql").write_text(f"select * from handmade.{name}\n")
        for name in ("int_record__touched", "int_customer__touched"):  # nothing follows a build that is not booked
            (folder / "models" / f"{name}.sql").write_text("select null as customer_id where false\n")
        (folder / "macros").mkdir()
        (folder / "macros" / "setting.sql").write_text(
            "{% macro setting(name) %}{{ return(" + json.dumps(SETTINGS) + "[name]) }}{% endmacro %}"
        )

    def load(self, facts: Facts) -> None:
        """Replace the facts."""
        with duckdb.connect(str(self.path)) as con:
            con.execute("create schema if not exists handmade")
            for name, columns in TABLES.items():
                con.execute(f"create or replace table handmade.{name} ({columns})")
                names = [column.split()[0] for column in columns.replace("decimal(18, 4)", "decimal").split(", ")]
                if facts[name]:
                    con.executemany(
                        f"insert into handmade.{name} values ({', '.join('?' * len(names))})",
                        [[row[column] for column in names] for row in facts[name]],
                    )

    def build(self, command: str = "build") -> None:
        """Build all models and run their data tests; with the command `run`, only the models."""
        done = forked.dbt(
            *(command, "--quiet"),
            *(("--exclude-resource-type", "unit_test") if command == "build" else ()),
            *("--project-dir", str(self.folder / "project"), "--profiles-dir", str(self.folder / "project")),
            *("--target-path", "../target", "--log-path", str(self.folder / "logs")),
            environment={
                **os.environ,
                "CEM_DBT_MODELS": "../models",
                "CEM_DBT_MACROS": "../macros",
                "CEM_WAREHOUSE": str(self.path),
            },
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def rows(self, query: str) -> list[Row]:
        """The rows of a query as dictionaries."""
        with duckdb.connect(str(self.path), read_only=True) as con:
            found = con.execute(query)
            names = [column[0] for column in found.description or []]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.fixture(scope="module")
def facts() -> Facts:
    return handmade_facts()


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory, facts: Facts) -> Warehouse:
    made = Warehouse(tmp_path_factory.mktemp("kpi"))
    made.load(facts)
    made.build()
    return made


def test_every_cell_agrees(warehouse: Warehouse, facts: Facts) -> None:
    """The same cells, and in each the same parts, figure, interval and reliability."""
    expected = recompute(facts, Rules(SETTINGS, AS_OF))
    assert disagreements(warehouse.rows("select * from marts.mart_kpi"), expected)[:5] == []
    assert {row["metric"] for row in warehouse.rows("select metric from marts.dim_metric")} == {
        key[0] for key in expected
    }


def test_late_data_restates(warehouse: Warehouse, facts: Facts) -> None:
    """An equal build restates nothing; a late answer restates the complete periods it belongs to, once."""
    restated = "select * from marts.mart_kpi where restated_at is not null order by all"
    warehouse.build("run")
    assert warehouse.rows(restated) == []

    before = {
        (row["metric"], row["calendar"], row["period_grain"], row["period_start"]): row["value"]
        for row in warehouse.rows("select * from marts.mart_kpi where slice = 'all'")
    }
    late = {name: list(rows) for name, rows in facts.items()}
    survey_row(
        late,
        "thumbs",
        "transactional",
        "csat",
        (0, 1),
        score=0,
        customer_id="C01",
        person_key=None,
        order_key=None,
        channel="web",
        weight=None,
        answered_at=datetime(2024, 2, 29, 12),
    )
    warehouse.load(late)
    warehouse.build()
    changed = warehouse.rows(restated)
    assert {row["metric"] for row in changed} == {"csat", "csat_mean"}
    assert all(row["period_start"] <= date(2024, 2, 29) <= row["period_end"] for row in changed)
    whole = [row for row in changed if row["slice"] == "all"]
    assert {(row["calendar"], row["period_grain"]) for row in whole} >= {
        ("gregorian", "month"),
        ("jalali", "month"),
        ("gregorian", "quarter"),
        ("gregorian", "all"),
    }
    for row in whole:
        assert row["previous_value"] == before[row["metric"], row["calendar"], row["period_grain"], row["period_start"]]
        if row["value"] is None or row["previous_value"] is None:
            assert row["restated_by"] is None
        else:
            assert row["restated_by"] == pytest.approx(row["value"] - row["previous_value"])

    warehouse.build("run")
    assert warehouse.rows(restated) == changed
