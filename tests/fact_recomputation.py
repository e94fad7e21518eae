"""The facts in plain Python, from the records of the contract, for any company.

Like `kpi_recomputation`, which starts from these facts, it follows the written definitions one record at a time and
shares no code with the models: Python's own time zones, no SQL but to read. Who is one customer, what a text feels like
and the targets of service levels are taken as they are; other tests prove those.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
from kpi_recomputation import DAY, TABLES, Facts, Row, columns_of, facts_of

DONE = ("resolved", "closed")
ENTITIES = (
    "order", "order_line", "product", "subscription", "ticket", "ticket_event", "agent", "business_schedule", "survey",
    "question", "invitation", "response", "mention",
)  # fmt: skip
KEYS = {
    "fct_order": "order_key",
    "fct_subscription": "subscription_key",
    "fct_ticket": "ticket_key",
    "fct_survey_invitation": "invitation_key",
    "fct_survey_response": "response_key",
    "fct_mention": "mention_key",
}
"""The facts that are recomputed, and what a row of them is known by. Spans of activity have no key of their own."""
GIVEN = {"fct_survey_response": ("sentiment",), "fct_mention": ("sentiment",)}
"""Columns that are taken as they are."""
MONEY = ("margin_amount", "monthly_amount")


def records_of(warehouse: Path) -> Facts:
    """The records of the entities."""
    records: Facts = {}
    with duckdb.connect(str(warehouse), read_only=True) as con:
        for name in ENTITIES:
            found = con.execute(f'select * from intermediate."int_{name}__unioned"')
            columns = [column[0] for column in found.description]
            records[name] = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    return records


class Recomputation:
    """All facts of one company.

    Attributes:
        facts: The rows, by table, with the columns of `kpi_recomputation.TABLES`.
    """

    def __init__(self, records: Facts, built: Facts, settings: dict[str, Any]) -> None:
        self.records, self.settings = records, settings
        self.zone = ZoneInfo(settings["time_zone"])
        self.as_of = built["int_as_of__resolved"][0]["as_of_at"]
        self.today = built["int_as_of__resolved"][0]["as_of_date"]
        self.customers = {row["person_key"]: row["customer_id"] for row in built["int_person__resolved"]}
        keyed = [name for name in ENTITIES if name != "business_schedule"]
        self.by_key = {name: by(f"{name}_key", records[name]) for name in keyed}
        self.facts: Facts = {
            "fct_order": self.orders(),
            "fct_subscription": self.subscriptions(),
            "fct_ticket": self.tickets(),
            "fct_survey_invitation": self.invitations(),
            "fct_survey_response": self.responses(),
            "fct_mention": self.mentions(),
        }
        self.facts["int_customer_activity__spanned"] = [*self.contracts(), *self.buyers()]

    def day(self, moment: datetime | None) -> date | None:
        """The date of a UTC moment on the reporting clock."""
        return None if moment is None else moment.replace(tzinfo=UTC).astimezone(self.zone).date()

    # Sales

    def orders(self) -> list[Row]:
        lines: dict[str, list[Row]] = defaultdict(list)
        for line in self.records["order_line"]:
            lines[line["order_key"]].append(self.valued_line(line))
        return [self.valued_order(order, lines[order["order_key"]]) for order in self.records["order"]]

    def valued_line(self, line: Row) -> Row:
        ours = self.settings["currency"]
        product = self.by_key["product"].get(line["product_key"], {})
        currency, cost = line["currency"] or ours, line["cost_amount"]
        unit = product.get("unit_cost")
        if cost is None and None not in (unit, line["quantity"]) and (product["currency"] or ours) == currency:
            cost = round(float(unit) * line["quantity"], 4)
        return {**line, "currency": currency, "cost_amount": cost, "product_line": product.get("product_line")}

    def valued_order(self, order: Row, lines: list[Row]) -> Row:
        currencies = {line["currency"] for line in lines}
        common = currencies.pop() if len(currencies) == 1 else None
        currency = order["currency"] or common or self.settings["currency"]
        money = {}
        for name in ("amount", "cost_amount"):
            parts = [line[name] for line in lines]
            known = order[name]
            if known is None and parts and None not in parts and common == currency:
                known = sum(float(part) for part in parts)
            money[name] = known
        named = [line for line in lines if line["product_line"] is not None]
        named.sort(key=lambda line: (line["amount"] is None, -(line["amount"] or 0), line["order_line_key"]))
        return {
            "order_key": order["order_key"],
            "customer_id": self.customers.get(order["person_key"]),
            "ordered_date": self.day(order["ordered_at"]),
            "product_line": named[0]["product_line"] if named else None,
            "margin_amount": None if None in money.values() else float(money["amount"]) - float(money["cost_amount"]),
            "currency": currency,
            "is_revenue": order["status"] not in ("cancelled", "returned"),
            "ordered_at": order["ordered_at"],
        }

    def subscriptions(self) -> list[Row]:
        return [
            {
                **row,
                "customer_id": self.customers.get(row["person_key"]),
                "started_date": self.day(row["started_at"]),
                "ended_date": self.day(row["ended_at"]),
                "currency": row["currency"] or self.settings["currency"],
            }
            for row in self.records["subscription"]
        ]

    def contracts(self) -> list[Row]:
        """Time under contract: subscriptions that touch, or are renewed on the day after, are one span."""
        days: dict[str, list[tuple[date, date]]] = defaultdict(list)
        for row in self.records["subscription"]:
            customer = self.customers.get(row["person_key"])
            if customer is not None and row["started_at"] <= self.as_of:
                has_ended = row["ended_at"] is not None and row["ended_at"] <= self.as_of
                end = self.day(max(row["ended_at"], row["started_at"])) if has_ended else date.max
                days[customer].append((self.day(row["started_at"]), end))
        spans = []
        for customer, found in days.items():
            merged: list[list[date]] = []
            for start, end in sorted(found):
                if merged and (start - merged[-1][1]).days <= 1:
                    merged[-1][1] = max(merged[-1][1], end)
                else:
                    merged.append([start, end])
            spans += [span_row(customer, "contractual", start, end) for start, end in merged]
        return spans

    def buyers(self) -> list[Row]:
        """Time between orders, until the silence passes the limit that the orders so far set."""
        days: dict[str, set[date]] = defaultdict(set)
        for row in self.facts["fct_order"]:
            if row["is_revenue"] and row["customer_id"] and row["ordered_at"] <= self.as_of:
                days[row["customer_id"]].add(row["ordered_date"])
        spans = []
        for customer, found in days.items():
            known = sorted(found)
            start = known[0]
            for count, (bought, following) in enumerate(pairwise([*known, date.max])):
                usual = (bought - known[0]).days / count if count else 0
                limit = max(
                    self.settings["inactive_after_days"], math.ceil(self.settings["inactive_gap_factor"] * usual)
                )
                silent = bought + limit * DAY
                if following == date.max:
                    end = silent if silent <= self.today else date.max
                    spans.append(span_row(customer, "noncontractual", start, end))
                elif following > silent:
                    spans.append(span_row(customer, "noncontractual", start, silent))
                    start = following
        return spans

    # Tickets

    def tickets(self) -> list[Row]:
        bots = {row["agent_key"] for row in self.records["agent"] if row["is_bot"]}
        events: dict[str, list[Row]] = defaultdict(list)
        for row in self.records["ticket_event"]:
            is_bot = f"{row['source']}:{row['actor_id']}" in bots and row["actor_type"] in ("agent", "bot")
            assignee = None if row["assignee_key"] in bots else row["assignee_key"]
            events[row["ticket_key"]].append(
                {**row, "actor_type": "bot" if is_bot else row["actor_type"], "assignee_key": assignee}
            )
        for log in events.values():
            log.sort(key=event_order)
        self.logged = {
            row["source"] for log in events.values() for row in log if is_public(row) and row["actor_type"] == "agent"
        }
        stories = {key: self.story(row, events[key]) for key, row in self.by_key["ticket"].items()}
        self.add_next_contacts(stories)
        return [self.judged(self.by_key["ticket"][key], story) for key, story in stories.items()]

    def story(self, ticket: Row, log: list[Row]) -> Row:
        """What happened to a ticket by itself."""
        statuses = [(row["status"] in DONE, row["occurred_at"]) for row in log if row["status"]]
        resolutions = [at for (was, _), (now, at) in pairwise([(False, None), *statuses]) if now and not was]
        passed = [row["assignee_key"] for row in log if row["assignee_key"]]
        passed = passed or [row["group_name"] for row in log if row["group_name"]]
        logged = next((row["status"] for row in reversed(log) if row["status"]), None)
        status = ticket["status"] or logged
        by_log = max(resolutions, default=None)
        by_ticket = ticket["resolved_at"] or ticket["closed_at"]
        last = (by_log if logged in DONE else None) or by_ticket or by_log
        is_resolved = status in DONE if status else last is not None
        survivor = self.survivor(ticket["ticket_key"])
        began, waited_on = ticket["created_at"], log
        if ticket["created_by"] == "agent":
            first = [n for n, row in enumerate(log) if row["type"] == "message" and row["actor_type"] == "customer"][:1]
            began, waited_on = (log[first[0]]["occurred_at"], log[first[0] + 1 :]) if first else (None, [])
        replies = [row["occurred_at"] for row in waited_on if is_public(row) and row["actor_type"] == "agent"]
        return {
            "last_resolved_at": last,
            "resolved_at": last if is_resolved else None,
            "is_resolved": is_resolved,
            "reopens": sum(was and not now for (was, _), (now, _) in pairwise(statuses)),
            "handoffs": sum(one != other for one, other in pairwise(passed)),
            "survivor": survivor,
            "is_merged": survivor != ticket["ticket_key"],
            "began": began,
            "replied": min((at for at in replies if at >= began), default=None),
            "human_replies": sum(is_public(row) and row["actor_type"] == "agent" for row in log),
            "customer_id": self.customers.get(ticket["person_key"]),
        }

    def survivor(self, key: str) -> str:
        """Where the merges of a ticket end; of a circle, the smallest key."""
        path = [key]
        while True:
            into = self.by_key["ticket"].get(path[-1], {}).get("merged_into_ticket_key")
            if into is None or into == path[-1]:
                return path[-1]
            if into in path:
                return min(path[path.index(into) :])
            path.append(into)

    def add_next_contacts(self, stories: dict[str, Row]) -> None:
        """The next ticket on the same issue, or one after the resolution that was merged into this one."""
        issues: dict[tuple[str, str], list[tuple[datetime, str]]] = defaultdict(list)
        late: dict[str, list[datetime]] = defaultdict(list)
        for key, story in stories.items():
            ticket = self.by_key["ticket"][key]
            if story["is_merged"]:
                resolved = stories.get(story["survivor"], {}).get("last_resolved_at")
                if resolved is not None and ticket["created_at"] > resolved:
                    late[story["survivor"]].append(ticket["created_at"])
            elif story["customer_id"] and ticket["category"] is not None:
                issues[story["customer_id"], ticket["category"]].append((ticket["created_at"], key))
        for contacts in issues.values():
            for (_, key), (following, _) in pairwise(sorted(contacts)):
                late[key].append(following)
        for key, story in stories.items():
            story["next_contact"] = min(late[key], default=None)

    def judged(self, ticket: Row, story: Row) -> Row:
        has_log = ticket["source"] in self.logged
        answered = None
        if has_log and story["began"] is not None:
            answered = True if story["replied"] else None if story["is_merged"] else False
        kinds = {kind.lower() for kind in self.settings["complaint_types"]}
        tags = {tag.lower() for tag in self.settings["complaint_tags"]}
        own_tags = {tag.strip().lower() for tag in (ticket["tags"] or "").split(",")}
        waited, open_minutes = self.waited(ticket, story)
        row = {
            **{
                name: ticket[name] for name in ("ticket_key", "order_key", "channel", "native_is_sla_met", "created_at")
            },
            "created_by": ticket["created_by"],
            "customer_id": story["customer_id"],
            "created_date": self.day(ticket["created_at"]),
            "resolved_date": self.day(story["resolved_at"]),
            "is_complaint": (ticket["type"] or "").lower() in kinds or bool(tags & own_tags),
            "is_merged": story["is_merged"],
            "is_answered": answered,
            "first_response_minutes": waited if story["replied"] else None,
            "first_response_business_minutes": open_minutes if story["replied"] else None,
            "waited_minutes": None if answered is None else waited,
            "waited_business_minutes": None if answered is None else open_minutes,
        }
        return row | {f"is_fcr_{days}d": self.first_contact(story, has_log, days * DAY) for days in (7, 14, 30)}

    def first_contact(self, story: Row, has_log: bool, window: timedelta) -> bool | None:
        resolved, following = story["resolved_at"], story["next_contact"]
        if resolved is None or story["is_merged"] or (has_log and not story["human_replies"]):
            return None
        if resolved + window > self.as_of:
            return None
        again = following is not None and following <= resolved + window
        return not (story["reopens"] or story["handoffs"] or again)

    def waited(self, ticket: Row, story: Row) -> tuple[float | None, float | None]:
        """Minutes on the calendar and in business hours until the reply, the resolution or now."""
        if story["began"] is None:
            return None, None
        given_up = min(self.as_of, story["resolved_at"] or self.as_of)
        end = story["replied"] or max(story["began"], given_up)
        return minutes(story["began"], end), self.open_minutes(ticket["schedule_key"], story["began"], end)

    def open_minutes(self, schedule: str | None, begin: datetime, end: datetime) -> float | None:
        """Minutes of a schedule between two moments, one local day after the other."""
        rows = [row for row in self.records["business_schedule"] if row["schedule_key"] == schedule]
        hours = [row for row in rows if None not in (row["weekday"], row["opens"], row["closes"])]
        if not hours:
            return None
        closed = {row["holiday_date"] for row in rows if row["holiday_date"]}
        zone = ZoneInfo(hours[0]["time_zone"])
        open_spans = set()
        day = begin.date() - 2 * DAY
        while day <= end.date() + 2 * DAY:
            for row in hours:
                is_valid = (row["valid_from"] or date.min) <= day <= (row["valid_until"] or date.max)
                if day not in closed and row["weekday"] == day.isoweekday() and is_valid:
                    opens, closes = clock(row["opens"]), clock(row["closes"])
                    closes += 1440 if closes <= opens else 0
                    open_spans.add((moment(day, opens, zone), moment(day, closes, zone)))
            day += DAY
        total, reached = 0.0, begin
        for opened, shut in sorted(open_spans):
            start = max(opened, reached)
            if start < min(shut, end):
                total += minutes(start, min(shut, end))
                reached = min(shut, end)
        return total

    # Surveys and mentions

    def invitations(self) -> list[Row]:
        answered = {
            row["invitation_key"]
            for row in self.records["response"]
            if row["score"] is not None or row["comment"] is not None
        }
        return [
            {
                **row,
                "customer_id": self.customers.get(self.asked(row)),
                "channel": row["channel"] or self.survey(row["survey_key"]).get("channel"),
                "survey_name": self.survey(row["survey_key"]).get("name"),
                "sent_date": self.day(row["sent_at"]),
                "is_delivered": row["status"] != "bounced",
                "is_answered": row["invitation_key"] in answered or row["status"] == "answered",
            }
            for row in self.records["invitation"]
        ]

    def survey(self, key: str | None) -> Row:
        return self.by_key["survey"].get(key, {})

    def asked(self, row: Row) -> str | None:
        """Whom a record is about: its own person, else that of its ticket or order."""
        about = (self.by_key[name].get(row[f"{name}_key"], {}).get("person_key") for name in ("ticket", "order"))
        return row["person_key"] or next((person for person in about if person), None)

    def responses(self) -> list[Row]:
        found = []
        for row in self.records["response"]:
            invitation = self.by_key["invitation"].get(row["invitation_key"], {})
            question = self.by_key["question"].get(row["question_key"], {})
            survey = self.survey(question.get("survey_key"))
            linked = {name: row[name] or invitation.get(name) for name in ("person_key", "ticket_key", "order_key")}
            person = self.asked(linked)
            found.append(
                {
                    **linked,
                    "response_key": row["response_key"],
                    "survey_key": question.get("survey_key"),
                    "survey_name": survey.get("name"),
                    "survey_kind": survey.get("kind"),
                    "metric": question.get("metric"),
                    "customer_id": self.customers.get(person),
                    "person_key": person,
                    "channel": row["channel"] or invitation.get("channel") or survey.get("channel"),
                    "answered_at": row["answered_at"],
                    "answered_date": self.day(row["answered_at"]),
                    "score": row["score"],
                    "weight": 1.0 if row["weight"] is None else row["weight"],
                    **scored(row["score"], question),
                }
            )
        return found

    def mentions(self) -> list[Row]:
        return [
            {
                **row,
                "customer_id": self.customers.get(row["person_key"]),
                "published_date": self.day(row["published_at"]),
                "is_repost": row["repost_of_mention_key"] is not None,
            }
            for row in self.records["mention"]
        ]


USUAL_SCALES = {"nps": (0, 10), "csat": (1, 5), "ces": (1, 7)}


def scored(score: float | None, question: Row) -> Row:
    """What an answer is worth on the scale of its question."""
    metric = question.get("metric")
    usual = USUAL_SCALES.get(metric, (None, None))
    low = usual[0] if question.get("scale_min") is None else question["scale_min"]
    high = usual[1] if question.get("scale_max") is None else question["scale_max"]
    has_scale = low is not None and high is not None
    valid = score is not None and (
        (has_scale and low <= score <= high and (metric != "nps" or score == int(score))) or metric == "other"
    )
    directed = score if valid else None
    if valid and question.get("polarity") == "negative":
        directed = low + high - score if has_scale else None
    box = question.get("top_box_min")
    if box is None and has_scale:
        box = 5 if metric == "ces" and (low, high) == (1, 7) else high if high - low <= 2 else high - 1
    band = None
    if metric == "nps" and (low, high) == (0, 10) and directed is not None:
        band = "promoter" if directed >= 9 else "passive" if directed >= 7 else "detractor"
    return {
        "scale_min": low,
        "scale_max": high,
        "is_valid": valid,
        "directed_score": directed,
        "score_100": 100 * (directed - low) / (high - low) if directed is not None and has_scale else None,
        "band": band,
        "is_top_box": directed >= box if None not in (directed, box) else None,
    }


def span_row(customer: str, kind: str, start: date, end: date) -> Row:
    return {
        "customer_id": customer,
        "kind": kind,
        "started_date": start,
        "ended_date": None if end == date.max else end,
    }


def event_order(row: Row) -> tuple[Any, ...]:
    """By time, then by id, read as a number where it ends in one."""
    key = row["ticket_event_id"]
    number = re.search(r"[0-9]+$", key)
    return row["occurred_at"], key[: number.start()] if number else key, int(number[0]) if number else math.inf, key


def is_public(row: Row) -> bool:
    return row["type"] == "message" and row["visibility"] == "public"


def minutes(begin: datetime, end: datetime) -> float:
    return (end - begin) / timedelta(minutes=1)


def clock(text: str) -> int:
    hour, minute = text.split(":")[:2]
    return int(hour) * 60 + int(minute)


def moment(day: date, minute: int, zone: ZoneInfo) -> datetime:
    """The UTC moment of a local clock time, as minutes after midnight."""
    local = datetime.combine(day, datetime.min.time()) + timedelta(minutes=minute)
    return local.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)


def same(ours: object, theirs: object) -> bool:
    """Whether two values are one, but for the rounding of records to four digits."""
    if isinstance(ours, (int, float)) and isinstance(theirs, (int, float)):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=2e-4)
    return ours == theirs


def differences(warehouse: Path, settings: dict[str, Any]) -> list[Any]:
    """Rows only one side has, then differing values: key, column, built, recomputed."""
    built = facts_of(warehouse)
    facts = Recomputation(records_of(warehouse), built, settings).facts
    found: list[Any] = []
    for table, key in KEYS.items():
        ours, theirs = by(key, built[table]), by(key, facts[table])
        found += [(table, name) for name in sorted(ours.keys() ^ theirs.keys())]
        names = [name for name, _ in columns_of(TABLES[table]) if name not in GIVEN.get(table, ())]
        found += [
            (row_key, name, ours[row_key][name], row[name])
            for row_key, row in theirs.items()
            if row_key in ours
            for name in names
            if not same(number(ours[row_key][name], name), number(row[name], name))
        ]
    spans = [
        {tuple(row[name] for name in ("customer_id", "kind", "started_date", "ended_date")) for row in side[SPANS]}
        for side in (built, facts)
    ]
    return found + sorted(spans[0] ^ spans[1], key=str)


SPANS = "int_customer_activity__spanned"


def by(key: str, rows: Iterable[Row]) -> dict[str, Row]:
    return {row[key]: row for row in rows}


def number(value: Any, name: str) -> Any:
    return float(value) if name in MONEY and value is not None else value
