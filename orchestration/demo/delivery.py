"""Writes the generated tables the way the company's systems hand them out.

Belongs here: the layout of the folder (a SQLite database, JSON Lines, CSV and Parquet files by period) and
how an increment reaches it. Does not belong here: what the rows say; that is in `sql/`.

Every step can be repeated: an interrupted delivery is made again from the start and ends the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb


@dataclass(frozen=True)
class Feed:
    """A table that is delivered as files, one file for each period.

    Attributes:
        folder: Folder in the company's folder.
        name: File name before the period.
        ending: `jsonl`, `csv` or `parquet`.
        time: Column by which the rows of a file are ordered.
        number: Unique column, not delivered: fixes the order of rows of one time and draws the repeated ones.
    """

    folder: str
    name: str
    ending: str
    time: str
    number: str

    @property
    def relation(self) -> str:
        """The generated table; its column `period` names the file."""
        return f"{self.folder}_{self.name}"


FEEDS = (
    Feed("support", "tickets", "jsonl", "updated_at", "ticket_no"),
    Feed("support", "ticket_events", "jsonl", "occurred_at", "event_no"),
    Feed("survey", "invitations", "csv", "changed_at", "ask_no"),
    Feed("survey", "responses", "csv", "delivered_at", "answer_no"),
    Feed("social", "mentions", "jsonl", "found_at", "mention_no"),
    Feed("web", "sessions", "parquet", "started_at", "visit_no"),
    Feed("web", "visitors", "parquet", "first_seen_at", "visitor_no"),
    Feed("web", "campaign_touches", "parquet", "occurred_at", "touch_no"),
    Feed("web", "self_service_views", "parquet", "occurred_at", "view_no"),
)

FIXED_FILES = {"agents": "agent_id", "business_schedules": "interval_id"}
"""Files of the desk that are written once and never change, with their keys."""

TRUTH = ("truth_who_is_who", "truth_customers")

_FORMAT = {
    "jsonl": "format json",
    "csv": "format csv, header, delimiter ';', quote '\"'",
    "parquet": "format parquet, compression zstd",
}

_REPEATED_SHARE = 0.003
"""Share of rows that a file holds twice; databases with keys do not repeat rows, exports do."""

CRM_TABLES: dict[str, tuple[str, str]] = {
    "people": (
        "person_id",
        "person_id text, first_name text, last_name text, email text, phone text, gender text, birth_date text,"
        " street text, city text, region text, postal_code text, country text, account_id text, segment text,"
        " language text, created_at text, modified_at text",
    ),
    "accounts": (
        "account_id",
        "account_id text, account_name text, domain text, industry text, region text, country text,"
        " employees integer, created_at text, modified_at text",
    ),
    "products": (
        "product_id",
        "product_id text, product_name text, category text, product_line text, unit_price real, unit_cost real,"
        " currency text, modified_at text",
    ),
    "orders": (
        "order_id",
        "order_id text, person_id text, ordered_at text, status text, channel text, region text, amount real,"
        " discount_amount real, cost_amount real, currency text, promised_at text, delivered_at text,"
        " modified_at text",
    ),
    "order_lines": (
        "line_id",
        "line_id text, order_id text, product_id text, quantity integer, amount real, discount_amount real,"
        " cost_amount real, currency text, modified_at text",
    ),
    "opportunities": (
        "opportunity_id",
        "opportunity_id text, person_id text, account_id text, title text, stage text, amount real,"
        " currency text, lead_source text, owner_id text, is_won integer, created_at text, closed_at text,"
        " modified_at text",
    ),
    "opportunity_stages": (
        "stage_event_id",
        "stage_event_id text, opportunity_id text, stage text, entered_at text, modified_at text",
    ),
    "activities": (
        "activity_id",
        "activity_id text, person_id text, type text, direction text, subject text, minutes integer,"
        " owner_id text, occurred_at text, modified_at text",
    ),
    "subscriptions": (
        "subscription_id",
        "subscription_id text, person_id text, plan text, started_at text, ended_at text, end_reason text,"
        " monthly_amount real, currency text, modified_at text",
    ),
    "loyalty_events": (
        "event_id",
        "event_id text, person_id text, type text, points integer, tier text, occurred_at text, modified_at text",
    ),
    "consents": (
        "consent_id",
        "consent_id text, person_id text, purpose text, channel text, is_granted integer, occurred_at text,"
        " modified_at text",
    ),
}
"""Tables of the CRM: key, and columns with SQLite's types. Times are text, keys are not declared, as in
many grown systems."""

CRM_DELETIONS = {"people": "crm_deleted_people", "activities": "crm_deleted_activities"}


def deliver(con: duckdb.DuckDBPyConnection, folder: Path, *, first: bool) -> dict[str, int]:
    """Write the increment that the generated tables hold.

    Args:
        con: Connection to the working database, with variable `since` set.
        folder: The company's folder.
        first: Whether the company is new: its fixed files are written and its database is created.

    Returns:
        Rows written by table (`crm.orders`, `support.tickets` …), deleted ones not counted.
    """
    counts = _deliver_crm(con, folder / "crm.db", first=first)
    for feed in FEEDS:
        counts[f"{feed.folder}.{feed.name}"] = _deliver_files(con, folder, feed)
    for name, key in FIXED_FILES.items() if first else ():
        query = f"select * from support_{name} order by {key}"
        counts[f"support.{name}"] = _copy(con, query, folder / "support" / f"{name}.jsonl")
    for table in TRUTH:
        target = folder / "_truth" / f"{table.removeprefix('truth_')}.parquet"
        _copy(con, f"select * from {table} order by all", target)
    return counts


def _deliver_files(con: duckdb.DuckDBPyConnection, folder: Path, feed: Feed) -> int:
    """Write a file for each period that has rows, some of its rows twice."""
    count = 0
    for (period,) in con.sql(f"select distinct period from {feed.relation} order by period").fetchall():
        rows = f"select * from {feed.relation} where period = '{period}'"
        if feed.ending != "parquet":
            rows = f"{rows} union all {rows} and u({feed.number}, 'repeated') < {_REPEATED_SHARE}"
        query = f"select * exclude (period, {feed.number}) from ({rows}) order by {feed.time}, {feed.number}"
        count += _copy(con, query, folder / feed.folder / f"{feed.name}_{period}.{feed.ending}")
    return count


def _copy(con: duckdb.DuckDBPyConnection, query: str, target: Path) -> int:
    """Write a file in one step: a reader sees all of it or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    form = _FORMAT[target.suffix[1:]]
    (count,) = con.execute(f"copy ({query}) to '{_quoted(partial)}' ({form})").fetchone() or (0,)
    partial.replace(target)
    return int(count)


def _deliver_crm(con: duckdb.DuckDBPyConnection, database: Path, *, first: bool) -> dict[str, int]:
    """Insert new rows, replace changed ones and delete what is gone, in one transaction."""
    counts: dict[str, int] = {}
    con.execute(f"attach '{_quoted(database)}' as crm (type sqlite)")
    con.execute("begin")
    for table, (key, columns) in CRM_TABLES.items():
        source = f"crm_{table}"
        con.execute(f"create table if not exists crm.{table} ({columns})")
        if not first:
            # Rows without a key cannot be matched; those of an interrupted delivery go by their time.
            con.execute(
                f"delete from crm.{table} where {key} in (select {key} from {source})"
                f" or ({key} is null and modified_at >= local_text(getvariable('since')))"
            )
            if table in CRM_DELETIONS:
                con.execute(f"delete from crm.{table} where {key} in (select {key} from {CRM_DELETIONS[table]})")
        con.execute(f"insert into crm.{table} by name select * from {source} order by modified_at, {key}")
        (counts[f"crm.{table}"],) = con.sql(f"select count(*) from {source}").fetchone() or (0,)
    con.execute("commit")
    con.execute("detach crm")
    return counts


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
