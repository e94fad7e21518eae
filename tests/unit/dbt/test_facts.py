"""Facts against brute force: business minutes counted minute by minute, activity spans walked order by order.

The real models run in dbt over a made-up help desk and shop; the counts here share no code with them. Branches of
single rules are dbt unit tests beside the models.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import forked
import pytest

from orchestration.analytics.sentiment import ensure_schema
from orchestration.settings import Survivorship
from orchestration.sources.contract import DUCKDB_TYPES, key_name, load_contract

pytestmark = pytest.mark.xdist_group("facts")

PROJECT = Path(__file__).resolve().parents[3] / "dbt_project"
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
AS_OF = date(2024, 4, 30)
INACTIVE_AFTER_DAYS, GAP_FACTOR = 40, 2.5
SETTINGS: dict[str, Any] = {
    "time_zone": "UTC",
    "currency": "EUR",
    "as_of": AS_OF.isoformat(),
    "week_start": "monday",
    "suppressed_below": 10,
    "low_below": 30,
    "nps_window_days": 90,
    "inactive_after_days": INACTIVE_AFTER_DAYS,
    "survey_fatigue_days": 90,
    "journey_gap_days": 30,
    "self_service_days": 7,
    "feedback_contact_hours": 48,
    "feedback_close_days": 14,
    "inactive_gap_factor": GAP_FACTOR,
    "complaint_types": ["complaint"],
    "complaint_tags": [],
    "complaint_texts": [],
    "sla": [{"target": "first_reply", "minutes": 60, "clock": "business", "priority": None}],
    "company": "Handmade",
    "survivorship": Survivorship().model_dump(),
    "trusted_sources": [],
}
Span = tuple[str, date, date | None]


@dataclass(frozen=True)
class Schedule:
    """Opening hours by ISO weekday as minutes after local midnight; a shift may end on the next day."""

    zone: str
    hours: dict[int, tuple[tuple[int, int], ...]]
    holidays: frozenset[date]

    def is_open(self, moment: datetime) -> bool:
        """Whether the schedule is open in the minute that begins at a UTC moment."""
        local = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(self.zone))
        minute = local.hour * 60 + local.minute
        return self._covers(local.date(), minute) or self._covers(local.date() - DAY, minute + 1440)

    def _covers(self, day: date, minute: int) -> bool:
        if day in self.holidays:
            return False
        for opens, closes in self.hours.get(day.isoweekday(), ()):
            if opens <= minute < (closes if closes > opens else closes + 1440):
                return True
        return False


WORKDAY = ((9 * 60, 12 * 60 + 30), (13 * 60, 17 * 60 + 15))
SCHEDULES = {
    # Clocks change on 2024-03-10, on a night that the shift spans.
    "night": Schedule("America/New_York", dict.fromkeys((5, 6, 7), ((20 * 60, 6 * 60),)), frozenset()),
    # Clocks change by half an hour, on 2024-04-07.
    "always": Schedule("Australia/Lord_Howe", dict.fromkeys(range(1, 8), ((0, 1440),)), frozenset()),
    "berlin": Schedule(
        "Europe/Berlin", dict.fromkeys(range(1, 6), WORKDAY), frozenset({date(2024, 3, 29), date(2024, 4, 1)})
    ),
    # Nowruz; the week begins on Saturday.
    "tehran": Schedule(
        "Asia/Tehran",
        dict.fromkeys((6, 7, 1, 2, 3), ((8 * 60, 16 * 60),)),
        frozenset(date(2024, 3, 20) + DAY * i for i in range(14)),
    ),
}


@dataclass(frozen=True)
class Company:
    """What was made up, and the warehouse the models were built in."""

    waits: dict[str, tuple[str, datetime, datetime]]
    order_days: dict[str, list[date]]
    warehouse: Path


def clock(minute: int) -> str:
    """Minutes after midnight as HH:MM."""
    return f"{minute // 60:02}:{minute % 60:02}"


def made_up_waits(rng: random.Random) -> dict[str, tuple[str, datetime, datetime]]:
    """Per ticket its schedule, creation and first reply: around the changes of the clock, and one of over a year."""
    waits = {"t-long": ("berlin", datetime(2023, 1, 31, 7, 3), datetime(2024, 4, 2, 15, 7))}
    for i in range(120):
        created = datetime(2024, 3, 5) + MINUTE * rng.randrange(40 * 1440)
        length = rng.choice([rng.randrange(90), rng.randrange(1440), rng.randrange(6 * 1440)])
        waits[f"t{i:03}"] = (rng.choice(list(SCHEDULES)), created, created + MINUTE * length)
    return waits


def made_up_order_days(rng: random.Random) -> dict[str, list[date]]:
    """Per customer the days of orders over two years and a half, some beyond as_of."""
    order_days = {}
    for i in range(80):
        pace = rng.choice([3, 10, 25, 40, 90])
        day, days = date(2022, 1, 1) + DAY * rng.randrange(300), []
        for _ in range(rng.randrange(1, 15)):
            days.append(day)
            day += DAY * rng.choice([0, pace // 2 + 1, pace, rng.randrange(1, 5 * pace)])
        order_days[f"C{i:02}"] = days
    # On the limit, and the day after it.
    order_days["on-limit"] = [date(2024, 1, 1), date(2024, 1, 1) + DAY * INACTIVE_AFTER_DAYS]
    order_days["past-limit"] = [date(2024, 1, 1), date(2024, 1, 2) + DAY * INACTIVE_AFTER_DAYS]
    order_days["ends-today"] = [AS_OF - DAY * INACTIVE_AFTER_DAYS]
    order_days["ends-tomorrow"] = [AS_OF + DAY - DAY * INACTIVE_AFTER_DAYS]
    return order_days


def schedule_rows() -> list[dict[str, Any]]:
    """The schedules as the contract has them."""
    rows: list[dict[str, Any]] = []
    for name, schedule in SCHEDULES.items():
        common = {"schedule_key": name, "time_zone": schedule.zone}
        rows += [
            {**common, "weekday": day, "opens": clock(opens), "closes": clock(closes)}
            for day, intervals in schedule.hours.items()
            for opens, closes in intervals
        ]
        rows += [{**common, "holiday_date": holiday} for holiday in schedule.holidays]
    return rows


def write_inputs(folder: Path, given: dict[str, list[dict[str, Any]]]) -> None:
    """Write every contract entity as a table of the warehouse, and the models that the generator would write."""
    models, macros = folder / "models" / "intermediate" / "unioned", folder / "macros"
    models.mkdir(parents=True)
    macros.mkdir()
    setting = "{% macro setting(name) %}{{ return(" + json.dumps(SETTINGS) + "[name]) }}{% endmacro %}"
    (macros / "setting.sql").write_text(setting)
    with duckdb.connect(str(folder / "warehouse.duckdb")) as con:
        con.execute("create schema given; create schema identity")
        ensure_schema(con)
        for name, entity in load_contract().items():
            types = {"source": "varchar", f"{name}_key": "varchar"}
            for column in entity.columns.values():
                types[column.name] = DUCKDB_TYPES[column.type]
                if column.name.endswith("_id"):
                    types[key_name(column.name)] = "varchar"
            con.execute(f'create table given."{name}" ({", ".join(f"{c} {t}" for c, t in types.items())})')
            for row in given.get(name, []):
                con.execute(
                    f'insert into given."{name}" ({", ".join(row)}) values ({", ".join("?" * len(row))})',
                    list(row.values()),
                )
            (models / f"int_{name}__unioned.sql").write_text(f'select * from given."{name}"')
        con.execute(
            "create table identity.customer_xref as select 'shop' as source, person_id as source_record_id,"
            " person_key, person_id as customer_id, 'own' as rule, 1.0::double as score, now()::timestamp as"
            " valid_from, null::timestamp as valid_to from given.person"
        )


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """A made-up company, its facts built by dbt."""
    folder = tmp_path_factory.mktemp("facts")
    rng = random.Random(1403)
    waits, order_days = made_up_waits(rng), made_up_order_days(rng)
    events = [
        {
            "source": "desk",
            "ticket_event_key": f"desk:{ticket}-reply",
            "ticket_event_id": f"{ticket}-reply",
            "ticket_key": ticket,
            "type": "message",
            "visibility": "public",
            "actor_type": "agent",
            "occurred_at": replied,
        }
        for ticket, (_, _, replied) in waits.items()
    ]
    orders = [
        {"source": "shop", "order_key": f"{customer}-{i}", "person_key": customer, "ordered_at": day}
        for customer, days in order_days.items()
        for i, day in enumerate(days)
    ]
    tickets = [
        {"source": "desk", "ticket_key": ticket, "schedule_key": schedule, "created_at": created}
        for ticket, (schedule, created, _) in waits.items()
    ]
    persons = [{"source": "shop", "person_key": customer, "person_id": customer} for customer in order_days]
    write_inputs(
        folder,
        {
            "business_schedule": schedule_rows(),
            "order": orders,
            "person": persons,
            "ticket": tickets,
            "ticket_event": events,
        },
    )
    shutil.copytree(
        PROJECT,
        folder / "project",
        ignore=shutil.ignore_patterns("exposures.yml"),
    )
    done = forked.dbt(
        *("build", "--quiet", "--exclude-resource-type", "unit_test"),
        *("--select", "+fct_ticket", "+int_customer_activity__spanned", "--indirect-selection", "cautious"),
        *("--project-dir", str(folder / "project"), "--profiles-dir", str(folder / "project")),
        *("--target-path", "../target", "--log-path", str(folder / "logs")),
        environment={
            **os.environ,
            "CEM_DBT_MODELS": "../models",
            "CEM_DBT_MACROS": "../macros",
            "CEM_WAREHOUSE": str(folder / "warehouse.duckdb"),
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Company(waits, order_days, folder / "warehouse.duckdb")


def counted_minutes(schedule: Schedule, start: datetime, end: datetime) -> int:
    """Open minutes between two moments, one after the other."""
    minutes = int((end - start) / MINUTE)
    return sum(schedule.is_open(start + MINUTE * i) for i in range(minutes))


def walked_spans(customer: str, days: list[date]) -> list[Span]:
    """The spans of one customer, from one order day to the next, knowing only what was known by then."""
    known = sorted({day for day in days if day <= AS_OF})
    spans: list[Span] = []
    start = 0
    for i, day in enumerate(known):
        gaps = [(later - earlier).days for earlier, later in pairwise(known[: i + 1])]
        usual = GAP_FACTOR * sum(gaps) / len(gaps) if gaps else 0
        limit = day + DAY * max(INACTIVE_AFTER_DAYS, math.ceil(usual))
        if i + 1 == len(known):
            spans.append((customer, known[start], limit if limit <= AS_OF else None))
        elif known[i + 1] > limit:
            spans.append((customer, known[start], limit))
            start = i + 1
    return spans


def test_business_minutes_equal_a_count_of_minutes(company: Company) -> None:
    """Any schedule, time zone, change of the clock, holiday and length of wait."""
    with duckdb.connect(str(company.warehouse), read_only=True) as con:
        rows = con.execute(
            "select ticket_key, first_response_minutes, first_response_business_minutes from marts.fct_ticket"
        ).fetchall()
    minutes = {ticket: (replied - created) / MINUTE for ticket, (_, created, replied) in company.waits.items()}
    open_minutes = {
        ticket: counted_minutes(SCHEDULES[schedule], created, replied)
        for ticket, (schedule, created, replied) in company.waits.items()
    }
    assert {row[0]: row[1] for row in rows} == pytest.approx(minutes)
    assert {row[0]: row[2] for row in rows} == pytest.approx(open_minutes)
    for name in SCHEDULES:
        counted = [open_minutes[ticket] for ticket, wait in company.waits.items() if wait[0] == name]
        assert sum(counted) > 0, f"schedule {name} should have been open at some time"


def test_activity_spans_equal_a_walk_without_look_ahead(company: Company) -> None:
    """Orders after as_of change nothing; each limit knows only the orders before it."""
    with duckdb.connect(str(company.warehouse), read_only=True) as con:
        built: dict[str, list[Span]] = defaultdict(list)
        for span in con.execute(
            "select customer_id, started_date, ended_date from intermediate.int_customer_activity__spanned"
            " order by customer_id, started_date"
        ).fetchall():
            built[span[0]].append(span)
    expected = {customer: walked_spans(customer, days) for customer, days in company.order_days.items()}
    assert dict(built) == {customer: spans for customer, spans in expected.items() if spans}
    assert any(len(spans) > 2 for spans in expected.values()), "some customers should have come back"
