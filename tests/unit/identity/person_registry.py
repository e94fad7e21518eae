"""A collection of person records that tests fill, change and resolve."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import duckdb

from orchestration.identity import IdentityResult, resolve
from orchestration.identity.state import input_hash_sql
from orchestration.settings import Identity

COLLECTED = """
create schema intermediate;
create table intermediate.int_person_record__collected (
    person_key text, source text, person_id text, external_id text, linked_person_key text, full_name text,
    given_name text, family_name text, email text, phone text, country text, created_at timestamp,
    updated_at timestamp, birth_date date, national_id text, street text, street_2 text, city text, postal_code text,
    is_bare boolean, input_hash ubigint
);
"""


@dataclass(frozen=True)
class Limits:
    """Identity settings of a test."""

    hub_max_records: int = 30
    hub_max_names: int = 6
    default_country: str = "IR"
    link_probability: float = 0.99
    review_probability: float = 0.5
    max_customer_records: int = 200
    role_mailboxes: tuple[str, ...] = Identity().role_mailboxes


@dataclass
class Registry:
    """Person records of a test, and the runs over them; each run is an hour after the one before."""

    con: duckdb.DuckDBPyConnection
    settings: Limits = field(default_factory=Limits)
    runs: int = 0

    def put(self, person_key: str, **columns: Any) -> None:
        """Add or replace a record; columns that are not named are NULL."""
        self.remove(person_key)
        source, person_id = person_key.split(":", 1)
        row = {"person_key": person_key, "source": source, "person_id": person_id, "is_bare": False} | columns
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.con.execute(
            f"insert into intermediate.int_person_record__collected ({names}) values ({marks})", list(row.values())
        )

    def remove(self, person_key: str) -> None:
        """Delete a record."""
        self.con.execute("delete from intermediate.int_person_record__collected where person_key = ?", [person_key])

    def resolve(self) -> IdentityResult:
        """Run identity once."""
        self.runs += 1
        self.con.execute(f"update intermediate.int_person_record__collected set input_hash = {input_hash_sql()}")
        now = datetime(2025, 1, 1) + timedelta(hours=self.runs)
        return resolve(self.con, self.settings, run_id=f"run{self.runs}", now=now)

    def customers(self) -> dict[str, str]:
        """Customer of each record."""
        return dict(self.con.execute("select person_key, customer_id from identity.member").fetchall())

    def groups(self) -> set[frozenset[str]]:
        """Records that are one customer."""
        rows = self.con.execute("select list(person_key) from identity.member group by customer_id").fetchall()
        return {frozenset(keys) for (keys,) in rows}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        return self.con.execute(query).fetchall()


def empty_registry(settings: Limits | None = None) -> Registry:
    """A registry of no records in a warehouse of its own. One thread: a second one only waits for so few records."""
    con = duckdb.connect(config={"threads": 1})
    con.execute(COLLECTED)
    return Registry(con, settings or Limits())
