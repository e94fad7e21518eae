"""The unify run: every person record to its customer, in one transaction.

A run reads which records are new, changed or gone since the last one, normalises those, and, when there are any,
recomputes edges, components and ids, writing only what differs. On unchanged input nothing is written at all.

Belongs here: the order of the steps, the transaction, the result. Does not belong here: the rules of any step.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

import duckdb

from orchestration.identity import components, edges, normalise, stable_ids, state
from orchestration.identity.state import IdentitySettings
from orchestration.warehouse import new_load_id, utc_now

COLLECTED = "intermediate.int_person_record__collected"
"""The person records to resolve: one row per person_key."""

UNSHARED = "unshared"
"""Rule of a record that shares nothing with any other: it is a customer by itself."""

_REPLACED = {"edge": "id_edge", "hub": "id_hub"}
"""Tables that are computed as a whole, of which only the differences are written."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IdentityResult:
    """What a run found and did. `is_changed` is false when nothing was written.

    `records`, `customers`, `edges` and `hubs` describe the state after the run, the others what the run changed:
    records new, changed or gone (`delta`) and ids created, ended by a merge, created by a split, retired.
    """

    records: int
    customers: int
    edges: int
    hubs: int
    delta: int
    created: int
    merged: int
    split: int
    retired: int
    is_changed: bool


def resolve(
    con: duckdb.DuckDBPyConnection,
    settings: IdentitySettings,
    run_id: str | None = None,
    now: datetime | None = None,
    collected: str = COLLECTED,
) -> IdentityResult:
    """Resolve all person records to customers; all of it is written or nothing.

    Args:
        con: The warehouse, outside of a transaction.
        settings: The `identity` section of the settings.
        run_id: Id that events are booked under; made from the time when left out.
        now: Moment at which changed links end and begin, UTC; the present when left out.
        collected: Relation of the person records.
    """
    state.ensure_schema(con)
    try:
        return _resolve(con, settings, run_id or new_load_id(), now or utc_now(), collected)
    finally:
        _drop_temporary(con)


def _resolve(
    con: duckdb.DuckDBPyConnection, settings: IdentitySettings, run_id: str, now: datetime, collected: str
) -> IdentityResult:
    """Work everything out in temporary tables, then write the differences in one transaction.

    Inside the transaction it could not be worked out: DuckDB takes tables made there for empty when it plans.
    """
    rules = state.fingerprint(settings)
    is_new_rules = state.read_fingerprint(con) != rules
    delta = _take_delta(con, collected, is_new_rules)
    if not delta and not is_new_rules:
        return _summary(con, 0, stable_ids.Changes(0, 0, 0, 0), is_changed=False)
    _LOG.info("identity: %s records new, changed or gone", delta)
    _normalise_delta(con, settings)
    _list_forgotten_phones(con)
    edges.build_edges(con, settings)
    components.connect_components(con, "id_edge", "id_component")
    con.execute("""
        create or replace temp table id_placement as
        select record.record_id, coalesce(component.component_id, record.record_id) as component_id
        from id_record as record
        left join id_component as component on record.record_id = component.record_id
    """)
    _name_rules(con)
    changes = stable_ids.elect_ids(con, "id_placement")
    for table, wanted in _REPLACED.items():
        _list_differences(con, f"identity.{table}", wanted)
    con.begin()
    try:
        _write_records(con)
        for table, wanted in _REPLACED.items():
            _write_differences(con, f"identity.{table}", wanted)
        stable_ids.write_ids(con, run_id, now)
        state.write_fingerprint(con, rules)
        con.commit()
    except BaseException:
        con.rollback()
        raise
    return _summary(con, delta, changes, is_changed=True)


def _take_delta(con: duckdb.DuckDBPyConnection, collected: str, is_new_rules: bool) -> int:
    """List the records that are new, changed or gone in `id_delta`; returns how many.

    Only columns that identity reads count as a change: a new city alone resolves nothing anew.
    """
    con.execute(f"""
        create or replace temp table id_input as
        select
            person_key,
            source,
            person_id as source_record_id,
            created_at,
            coalesce(
                nullif(concat_ws(' ', nullif(trim(given_name), ''), nullif(trim(family_name), '')), ''),
                nullif(trim(full_name), '')
            ) as name,
            nullif(trim(email), '') as email,
            nullif(trim(phone), '') as phone,
            upper(nullif(trim(country), '')) as country,
            external_id,
            linked_person_key,
            is_bare,
            hash(row(
                person_id, created_at, given_name, family_name, full_name, email, phone, country, external_id,
                linked_person_key, is_bare
            )) as input_hash,
        from {collected}
    """)
    con.execute(
        """
        create or replace temp table id_delta as
        select input.person_key, record.record_id
        from id_input as input
        full outer join identity.record as record on input.person_key = record.person_key
        where
            input.person_key is null
            or record.person_key is null
            or input.input_hash != record.input_hash
            or $is_new_rules
        """,
        {"is_new_rules": is_new_rules},
    )
    return int(con.execute("select count(*) from id_delta").fetchall()[0][0])


def _normalise_delta(con: duckdb.DuckDBPyConnection, settings: IdentitySettings) -> None:
    """Normalise new and changed records (`id_new_record`); `id_record` shows all records as they are to be."""
    con.execute(
        f"""
        create or replace temp table id_new as
        select
            input.* exclude (phone),
            delta.record_id,
            {normalise.phone_text_sql("input.phone")} as phone_text,
            case when regexp_full_match(country, '[A-Z]{{2}}') then country else $default_country end as region,
        from id_input as input
        inner join id_delta as delta on input.person_key = delta.person_key
        """,
        {"default_country": settings.default_country},
    )
    normalise.learn_phones(con, "id_new", settings.default_country, "id_new_phone")
    normalise.add_name_keys(con, "id_new", "id_name")
    normalise.add_emails(con, "(select email as text from id_new)", "id_email", settings.role_mailboxes)
    con.execute("create or replace temp sequence id_next_record")
    last = con.execute("select coalesce(max(record_id), 0) from identity.record").fetchall()[0][0]
    con.execute(f"""
        create or replace temp table id_new_record as
        select
            coalesce(new.record_id, {last} + nextval('id_next_record')) as record_id,
            new.person_key,
            new.source,
            new.source_record_id,
            new.input_hash,
            new.created_at,
            name.name_key,
            name.name_skeleton,
            email.email,
            coalesce(email.is_role, false) as is_role_email,
            phone.phone,
            coalesce(phone.is_placeholder, false) as is_placeholder_phone,
            {normalise.external_id_sql("new.external_id")} as external_id,
            new.linked_person_key,
            new.is_bare,
        from id_new as new
        left join id_name as name on new.name = name.name
        left join id_email as email on new.email = email.text
        left join (select * from identity.phone union all select * from id_new_phone) as phone
            on new.phone_text = phone.phone_text and new.region = phone.region
    """)
    con.execute("""
        create or replace temp view id_record as
        select * from identity.record
        where record_id not in (select record_id from id_delta where record_id is not null)
        union all
        select * from id_new_record
    """)
    for table in ("id_new", "id_name", "id_email"):
        con.execute(f"drop table {table}")


def _list_forgotten_phones(con: duckdb.DuckDBPyConnection) -> None:
    """Spellings to drop (`id_old_phone`): the dictionary keeps no number of a person who was deleted.

    A spelling that is no phone cannot be matched to the records that bear it; those all go, and are read again when
    a record with one of them changes.
    """
    con.execute("""
        create or replace temp table id_old_phone as
        select phone_text, region
        from identity.phone
        where
            exists (select 1 from id_delta where record_id is not null)
            and (phone is null or phone not in (select phone from id_record where phone is not null))
    """)


def _write_records(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("""
        delete from identity.record
        where record_id in (select record_id from id_delta where record_id is not null)
    """)
    con.execute("insert into identity.record by name select * from id_new_record")
    con.execute("insert into identity.phone by name select * from id_new_phone")
    con.execute("""
        delete from identity.phone
        using id_old_phone
        where phone.phone_text = id_old_phone.phone_text and phone.region = id_old_phone.region
    """)


def _name_rules(con: duckdb.DuckDBPyConnection) -> None:
    """What ties each record to its customer: temporary table `id_rule` (record_id, rule), such as `email+name`."""
    con.execute(f"""
        create or replace temp table id_rule as
        with ends as (
            select record_a as record_id, kind, is_name_checked from id_edge
            union all
            select record_b as record_id, kind, is_name_checked from id_edge
        ),
        evidence as (
            select
                record_id,
                concat_ws(
                    '+',
                    case when bool_or(kind = 'external_id') then 'external_id' end,
                    case when bool_or(kind = 'linked_id') then 'linked_id' end,
                    case when bool_or(kind in ('email', 'email+phone+name')) then 'email' end,
                    case when bool_or(kind in ('phone', 'email+phone+name')) then 'phone' end,
                    case when bool_or(kind = 'email+phone+name' or is_name_checked) then 'name' end
                ) as rule,
            from ends
            group by record_id
        )
        select record.record_id, coalesce(evidence.rule, '{UNSHARED}') as rule
        from id_record as record
        left join evidence on record.record_id = evidence.record_id
    """)


def _list_differences(con: duckdb.DuckDBPyConnection, table: str, wanted: str) -> None:
    """Rows of `table` that `wanted` does not have, and the other way round."""
    con.execute(f"create or replace temp table {wanted}_old as select * from {table} except select * from {wanted}")
    con.execute(f"create or replace temp table {wanted}_new as select * from {wanted} except select * from {table}")


def _write_differences(con: duckdb.DuckDBPyConnection, table: str, wanted: str) -> None:
    columns = [name for name, *_ in con.execute(f"describe {table}").fetchall()]
    same = " and ".join(f"kept.{column} = {wanted}_old.{column}" for column in columns)
    con.execute(f"delete from {table} as kept using {wanted}_old where {same}")
    con.execute(f"insert into {table} by name select * from {wanted}_new")


def _drop_temporary(con: duckdb.DuckDBPyConnection) -> None:
    """Free what the run kept in memory."""
    con.execute("drop view if exists temp.id_record")
    con.execute("drop sequence if exists temp.id_next_record")
    names = con.execute(
        "select table_name from duckdb_tables() where temporary and starts_with(table_name, 'id_')"
    ).fetchall()
    for (name,) in names:
        con.execute(f"drop table temp.{name}")


def _summary(
    con: duckdb.DuckDBPyConnection, delta: int, changes: stable_ids.Changes, *, is_changed: bool
) -> IdentityResult:
    records, customers, edge_count, hubs = con.execute("""
        select
            (select count(*) from identity.member),
            (select count(*) from identity.customer where ended_at is null),
            (select count(*) from identity.edge),
            (select count(*) from identity.hub)
    """).fetchall()[0]
    return IdentityResult(
        records=records,
        customers=customers,
        edges=edge_count,
        hubs=hubs,
        delta=delta,
        created=changes.created,
        merged=changes.merged,
        split=changes.split,
        retired=changes.retired,
        is_changed=is_changed,
    )
