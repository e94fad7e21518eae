"""Why two records are, or are not, one customer.

Belongs here: reading what the last run kept (records, edges, hubs, members) and saying it in words. Does not belong
here: any rule; what is said follows from the tables alone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import duckdb


class UnknownRecordError(LookupError):
    """A person_key that the last run did not see."""


@dataclass(frozen=True, slots=True)
class Step:
    """One edge on the way from one record to the other: the two records, the kind of value they share, the value."""

    from_person_key: str
    to_person_key: str
    kind: str
    value: str
    is_name_checked: bool


@dataclass(frozen=True, slots=True)
class Shared:
    """A value both records have, and what became of it: it ties them, it is a hub, or the names did not fit."""

    kind: str
    value: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What holds two records together or keeps them apart. `str()` of it is for people; it holds personal data."""

    person_key_a: str
    person_key_b: str
    customer_id_a: str
    customer_id_b: str
    names: tuple[str | None, str | None]
    shared: tuple[Shared, ...]
    path: tuple[Step, ...]

    @property
    def is_same(self) -> bool:
        """Whether both records are one customer."""
        return self.customer_id_a == self.customer_id_b

    def __str__(self) -> str:
        """A few lines for an operator."""
        verdict = (
            f"one customer, {self.customer_id_a}"
            if self.is_same
            else f"two customers, {self.customer_id_a} and {self.customer_id_b}"
        )
        names = " and ".join("(no name)" if name is None else name for name in self.names)
        lines = [f"{self.person_key_a} and {self.person_key_b}: {verdict}", f"names as compared: {names}"]
        lines += [f"shared {item.kind} {item.value}: {item.outcome}" for item in self.shared]
        if not self.shared:
            lines.append("they share no identifier")
        lines += [
            f"path: {step.from_person_key} and {step.to_person_key} share {step.kind} {step.value}"
            + (", names fit" if step.is_name_checked else "")
            for step in self.path
        ]
        return "\n".join(lines)


_IDENTIFIERS = """
    select record_id, 'email' as kind, email as value, hash('email:' || email) as value_hash
    from identity.record where email is not null
    union all
    select record_id, 'phone', phone, hash('phone:' || phone)
    from identity.record where phone is not null
    union all
    select record_id, 'external_id', source || ':' || external_id,
        hash('external_id:' || source || ':' || external_id)
    from identity.record where external_id is not null
    union all
    select record_id, 'linked_id', linked_person_key, hash('rec:' || linked_person_key)
    from identity.record where linked_person_key is not null
    union all
    select record_id, 'linked_id', person_key, hash('rec:' || person_key) from identity.record
"""


def explain(con: duckdb.DuckDBPyConnection, person_key_a: str, person_key_b: str) -> Explanation:
    """What holds two records together or keeps them apart, as of the last run.

    Args:
        con: The warehouse; nothing is written.
        person_key_a: Key of one record: source and id.
        person_key_b: Key of the other.

    Raises:
        UnknownRecordError: One of the records is not known.
    """
    if not con.execute("select 1 from duckdb_tables() where schema_name = 'identity'").fetchall():
        raise UnknownRecordError("identity has not run yet in this warehouse; run the daily job first")
    record_a, name_a, customer_a = _record(con, person_key_a)
    record_b, name_b, customer_b = _record(con, person_key_b)
    return Explanation(
        person_key_a=person_key_a,
        person_key_b=person_key_b,
        customer_id_a=customer_a,
        customer_id_b=customer_b,
        names=(name_a, name_b),
        shared=_shared(con, record_a, record_b),
        path=_path(con, customer_a, record_a, record_b) if customer_a == customer_b else (),
    )


def _record(con: duckdb.DuckDBPyConnection, person_key: str) -> tuple[int, str | None, str]:
    row = con.execute(
        """
        select record.record_id, record.name_key, member.customer_id
        from identity.record as record
        inner join identity.member as member on record.person_key = member.person_key
        where record.person_key = ?
        """,
        [person_key],
    ).fetchone()
    if row is None:
        raise UnknownRecordError(f"{person_key} is no record of the last identity run; keys are <source>:<id>")
    return int(row[0]), row[1], str(row[2])


def _shared(con: duckdb.DuckDBPyConnection, record_a: int, record_b: int) -> tuple[Shared, ...]:
    rows = con.execute(
        f"""
        with identifiers as ({_IDENTIFIERS}),
        shared as (
            select a.kind, a.value, a.value_hash
            from (select * from identifiers where record_id = $record_a) as a
            inner join (select * from identifiers where record_id = $record_b) as b on a.value_hash = b.value_hash
        ),
        -- Records of one star are tied whether or not one of the two is its centre.
        centres as (
            select value_hash, record_a as record_id, record_a as centre from identity.edge
            union
            select value_hash, record_b as record_id, record_a as centre from identity.edge
        )
        select distinct
            shared.kind,
            shared.value,
            case
                when hub.reason is not null then 'ties nobody: ' || hub.reason
                when a.centre = b.centre then 'ties them'
                else 'does not tie them: names or phones do not fit'
            end as outcome,
        from shared
        left join identity.hub as hub on shared.kind = hub.kind and shared.value = hub.value
        left join centres as a on shared.value_hash = a.value_hash and a.record_id = $record_a
        left join centres as b on shared.value_hash = b.value_hash and b.record_id = $record_b
        order by all
        """,
        {"record_a": record_a, "record_b": record_b},
    ).fetchall()
    return tuple(Shared(*row) for row in rows)


def _path(con: duckdb.DuckDBPyConnection, customer_id: str, start: int, goal: int) -> tuple[Step, ...]:
    """The shortest way over edges; only the edges of one customer are read."""
    rows = con.execute(
        f"""
        with members as (
            select record.record_id, record.person_key
            from identity.record as record
            inner join identity.member as member on record.person_key = member.person_key
            where member.customer_id = $customer_id
        ),
        written as (select distinct value_hash, value from ({_IDENTIFIERS}) semi join members using (record_id))
        select edge.record_a, edge.record_b, a.person_key, b.person_key, edge.kind,
            coalesce(written.value, 'together'), edge.is_name_checked
        from identity.edge as edge
        inner join members as a on edge.record_a = a.record_id
        inner join members as b on edge.record_b = b.record_id
        left join written on edge.value_hash = written.value_hash
        order by all
        """,
        {"customer_id": customer_id},
    ).fetchall()
    steps: dict[int, list[tuple[int, Step]]] = {}
    for record_a, record_b, key_a, key_b, kind, value, is_name_checked in rows:
        steps.setdefault(record_a, []).append((record_b, Step(key_a, key_b, kind, value, is_name_checked)))
        steps.setdefault(record_b, []).append((record_a, Step(key_b, key_a, kind, value, is_name_checked)))
    paths: dict[int, tuple[Step, ...]] = {start: ()}
    waiting = deque([start])
    while waiting and goal not in paths:
        here = waiting.popleft()
        for there, step in steps.get(here, []):
            if there not in paths:
                paths[there] = (*paths[here], step)
                waiting.append(there)
    return paths[goal]
