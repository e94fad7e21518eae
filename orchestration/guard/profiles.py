"""How the mapped columns of a load look, beside how they looked in the loads before.

Belongs here: counting (empty values, where the values lie, references without a record), and the limits that
chance and the table's own variation set. Does not belong here: what follows when a limit is passed
(`expectations/load_profile.json`), and how much came (`volume.py`).

No value of a person is kept: numbers are counted by half-octaves, words only when they are the contract's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb

from orchestration.guard.history import PROFILE, TAUGHT
from orchestration.guard.sql import identifier, literal, qualified, scalar
from orchestration.sources.contract import Column, Entity, key_name, load_contract
from orchestration.sources.mapping import mapped_select
from orchestration.warehouse import columns_of

if TYPE_CHECKING:
    from orchestration.settings import EntityMapping, Settings, Table

SAMPLE = 100_000
"""Rows whose columns are looked at; more say nothing more about shares."""

MIN_ROWS = 50
"""A load with fewer rows says nothing about shares."""

MIN_LOADS = 5
"""Fewer loads before do not tell what varies."""

LOADS = 28
"""Loads that a load is compared with: four weeks of days."""

SLACK = 0.05
"""A share may always move by that much."""

HOLD_MARGIN = 0.15
"""Shares that move by that much more than they ever did hold the load; by less they are told."""

NUMBERS = frozenset({"integer", "number", "amount"})


@dataclass(frozen=True)
class Mapped:
    """The rows of a load under one of its entity mappings.

    Attributes:
        name: What rule ids of the mapping begin with: the entity, numbered where the table feeds it twice.
        mapping: The mapping.
        relation: Name of the view of the mapped rows.
    """

    name: str
    mapping: EntityMapping
    relation: str

    @property
    def entity(self) -> Entity:
        """The contract of the entity."""
        return load_contract()[self.mapping.entity]

    def columns(self) -> list[Column]:
        """The mapped columns that a source fills: no constants."""
        return [
            column
            for name, column in self.entity.columns.items()
            if name in self.mapping.columns and self.mapping.columns[name].value is None
        ]


def reaches(con: duckdb.DuckDBPyConnection, table: Table, mapped: Sequence[Mapped], now: datetime) -> datetime | None:
    """The latest time in the rows of a load that is not the future: its cursor, or when its records happened."""
    queries = []
    if table.cursor is not None and mapped:
        queries.append(f"select max(try_cast(_cursor as timestamp)) as at from {mapped[0].relation}")
    for each in mapped:
        times = {column.name: column for column in each.columns() if column.type == "timestamp"}
        named = [name for name, column in times.items() if column.required]
        named = named or [name for name in ("updated_at", "created_at") if name in times][:1]
        queries += [f"select max({name}) as at from {each.relation} where {name} <= ?" for name in named]
        if queries:
            break
    for query in queries:
        row = con.execute(query, [now] if "?" in query else []).fetchone()
        if row and row[0] is not None:
            return min(row[0], now)  # type: ignore[no-any-return]
    return None


def profile(con: duckdb.DuckDBPyConnection, settings: Settings, table: Table, mapped: Sequence[Mapped]) -> None:
    """Count the columns of a load into `guard_profile`, one row per mapped column.

    One pass over each mapping, and one over the keys of each reference.
    """
    con.execute(
        f"create or replace temp table {PROFILE} (entity text, column_name text, row_count bigint, null_count bigint, "
        "bins map(text, bigint), reference_count bigint, orphan_count bigint)"
    )
    for each in mapped:
        columns = each.columns()
        every = max(1, scalar(con, f"select count(*) from {each.relation}") // SAMPLE)
        counts = ", ".join(
            f"{{'column_name': {literal(column.name)}, 'row_count': count(*), "
            f"'null_count': count(*) - count({identifier(column.name)}), 'bins': {_bins(column)}}}"
            for column in columns
        )
        con.execute(
            f"insert into {PROFILE} by name select {literal(each.name)} as entity, c.* from "
            f"(select unnest([{counts}]) as c from {each.relation} where _row % {every} = 0)"
        )
        for column in columns:
            _count_orphans(con, settings, table, each, column)


def _bins(column: Column) -> str:
    """SQL of how often a column has which values, coarsely; nothing for what has no mix worth knowing."""
    name = identifier(column.name)
    if column.type in NUMBERS:
        value = f"{name}::double"
        place = f"(sign({value}) * floor(2 * log2(1 + abs({value}))))::int::text"
    elif column.type == "boolean":
        place = f"{name}::text"
    elif column.values:
        place = f"case when {name} in ({', '.join(map(literal, column.values))}) then {name} else '?' end"
    else:
        return "map()::map(text, bigint)"
    return f"coalesce(histogram({place}) filter ({name} is not null), map())::map(text, bigint)"


# References


def _count_orphans(
    con: duckdb.DuckDBPyConnection, settings: Settings, table: Table, each: Mapped, column: Column
) -> None:
    if column.reference_key is None:
        return
    parents = _parents(con, settings, table, each, column)
    if not parents:
        return
    key = identifier(column.reference_key)
    try:
        counted = con.execute(
            f"with named as (select {key} as key, count(*) as times from {each.relation} "
            f"where {key} is not null group by {key}), "
            # The few keys of the load are the side that is hashed; the parents stream past.
            f"found as (select distinct key from ({' union all '.join(parents)}) "
            "where key in (select key from named)) "
            "select coalesce(sum(times), 0)::bigint, "
            "coalesce(sum(times) filter (key not in (select key from found)), 0)::bigint from named"
        ).fetchone()
    except duckdb.BinderException:
        # The mapping of the parent has changed and names a column that is not there yet.
        return
    con.execute(
        f"update {PROFILE} set reference_count = ?, orphan_count = ? where entity = ? and column_name = ?",
        [*(counted or ()), each.name, column.name],
    )


def _parents(
    con: duckdb.DuckDBPyConnection, settings: Settings, table: Table, each: Mapped, column: Column
) -> list[str]:
    """Queries for the keys of all records that a reference may name; empty while none of them was ever loaded."""
    source = each.mapping.columns[column.name].source or table.source
    entity = load_contract()[column.references or ""]
    key = identifier(key_name(entity.extra_key or entity.key))
    queries, is_loaded = [], False
    for other in settings.tables():
        if other.source != source:
            continue
        for mapping in other.entities:
            if mapping.entity != entity.name:
                continue
            for schema in (f"raw_{source}", f"candidate_{source}"):
                if not columns_of(con, schema, other.name):
                    continue
                live = f"(select * from {qualified(schema, other.name)} where _deleted_at is null)"
                queries.append(f"select {key} as key from ({mapped_select(other, mapping, live)})")
                is_loaded = True
    return queries if is_loaded else []


# Limits


def judged_profile(table: Table, mode: str) -> str:
    """A query for the columns of the load beside what is usual: the rows of `guard_load_profile`.

    A share is held against that of the last loads together. What chance does to so few rows, and what the loads
    before did to each other, is its limit.

    Args:
        table: The source table.
        mode: Which loads are like this one (`history.Observed.mode`).
    """
    is_on = table.guard.columns == "learnt"
    return f"""
with before as (
    select load_columns.* exclude (source, table_name)
    from ops.load_columns
    inner join (
        select load_id from ops.load_facts
        where source = {literal(table.source)} and table_name = {literal(table.name)}
            and mode = {literal(mode)} and outcome in {TAUGHT} and counted > 0 and {is_on}
        order by read_at desc limit {LOADS}
    ) using (load_id)
    where source = {literal(table.source)} and table_name = {literal(table.name)}
),

looks as (
    select * from before
    union all by name
    select 'now' as load_id, * from {PROFILE}
),

usual as (
    select
        entity, column_name,
        count(*) as loads,
        sum(row_count) as row_count,
        sum(null_count) / sum(row_count) as null_share,
        sum(row_count - null_count) as value_count,
        sum(reference_count) as reference_count,
        sum(orphan_count) / sum(reference_count) as orphan_share
    from before
    where row_count > 0
    group by all
),

bins as (
    select load_id, entity, column_name, row_count - null_count as value_count, unnest(map_entries(bins)) as bin
    from looks
),

usual_bins as (
    select entity, column_name, bin.key as place, sum(bin.value) as times
    from bins where load_id <> 'now' group by all
),

usual_shares as (
    select *, times / sum(times) over (partition by entity, column_name) as share from usual_bins
),

roughness as (
    select entity, column_name, sum(sqrt(share * (1 - share))) as roughness from usual_shares group by all
),

-- Total variation distance: the share of values that would have to be others.
shifts as (
    select
        bins.load_id, bins.entity, bins.column_name,
        1 - coalesce(sum(least(bins.bin.value / bins.value_count, usual_shares.share)), 0) as shift
    from bins
    left join usual_shares
        on bins.entity = usual_shares.entity and bins.column_name = usual_shares.column_name
        and bins.bin.key = usual_shares.place
    group by all
),

compared as (
    select
        looks.load_id, looks.entity, looks.column_name, looks.row_count, looks.orphan_count, looks.reference_count,
        looks.row_count - looks.null_count as value_count,
        usual.loads, usual.row_count as usual_row_count, usual.value_count as usual_value_count,
        usual.reference_count as usual_reference_count,
        looks.null_count / nullif(looks.row_count, 0) as null_share,
        usual.null_share as usual_null_share,
        looks.orphan_count / nullif(looks.reference_count, 0) as orphan_share,
        usual.orphan_share as usual_orphan_share,
        shifts.shift,
        {_by_chance("looks.null_count", "looks.row_count", "usual.null_share", "usual.row_count")} as null_chance,
        {_by_chance("looks.orphan_count", "looks.reference_count", "usual.orphan_share", "usual.reference_count")}
            as orphan_chance,
        -- What the distance is on average between two samples of one mix, and what it passes once in 10,000.
        (0.4 * coalesce(roughness.roughness, 0) + 2.15)
            * sqrt(1 / greatest(looks.row_count - looks.null_count, 1) + 1 / greatest(usual.value_count, 1))
            as shift_chance
    from looks
    left join usual using (entity, column_name)
    left join shifts using (load_id, entity, column_name)
    left join roughness using (entity, column_name)
),

learnt as (
    select
        entity, column_name,
        greatest({SLACK}, 1.5 * quantile_cont(null_share - usual_null_share - null_chance, 0.9)) as null_slack,
        greatest({SLACK}, 1.5 * quantile_cont(orphan_share - usual_orphan_share - orphan_chance, 0.9))
            as orphan_slack,
        greatest({SLACK}, 1.5 * quantile_cont(shift - shift_chance, 0.9)) as shift_slack
    from compared
    where load_id <> 'now'
    group by all
)

select
    now.entity,
    now.column_name,
    now.row_count,
    now.null_share,
    now.usual_null_share,
    {_limit("null", "row_count")},
    now.shift,
    {_limit("shift", "value_count")},
    now.orphan_count as orphans,
    now.reference_count,
    now.orphan_share,
    now.usual_orphan_share,
    {_limit("orphan", "reference_count")}
from compared as now
left join learnt using (entity, column_name)
where now.load_id = 'now'
"""


def _by_chance(count: str, total: str, share: str, usual_total: str) -> str:
    """SQL of four standard errors of the difference of two shares."""
    pooled = f"(({count} + {share} * {usual_total} + 1) / ({total} + {usual_total} + 2))"
    sizes = f"(1 / greatest({total}, 1) + 1 / greatest({usual_total}, 1))"
    return f"4 * sqrt(greatest({pooled} * (1 - {pooled}), 0) * {sizes})"


def _limit(what: str, total: str) -> str:
    """SQL of the limit from which a share is told, and of the one from which it holds the load."""
    base = "0" if what == "shift" else f"now.usual_{what}_share"
    known = f"now.{total} >= {MIN_ROWS} and now.usual_{total} >= {MIN_ROWS} and now.loads >= {MIN_LOADS}"
    limit = f"{base} + now.{what}_chance + learnt.{what}_slack"
    return (
        f"case when {known} then {limit} end as {what}_limit,\n"
        f"    case when {known} then {limit} + {HOLD_MARGIN} end as {what}_hold_limit"
    )
