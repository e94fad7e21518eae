"""From groups of records to customer ids that stay, with their history.

Every id that exists votes for the new group that holds most of its records (ties: the group with the oldest of
them). A group keeps the strongest id that voted for it: the one with most records in the group, then the one with
the oldest. The other ids that voted end as `merge`; a group that won no id but holds records of one comes to life
by `split`, any other group by `create`; an id none of whose records is left ends as `retire`.

A new id is `C` and 16 hexadecimal digits of the hash of the key of the group's oldest record, which *created* it. So
a warehouse rebuilt from nothing gives the same ids to all customers whose records did not move in the meantime. An id
that ended may come back when its creating record becomes a group of its own again: undoing a merge restores it.

Does not belong here: how groups are found.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb

FAR_FUTURE = "timestamp '9999-12-31'"
"""Age of a record that does not say when it was created: younger than all that do."""


@dataclass(frozen=True, slots=True)
class Changes:
    """How many ids were created, ended by a merge, created by a split, and retired."""

    created: int
    merged: int
    split: int
    retired: int


def candidate_id_sql(person_key: str, attempt: str) -> str:
    """SQL for the id that a record creates; further attempts serve where the first is another customer's."""
    return f"'C' || left(md5({person_key} || case when {attempt} > 0 then '#' || {attempt} else '' end), 16)"


def elect_ids(con: duckdb.DuckDBPyConnection, groups: str) -> Changes:
    """Find every group's id and what changes by it, in temporary tables; nothing is written yet.

    Args:
        con: The warehouse.
        groups: Relation (record_id, component_id), one row per record of `id_affected`.
    """
    _elect(con, groups)
    _name_new_groups(con)
    _list_events(con)
    _list_links(con)
    counts: dict[str, int] = dict(con.execute("select kind, count(*) from id_change group by kind").fetchall())
    return Changes(
        created=counts.get("create", 0),
        merged=counts.get("merge", 0),
        split=counts.get("split", 0),
        retired=counts.get("retire", 0),
    )


def write_ids(con: duckdb.DuckDBPyConnection, run_id: str, now: datetime) -> None:
    """Book what `elect_ids` found in `identity.customer`, `.event`, `.member` and `.customer_xref`.

    Args:
        con: The warehouse, inside the transaction of the run.
        run_id: Run the events are booked under.
        now: Moment at which changed links end and begin, UTC.
    """
    _write_customers(con, run_id, now)
    _write_links(con, now)


def _elect(con: duckdb.DuckDBPyConnection, groups: str) -> None:
    con.execute(f"""
        create or replace temp table id_placed as
        select
            groups.component_id,
            record.record_id,
            record.person_key,
            coalesce(record.created_at, {FAR_FUTURE}) as born_at,
            member.customer_id as old_customer_id,
        from {groups} as groups
        inner join id_record as record on groups.record_id = record.record_id
        left join identity.member as member on record.record_id = member.record_id
    """)
    con.execute("""
        create or replace temp table id_vote as
        with counted as (
            select
                old_customer_id as customer_id,
                component_id,
                count(*) as record_count,
                min({'born_at': born_at, 'person_key': person_key}) as oldest,
            from id_placed
            where old_customer_id is not null
            group by old_customer_id, component_id
        )
        select *
        from counted
        qualify row_number() over (partition by customer_id order by record_count desc, oldest) = 1
    """)
    con.execute("""
        create or replace temp table id_elected as
        select component_id, customer_id
        from id_vote
        qualify row_number() over (partition by component_id order by record_count desc, oldest) = 1
    """)


def _name_new_groups(con: duckdb.DuckDBPyConnection) -> None:
    """Find an id for each group without one: table `id_named` (component_id, customer_id, created_by_person_key).

    An id is free when no customer bore it at the start of this run and no other record ever created it. The
    second attempt is needed when a record leaves the customer that bears its first one, or when hashes collide.
    """
    con.execute(f"""
        create or replace temp table id_named as
        with newborn as (
            select component_id, arg_min(person_key, (born_at, person_key)) as created_by_person_key
            from id_placed
            anti join id_elected on id_placed.component_id = id_elected.component_id
            group by component_id
        )
        select component_id, created_by_person_key, 0 as attempt,
            {candidate_id_sql("created_by_person_key", "0")} as customer_id
        from newborn
    """)
    while True:
        con.execute("""
            create or replace temp table id_taken as
            select named.component_id
            from id_named as named
            inner join identity.customer as customer on named.customer_id = customer.customer_id
            where customer.ended_at is null or customer.created_by_person_key != named.created_by_person_key
            union
            select component_id
            from id_named
            qualify row_number() over (partition by customer_id order by created_by_person_key) > 1
        """)
        if not con.execute("select count(*) from id_taken").fetchall()[0][0]:
            break
        con.execute(f"""
            update id_named
            set attempt = attempt + 1, customer_id = {candidate_id_sql("created_by_person_key", "(attempt + 1)")}
            where component_id in (select component_id from id_taken)
        """)
    con.execute("drop table id_taken")


def _list_events(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("""
        create or replace temp table id_met as
        select customer_id, count(*) as record_count
        from identity.member
        where record_id in (from id_once_affected)
        group by customer_id
    """)
    con.execute("""
        create or replace temp table id_ended as
        select customer.customer_id, coalesce(elected.customer_id, named.customer_id) as merged_into_customer_id
        from id_met as customer
        left join id_vote as vote on customer.customer_id = vote.customer_id
        left join id_elected as elected on vote.component_id = elected.component_id
        left join id_named as named on vote.component_id = named.component_id
        where elected.customer_id is distinct from customer.customer_id
    """)
    con.execute("""
        create or replace temp table id_change as
        with held as (
            select component_id, old_customer_id, count(*) as record_count
            from id_placed
            semi join id_named on id_placed.component_id = id_named.component_id
            group by component_id, old_customer_id
        ),
        origins as (
            select
                component_id,
                sum(record_count)::bigint as record_count,
                arg_max(old_customer_id, (record_count, old_customer_id)) filter (where old_customer_id is not null)
                    as old_customer_id,
            from held
            group by component_id
        )
        select
            case when origins.old_customer_id is null then 'create' else 'split' end as kind,
            named.customer_id,
            origins.old_customer_id as related_customer_id,
            origins.record_count,
        from id_named as named
        inner join origins on named.component_id = origins.component_id
        union all
        select
            case when ended.merged_into_customer_id is null then 'retire' else 'merge' end as kind,
            ended.customer_id,
            ended.merged_into_customer_id as related_customer_id,
            met.record_count,
        from id_ended as ended
        inner join id_met as met on ended.customer_id = met.customer_id
    """)


def _write_customers(con: duckdb.DuckDBPyConnection, run_id: str, now: datetime) -> None:
    con.execute(
        "insert into identity.event select $run_id, $now, kind, customer_id, related_customer_id, record_count "
        "from id_change order by kind, customer_id",
        {"run_id": run_id, "now": now},
    )
    con.execute(
        """
        update identity.customer
        set ended_at = $now, merged_into_customer_id = id_ended.merged_into_customer_id
        from id_ended
        where customer.customer_id = id_ended.customer_id
        """,
        {"now": now},
    )
    con.execute("""
        update identity.customer
        set ended_at = null, merged_into_customer_id = null
        from id_named
        where customer.customer_id = id_named.customer_id
    """)
    con.execute(
        """
        insert into identity.customer
        select named.customer_id, named.created_by_person_key, $now, null, null
        from id_named as named
        anti join identity.customer as customer on named.customer_id = customer.customer_id
        """,
        {"now": now},
    )


def _list_links(con: duckdb.DuckDBPyConnection) -> None:
    """The links that begin (`id_link`), those that end (`id_unlink`) and those held by other evidence (`id_proof`).

    Of those that end, `id_standing` has the rows of `identity.customer_xref`; `id_proof` has its new rows.

    What holds an unchanged link may change, as when a second source confirms the phone; the link keeps its validity.
    """
    con.execute("""
        create or replace temp table id_link as
        with ids as (
            select component_id, customer_id from id_elected
            union all
            select component_id, customer_id from id_named
        )
        select
            record.source, record.source_record_id, placed.record_id, placed.person_key, ids.customer_id, rule.rule,
            rule.score, rule.evidence, placed.old_customer_id,
        from id_placed as placed
        inner join ids on placed.component_id = ids.component_id
        inner join id_record as record on placed.record_id = record.record_id
        inner join id_rule as rule on placed.record_id = rule.record_id
    """)
    con.execute("""
        create or replace temp table id_unlink as
        select member.record_id, member.person_key
        from identity.member as member
        left join id_link as link on member.record_id = link.record_id
        where member.record_id in (from id_once_affected) and link.customer_id is distinct from member.customer_id
    """)
    con.execute("""
        create or replace temp table id_standing as
        with persons as (
            select person_key from id_link where customer_id = old_customer_id
            union all
            select person_key from id_unlink
        )
        select * from identity.customer_xref semi join persons using (person_key) where valid_to is null
    """)
    con.execute("""
        create or replace temp table id_proof as
        select standing.* replace (link.rule as rule, link.score as score, link.evidence as evidence)
        from id_link as link
        inner join id_standing as standing
            on link.person_key = standing.person_key and link.customer_id = standing.customer_id
        where
            link.customer_id = link.old_customer_id
            and (link.rule, link.score, link.evidence) != (standing.rule, standing.score, standing.evidence)
    """)
    con.execute("delete from id_standing where person_key not in (select person_key from id_unlink)")
    con.execute("delete from id_link where customer_id is not distinct from old_customer_id")


def _write_links(con: duckdb.DuckDBPyConnection, now: datetime) -> None:
    con.execute("""
        delete from identity.member
        using id_unlink
        where member.record_id = id_unlink.record_id
    """)
    con.execute("insert into identity.member select record_id, person_key, customer_id from id_link")
    # Rows are replaced, not updated: an update writes the column anew for all the records around.
    con.execute("""
        delete from identity.customer_xref
        where
            valid_to is null
            and person_key in (select person_key from id_standing union all select person_key from id_proof)
    """)
    con.execute("insert into identity.customer_xref from id_proof")
    con.execute("insert into identity.customer_xref select * replace ($now as valid_to) from id_standing", {"now": now})
    con.execute(
        """
        insert into identity.customer_xref
        select source, source_record_id, person_key, customer_id, rule, score, evidence, $now, null
        from id_link
        """,
        {"now": now},
    )
