"""The tables identity keeps between runs, and the settings it reads.

Belongs here: the DDL of schema `identity`, the fingerprint that tells when old results no longer follow from
the rules. Does not belong here: the rules themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import duckdb

from orchestration.identity import blocking
from orchestration.identity.model import Model, order_of

RULES_VERSION = "5"
"""Counts up when a normalisation or matching rule changes, so that old records are read anew."""

INPUT = (
    "person_key", "person_id", "created_at", "given_name", "family_name", "full_name", "email", "phone", "country",
    "external_id", "linked_person_key", "birth_date", "national_id", "street", "street_2", "postal_code", "city",
    "is_bare",
)  # fmt: skip
"""Columns identity reads of a person record; a change of another one alone resolves nothing anew."""

RULES = "fingerprint"
"""Remembered fact: the rules by which the last run read records and tied them."""

WEIGHTS = "weights"
"""Remembered fact: how the last run weighed pairs, and what it made of that."""

DOUBTFUL = "doubtful"
"""Remembered fact: how many pairs wait for a decision."""

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
    name_fold text,
    given text,
    family text,
    given_fold text,
    given_skeleton text,
    family_fold text,
    family_skeleton text,
    is_persian boolean,
    email text,
    is_role_email boolean not null,
    phone text,
    is_placeholder_phone boolean not null,
    external_id text,
    linked_person_key text,
    birth text,
    national_id text,
    street text,
    street_2 text,
    postal_code text,
    city text,
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
create table if not exists identity.block (
    record_id bigint not null,
    key ubigint not null
);
create table if not exists identity.pair (
    record_a bigint not null,
    record_b bigint not null,
    bits double not null,
    verdict text not null check (verdict in ('link', 'doubt'))
);
create table if not exists identity.component (
    record_id bigint not null,
    component_id bigint not null
);
create table if not exists identity.refusal (
    record_a bigint not null,
    record_b bigint not null,
    component_id bigint not null,
    reason text not null
);
create table if not exists identity.decision (
    decision_id text not null,
    kind text not null check (kind in ('force', 'forbid')),
    person_key_a text not null,
    person_key_b text not null,
    decided_by text not null,
    reason text not null,
    decided_at timestamp not null,
    undone_by text,
    undo_reason text,
    undone_at timestamp,
    is_applied boolean not null
);
create table if not exists identity.judgement (
    person_key_a text not null,
    person_key_b text not null,
    is_same boolean not null,
    judged_by text not null,
    judged_at timestamp not null
);
create table if not exists identity.customer (
    customer_id text not null,
    created_by_person_key text not null,
    created_at timestamp not null,
    ended_at timestamp,
    merged_into_customer_id text
);
create table if not exists identity.member (
    record_id bigint not null,
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
    evidence text not null,
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
create view if not exists identity.linked as
with ties as (
    select record_a, record_b, kind != 'email+phone+name' and not is_name_checked as is_unnamed, true as is_by_rule
    from identity.edge
    union all
    select record_a, record_b, false, false from identity.pair where verdict = 'link'
)
select least(a.person_key, b.person_key) as person_key_a, greatest(a.person_key, b.person_key) as person_key_b,
    a.customer_id,
    case
        when not bool_or(is_by_rule) then 'model'
        when bool_and(is_unnamed) then 'rule'
        else 'rule and name'
    end as evidence
from ties
inner join identity.member as a on ties.record_a = a.record_id
inner join identity.member as b on ties.record_b = b.record_id and a.customer_id = b.customer_id
group by all;
"""
"""One row per: record, phone spelling and region, pair tied by one value, blocked value, record and blocking key,
weighed pair, record that is tied to another, tie that a guard refused, decision of a person, judgement, id ever given,
record, link and validity range, change of an id, remembered fact; in the view: pair that is tied and one customer.
`hash` values are DuckDB's own."""

TABLES: dict[str, str] = {
    "record": "One row per person record in its normalised form, as the last run saw it.",
    "phone": "One row per distinct phone spelling and region, with its E.164 form (NULL: not a phone number).",
    "edge": "One row per pair of records tied by one shared identifier value.",
    "hub": "One row per identifier value shared by too many to tie anybody, with the reason.",
    "block": "One row per record and blocking key: records with a rare key in common are weighed against each other.",
    "pair": "One row per weighed pair of records that the model links or finds doubtful, with its log odds in bits.",
    "component": "One row per record tied to another, with the group it would be in if no guard refused a tie.",
    "refusal": "One row per tie that a guard refused, with the reason.",
    "decision": "One row per decision of a person that two records are, or are not, one human, and its undoing.",
    "judgement": "One row per pair of a clerical sample that somebody judged: whether the two are one human.",
    "customer": "One row per customer_id ever given, with the record that created it and what became of it.",
    "member": "One row per person record, with its current customer_id.",
    "customer_xref": "One row per link of a person record to a customer and validity range; valid_to NULL is current.",
    "event": "One row per created, merged, split or retired customer_id and run.",
    "doubtful": "One row per pair of records that may be one human, are two customers, and wait for a decision.",
    "linked": "One row per pair of records of one customer that a rule or the model ties, with its evidence.",
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
    def link_probability(self) -> float:
        """Pairs at least so probably one human are linked."""

    @property
    def review_probability(self) -> float:
        """Pairs at least so probable, but not linked, are for a person to look at."""

    @property
    def max_customer_records(self) -> int:
        """A group of more records is taken apart along its weakest ties."""

    @property
    def default_country(self) -> str:
        """ISO 3166 alpha-2 country of phone numbers whose record names none."""

    @property
    def role_mailboxes(self) -> Sequence[str]:
        """Local parts of mailboxes that many people answer (info, sales)."""


def ensure_schema(con: duckdb.DuckDBPyConnection) -> None:
    """Create what is missing of schema `identity`; tables that exist are left alone.

    A schema of an older version is rebuilt under the same ids: `customer`, `customer_xref` and `event` stay.
    """
    _upgrade(con)
    con.execute(SCHEMA)
    con.execute(f"create view if not exists identity.doubtful as {doubtful_sql()}")


def _upgrade(con: duckdb.DuckDBPyConnection) -> None:
    """From the schemas of rules version 1, which had neither blocks nor evidence, and 2, which had one address line."""
    columns = dict(
        con.execute("""
            select table_name, list(column_name)
            from duckdb_columns()
            where database_name = current_database() and schema_name = 'identity'
            group by table_name
        """).fetchall()
    )
    if "record" not in columns:
        return
    if "name_fold" in columns["record"]:
        con.execute("alter table identity.record add column if not exists street_2 text")
        return
    con.begin()
    try:
        for table in ("member", "customer_xref"):
            con.execute(f"create or replace temp table id_kept_{table} as from identity.{table}")
        for table in ("record", "edge", "hub", "member", "customer_xref"):
            con.execute(f"drop table identity.{table}")
        con.execute("delete from identity.state")
        con.execute(SCHEMA)
        con.execute(f"""
            insert into identity.member by name
            select {record_id_sql("person_key")} as record_id, person_key, customer_id from id_kept_member
        """)
        con.execute("insert into identity.customer_xref by name select *, '' as evidence from id_kept_customer_xref")
        con.commit()
    except BaseException:
        con.rollback()
        raise
    for table in ("member", "customer_xref"):
        con.execute(f"drop table id_kept_{table}")


def doubtful_sql(among: str | None = None) -> str:
    """SQL for the pairs that wait for a decision, as in the view `identity.doubtful`.

    Args:
        among: Relation (record_id) that both records of a pair are to be in; all pairs when left out.
    """
    pairs = f"where record_a in (from {among}) and record_b in (from {among})" if among else ""
    return f"""
        with pairs as (from identity.pair {pairs}),
        members as (
            select record_id, person_key, customer_id
            from identity.member
            {"where record_id in (select record_a from pairs union all select record_b from pairs)" if among else ""}
        )
        select a.person_key as person_key_a, b.person_key as person_key_b, a.customer_id as customer_id_a,
            b.customer_id as customer_id_b, pair.bits
        from pairs as pair
        inner join members as a on pair.record_a = a.record_id
        inner join members as b on pair.record_b = b.record_id
        left join identity.decision as decision
            on least(a.person_key, b.person_key) = decision.person_key_a
            and greatest(a.person_key, b.person_key) = decision.person_key_b and decision.undone_at is null
        where a.customer_id != b.customer_id and decision.decision_id is null
    """


def record_id_sql(person_key: str) -> str:
    """SQL for the id of a record: 63 bits of a hash of its key.

    Made from the key alone, so that whatever is decided by the order of ids does not depend on who came first.
    """
    return f"(md5_number_lower({person_key}) >> 1)::bigint"


def input_hash_sql() -> str:
    """SQL for the hash of what identity reads of a person record.

    64 bits: among ten million records there are two of one hash once in 300,000 warehouses; then it may go unseen that
    one of the two is gone, until the rules change.
    """
    return f"hash(row({', '.join(INPUT)}))"


def rules_of(settings: IdentitySettings) -> str:
    """A text that changes whenever equal records could be read, tied or blocked differently.

    DuckDB's version is part of it because stored value hashes are the engine's own and may change with it.
    """
    mailboxes = ",".join(sorted(settings.role_mailboxes))
    return (
        f"rules={RULES_VERSION};duckdb={duckdb.__version__};records={settings.hub_max_records};"
        f"names={settings.hub_max_names};country={settings.default_country};mailboxes={mailboxes};"
        f"blocks={blocking.SIGNATURE}"
    )


def weights_of(settings: IdentitySettings, model: Model, records: int) -> str:
    """A text that changes whenever equal pairs could weigh something else, or the same weight mean another verdict.

    The number of records is part of it by its order only, as it is in the prior of the model.
    """
    return (
        f"model={model.signature};order={order_of(records)};link={settings.link_probability};"
        f"review={settings.review_probability};customer={settings.max_customer_records}"
    )


def read_fact(con: duckdb.DuckDBPyConnection, name: str) -> str | None:
    """What the last run remembered; None before the first."""
    row = con.execute("select value from identity.state where name = ?", [name]).fetchone()
    return None if row is None else str(row[0])


def write_fact(con: duckdb.DuckDBPyConnection, name: str, value: str) -> None:
    """Remember something for the next run."""
    con.execute("delete from identity.state where name = ?", [name])
    con.execute("insert into identity.state values (?, ?)", [name, value])
