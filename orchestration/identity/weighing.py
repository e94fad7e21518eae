"""Weighing pairs by the model, in SQL, and the verdict on each.

The SQL gives what Splink's own `predict` gives for the same model (a test compares them); it needs no import, no
registration and no second copy of the records, which is what makes small runs cheap.

Belongs here: weights and verdicts of pairs. Does not belong here: which pairs (`blocking`), what a cluster makes
of them (`clusters`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from orchestration.identity.model import (
    COLUMNS,
    COMPARISONS,
    NAME,
    NAME_AGREES,
    NAME_CONTRADICTS,
    PERSONAL_BITS,
    Comparison,
    Model,
    best_bits,
    bits_column,
    columns_of,
    features_sql,
    level_sql,
    outcome_column,
    parts_sql,
    term_hash_sql,
    weight_sql,
)

_NAMES = columns_of(NAME, "l")

LINK, DOUBT = "link", "doubt"
"""Verdicts that are kept: the pair is one human; a person should look. Everything else is forgotten."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Log odds from which a pair is linked, and from which it is doubtful."""

    link_bits: float
    doubt_bits: float

    @classmethod
    def of(cls, link_probability: float, review_probability: float) -> Thresholds:
        """Thresholds given as probabilities."""
        return cls(to_bits(link_probability), to_bits(review_probability))


def to_bits(probability: float) -> float:
    """Log odds, base 2, of a probability."""
    return math.log2(probability / (1 - probability))


def to_probability_sql(bits: str) -> str:
    """SQL for the probability of log odds."""
    return f"1 / (1 + pow(2.0, -({bits})))"


def weigh(
    con: duckdb.DuckDBPyConnection,
    model: Model,
    records: int,
    pairs: str,
    source: str,
    target: str,
    *,
    hubs: str | None = None,
    floor: float | None = None,
) -> None:
    """Make temporary table `target`: the pairs with the outcome of each comparison, its bits, and `bits`.

    `bits` are the log odds that the two are one human: the bits of all comparisons and of the prior. Names are compared
    at last: that costs more than all the rest, and most pairs that cannot reach `floor` show before.

    Args:
        con: The warehouse, outside of a transaction.
        model: What the outcomes weigh.
        records: Number of records among which the pairs were found.
        pairs: Relation (record_a, record_b).
        source: Relation of the records, in the form of `identity.record`.
        target: Name of the table to make.
        hubs: Relation (kind, value) of values that are no evidence; none when left out.
        floor: Log odds; pairs that no name could bring there are left out. All pairs when left out.
    """
    prior = model.prior_bits(records)
    early = [each for each in COMPARISONS if each is not NAME]
    early_l = _read(early, "l")
    early_r = _read(early, "r")
    levels = [f"{level_sql(each, has_parts=True)} as {outcome_column(each)}" for each in early]
    shares = [f"{column}_share_l" for column in model.rare if column not in _NAMES]
    weights = [f"{weight_sql(model, each, outcome_column(each))} as {bits_column(each)}" for each in early]
    hope = (
        f"where {' + '.join(bits_column(each) for each in early)} + {prior!r} + {_best_name_sql(model)} >= {floor!r}"
        if floor is not None
        else ""
    )
    _take_sides(con, model, pairs, source, hubs)
    con.execute(f"""
        create or replace temp table {target} as
        with sides as (
            select pair.record_a, pair.record_b, l.name_id as name_id_l, r.name_id as name_id_r,
                l.fold_id as fold_id_l, r.fold_id as fold_id_r,
                {_sides(early_l, early_r)} {"".join(f", l.{share[:-2]} as {share}" for share in shares)}
            from {pairs} as pair
            inner join id_side as l on pair.record_a = l.record_id
            inner join id_side as r on pair.record_b = r.record_id
        ),
        parted as (select *, {", ".join(part for each in early for part in parts_sql(each))} from sides),
        compared as (
            select record_a, record_b, name_id_l, name_id_r, fold_id_l, fold_id_r, {", ".join([*levels, *shares])}
            from parted
        ),
        weighed as (
            select record_a, record_b, name_id_l, name_id_r, fold_id_l, fold_id_r,
                {", ".join([outcome_column(each) for each in early] + weights)}
            from compared
        ),
        hopeful as (select * from weighed {hope}),
        named as (
            select hopeful.*, {_sides(_read([NAME], "l"), _read([NAME], "r"))}
                {"".join(f", l.{column}_share as {column}_share_l" for column in model.rare if column in _NAMES)}
            from hopeful
            left join id_name_side as l on hopeful.name_id_l = l.name_id
            left join id_name_side as r on hopeful.name_id_r = r.name_id
        ),
        named_parted as (select *, {", ".join(parts_sql(NAME))} from named),
        judged as (select *, {level_sql(NAME, has_parts=True)} as {outcome_column(NAME)} from named_parted),
        complete as (
            select *, {weight_sql(model, NAME, outcome_column(NAME))} as {bits_column(NAME)}
            from judged
        )
        select record_a, record_b, {", ".join(outcome_column(each) for each in COMPARISONS)},
            {", ".join(bits_column(each) for each in COMPARISONS)},
            {" + ".join(bits_column(each) for each in COMPARISONS)} + {prior!r} as bits
        from complete
    """)
    con.execute("drop table id_side")
    con.execute("drop table id_name_side")


def _read(comparisons: Sequence[Comparison], side: str) -> list[str]:
    read = {column for each in comparisons for column in columns_of(each, side)}
    return [column for column in COLUMNS if column in read]


def _sides(left: Sequence[str], right: Sequence[str]) -> str:
    columns = [f"l.{column} as {column}_l" for column in left] + [f"r.{column} as {column}_r" for column in right]
    return ", ".join(columns)


def _best_name_sql(model: Model) -> str:
    """SQL for the most that the names of a pair can weigh, as far as their being the same or missing says."""
    return f"""case
        when fold_id_l is null or fold_id_r is null then 0.0::double
        when fold_id_l = fold_id_r then {best_bits(model, NAME, is_first=True)!r}::double
        else {best_bits(model, NAME, is_first=False)!r}::double
    end"""


def _take_sides(con: duckdb.DuckDBPyConnection, model: Model, pairs: str, source: str, hubs: str | None) -> None:
    """The records of the pairs with the frequencies of their values: `id_side`; their names: `id_name_side`."""
    con.execute(f"""
        create or replace temp table id_paired as
        select record_a as record_id from {pairs} union select record_b from {pairs}
    """)
    for column in model.rare:
        known = model.frequencies.get(column, {})
        terms = pa.table(
            {"term": pa.array(list(known), pa.string()), "share": pa.array(list(known.values()), pa.float64())}
        )
        con.register("identity_terms", terms)
        con.execute(f"create or replace temp table id_term_{column} as select * from identity_terms")
        con.unregister("identity_terms")
    early = [each for each in COMPARISONS if each is not NAME]
    columns = [column for column in COLUMNS if column in {*_read(early, "l"), *_read(early, "r")}]
    shared, joins = _with_shares(model, [column for column in model.rare if column not in _NAMES])
    con.execute(f"""
        create or replace temp table id_side as
        select record.record_id, {", ".join(f"record.{column}" for column in columns)} {shared},
            case when record.name_key is not null then hash(record.name_key) end as name_id,
            case when record.name_fold is not null then hash(record.name_fold) end as fold_id,
        from {features_sql(f"(from {source} semi join id_paired using (record_id))", hubs)} as record
        {joins}
    """)
    shared, joins = _with_shares(model, [column for column in model.rare if column in _NAMES])
    con.execute(f"""
        create or replace temp table id_name_side as
        with names as (
            select hash(name_key) as name_id, {", ".join(f"any_value({column}) as {column}" for column in _NAMES)}
            from {source}
            semi join id_paired using (record_id)
            where name_key is not null
            group by name_key
        )
        select record.* {shared}
        from names as record
        {joins}
    """)
    con.execute("drop table id_paired")


def _with_shares(model: Model, columns: Sequence[str]) -> tuple[str, str]:
    """SQL for the shares of the values in some columns of `record`: what to select, and what to join."""
    shared = "".join(f", coalesce(term_{column}.share, {model.rare[column]!r}) as {column}_share" for column in columns)
    joins = " ".join(
        f"left join id_term_{column} as term_{column} on {term_hash_sql('record.' + column)} = term_{column}.term"
        for column in columns
    )
    return shared, joins


def verdict_sql(thresholds: Thresholds) -> str:
    """SQL for the verdict on a weighed pair; NULL: it is forgotten.

    Mail, phone and address are shared by households. So they make a link only where the names agree in full, or birth
    date or national id do; and none at all where the names contradict each other.
    """
    return f"""case
        when bits < {thresholds.doubt_bits!r} or {name_contradicts_sql()} then null
        when bits >= {thresholds.link_bits!r} and ({_outcome_in(NAME, NAME_AGREES)} or {personal_agrees_sql()})
            then '{LINK}'
        else '{DOUBT}'
    end"""


def name_contradicts_sql(prefix: str = "") -> str:
    """SQL: the names of a weighed pair speak of two humans, and nothing that is a human's own speaks of one."""
    return f"({_outcome_in(NAME, NAME_CONTRADICTS, prefix)} and not {personal_agrees_sql(prefix)})"


def personal_agrees_sql(prefix: str = "") -> str:
    """SQL: birth date and national id of a weighed pair speak of one human."""
    personal = [f"{prefix}{bits_column(each)}" for each in COMPARISONS if each.is_personal]
    return f"(greatest({', '.join(personal)}) >= {PERSONAL_BITS!r})"


def _outcome_in(comparison: Comparison, labels: tuple[str, ...], prefix: str = "") -> str:
    numbers = ", ".join(str(number) for number, label in enumerate(comparison.labels) if label in labels)
    return f"{prefix}{outcome_column(comparison)} in ({numbers})"
