"""Weights in SQL are those of Splink, for every level of every comparison."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import duckdb
import pyarrow as pa
import pytest
from person_registry import Limits, Registry, empty_registry

from orchestration.identity.model import (
    COLUMNS,
    COMPARISONS,
    DEFAULT_MODEL,
    FREQUENCIES,
    Model,
    features_sql,
    load_model,
    may_be_slips_sql,
    outcome_column,
    term_hash_sql,
)
from orchestration.identity.normalise import MIN_TWO_TYPOS_LETTERS, MIN_TYPO_LETTERS
from orchestration.identity.training import splink_comparison
from orchestration.identity.weighing import to_probability_sql, weigh

RECORDS = 250

VALUES: dict[str, tuple[str | None, ...]] = {
    "full_name": (
        None, "Ali Karimi", "علی کریمی", "Katherine Miller", "Catherine Miller", "Miller Katherine", "A. Karimi",
        "Karimi", "Sara Karimi", "Ali Ahmadi", "Margaret Thompson", "Margaret Thomson", "Sara Ahmadi",
        "Maria Thompson", "Mario Thompson",
    ),
    "email": (
        None, "alikarimi@x.ir", "alikarimi@y.ir", "alikarimy@x.ir", "sara.ahmadi@x.ir", "mina@x.ir", "info@x.ir",
    ),
    "phone": (None, "09121234568", "09121234569", "09351112233", "09120000000"),
    "birth_date": (None, "1980-03-04", "1980-04-03", "1980-03-05", "1981-03-14", "1991-12-24"),
    "national_id": (None, "1234567890", "1234567891", "1234567822", "9876543210"),
    "street": (None, "12 Azadi Street", "12 Azadi Streat", "14 Azadi Street", "7 Hafez Avenue"),
    "street_2": (None, "Hafez Avenue", "Hafez Avenu", "Rose Village"),
    "postal_code": (None, "1234567890", "1234567891", "5556667778"),
    "city": (None, "Tehran", "Tehrann", "Shiraz"),
}  # fmt: skip


@pytest.fixture(scope="module")
def crowd() -> Iterator[Registry]:
    """Records whose values meet in every way that a comparison tells apart; no value is a hub for being in many."""
    registry = empty_registry(Limits(hub_max_records=RECORDS, hub_max_names=RECORDS))
    draw = random.Random(4)
    rows = {column: [draw.choice(values) for _ in range(RECORDS)] for column, values in VALUES.items()}
    rows |= {"person_id": [str(n) for n in range(RECORDS)]}
    registry.con.register("drawn", pa.table(rows))
    registry.con.execute("""
        insert into intermediate.int_person_record__collected by name
        select * replace (birth_date::date as birth_date), 'crm' as source, 'crm:' || person_id as person_key,
            false as is_bare
        from drawn
    """)
    registry.resolve()
    yield registry
    registry.con.close()


def with_frequencies(registry: Registry) -> Model:
    """The default model that knows how frequent some values are and what share the others have."""
    frequencies = {
        column: dict(
            registry.con.execute(f"""
                select {term_hash_sql(column)}, count(*) / {RECORDS}
                from identity.record where {column} is not null
                group by {column} having count(*) > 10
            """).fetchall()
        )
        for column in FREQUENCIES
    }
    return replace(load_model(DEFAULT_MODEL), frequencies=frequencies, rare=dict.fromkeys(FREQUENCIES, 0.004))


def predict(registry: Registry, model: Model) -> None:
    """Table `predicted`: all pairs of records, weighed by Splink."""
    from splink import DuckDBAPI, Linker

    con = registry.con
    con.execute(f"""
        create or replace temp table compared as
        select record_id as unique_id, {", ".join(COLUMNS)}
        from {features_sql("identity.record", "identity.hub")}
    """)
    comparisons = [splink_comparison(each, model.m[each.name], model.u[each.name]) for each in COMPARISONS]
    for comparison, each in zip(comparisons, COMPARISONS, strict=True):
        for described, level in zip(comparison["comparison_levels"][1:], each.levels, strict=False):
            if level.frequency in model.rare:
                described |= {
                    "tf_adjustment_column": level.frequency,
                    "disable_tf_exact_match_detection": True,
                }
    odds = 2.0 ** model.prior_bits(RECORDS)
    api = DuckDBAPI(con)
    linker = Linker(
        api.register("compared"),
        {
            "link_type": "dedupe_only",
            "probability_two_random_records_match": odds / (1 + odds),
            "comparisons": comparisons,
            "blocking_rules_to_generate_predictions": ["1 = 1"],
        },
    )
    for column, rare in model.rare.items():
        known = model.frequencies[column]
        con.register("known", pa.table({"term": list(known), "share": list(known.values())}))
        con.execute(f"""
            create or replace temp table shares_of_{column} as
            select distinct {column}, coalesce(known.share, {rare!r}) as tf_{column}
            from compared
            left join known on {term_hash_sql(column)} = known.term
            where {column} is not null
        """)
        con.unregister("known")
        linker.table_management.register_term_frequency_lookup(api.register(f"shares_of_{column}"), column)
    con.execute(f"create or replace temp table predicted as from {linker.inference.predict().physical_name}")


@pytest.mark.parametrize("knows_frequencies", [False, True])
def test_every_pair_weighs_what_splink_says(crowd: Registry, knows_frequencies: bool) -> None:
    model = with_frequencies(crowd) if knows_frequencies else load_model(DEFAULT_MODEL)
    predict(crowd, model)
    con = crowd.con
    con.execute("""
        create or replace temp table pairs as
        select least(unique_id_l, unique_id_r) as record_a, greatest(unique_id_l, unique_id_r) as record_b,
            match_weight, match_probability
        from predicted
    """)
    weigh(con, model, RECORDS, "pairs", "identity.record", "weighed", hubs="identity.hub")
    compared, bits, probability = crowd.rows(f"""
        select
            count(*),
            max(abs(bits - match_weight)),
            max(abs({to_probability_sql("bits")} - match_probability))
        from weighed
        inner join pairs using (record_a, record_b)
    """)[0]
    assert compared == RECORDS * (RECORDS - 1) / 2
    assert bits < 1e-9
    assert probability < 1e-9
    for each in COMPARISONS:
        column = outcome_column(each)
        met = {level for (level,) in crowd.rows(f"select distinct {column} from weighed")}
        assert met == {-1, *range(len(each.labels))}, each.name


@pytest.mark.parametrize("knows_frequencies", [False, True])
@pytest.mark.parametrize("floor", [-20.0, 0.0, 20.0])
def test_only_pairs_that_cannot_reach_the_floor_are_left_out(
    crowd: Registry, knows_frequencies: bool, floor: float
) -> None:
    model = with_frequencies(crowd) if knows_frequencies else load_model(DEFAULT_MODEL)
    crowd.con.execute("""
        create or replace temp table pairs as
        select a.record_id as record_a, b.record_id as record_b
        from identity.record as a
        inner join identity.record as b on a.record_id < b.record_id
    """)
    weigh(crowd.con, model, RECORDS, "pairs", "identity.record", "every", hubs="identity.hub")
    weigh(crowd.con, model, RECORDS, "pairs", "identity.record", "hopeful", hubs="identity.hub", floor=floor)
    assert crowd.rows(f"from every where bits >= {floor} except from hopeful") == []
    assert crowd.rows("from hopeful except from every") == []
    kept, every = crowd.rows("select (select count(*) from hopeful), (select count(*) from every)")[0]
    assert kept < every


def test_what_can_be_no_slip_is_told_by_its_ends() -> None:
    draw = random.Random(11)
    letters = "abcdeکریم"
    rows = []
    for _ in range(20_000):
        one = other = "".join(draw.choice(letters) for _ in range(draw.randrange(5, 13)))
        for _ in range(draw.choice((1, 2))):
            at = draw.randrange(len(other))
            other = draw.choice(
                (
                    other[:at] + draw.choice(letters) + other[at:],
                    other[:at] + other[at + 1 :],
                    other[:at] + draw.choice(letters) + other[at + 1 :],
                    other[:at] + other[at + 1 : at + 2] + other[at] + other[at + 2 :],
                )
            )
        rows.append((one, other))
    con = duckdb.connect(config={"threads": 1})
    con.register("pairs", pa.table(dict(zip(("one", "other"), zip(*rows, strict=True), strict=True))))
    missed, met = con.execute(f"""
        select count(*) filter (where not {may_be_slips_sql("one", "other")}), count(*)
        from pairs
        where least(length(one), length(other)) >= {MIN_TYPO_LETTERS}
            and damerau_levenshtein(one, other)
            <= case when least(length(one), length(other)) >= {MIN_TWO_TYPOS_LETTERS} then 2 else 1 end
    """).fetchall()[0]
    assert met > 5_000
    assert missed == 0
