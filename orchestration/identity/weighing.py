"""Weighing pairs by the model, in SQL, and the verdict on each.

The SQL gives what Splink's own `predict` gives for the same model (a test compares them); it needs no import, no
registration and no second copy of the records, which is what makes small runs cheap.

Belongs here: weights and verdicts of pairs. Does not belong here: which pairs (`blocking`), what a cluster makes
of them (`clusters`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from orchestration.identity.model import (
    COLUMNS,
    COMPARISONS,
    NAME_AGREES,
    NAME_CONTRADICTS,
    PERSONAL_BITS,
    Comparison,
    Model,
    bits_column,
    level_sql,
    outcome_column,
    parts_sql,
    term_hash_sql,
    weight_sql,
)

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


def weigh(con: duckdb.DuckDBPyConnection, model: Model, records: int, pairs: str, source: str, target: str) -> None:
    """Make temporary table `target`: the pairs with the outcome of each comparison, its bits, and `bits`.

    `bits` are the log odds that the two are one human: the bits of all comparisons and of the prior.

    Args:
        con: The warehouse, outside of a transaction.
        model: What the outcomes weigh.
        records: Number of records among which the pairs were found.
        pairs: Relation (record_a, record_b).
        source: Relation of the records, in the form of `identity.record`.
        target: Name of the table to make.
    """
    shares = list(model.rare)
    left = ", ".join(f"l.{column} as {column}_l" for column in [*COLUMNS, *(f"{column}_share" for column in shares)])
    right = ", ".join(f"r.{column} as {column}_r" for column in COLUMNS)
    levels = ", ".join(f"{level_sql(each, has_parts=True)} as {outcome_column(each)}" for each in COMPARISONS)
    kept = ", ".join(outcome_column(each) for each in COMPARISONS)
    weights = ", ".join(
        f"{weight_sql(model, each, outcome_column(each))} as {bits_column(each)}" for each in COMPARISONS
    )
    evidence = " + ".join(bits_column(each) for each in COMPARISONS)
    shared = ", ".join(f"{column}_share_l" for column in shares)
    _take_sides(con, model, pairs, source)
    con.execute(f"""
        create or replace temp table {target} as
        with sides as (
            select pair.record_a, pair.record_b, {left}, {right}
            from {pairs} as pair
            inner join id_side as l on pair.record_a = l.record_id
            inner join id_side as r on pair.record_b = r.record_id
        ),
        parted as (select *, {parts_sql()} from sides),
        compared as (select record_a, record_b, {levels}{", " + shared if shared else ""} from parted),
        weighed as (select record_a, record_b, {kept}, {weights} from compared)
        select *, {evidence} + {model.prior_bits(records)!r} as bits
        from weighed
    """)
    con.execute("drop table id_side")


def _take_sides(con: duckdb.DuckDBPyConnection, model: Model, pairs: str, source: str) -> None:
    """The records of the pairs with the frequencies of their values: `id_side`."""
    columns = [f"record.{column}" for column in ("record_id", *COLUMNS)]
    joins = []
    for column, rare in model.rare.items():
        known = model.frequencies.get(column, {})
        terms = pa.table(
            {"term": pa.array(list(known), pa.string()), "share": pa.array(list(known.values()), pa.float64())}
        )
        con.register("identity_terms", terms)
        con.execute(f"create or replace temp table id_term_{column} as select * from identity_terms")
        con.unregister("identity_terms")
        columns.append(f"coalesce(term_{column}.share, {rare!r}) as {column}_share")
        joins.append(
            f"left join id_term_{column} as term_{column} on {term_hash_sql('record.' + column)} = term_{column}.term"
        )
    con.execute(f"""
        create or replace temp table id_side as
        select {", ".join(columns)}
        from {source} as record
        {" ".join(joins)}
        where record.record_id in (select record_a from {pairs} union select record_b from {pairs})
    """)


def verdict_sql(thresholds: Thresholds) -> str:
    """SQL for the verdict on a weighed pair; NULL: it is forgotten.

    Mail, phone and address are shared by households. So they make a link only where the names agree in full, or birth
    date or national id do; and none at all where the names contradict each other.
    """
    return f"""case
        when bits < {thresholds.doubt_bits!r} or {name_contradicts_sql()} then null
        when bits >= {thresholds.link_bits!r} and ({_outcome_in(_NAME, NAME_AGREES)} or {personal_agrees_sql()})
            then '{LINK}'
        else '{DOUBT}'
    end"""


_NAME = next(each for each in COMPARISONS if each.name == "name")


def name_contradicts_sql(prefix: str = "") -> str:
    """SQL: the names of a weighed pair speak of two humans, and nothing that is a human's own speaks of one."""
    return f"({_outcome_in(_NAME, NAME_CONTRADICTS, prefix)} and not {personal_agrees_sql(prefix)})"


def personal_agrees_sql(prefix: str = "") -> str:
    """SQL: birth date and national id of a weighed pair speak of one human."""
    personal = [f"{prefix}{bits_column(each)}" for each in COMPARISONS if each.is_personal]
    return f"(greatest({', '.join(personal)}) >= {PERSONAL_BITS!r})"


def _outcome_in(comparison: Comparison, labels: tuple[str, ...], prefix: str = "") -> str:
    numbers = ", ".join(str(number) for number, label in enumerate(comparison.labels) if label in labels)
    return f"{prefix}{outcome_column(comparison)} in ({numbers})"
