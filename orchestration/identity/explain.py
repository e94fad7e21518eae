"""Why two records are, or are not, one customer.

Belongs here: reading what the last run kept (records, edges, hubs, members) and saying it in words. Does not belong
here: any rule; what is said follows from the tables alone.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import duckdb

from orchestration.identity.model import COMPARISONS, DEFAULT_MODEL, Model, load_model, outcome_column
from orchestration.identity.weighing import weigh


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
class Outcome:
    """What one comparison found: attribute, level in words, and its bits (0 where nothing can be said)."""

    comparison: str
    level: str
    bits: float


@dataclass(frozen=True, slots=True)
class Weight:
    """How the model weighs the two records themselves, whatever ties them to others: odds in bits, base 2."""

    prior_bits: float
    outcomes: tuple[Outcome, ...]

    @property
    def bits(self) -> float:
        """Log odds that the two are one human."""
        return self.prior_bits + sum(outcome.bits for outcome in self.outcomes)

    @property
    def probability(self) -> float:
        """The same as a probability."""
        return float(1 / (1 + 2.0**-self.bits))


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
    weight: Weight
    refused: tuple[tuple[str, str, str], ...]
    decisions: tuple[str, ...]

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
        lines += [f"kept apart: {one} and {other}: {reason}" for one, other, reason in self.refused]
        lines += [f"decided: {text}" for text in self.decisions]
        lines.append(f"the model weighs them {self.weight.bits:+.1f} bits, {self.weight.probability:.2%} one human:")
        lines.append(f"  {self.weight.prior_bits:+6.1f}  two records at random")
        lines += [f"  {each.bits:+6.1f}  {each.comparison}: {each.level}" for each in self.weight.outcomes]
        return "\n".join(lines)


_IDENTIFIERS = """
    select record_id, 'email' as kind, email as value, hash('email:' || email) as value_hash
    from identity.record where email is not null
    union all
    select record_id, 'phone', phone, hash('phone:' || phone)
    from identity.record where phone is not null
    union all
    select record_id, 'national_id', national_id, hash('national_id:' || national_id)
    from identity.record where national_id is not null
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


def explain(
    con: duckdb.DuckDBPyConnection, person_key_a: str, person_key_b: str, model: Model | None = None
) -> Explanation:
    """What holds two records together or keeps them apart, as of the last run.

    Args:
        con: The warehouse; nothing but temporary tables is written.
        person_key_a: Key of one record: source and id.
        person_key_b: Key of the other.
        model: The model the last run went by; the default model when left out.

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
        weight=_weight(con, model or load_model(DEFAULT_MODEL), record_a, record_b),
        refused=_refused(con, record_a, record_b) if customer_a != customer_b else (),
        decisions=_decisions(con, person_key_a, person_key_b),
    )


def _weight(con: duckdb.DuckDBPyConnection, model: Model, record_a: int, record_b: int) -> Weight:
    records = con.execute("select count(*) from identity.record").fetchall()[0][0]
    con.execute(
        "create or replace temp table explained as select least($a, $b) as record_a, greatest($a, $b) as record_b",
        {"a": record_a, "b": record_b},
    )
    weigh(con, model, records, "explained", "identity.record", "explained_weight", hubs="identity.hub")
    columns = [f"{outcome_column(each)}, {outcome_column(each)}_bits" for each in COMPARISONS]
    row = con.execute(f"select {', '.join(columns)} from explained_weight").fetchall()[0]
    con.execute("drop table explained")
    con.execute("drop table explained_weight")
    return Weight(
        prior_bits=model.prior_bits(records),
        outcomes=tuple(
            Outcome(
                comparison=each.name,
                level="missing, or shared by too many" if row[2 * number] < 0 else each.labels[row[2 * number]],
                bits=float(row[2 * number + 1]),
            )
            for number, each in enumerate(COMPARISONS)
        ),
    )


def _refused(con: duckdb.DuckDBPyConnection, record_a: int, record_b: int) -> tuple[tuple[str, str, str], ...]:
    """Ties of the component both records are in that a guard refused; none when nothing would tie them anyway."""
    rows = con.execute(
        """
        select a.person_key, b.person_key, refusal.reason
        from identity.refusal as refusal
        inner join identity.component as one on refusal.component_id = one.component_id and one.record_id = ?
        inner join identity.component as other on refusal.component_id = other.component_id and other.record_id = ?
        inner join identity.record as a on refusal.record_a = a.record_id
        inner join identity.record as b on refusal.record_b = b.record_id
        order by all
        """,
        [record_a, record_b],
    ).fetchall()
    return tuple(rows)


def _decisions(con: duckdb.DuckDBPyConnection, person_key_a: str, person_key_b: str) -> tuple[str, ...]:
    a, b = sorted((person_key_a, person_key_b))
    rows = con.execute(
        """
        select
            case when kind = 'force' then 'one human' else 'two humans' end || ', by ' || decided_by || ' on '
                || strftime(decided_at, '%Y-%m-%d') || ': ' || reason
                || coalesce('; taken back by ' || undone_by || ': ' || undo_reason, '')
        from identity.decision
        where person_key_a = ? and person_key_b = ?
        order by decided_at
        """,
        [a, b],
    ).fetchall()
    return tuple(str(row[0]) for row in rows)


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
        union all
        select pair.record_a, pair.record_b, a.person_key, b.person_key, 'model',
            round(pair.bits, 1) || ' bits', false
        from identity.pair as pair
        inner join members as a on pair.record_a = a.record_id
        inner join members as b on pair.record_b = b.record_id
        where pair.verdict = 'link'
        union all
        select a.record_id, b.record_id, a.person_key, b.person_key, 'decision', decision.decided_by, false
        from identity.decision as decision
        inner join members as a on decision.person_key_a = a.person_key
        inner join members as b on decision.person_key_b = b.person_key
        where decision.kind = 'force' and decision.undone_at is null
        order by all
        """,
        {"customer_id": customer_id},
    ).fetchall()
    # A way over rules says more than a shorter one over what the model weighed.
    by_rules = [row for row in rows if row[4] != "model"]
    return _shortest(by_rules, start, goal) or _shortest(rows, start, goal)


def _shortest(rows: list[tuple[Any, ...]], start: int, goal: int) -> tuple[Step, ...]:
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
    return paths.get(goal, ())
