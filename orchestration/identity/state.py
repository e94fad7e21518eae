"""The tables identity keeps between runs, and the settings it reads.

Belongs here: the DDL of schema `identity`, the fingerprint that tells when old results no longer follow from
the rules. Does not belong here: the rules themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import duckdb

RULES_VERSION = "1"
"""Counts up when a normalisation or matching rule changes, so that old records are read anew."""

SCHEMA = """
create schema if not exists identity;
create table if not exists identity.record (
    record_id bigint not null,
    person_key text not null,
    source text not null,
    source_record_id text not null,
    input_hash ubigint not null,
    created_at timestamp,
    name_key text,
    name_skeleton text,
    email text,
    is_role_email boolean not null,
    phone text,
    is_placeholder_phone boolean not null,
    external_id text,
    linked_person_key text,
    is_bare boolean not null
);
create table if not exists identity.phone (
    phone_text text not null,
    region text not null,
    phone text,
    is_valid boolean not null,
    is_placeholder boolean not null
);
create table if not exists identity.edge (
    record_a bigint not null,
    record_b bigint not null,
    kind text not null,
    is_name_checked boolean not null,
    value_hash ubigint not null
);
create table if not exists identity.hub (
    kind text not null,
    value text not null,
    reason text not null,
    record_count bigint not null,
    name_count bigint not null
);
create table if not exists identity.customer (
    customer_id text not null,
    created_by_person_key text not null,
    created_at timestamp not null,
    ended_at timestamp,
    merged_into_customer_id text
);
create table if not exists identity.member (
    person_key text not null,
    customer_id text not null
);
create table if not exists identity.customer_xref (
    source text not null,
    source_record_id text not null,
    person_key text not null,
    customer_id text not null,
    rule text not null,
    score double not null,
    valid_from timestamp not null,
    valid_to timestamp
);
create table if not exists identity.event (
    run_id text not null,
    occurred_at timestamp not null,
    kind text not null check (kind in ('create', 'merge', 'split', 'retire')),
    customer_id text not null,
    related_customer_id text,
    record_count bigint not null
);
create table if not exists identity.state (
    name text not null,
    value text not null
);
"""
"""One row per: record, phone spelling and region, pair tied by one value, blocked value, id ever given,
person_key, link and validity range, change of an id, remembered fact. `hash` values are DuckDB's own."""

TABLES: dict[str, str] = {
    "record": "One row per person record in its normalised form, as the last run saw it.",
    "phone": "One row per distinct phone spelling and region, with its E.164 form (NULL: not a phone number).",
    "edge": "One row per pair of records tied by one shared identifier value.",
    "hub": "One row per identifier value shared by too many to tie anybody, with the reason.",
    "customer": "One row per customer_id ever given, with the record that created it and what became of it.",
    "member": "One row per person_key, with its current customer_id.",
    "customer_xref": "One row per link of a person record to a customer and validity range; valid_to NULL is current.",
    "event": "One row per created, merged, split or retired customer_id and run.",
    "state": "One row per fact remembered between runs, such as the fingerprint of the rules.",
}
"""What each table of schema `identity` holds, grain first."""


class IdentitySettings(Protocol):
    """The part of the settings that identity reads (`identity:` in cem.yml)."""

    @property
    def hub_max_records(self) -> int:
        """A mail or phone in more records than this ties nobody."""

    @property
    def hub_max_names(self) -> int:
        """A value under more different names than this ties nobody."""

    @property
    def default_country(self) -> str:
        """ISO 3166 alpha-2 country of phone numbers whose record names none."""

    @property
    def role_mailboxes(self) -> Sequence[str]:
        """Local parts of mailboxes that many people answer (info, sales)."""


def ensure_schema(con: duckdb.DuckDBPyConnection) -> None:
    """Create what is missing of schema `identity`; tables that exist are left alone."""
    con.execute(SCHEMA)


def fingerprint(settings: IdentitySettings) -> str:
    """A text that changes whenever equal records could resolve differently.

    DuckDB's version is part of it because stored value hashes are the engine's own and may change with it.
    """
    mailboxes = ",".join(sorted(settings.role_mailboxes))
    return (
        f"rules={RULES_VERSION};duckdb={duckdb.__version__};records={settings.hub_max_records};"
        f"names={settings.hub_max_names};country={settings.default_country};mailboxes={mailboxes}"
    )


def read_fingerprint(con: duckdb.DuckDBPyConnection) -> str | None:
    """The fingerprint of the last run; None before the first."""
    row = con.execute("select value from identity.state where name = 'fingerprint'").fetchone()
    return None if row is None else str(row[0])


def write_fingerprint(con: duckdb.DuckDBPyConnection, value: str) -> None:
    """Remember the fingerprint of this run."""
    con.execute("delete from identity.state where name = 'fingerprint'")
    con.execute("insert into identity.state values ('fingerprint', ?)", [value])
