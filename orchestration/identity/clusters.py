"""From ties to groups: connected components, and what keeps a wrong tie from gluing two humans together.

A component is one human unless something in it speaks against that:

- two of its records contradict each other: a person forbade it; birth dates or national ids are further apart than a
  slip, none of them agrees, and neither the name alone nor all that they share outweighs that (mail, phone and address
  could be those of father and son); or their names do not fit and nothing personal agrees;
- it has more than `max_customer_records` records.

Such a component is built up again from single records, strongest tie first (declared, by a rule with and without
names, by the model), and forced ties at last: they join whole groups. A tie that would join groups of which as many
pairs speak against one human as for one is refused, and so is one of a record that fits two groups which contradict
each other equally well: it stays alone. Forced and declared ties bow to what a person forbade only. Refused ties are
kept with their reason.

Groups are a function of a component's records and ties alone, so only components that change are looked at again.

Does not belong here: how ties come about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import duckdb
import pyarrow as pa

from orchestration.identity.components import connect_components
from orchestration.identity.edges import compare_names
from orchestration.identity.model import COMPARISONS, Model, bits_column, outcome_column
from orchestration.identity.state import IdentitySettings
from orchestration.identity.weighing import name_contradicts_sql, personal_agrees_sql, to_bits, weigh

FORCED, DECLARED, NAMED, UNNAMED = 400.0, 300.0, 200.0, 100.0
"""Strengths of ties that no model weighed; those it weighed are as strong as their bits, which are fewer than 100."""

AMBIGUOUS_BITS = 3.0
"""A record fits two groups equally well when their ties differ by less: odds of less than eight to one."""

COMPARED_RECORDS = 100
"""In larger components only those pairs are compared that share a tie: all pairs of a crowd are too many."""

FORBIDDEN, CONTRADICTION, AMBIGUOUS, TOO_LARGE = (
    "a person forbade it", "the records contradict each other", "fits two customers equally well", "too many records",
)  # fmt: skip


def place_records(con: duckdb.DuckDBPyConnection, settings: IdentitySettings, model: Model, records: int) -> None:
    """Make temporary tables `id_component`, `id_placement` and `id_refusal`.

    `id_component` (record_id, component_id) has the records that are tied to others, `id_placement` (record_id,
    component_id) the group of every record of `id_affected`, `id_refusal` the columns of `identity.refusal`.

    Args:
        con: The warehouse, outside of a transaction, with the temporary relations `id_affected` (record_id),
            `id_tie` (record_a, record_b, strength), `id_forbidden` (record_a, record_b), `id_hub_now` (kind,
            value) and `id_record`.
        settings: The `identity` section of the settings.
        model: Weighs the pairs of suspicious components.
        records: Number of records in the warehouse.
    """
    connect_components(con, "id_tie", "id_component")
    _suspect(con, settings)
    _take_stances(con, settings, model, records)
    con.execute(f"""
        create or replace temp table id_broken as
        select component_id from id_stance where reason is not null
        union
        select component_id from id_component group by component_id having count(*) > {settings.max_customer_records}
    """)
    _rebuild(con, settings.max_customer_records)
    con.execute("""
        create or replace temp table id_placement as
        select
            affected.record_id,
            coalesce(rebuilt.group_id, component.component_id, affected.record_id) as component_id,
        from id_affected as affected
        left join id_component as component on affected.record_id = component.record_id
        left join id_rebuilt as rebuilt on affected.record_id = rebuilt.record_id
    """)


def _suspect(con: duckdb.DuckDBPyConnection, settings: IdentitySettings) -> None:
    """Components in which records may contradict each other, with their records: `id_suspect`."""
    con.execute(f"""
        create or replace temp table id_suspect as
        with members as (
            select component.component_id, component.record_id, record.name_key, record.birth, record.national_id
            from id_component as component
            inner join id_record as record on component.record_id = record.record_id
        ),
        suspects as (
            select component_id
            from members
            group by component_id
            having count(distinct birth) > 1 or count(distinct national_id) > 1
                or (count(*) > 2 and count(distinct name_key) > 1)
            union
            select component.component_id
            from id_component as component
            inner join id_forbidden as forbidden on component.record_id in (forbidden.record_a, forbidden.record_b)
        )
        select members.*, count(*) over (partition by component_id) > {COMPARED_RECORDS} as is_large
        from members
        semi join suspects using (component_id)
    """)


def _take_stances(con: duckdb.DuckDBPyConnection, settings: IdentitySettings, model: Model, records: int) -> None:
    """Pairs within a component that speak for or against one human: `id_stance`, the former without a reason."""
    if not con.execute("select count(*) from id_suspect").fetchall()[0][0]:
        con.execute("""
            create or replace temp table id_stance (
                component_id bigint, record_a bigint, record_b bigint, reason text
            )
        """)
        return
    con.execute("""
        create or replace temp table id_open as
        select component_id as value_hash, hash(name_key) as name_id, name_key
        from id_suspect
        where name_key is not null
        group by component_id, name_key
    """)
    compare_names(con)
    con.execute("""
        create or replace temp table id_inner as
        with pairs as (
            select distinct one.component_id, one.record_id as record_a, other.record_id as record_b
            from id_suspect as one
            inner join id_suspect as other
                on one.component_id = other.component_id and one.record_id < other.record_id
            where not one.is_large
            union
            select distinct one.component_id, least(tie.record_a, tie.record_b), greatest(tie.record_a, tie.record_b)
            from id_tie as tie
            inner join id_suspect as one on tie.record_a = one.record_id
            where one.is_large
        )
        select pairs.*, a.name_key as name_a, b.name_key as name_b
        from pairs
        inner join id_suspect as a on pairs.record_a = a.record_id
        inner join id_suspect as b on pairs.record_b = b.record_id
    """)
    weigh(con, model, records, "id_inner", "id_record", "id_inner_weight", hubs="id_hub_now")
    personal = " or ".join(
        f"weight.{outcome_column(each)} = {len(each.levels)}" for each in COMPARISONS if each.is_personal
    )
    own = " + ".join(f"weight.{bits_column(each)}" for each in COMPARISONS if each.is_personal or each.name == "name")
    con.execute(f"""
        create or replace temp table id_stance as
        with judged as (
            select
                inside.component_id, inside.record_a, inside.record_b,
                (({personal}) and not {personal_agrees_sql("weight.")}
                    and least(weight.bits, {own}) < {to_bits(settings.review_probability)!r})
                or (compatible.name_id is null and {name_contradicts_sql("weight.")}) as is_against,
                weight.bits >= {to_bits(settings.link_probability)!r} as is_for,
            from id_inner as inside
            inner join id_inner_weight as weight
                on inside.record_a = weight.record_a and inside.record_b = weight.record_b
            left join id_compatible as compatible
                on hash(inside.name_a) = compatible.name_id and hash(inside.name_b) = compatible.other_name_id
        )
        select component_id, record_a, record_b, case when is_against then '{CONTRADICTION}' end as reason
        from judged
        where is_against or is_for
        union all
        select component.component_id, forbidden.record_a, forbidden.record_b, '{FORBIDDEN}' as reason
        from id_forbidden as forbidden
        inner join id_component as component on forbidden.record_a = component.record_id
        inner join id_component as other
            on forbidden.record_b = other.record_id and component.component_id = other.component_id
    """)
    for table in ("id_open", "id_inner", "id_inner_weight", "id_suspect"):
        con.execute(f"drop table {table}")


def _rebuild(con: duckdb.DuckDBPyConnection, max_records: int) -> None:
    """Build the broken components up again: `id_rebuilt` (record_id, group_id) and `id_refusal`."""
    ties = con.execute("""
        select component.component_id, tie.record_a, tie.record_b, max(tie.strength)
        from id_tie as tie
        inner join id_component as component on tie.record_a = component.record_id
        semi join id_broken on component.component_id = id_broken.component_id
        group by all
        order by 1, 4 desc, 2, 3
    """).fetchall()
    stances = con.execute("""
        select component_id, record_a, record_b, reason
        from id_stance
        semi join id_broken using (component_id)
        order by all
    """).fetchall()
    by_component: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
    its_stances: dict[int, list[tuple[int, int, str | None]]] = defaultdict(list)
    for component, a, b, strength in ties:
        by_component[component].append((a, b, strength))
    for component, a, b, stance in stances:
        its_stances[component].append((a, b, stance))
    groups: list[tuple[int, int]] = []
    refusals: list[tuple[int, int, int, str]] = []
    for component, its_ties in by_component.items():
        building = _Building(its_ties, its_stances[component], max_records)
        groups += building.groups()
        refusals += [(a, b, component, reason) for a, b, reason in building.refused]
    _store(con, "id_rebuilt", groups, {"record_id": pa.int64(), "group_id": pa.int64()})
    _store(
        con,
        "id_refusal",
        refusals,
        {"record_a": pa.int64(), "record_b": pa.int64(), "component_id": pa.int64(), "reason": pa.string()},
    )


def _store(
    con: duckdb.DuckDBPyConnection,
    name: str,
    rows: list[tuple[object, ...]] | list[tuple[int, int]] | list[tuple[int, int, int, str]],
    types: dict[str, pa.DataType],
) -> None:
    columns = zip(*rows, strict=True) if rows else ([] for _ in types)
    table = pa.table({key: pa.array(values, kind) for (key, kind), values in zip(types.items(), columns, strict=True)})
    con.register("identity_rows", table)
    con.execute(f"create or replace temp table {name} as select * from identity_rows")
    con.unregister("identity_rows")


class _Building:
    """One broken component, built up from its strongest tie to its weakest. Sequential by nature, and small."""

    def __init__(
        self, ties: list[tuple[int, int, float]], stances: list[tuple[int, int, str | None]], max_records: int
    ) -> None:
        self._group = {record: record for a, b, _ in ties for record in (a, b)}
        self._members = {record: [record] for record in self._group}
        self._stances: dict[int, list[tuple[int, str | None]]] = defaultdict(list)
        for a, b, stance in stances:
            self._stances[a].append((b, stance))
            self._stances[b].append((a, stance))
        self._ties: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for a, b, strength in ties:
            self._ties[a].append((b, strength))
            self._ties[b].append((a, strength))
        self.refused: list[tuple[int, int, str]] = []
        forced = [tie for tie in ties if tie[2] >= FORCED]
        # A person joins what the others have made of two humans; first, and it would tear their records apart.
        for a, b, strength in [*(tie for tie in ties if tie[2] < FORCED), *forced]:
            self._tie(a, b, strength, max_records)
        if forced:
            self._tie_torn(ties, max_records)

    def groups(self) -> Iterable[tuple[int, int]]:
        """Each record with the smallest record of its group."""
        return [(record, min(members)) for members in self._members.values() for record in members]

    def _tie_torn(self, ties: list[tuple[int, int, float]], max_records: int) -> None:
        """Try those again that fitted two groups which a person has since made one."""
        torn = {(a, b) for a, b, reason in self.refused if reason == AMBIGUOUS}
        self.refused = [each for each in self.refused if each[2] != AMBIGUOUS]
        for a, b, strength in ties:
            if (a, b) in torn:
                self._tie(a, b, strength, max_records)

    def _tie(self, a: int, b: int, strength: float, max_records: int) -> None:
        one, other = self._group[a], self._group[b]
        if one == other:
            return
        reason = self._objection(one, other, strength, max_records)
        if reason:
            self.refused.append((a, b, reason))
            return
        for record in self._members[other]:
            self._group[record] = one
        self._members[one] += self._members.pop(other)

    def _objection(self, one: int, other: int, strength: float, max_records: int) -> str | None:
        contradiction = self._contradiction(one, other)
        if contradiction == FORBIDDEN or (contradiction and strength < DECLARED):
            return contradiction
        if strength >= DECLARED:
            return None
        if len(self._members[one]) + len(self._members[other]) > max_records:
            return TOO_LARGE
        if self._is_torn(one, other, strength) or self._is_torn(other, one, strength):
            return AMBIGUOUS
        return None

    def _contradiction(self, one: int, other: int) -> str | None:
        """Why two groups are two humans: as many of their pairs speak against one human as for one, or a person did."""
        small, large = sorted((one, other), key=lambda group: len(self._members[group]))
        against = balance = 0
        for record in self._members[small]:
            for neighbour, stance in self._stances[record]:
                if self._group[neighbour] != large:
                    continue
                if stance == FORBIDDEN:
                    return FORBIDDEN
                against += stance is not None
                balance += 1 if stance is None else -1
        return CONTRADICTION if against and balance <= 0 else None

    def _is_torn(self, group: int, wanted: int, strength: float) -> bool:
        """Whether the group is tied about as strongly to a third group that contradicts the wanted one."""
        for record in self._members[group]:
            for neighbour, rival in self._ties[record]:
                third = self._group[neighbour]
                if (
                    third not in (group, wanted)
                    and rival >= strength - AMBIGUOUS_BITS
                    and self._contradiction(third, wanted)
                    and not self._contradiction(third, group)
                ):
                    return True
        return False
