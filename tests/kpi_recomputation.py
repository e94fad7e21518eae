"""Every KPI in plain Python, from the written definitions, for any company.

The recomputation follows the definitions one period and one slice at a time, by brute force, and shares no code with
the models: no SQL, `jdatetime` for the Jalali calendar, `scipy` for the t distribution. It starts from the facts,
which `fact_recomputation` makes of the records.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import jdatetime
from scipy import stats

DAY = timedelta(days=1)
SETTLED_AFTER_DAYS = {"fcr_7d": 7, "fcr_14d": 14, "fcr_30d": 30, "survey_response_rate": 7, "self_service_rate": 7}
SCALES = {
    "csat_mean": (0.0, 100.0),
    "ces": (1.0, 7.0),
    "first_response_minutes": (0.0, math.inf),
    "first_response_business_minutes": (0.0, math.inf),
}
Z = float(stats.norm.ppf(0.975))
TABLES = {
    "int_as_of__resolved": "as_of_at timestamp, as_of_date date",
    "dim_customer": "customer_id text, region text, segment text",
    "fct_order": "order_key text, customer_id text, ordered_date date, product_line text, margin_amount decimal(18, 4),"
    " currency text, is_revenue boolean",
    "fct_subscription": "subscription_key text, customer_id text, started_date date, ended_date date,"
    " monthly_amount decimal(18, 4), currency text",
    "fct_ticket": "ticket_key text, customer_id text, order_key text, channel text, created_date date,"
    " resolved_date date, is_complaint boolean, is_merged boolean, is_answered boolean, first_response_minutes double,"
    " first_response_business_minutes double, waited_minutes double, waited_business_minutes double,"
    " native_is_sla_met boolean, is_fcr_7d boolean, is_fcr_14d boolean, is_fcr_30d boolean, created_at timestamp,"
    " created_by text",
    "fct_sla_event": "ticket_key text, customer_id text, target text, created_date date, due_at timestamp, status text",
    "fct_survey_invitation": "invitation_key text, customer_id text, channel text, survey_key text, survey_name text,"
    " sent_date date, is_delivered boolean, is_answered boolean",
    "int_self_service_view__unioned": "self_service_view_key text, person_key text, occurred_at timestamp",
    "int_person__resolved": "person_key text, customer_id text",
    "fct_survey_response": "response_key text, survey_key text, survey_name text, survey_kind text, metric text,"
    " customer_id text, person_key text, order_key text, channel text, answered_at timestamp, answered_date date,"
    " score double, scale_min integer, scale_max integer, is_valid boolean, directed_score double, score_100 double,"
    " band text, is_top_box boolean, weight double, sentiment text",
    "mart_sentiment_model": "language text, method text, text_count bigint, macro_f1 double, macro_f1_low double,"
    " macro_f1_high double, evaluated_count bigint",
    "fct_mention": "mention_key text, customer_id text, channel text, published_date date, sentiment text,"
    " is_repost boolean",
    "int_customer_activity__spanned": "customer_id text, kind text, started_date date, ended_date date",
}
"""The facts a recomputation starts from: columns by table."""
Row = dict[str, Any]
Facts = dict[str, list[Row]]
Key = tuple[str, str, str, date, str, str]


@dataclass
class Rules:
    """What a recomputation goes by: the settings, the day it looks from, and the cells it is asked for."""

    settings: dict[str, Any]
    as_of: date
    grains: frozenset[str] = frozenset({"day", "week", "month", "quarter", "all"})
    slices: frozenset[str] = frozenset({"all", "channel", "region", "segment", "product_line", "survey"})


RULES = Rules({}, date.max)
"""The rules of the present recomputation; `recompute` sets them."""


@dataclass(frozen=True)
class Period:
    """A period of a calendar; `last` is its last day that has been."""

    calendar: str
    grain: str
    start: date
    end: date

    @property
    def last(self) -> date:
        return min(self.end, RULES.as_of)

    def is_complete(self, settled_after: timedelta) -> bool:
        return self.grain == "all" or self.end + settled_after < RULES.as_of


def jalali_first(year: int, month: int) -> date:
    return jdatetime.date(year + (month - 1) // 12, (month - 1) % 12 + 1, 1).togregorian()


def gregorian_first(year: int, month: int) -> date:
    return date(year + (month - 1) // 12, (month - 1) % 12 + 1, 1)


def all_periods(first: date) -> list[Period]:
    periods = {Period("gregorian", "all", first, RULES.as_of)}
    for i in range((RULES.as_of - first).days + 1):
        day = first + i * DAY
        jalali = jdatetime.date.fromgregorian(date=day)
        monday = day - timedelta(days=day.weekday())
        saturday = day - timedelta(days=(day.weekday() + 2) % 7)
        for calendar, week, make, year, month in (
            ("gregorian", monday, gregorian_first, day.year, day.month),
            ("jalali", saturday, jalali_first, jalali.year, jalali.month),
        ):
            season = month - (month - 1) % 3
            if calendar == "gregorian":  # a day is the same in both calendars
                periods.add(Period(calendar, "day", day, day))
            periods.add(Period(calendar, "week", week, week + 6 * DAY))
            periods.add(Period(calendar, "month", make(year, month), make(year, month + 1) - DAY))
            periods.add(Period(calendar, "quarter", make(year, season), make(year, season + 3) - DAY))
    periods = {period for period in periods if period.grain in RULES.grains}
    return sorted(periods, key=lambda period: (period.calendar, period.grain, period.start))


@dataclass
class Record:
    """Something that may count: when, where, and how much."""

    day: date
    slices: dict[str, str]
    value: float | None
    weight: float = 1.0
    order: tuple[Any, ...] = ()
    owner: str = ""


@dataclass
class Cell:
    """What a figure is made of."""

    values: list[tuple[float, float]] = field(default_factory=list)
    invalid: int = 0


def by_slice(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    found: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        found["all", "all"].append(record)
        for name, value in record.slices.items():
            if name in RULES.slices:
                found[name, value].append(record)
    return found


class Company:
    """The facts, with the look-ups that slices need."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.customers = {row["customer_id"]: row for row in facts["dim_customer"]}
        self.orders = {row["order_key"]: row for row in facts["fct_order"]}
        self.weighted = {
            row["survey_name"] or row["survey_key"]
            for row in facts["fct_survey_response"]
            if row["score"] is not None and row["weight"] not in (None, 1)
        }

    def slices(self, row: Row, *names: str) -> dict[str, str]:
        customer = self.customers.get(row["customer_id"], {})
        values = {
            "channel": row.get("channel"),
            "region": customer.get("region"),
            "segment": customer.get("segment"),
            "product_line": self.orders.get(row.get("order_key"), {}).get("product_line"),
            "survey": row.get("survey_name") or row.get("survey_key"),
        }
        return {name: values[name] or "unknown" for name in names}

    def answers(self, metric: str, kind: str | None, value: Callable[[Row], float | None]) -> list[Record]:
        return [
            Record(
                day=row["answered_date"],
                slices=self.slices(row, "channel", "region", "segment", "product_line", "survey"),
                value=value(row) if row["is_valid"] else None,
                weight=1.0 if row["weight"] is None else row["weight"],
                order=(row["answered_at"], row["response_key"]),
                owner=row["customer_id"] or row["person_key"] or row["response_key"],
            )
            for row in self.facts["fct_survey_response"]
            if row["metric"] == metric and kind in (None, row["survey_kind"]) and row["score"] is not None
        ]

    def tickets(self, day: str, keep: Callable[[Row], bool], value: Callable[[Row], Any]) -> list[Record]:
        return [
            Record(row[day], self.slices(row, "channel", "region", "segment", "product_line"), value(row))
            for row in self.facts["fct_ticket"]
            if keep(row)
        ]


def net_promoter(row: Row) -> float | None:
    if (row["scale_min"], row["scale_max"]) != (0, 10):
        return None
    score = row["directed_score"]
    return 1 if score >= 9 else 0 if score >= 7 else -1


def ease(row: Row) -> float | None:
    return row["directed_score"] if (row["scale_min"], row["scale_max"]) == (1, 7) else None


def easy(row: Row) -> float | None:
    score = ease(row)
    return None if score is None else float(score >= 5)


def flows(company: Company) -> dict[str, list[Record]]:
    """Records of the period metrics by metric."""
    feelings = {"positive": 1.0, "neutral": 0.0, "negative": -1.0}
    found = {
        "nps_per_response": company.answers("nps", "relational", net_promoter),
        "nps_transactional": company.answers("nps", "transactional", net_promoter),
        "csat": company.answers("csat", None, lambda row: float(row["is_top_box"])),
        "csat_weighted": [
            record
            for record in company.answers("csat", None, lambda row: float(row["is_top_box"]))
            if record.slices["survey"] in company.weighted
        ],
        "csat_mean": company.answers("csat", None, lambda row: row["score_100"]),
        "ces": company.answers("ces", None, ease),
        "ces_easy_share": company.answers("ces", None, easy),
        "net_sentiment": [
            Record(
                row["published_date"],
                company.slices(row, "channel", "region", "segment"),
                feelings.get(row["sentiment"]),
            )
            for row in company.facts["fct_mention"]
            if not row["is_repost"]
        ],
    }
    for days in (7, 14, 30):
        name = f"is_fcr_{days}d"
        found[f"fcr_{days}d"] = company.tickets(
            "resolved_date", lambda row, name=name: row[name] is not None, lambda row, name=name: float(row[name])
        )
    for name in ("first_response_minutes", "first_response_business_minutes"):
        found[name] = company.tickets(
            "created_date",
            lambda row: row["is_answered"] is not None,
            lambda row, name=name: row[name],
        )
    found["sla_met_rate"] = company.tickets(
        "created_date",
        lambda row: row["native_is_sla_met"] is not None,
        lambda row: float(row["native_is_sla_met"]),
    )
    tickets = {row["ticket_key"]: row for row in company.facts["fct_ticket"]}
    (as_of,) = company.facts["int_as_of__resolved"]
    for target in ("first_reply", "resolution"):
        found[f"sla_{target}_met_rate"] = [
            Record(
                row["created_date"],
                company.slices(tickets[row["ticket_key"]], "channel", "region", "segment", "product_line"),
                {"met": 1.0, "breached": 0.0}.get(row["status"])
                if row["due_at"] is not None and row["due_at"] <= as_of["as_of_at"]
                else None,
            )
            for row in company.facts["fct_sla_event"]
            if row["target"] == target
        ]
    found["unanswered_rate"] = company.tickets(
        "created_date", lambda row: row["is_answered"] is not None, lambda row: float(not row["is_answered"])
    )
    settled = RULES.as_of - timedelta(days=7)
    found["survey_response_rate"] = [
        Record(
            row["sent_date"],
            company.slices(row, "channel", "region", "segment", "survey"),
            float(row["is_answered"]),
        )
        for row in company.facts["fct_survey_invitation"]
        if row["is_delivered"] and row["sent_date"] <= settled
    ]
    found["self_service_rate"] = needs_for_help(company)
    return found


def local_date(moment: datetime) -> date:
    """The date of a UTC moment on the reporting clock."""
    return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(RULES.settings["time_zone"])).date()


def needs_for_help(company: Company) -> list[Record]:
    """One record for each day on which a customer read help, and for each ticket that no reading came before."""
    window = timedelta(days=RULES.settings["self_service_days"])
    owner = {row["person_key"]: row["customer_id"] for row in company.facts["int_person__resolved"]}
    readings: dict[tuple[str, date], datetime] = {}
    for row in company.facts["int_self_service_view__unioned"]:
        if row["person_key"] is not None:
            key = (owner[row["person_key"]], local_date(row["occurred_at"]))
            readings[key] = min(row["occurred_at"], readings.get(key, row["occurred_at"]))
    tickets = [
        row
        for row in company.facts["fct_ticket"]
        if row["customer_id"] and not row["is_merged"] and row["created_by"] in (None, "customer")
    ]
    if not readings:
        return []  # Without help articles nobody can help themselves.
    needs = []
    for (customer_id, day), read_at in readings.items():
        asked = any(
            row["customer_id"] == customer_id and read_at <= row["created_at"] <= read_at + window for row in tickets
        )
        needs.append((day, {"customer_id": customer_id, "channel": "web"}, float(not asked)))
    for row in tickets:
        read = any(
            customer_id == row["customer_id"] and read_at <= row["created_at"] <= read_at + window
            for (customer_id, _), read_at in readings.items()
        )
        if not read:
            needs.append((row["created_date"], row, 0.0))
    return [
        Record(day, company.slices(row, "channel", "region", "segment"), value)
        for day, row, value in needs
        if day <= RULES.as_of - window
    ]


def flow_cells(records: list[Record], period: Period) -> Cell:
    inside = [record for record in records if period.start <= record.day <= period.last]
    return Cell(
        [(record.weight, record.value) for record in inside if record.value is not None],
        sum(record.value is None for record in inside),
    )


def latest_answers(records: list[Record], everyone: list[Record], period: Period) -> Cell:
    """The latest answer of each respondent in the window; `everyone` decides which one is the latest."""
    oldest = period.last - timedelta(days=RULES.settings["nps_window_days"]) + DAY
    latest: dict[str, Record] = {}
    for record in everyone:
        if record.value is not None and oldest <= record.day <= period.last:
            best = latest.get(record.owner)
            if best is None or record.order > best.order:
                latest[record.owner] = record
    chosen = {id(record) for record in latest.values()}
    return Cell(
        [(record.weight, record.value) for record in records if id(record) in chosen and record.value is not None],
        sum(record.value is None and oldest <= record.day <= period.last for record in records),
    )


def values_to_date(rows: list[Row], period: Period) -> Cell:
    margins: dict[str, float] = defaultdict(float)
    invalid = 0
    for row in rows:
        if row["ordered_date"] > period.last:
            continue
        if row["customer_id"] is None or row["margin_amount"] is None or row["currency"] != RULES.settings["currency"]:
            invalid += 1
        else:
            margins[row["customer_id"]] += row["margin_amount"]
    return Cell([(1.0, value) for value in margins.values()], invalid)


def is_active(stays: list[tuple[date, date | None]], day: date) -> bool:
    """Whether a customer is active when the day begins."""
    return any(start < day and (end is None or end >= day) for start, end in stays)


def close_of(period: Period) -> date:
    return period.last + DAY


@dataclass
class Stays:
    """Per customer: the stays of a set of kinds, and the slices."""

    by_customer: dict[str, list[tuple[date, date | None]]]

    @classmethod
    def of(cls, company: Company, *kinds: str) -> Stays:
        found: dict[str, list[tuple[date, date | None]]] = defaultdict(list)
        for row in company.facts["int_customer_activity__spanned"]:
            if row["kind"] in kinds:
                found[row["customer_id"]].append((row["started_date"], row["ended_date"]))
        return cls(found)

    def active(self, members: set[str], day: date) -> set[str]:
        return {name for name in members if is_active(self.by_customer.get(name, []), day)}


def recurring(subscriptions: list[Row], day: date) -> tuple[float, bool]:
    """Monthly amount of one customer when the day begins, and whether a running subscription has none."""
    ends = {row["ended_date"] for row in subscriptions if row["ended_date"]}
    total, unknown = 0.0, False
    for row in subscriptions:
        start = row["started_date"] - DAY if row["started_date"] - DAY in ends else row["started_date"]
        if is_active([(start, row["ended_date"])], day):
            if row["monthly_amount"] is None or row["currency"] != RULES.settings["currency"]:
                unknown = True
            else:
                total += row["monthly_amount"]
    return total, unknown


def reliability_of(n: float) -> str:
    return (
        "suppressed" if n < RULES.settings["suppressed_below"] else "low" if n < RULES.settings["low_below"] else "ok"
    )


def figures(metric: str, numerator: float, denominator: float, n: int, n_eff: float, squares: float) -> Row:
    """Value and interval by the formulas of the definitions."""
    reliability = reliability_of(n_eff)
    if reliability == "suppressed" or denominator == 0:
        return {"value": None, "ci_low": None, "ci_high": None, "reliability": reliability}
    mean = numerator / denominator
    if metric in ("nps", "nps_weighted", "nps_per_response", "nps_transactional", "net_sentiment"):
        value, low, high = net_interval(mean, n_eff, squares / denominator)
    elif metric in ("csat_mean", "ces", "clv_to_date") or metric.startswith("first_response"):
        spread = math.sqrt(max(0.0, squares - n * mean * mean) / (n - 1) / n)
        half = float(stats.t.ppf(0.975, n - 1)) * spread
        lowest, highest = SCALES.get(metric, (-math.inf, math.inf))
        value, low, high = mean, max(lowest, mean - half), min(highest, mean + half)
    elif metric == "complaint_rate":
        value, low, high = poisson_interval(numerator, denominator)
    else:
        value, low, high = wilson_interval(mean, n_eff)
    return {"value": value, "ci_low": low, "ci_high": high, "reliability": reliability}


def net_interval(mean: float, n: float, share_extreme: float) -> tuple[float, float, float]:
    promoters, detractors = n * (share_extreme + mean) / 2, n * (share_extreme - mean) / 2
    p, d = (promoters + 0.75) / (n + 3), (detractors + 0.75) / (n + 3)
    half = Z * math.sqrt((p + d - (p - d) ** 2) / (n + 3))
    return 100 * mean, max(-100.0, 100 * (p - d - half)), min(100.0, 100 * (p - d + half))


def wilson_interval(p: float, n: float) -> tuple[float, float, float]:
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return p, centre - half, centre + half


def poisson_interval(events: float, exposure: float) -> tuple[float, float, float]:
    low = events * (1 - 1 / (9 * events) - Z / (3 * math.sqrt(events))) ** 3 if events else 0.0
    more = events + 1
    high = more * (1 - 1 / (9 * more) + Z / (3 * math.sqrt(more))) ** 3
    return 1000 * events / exposure, 1000 * low / exposure, 1000 * high / exposure


def record_cells(company: Company, periods: list[Period]) -> Iterator[tuple[Key, Row]]:
    """Cells of all metrics that are made of records."""
    makers: list[tuple[str, list[Record], bool]] = [(name, found, False) for name, found in flows(company).items()]
    relational = company.answers("nps", "relational", net_promoter)
    makers.append(("nps", relational, True))
    airport = [record for record in relational if record.slices["survey"] in company.weighted]
    makers.append(("nps_weighted", airport, True))
    for metric, records, is_latest in makers:
        for (name, value), members in by_slice(records).items():
            for period in periods:
                cell = latest_answers(members, records, period) if is_latest else flow_cells(members, period)
                if cell.values or cell.invalid:
                    yield key_of(metric, period, name, value), parts_of(metric, cell)


def parts_of(metric: str, cell: Cell) -> Row:
    weights = [weight if metric.endswith("_weighted") else 1.0 for weight, _ in cell.values]
    pairs = list(zip(weights, (value for _, value in cell.values), strict=True))
    numerator, total = sum(w * x for w, x in pairs), sum(weights)
    squares = sum(w * x * x for w, x in pairs)
    n_eff = total**2 / sum(w * w for w in weights) if weights else 0
    return {
        "numerator": numerator,
        "denominator": total,
        "n": len(pairs),
        "n_invalid": cell.invalid,
        **figures(metric, numerator, total, len(pairs), n_eff, squares),
    }


def rank_interval(values: list[float], share: float) -> tuple[float | None, float | None]:
    """The order statistics that hold a quantile with 95 %, each side missing at most 2.5 %."""
    n = len(values)
    lower = max((k for k in range(1, n + 1) if stats.binom.cdf(k - 1, n, share) <= 0.025), default=None)
    upper = min((k for k in range(1, n + 1) if stats.binom.cdf(k - 1, n, share) >= 0.975), default=None)
    return values[lower - 1] if lower else None, values[upper - 1] if upper else None


def kaplan_meier_median(waits: list[tuple[float, bool]]) -> tuple[float | None, float | None, float | None]:
    """First time at which the curve, and each of its log-log bands, is at one half or below."""
    survival, variance = Fraction(1), 0.0
    found: list[float | None] = [None, None, None]
    for time in sorted({time for time, answered in waits if answered}):
        at_risk = sum(other >= time for other, _ in waits)
        ended = sum(other == time and answered for other, answered in waits)
        survival *= 1 - Fraction(ended, at_risk)
        bands = [float(survival)] * 3
        if survival:
            variance += ended / (at_risk * (at_risk - ended))
            half = Z * math.sqrt(variance) / abs(math.log(survival))
            bands[1:] = [float(survival) ** math.exp(half), float(survival) ** math.exp(-half)]
        else:
            bands[2] = 1.0  # at its end the curve has no upper band
        reached = [survival <= Fraction(1, 2), bands[1] <= 0.5, bands[2] <= 0.5]
        found = [time if old is None and now else old for old, now in zip(found, reached, strict=True)]
    return found[0], found[1], found[2]


def quantile_cells(company: Company, periods: list[Period]) -> Iterator[tuple[Key, Row]]:
    """Median, 90 % and Kaplan-Meier median of the waits."""
    for clock in ("", "business_"):
        tickets = company.tickets(
            "created_date",
            lambda row: row["is_answered"] is not None,
            lambda row, clock=clock: (row[f"waited_{clock}minutes"], row["is_answered"]),
        )
        for (name, value), members in by_slice(tickets).items():
            for period in periods:
                inside = [record.value for record in members if period.start <= record.day <= period.last]
                if inside:
                    for statistic, row in quantiles_of(inside).items():
                        yield key_of(f"first_response_{clock}minutes_{statistic}", period, name, value), row


def quantiles_of(waits: list[Any]) -> dict[str, Row]:
    known = [(minutes, answered) for minutes, answered in waits if minutes is not None]
    values = sorted(minutes for minutes, answered in known if answered)
    n = len(values)
    middle = None if not n else statistics.median(values)
    high = None if not n else values[math.ceil(n * Fraction(9, 10)) - 1]
    found = {
        "median": (n, middle, *(rank_interval(values, 0.5) if n else (None, None))),
        "p90": (n, high, *(rank_interval(values, 0.9) if n else (None, None))),
        "km_median": (len(known), *kaplan_meier_median(known)),
    }
    rows = {}
    for statistic, (count, figure, low, up) in found.items():
        reliability = reliability_of(count)
        if reliability == "suppressed" or figure is None:
            figure = low = up = None
        elif low is None:
            low = 0.0
        rows[statistic] = {
            "numerator": None,
            "denominator": None,
            "n": count,
            "n_invalid": len(waits) - count,
            "value": figure,
            "ci_low": low,
            "ci_high": up,
            "reliability": reliability,
        }
    return rows


def value_cells(company: Company, periods: list[Period]) -> Iterator[tuple[Key, Row]]:
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in company.facts["fct_order"]:
        if row["is_revenue"]:
            groups["all", "all"].append(row)
            for name, value in company.slices(row, "region", "segment").items():
                groups[name, value].append(row)
    for (name, value), rows in groups.items():
        for period in periods:
            cell = values_to_date(rows, period)
            if cell.values or cell.invalid:
                yield key_of("clv_to_date", period, name, value), parts_of("clv_to_date", cell)


def customer_groups(company: Company) -> dict[tuple[str, str], set[str]]:
    groups: dict[tuple[str, str], set[str]] = defaultdict(set)
    for customer_id, row in company.customers.items():
        groups["all", "all"].add(customer_id)
        for name, value in company.slices(row, "region", "segment").items():
            if name in RULES.slices:
                groups[name, value].add(customer_id)
    return groups


def retention_cells(company: Company, periods: list[Period]) -> Iterator[tuple[Key, Row]]:
    either = Stays.of(company, "contractual", "noncontractual")
    metrics = {
        "retention_rate": either,
        "churn_rate": Stays.of(company, "contractual"),
        "churn_rate_noncontractual": Stays.of(company, "noncontractual"),
    }
    for (name, value), members in customer_groups(company).items():
        for period in periods:
            if period.grain == "all":
                continue
            for metric, stays in metrics.items():
                start = stays.active(members, period.start)
                if start:
                    both = start & stays.active(members, close_of(period))
                    kept = len(both) if metric == "retention_rate" else len(start - both)
                    yield (
                        key_of(metric, period, name, value),
                        {
                            "numerator": kept,
                            "denominator": len(start),
                            "n": len(start),
                            "n_invalid": 0,
                            **figures(metric, kept, len(start), len(start), len(start), kept),
                        },
                    )


def revenue_cells(company: Company, periods: list[Period]) -> Iterator[tuple[Key, Row]]:
    subscriptions: dict[str, list[Row]] = defaultdict(list)
    for row in company.facts["fct_subscription"]:
        subscriptions[row["customer_id"]].append(row)
    for (name, value), members in customer_groups(company).items():
        for period in periods:
            if period.grain == "all":
                continue
            start = {member: recurring(subscriptions[member], period.start) for member in members}
            amounts = {member: amount for member, (amount, _) in start.items() if amount > 0}
            invalid = sum(unknown for _, unknown in start.values())
            if not amounts and not invalid:
                continue
            lost = sum(
                max(0.0, amount - recurring(subscriptions[member], close_of(period))[0])
                for member, amount in amounts.items()
            )
            total = sum(amounts.values())
            n_eff = total**2 / sum(amount**2 for amount in amounts.values()) if amounts else 0
            yield (
                key_of("revenue_churn_rate", period, name, value),
                {
                    "numerator": lost,
                    "denominator": total,
                    "n": len(amounts),
                    "n_invalid": invalid,
                    **figures("revenue_churn_rate", lost, total, len(amounts), n_eff, 0),
                },
            )


def complaint_cells(company: Company, periods: list[Period], first: date) -> Iterator[tuple[Key, Row]]:
    either = Stays.of(company, "contractual", "noncontractual")
    complaints = [
        (row, row["created_date"])
        for row in company.facts["fct_ticket"]
        if row["is_complaint"] and not row["is_merged"]
    ]
    for text, table, day in (
        ("comment", "fct_survey_response", "answered_date"),
        ("mention", "fct_mention", "published_date"),
    ):
        complaints += [
            (row, row[day])
            for row in company.facts[table]
            if text in RULES.settings["complaint_texts"] and row["sentiment"] == "negative" and not row.get("is_repost")
        ]
    for (name, value), members in customer_groups(company).items():
        cached = {
            first + i * DAY: len(either.active(members, first + (i + 1) * DAY))
            for i in range((RULES.as_of - first).days + 1)
        }
        own = [
            day for row, day in complaints if name == "all" or company.slices(row, "region", "segment")[name] == value
        ]
        for period in periods:
            days = [day for day in cached if period.start <= day <= period.last]
            average = sum(cached[day] for day in days) / len(days)
            count = sum(period.start <= day <= period.last for day in own)
            if count or average:
                n = math.floor(average + 0.5)
                yield (
                    key_of("complaint_rate", period, name, value),
                    {
                        "numerator": count,
                        "denominator": average,
                        "n": n,
                        "n_invalid": 0,
                        **figures("complaint_rate", count, average, n, n, 0),
                    },
                )


def key_of(metric: str, period: Period, name: str, value: str) -> Key:
    return metric, period.calendar, period.grain, period.start, name, value


def recompute(facts: Facts, rules: Rules) -> dict[Key, Row]:
    """All cells the rules ask for."""
    global RULES
    RULES = rules
    company = Company(facts)
    first = min(
        row[day]
        for table, day in (
            ("fct_order", "ordered_date"),
            ("fct_subscription", "started_date"),
            ("fct_ticket", "created_date"),
            ("fct_survey_response", "answered_date"),
            ("fct_mention", "published_date"),
            ("fct_survey_invitation", "sent_date"),
            ("int_customer_activity__spanned", "started_date"),
        )
        for row in facts[table]
        if row[day] is not None
    )
    periods = all_periods(first)
    cells = {
        **dict(record_cells(company, periods)),
        **dict(quantile_cells(company, periods)),
        **dict(value_cells(company, periods)),
        **dict(retention_cells(company, periods)),
        **dict(revenue_cells(company, periods)),
        **dict(complaint_cells(company, periods, first)),
    }
    cells = {key: row for key, row in cells.items() if key[4] in RULES.slices}
    complete = {(period.calendar, period.grain, period.start): period for period in periods}
    for (metric, calendar, grain, start, _, _), row in cells.items():
        settled_after = timedelta(days=SETTLED_AFTER_DAYS.get(metric, 0))
        row["is_complete"] = complete[calendar, grain, start].is_complete(settled_after)
        row["period_end"] = complete[calendar, grain, start].end
    return cells


def same(ours: object, theirs: object, leeway: float) -> bool:
    """Whether two values are one, but for `leeway`."""
    if isinstance(ours, (int, float)) and isinstance(theirs, (int, float)) and not isinstance(ours, bool):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=leeway)
    return ours == theirs


def leeway_of(row: Row, name: str) -> float:
    """Parts and figures are exact; the t quantile in SQL is an expansion, good to five digits of the width."""
    if name in ("ci_low", "ci_high") and row["value"] is not None and row["ci_high"] is not None:
        return 1e-9 + 1e-5 * (row["ci_high"] - row["ci_low"])
    return 1e-9


def disagreements(published: list[Row], expected: dict[Key, Row]) -> list[Any]:
    """Cells only one side has, then differing values: key, column, published, expected."""
    names = ("metric", "calendar", "period_grain", "period_start", "slice", "slice_value")
    found = {tuple(row[name] for name in names): row for row in published}
    return sorted(set(found) ^ set(expected)) + [
        (key, name, found[key][name], value)
        for key, row in expected.items()
        if key in found
        for name, value in row.items()
        if not same(found[key][name], value, leeway_of(row, name))
    ]


def columns_of(columns: str) -> list[tuple[str, str]]:
    """Names and types of a table of `TABLES`."""
    parts = [column.split() for column in columns.replace("decimal(18, 4)", "decimal(18,4)").split(", ")]
    return [(name, kind) for name, kind in parts]


ROUNDED = {
    "first_response_minutes": "decimal(18, 4)",
    "first_response_business_minutes": "decimal(18, 4)",
    "waited_minutes": "decimal(18, 4)",
    "waited_business_minutes": "decimal(18, 4)",
    "score_100": "decimal(18, 4)",
    "weight": "decimal(18, 9)",
}
"""What the models round records to, so that sums of them are exact."""


def facts_of(warehouse: Path) -> Facts:
    """The facts of a finished run. Decimals become floats; what records are rounded to, so is what is read."""
    facts: Facts = {}
    with duckdb.connect(str(warehouse), read_only=True) as con:
        schemas = dict(con.execute("select table_name, table_schema from information_schema.tables").fetchall())
        for table, columns in TABLES.items():
            names = [name for name, _ in columns_of(columns)]
            selected = ", ".join(f"cast({name} as {ROUNDED.get(name, kind)})" for name, kind in columns_of(columns))
            rows = con.execute(f'select {selected} from {schemas[table]}."{table}"').fetchall()
            facts[table] = [
                {
                    name: float(value) if isinstance(value, Decimal) else value
                    for name, value in zip(names, row, strict=True)
                }
                for row in rows
            ]
    return facts
