"""Learning the model from records nobody has labelled.

    u            random pairs that no rule has tied: what two humans agree on by chance
    partners     the groups that rules make and, of some records, what the model known beforehand links besides: a lower
                 bound that is raised
    m            expectation maximisation by Splink, once for each of several attributes that the pairs share, so that
                 every comparison is learnt from pairs that were not found by it
    frequencies  counted

Splink is imported here and nowhere else: its import costs as much as a small run.

Belongs here: how the figures of the model come about. Does not belong here: what they are used for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from orchestration.identity.blocking import BLOCK_MAX_RECORDS, make_pairs
from orchestration.identity.components import connect_components
from orchestration.identity.model import (
    COLUMNS,
    COMPARISONS,
    FREQUENCIES,
    Comparison,
    Model,
    features_sql,
    level_sql,
    outcome_column,
    term_hash_sql,
)
from orchestration.identity.weighing import LINK, Thresholds, verdict_sql, weigh

MAX_RANDOM_PAIRS = 100_000
"""Random pairs looked at for u. What none of them reaches by chance goes by what was known beforehand."""

MAX_TRAINING_PAIRS = 50_000.0
"""Pairs of one round of expectation maximisation; shares of a percent are learnt from ten thousand."""

KNOWN_RECALL = 0.8
"""Share of the pairs of one human that rules and the model known beforehand are taken to find. Half or all would move
every weight by less than one bit."""

SAMPLED_RECORDS = 20_000
"""Records whose pairs the model known beforehand weighs: thousands of links, of which few percent are chance."""

KNOWN_LINKS = Thresholds.of(link_probability=0.99, review_probability=0.5)
"""Log odds from which such a pair counts."""

RARE_RECORDS = 2
"""Values in no more records than this are not counted one by one."""

MIN_SHARE = 1e-5
"""Values rarer than this weigh no more: they may be slips, and a list of them would be the list of all names."""

MIN_M = 5e-4
"""Smallest share of an outcome among pairs of one human: no error is rarer than one in two thousand."""

PRIOR_PAIRS = 50.0
"""Weight of what is known beforehand against what the records say, in pairs: it decides where records say nothing."""

ROUNDS = ("email", "phone", "birth", "national_id")
"""Attributes on which the pairs of a round agree. Names are not among them: on big data namesakes are strangers, and
expectation maximisation finds nobody twice. Nor are addresses: it would take households for humans."""

ITERATIONS = 10
"""Of a round. Shares that still move then run towards nothing, and shall not reach it."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ground:
    """Relations that a model is learnt from; those of the last run, when left out.

    Attributes:
        records: All records, in the form of `identity.record`.
        ties: Pairs of records that a rule ties (record_a, record_b).
        hubs: Values that tie nobody (kind, value).
        blocks: Blocking keys of all records, in the form of `identity.block`.
    """

    records: str = "identity.record"
    ties: str = "identity.edge"
    hubs: str = "identity.hub"
    blocks: str = "identity.block"


class TrainingError(RuntimeError):
    """There is nothing to learn from; the message says why."""


def train(con: duckdb.DuckDBPyConnection, prior: Model, about: Mapping[str, Any], ground: Ground) -> Model:
    """Learn a model from records, with the groups that rules make of them as a first guess.

    Args:
        con: The warehouse, outside of a transaction; nothing in it is changed.
        prior: Model whose figures serve where the records say nothing: an attribute no source has, a level never seen.
        about: Put into the model for its reader.
        ground: What it is learnt from.

    Raises:
        TrainingError: No two records are tied.
    """
    records = con.execute(f"select count(*) from {ground.records}").fetchall()[0][0]
    connect_components(con, ground.ties, "id_training_group")
    pairs = con.execute("""
        select coalesce(sum(n * (n - 1) / 2), 0)
        from (select count(*) as n from id_training_group group by component_id)
    """).fetchall()[0][0]
    if not pairs:
        raise TrainingError("identity has tied no two records yet; run the daily job first")
    con.execute(f"""
        create or replace temp table id_training as
        select record.record_id as unique_id, {", ".join("record." + column for column in COLUMNS)},
            component.component_id
        from {features_sql(ground.records, ground.hubs)} as record
        left join id_training_group as component on record.record_id = component.record_id
    """)
    partners = 2 * (pairs + _estimate_links(con, records, prior, ground)) / records / KNOWN_RECALL
    u, seen = _learn_u(con, records, prior, ground.blocks)
    rare, frequencies = _count_frequencies(con, records)
    try:
        m = _learn_m(con, u, seen, partners / records, prior)
    finally:
        con.execute("drop table if exists id_training")
    return Model(
        partners=partners,
        m=m,
        u=u,
        rare=rare,
        frequencies=frequencies,
        about={**about, "records": records, "attributes": sorted(seen)},
    )


def _estimate_links(con: duckdb.DuckDBPyConnection, records: int, prior: Model, ground: Ground) -> int:
    """Pairs that the model known beforehand links and no rule ties, as many as those of some records let expect."""
    stride = max(1, records // SAMPLED_RECORDS)
    con.execute(f"""
        create or replace temp table id_sampled as
        select record_id from {ground.records} where record_id % {stride} = 0
    """)
    make_pairs(con, ground.blocks, "id_sampled_pair", "id_sampled")
    # Of a pair one record counts, or those of two sampled records would count twice as much.
    con.execute("delete from id_sampled_pair where record_a not in (from id_sampled)")
    weigh(
        con, prior, records, "id_sampled_pair", ground.records, "id_sampled_weighed",
        hubs=ground.hubs, floor=KNOWN_LINKS.link_bits,
    )  # fmt: skip
    links = con.execute(f"""
        select count(*)
        from id_sampled_weighed as pair
        left join id_training_group as a on pair.record_a = a.record_id
        left join id_training_group as b on pair.record_b = b.record_id
        where ({verdict_sql(KNOWN_LINKS)}) = '{LINK}'
            and (a.component_id is null or a.component_id is distinct from b.component_id)
    """).fetchall()[0][0]
    for table in ("id_sampled", "id_sampled_pair", "id_sampled_weighed", "id_training_group"):
        con.execute(f"drop table {table}")
    return int(links) * stride


def _learn_u(
    con: duckdb.DuckDBPyConnection, records: int, prior: Model, blocks: str
) -> tuple[dict[str, dict[str, float]], set[str]]:
    """Shares of the outcomes among random pairs of two humans, and the comparisons that had both sides at all."""
    rounds = max(1, -(-MAX_RANDOM_PAIRS // records))
    columns = [*COLUMNS, "component_id", "unique_id"]
    both = ", ".join(f"{side}.{column} as {column}_{side}" for side in "lr" for column in columns)
    levels = ", ".join(f"{level_sql(each)} as {outcome_column(each)}" for each in COMPARISONS)
    # Records in the order of a hash, each beside those some places further on: random pairs without a random draw.
    con.execute("""
        create or replace temp table id_placed_training as
        select *, row_number() over (order by hash(unique_id, 'u')) - 1 as place
        from id_training
    """)
    con.execute(f"""
        create or replace temp table id_random_pair as
        select place, (place + shift.step) % {records} as other_place
        from range({records}) as places (place)
        cross join range(1, {min(rounds, max(1, (records - 1) // 2))} + 1) as shift (step)
        limit {MAX_RANDOM_PAIRS}
    """)
    con.execute(f"""
        create or replace temp table id_random as
        with rare as (
            select key from {blocks} group by key having count(*) <= {BLOCK_MAX_RECORDS}
        ),
        -- Who shares a rare key may well be one human that no rule found, and is not random.
        met as (
            select distinct pair.place, pair.other_place
            from id_random_pair as pair
            inner join id_placed_training as l on pair.place = l.place
            inner join id_placed_training as r on pair.other_place = r.place
            inner join {blocks} as left_block on l.unique_id = left_block.record_id
            inner join {blocks} as right_block
                on r.unique_id = right_block.record_id and left_block.key = right_block.key
            semi join rare on left_block.key = rare.key
        ),
        pairs as (
            select {both}
            from (from id_random_pair anti join met using (place, other_place)) as pair
            inner join id_placed_training as l on pair.place = l.place
            inner join id_placed_training as r on pair.other_place = r.place
        )
        select {levels}
        from pairs
        where unique_id_l != unique_id_r and (component_id_l is null or component_id_l is distinct from component_id_r)
    """)
    shares: dict[str, dict[str, float]] = {}
    seen: set[str] = set()
    for comparison in COMPARISONS:
        column = outcome_column(comparison)
        counts = dict(
            con.execute(f"select {column}, count(*) from id_random where {column} >= 0 group by all").fetchall()
        )
        total = sum(counts.values())
        if total:
            seen.add(comparison.name)
        before = prior.u[comparison.name]
        weight = min(PRIOR_PAIRS, 1.0 + total / 1000)
        shares[comparison.name] = {
            label: (counts.get(number, 0) + weight * before[label]) / (total + weight)
            for number, label in enumerate(comparison.labels)
        }
    con.execute("drop table id_random")
    con.execute("drop table id_random_pair")
    con.execute("drop table id_placed_training")
    return shares, seen


def _count_frequencies(
    con: duckdb.DuckDBPyConnection, records: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Shares of the values that are frequent, and the share the others are taken to have."""
    rare: dict[str, float] = {}
    frequencies: dict[str, dict[str, float]] = {}
    for column in FREQUENCIES:
        known = con.execute(f"select count({column}) from id_training").fetchall()[0][0]
        if not known:
            continue
        # Never below what the smallest counted value has.
        rare[column] = max(RARE_RECORDS / known, MIN_SHARE)
        frequencies[column] = dict(
            con.execute(f"""
                select {term_hash_sql(column)}, round(count(*) / {known}, 9)
                from id_training
                where {column} is not null
                group by {column}
                having count(*) / {known} > {rare[column]!r}
                order by 1
            """).fetchall()
        )
    return rare, frequencies


def _learn_m(
    con: duckdb.DuckDBPyConnection, u: Mapping[str, Mapping[str, float]], seen: set[str], odds: float, prior: Model
) -> dict[str, dict[str, float]]:
    """Shares of the outcomes among the pairs of one human, by Splink's expectation maximisation.

    A comparison is learnt in every round but that of its own attribute; the median of the rounds counts.
    """
    from splink import DuckDBAPI, Linker, block_on

    known = [each for each in COMPARISONS if each.name in seen]
    settings = {
        "link_type": "dedupe_only",
        "max_iterations": ITERATIONS,
        "probability_two_random_records_match": odds,
        "comparisons": [splink_comparison(each, prior.m[each.name], u[each.name]) for each in known],
        "blocking_rules_to_generate_predictions": [],
    }
    linker = Linker(DuckDBAPI(con).register("id_training"), settings, log_level=logging.ERROR)
    rounds = [column for column in ROUNDS if _repeated(con, column) >= PRIOR_PAIRS]
    for column in rounds:
        _LOG.info("identity: learning from pairs with the same %s", column)
        linker.training.estimate_parameters_using_expectation_maximisation(
            block_on(column),
            estimate_without_term_frequencies=True,
            fix_probability_two_random_records_match=True,
            max_pairs=MAX_TRAINING_PAIRS,
            record_sample_proportion=0.1,
        )
    shares = {name: dict(labels) for name, labels in prior.m.items()}
    learnt = {each["output_column_name"]: each for each in linker.misc.save_model_to_json()["comparisons"]}
    for comparison in known if rounds else []:
        levels = learnt[outcome_column(comparison)]["comparison_levels"]
        by_label = {level["label_for_charts"]: level.get("m_probability") for level in levels}
        # What no round has seen is no number; a share of nothing would weigh endlessly.
        smoothed = {
            label: max(by_label[label] if isinstance(by_label[label], float) else 0.0, MIN_M)
            for label in comparison.labels
        }
        shares[comparison.name] = {label: share / sum(smoothed.values()) for label, share in smoothed.items()}
    linker.table_management.delete_tables_created_by_splink_from_db()  # type: ignore[no-untyped-call]
    return shares


def _repeated(con: duckdb.DuckDBPyConnection, column: str) -> int:
    return int(con.execute(f"select count({column}) - count(distinct {column}) from id_training").fetchall()[0][0])


def splink_comparison(each: Comparison, m: Mapping[str, float], u: Mapping[str, float]) -> dict[str, Any]:
    """A comparison in Splink's own form, u fixed."""
    levels: list[dict[str, Any]] = [
        {"sql_condition": each.missing, "label_for_charts": "missing", "is_null_level": True}
    ]
    for level in each.levels:
        levels.append(
            {
                "sql_condition": level.condition,
                "label_for_charts": level.label,
                "m_probability": m[level.label],
                "u_probability": u[level.label],
                "fix_u_probability": True,
            }
        )
    levels.append(
        {
            "sql_condition": "ELSE",
            "label_for_charts": each.other,
            "m_probability": m[each.other],
            "u_probability": u[each.other],
            "fix_u_probability": True,
        }
    )
    return {"output_column_name": outcome_column(each), "comparison_levels": levels}
