"""Parity: for every suite there is, the same counts and the same failing rows as Great Expectations itself."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from orchestration.guard import gx, load_rules
from orchestration.guard.audit import BROKEN, Batch, _tags, audit
from orchestration.guard.batches import ADDED_COLUMNS, SENT_COLUMNS, declared_columns, entity_columns
from orchestration.guard.compiler import compile_suite
from orchestration.guard.sql import describe, identifier
from orchestration.guard.suites import SUITES, Suite, _read
from orchestration.sources.contract import load_contract

NOW = datetime(2024, 6, 1, 12)
ROWS = 400

TEXTS = [
    None, "", " ", "a", "B", "it's 100% \\ odd", "سارا", "ي/ی", "\u200cنیم‌فاصله", "EUR", "Euro", "IRR", "de", "fa",
    "09:30", "24:00", "9:30", "Europe/Berlin", "GMT+1!", "a@b", "x y@example.org", "سارا@example.ir",
    "s\u043emeone@example.org", "9.12E+11", "0912", "C0123456789abcdef", "someone@example.org", "https://x.org", "all",
]  # fmt: skip

POOLS: dict[str, list[object]] = {
    "VARCHAR": TEXTS,
    "BOOLEAN": [None, True, False],
    "INTEGER": [None, -1, 0, 1, 2, 5, 7, 8, 10, 11, 101],
    "BIGINT": [None, -1, 0, 1, 2, 5, 7, 8, 10, 11, 101, 10**12],
    "DOUBLE": [None, -101.0, -1.5, 0.0, 0.25, 0.5, 1.0, 1.25, 9.0, 10.0, 100.5, 1e16, float("nan"), float("inf")],
    "DECIMAL(18,4)": [None, "-3.5", "0", "0.0001", "12.25", "99999.99"],
    "TIMESTAMP": [None, datetime(1403, 1, 15), datetime(1900, 1, 1), datetime(1970, 1, 1), datetime(2024, 1, 1, 8),
                  datetime(2024, 1, 2), datetime(2024, 6, 2, 11, 59), datetime(2024, 6, 2, 12),
                  datetime(2024, 6, 2, 12, 1), datetime(2030, 1, 1), datetime(9999, 12, 31)],
    "DATE": [None, date(1365, 2, 1), date(1900, 1, 1), date(1990, 5, 5), date(2024, 6, 2), date(2031, 1, 1)],
}  # fmt: skip
"""Good, bad and boundary values of every type; the limits and sets of the rules are added to them."""


def rule(kind: str, name: str | None = None, **kwargs: object) -> dict[str, object]:
    return {"type": kind, "kwargs": kwargs, "severity": "critical", "meta": {"rule": name} if name else {}}


ONLY_A = {"type": "comparison", "column": {"name": "t"}, "operator": "IN", "parameter": ["a", "B"]}

EVERY_TYPE: Sequence[dict[str, object]] = [
    rule("expect_column_values_to_be_between", column="n", min_value=0, max_value=8, strict_min=True),
    rule("expect_column_values_to_be_in_set", column="t", value_set=["a", "it's 100% \\ odd", "سارا"]),
    rule("expect_column_values_to_not_be_in_set", column="t", value_set=["B", "ي/ی"]),
    rule("expect_column_values_to_not_be_null", column="t"),
    rule("expect_column_values_to_be_null", column="t"),
    rule("expect_column_values_to_be_unique", column="t"),
    rule("expect_column_values_to_be_unique", "partly", column="n", row_condition=ONLY_A),
    rule("expect_compound_columns_to_be_unique", "never", column_list=["t", "n"], ignore_row_if="never"),
    rule("expect_compound_columns_to_be_unique", "all", column_list=["t", "n"],
         ignore_row_if="all_values_are_missing"),
    rule("expect_compound_columns_to_be_unique", "any", column_list=["t", "n"],
         ignore_row_if="any_value_is_missing"),
    rule("expect_select_column_values_to_be_unique_within_record", column_list=["n", "m"],
         ignore_row_if="any_value_is_missing"),
    rule("expect_column_pair_values_to_be_equal", column_A="n", column_B="m", ignore_row_if="both_values_are_missing"),
    rule("expect_column_pair_values_a_to_be_greater_than_b", "either", column_A="n", column_B="m",
         ignore_row_if="either_value_is_missing"),
    rule("expect_column_pair_values_a_to_be_greater_than_b", "neither", column_A="n", column_B="m", or_equal=True,
         ignore_row_if="neither"),
    rule("expect_column_value_lengths_to_be_between", column="t", min_value=1, max_value=4),
    rule("expect_column_value_lengths_to_equal", column="t", value=1),
    rule("expect_column_values_to_match_regex", column="t", regex=r"[aB\\%']$"),
    rule("expect_column_values_to_match_regex", "persian", column="t", regex=r"^\p{Arabic}+$"),
    rule("expect_column_values_to_not_match_regex", column="t", regex=r"^\d+\.\d+E\+"),
    rule("expect_column_values_to_match_regex_list", column="t", regex_list=["^a", "E+"], match_on="any"),
    rule("expect_column_values_to_match_like_pattern", column="t", like_pattern="%@%"),
    rule("expect_column_values_to_not_match_like_pattern", column="t", like_pattern="%100\\%%"),
    rule("expect_multicolumn_sum_to_equal", column_list=["n", "m"], sum_total=8),
    rule("expect_column_values_to_not_be_null", "or", column="t", row_condition={"type": "or", "conditions": [
        {"type": "nullity", "column": {"name": "n"}, "is_null": True},
        {"type": "comparison", "column": {"name": "m"}, "operator": ">", "parameter": 7}]}),
    rule("expect_column_values_to_be_between", "mostly", column="m", max_value=5, mostly=0.8),
]  # fmt: skip
"""Every type of rule about rows."""


def about_batch(column: str, low: object, high: object) -> list[dict[str, object]]:
    """Every range of an aggregate of a column; Great Expectations fails on a deviation that is no number, as of x."""
    kinds = ("max", "min", "mean", "median", "sum", *(["stdev"] if column != "x" else []))
    return [
        rule(f"expect_column_{kind}_to_be_between", f"{column}_{kind}_{name}", column=column, **limits)
        for kind in kinds
        for name, limits in (("within", {"min_value": low, "max_value": high}), ("below", {"max_value": low}))
    ]


BATCH_TYPES: Sequence[dict[str, object]] = [
    *about_batch("n", -1000, 10**15),
    *about_batch("x", -1e18, 1e18),
    *about_batch("d", -4, 10**9),
    rule("expect_column_max_to_be_between", "strict", column="n", max_value=10**12, strict_max=True),
    rule("expect_column_max_to_be_between", "scoped", column="n", max_value=8, row_condition=ONLY_A),
    rule("expect_column_mean_to_be_between", "scoped_mean", column="n", min_value=3, row_condition=ONLY_A),
    rule("expect_column_unique_value_count_to_be_between", column="t", min_value=3, max_value=9),
    rule("expect_column_unique_value_count_to_be_between", "scoped_count", column="t", max_value=2,
         row_condition=ONLY_A),
    rule("expect_column_proportion_of_unique_values_to_be_between", column="t", min_value=0.2, max_value=0.9),
    rule("expect_column_proportion_of_non_null_values_to_be_between", column="t", min_value=0.9),
    rule("expect_column_proportion_of_non_null_values_to_be_between", "some", column="t", min_value=0.1),
    rule("expect_column_distinct_values_to_be_in_set", column="t", value_set=["a", "B", "سارا"]),
    rule("expect_column_distinct_values_to_be_in_set", "few", column="t", value_set=["a", "B"]),
    rule("expect_column_distinct_values_to_contain_set", column="t", value_set=["a", "سارا"]),
    rule("expect_column_distinct_values_to_contain_set", "unheard", column="t", value_set=["a", "unheard of"]),
    rule("expect_column_distinct_values_to_equal_set", column="t", value_set=["a", "B"]),
    rule("expect_column_quantile_values_to_be_between", column="n",
         quantile_ranges={"quantiles": [0.1, 0.5], "value_ranges": [[-5, 5], [0, None]]}),
    rule("expect_column_quantile_values_to_be_between", "missed", column="n",
         quantile_ranges={"quantiles": [0.5], "value_ranges": [[1000, 2000]]}),
    rule("expect_table_row_count_to_be_between", min_value=10, max_value=1000),
    rule("expect_table_row_count_to_be_between", "many", min_value=1000),
    rule("expect_table_row_count_to_equal", value=ROWS),
    rule("expect_table_row_count_to_equal", "other", value=7),
]  # fmt: skip
"""Every type of rule about the batch as a whole."""

CUSTOM_COLUMNS = {"t": "VARCHAR", "n": "BIGINT", "m": "BIGINT", "x": "DOUBLE", "d": "DECIMAL(18,4)"}


@pytest.fixture(scope="session")
def custom(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """A user's suite of every type."""
    path = tmp_path_factory.mktemp("custom") / "custom" / "shop__odd.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"name": "shop__odd", "expectations": [*EVERY_TYPE, *BATCH_TYPES]}), encoding="utf-8")
    return _read(path)


def columns_of(suite: Suite) -> dict[str, str]:
    """Columns and types of what a suite audits, without those the guard adds."""
    if suite.path.parent.name == "marts":
        return declared_columns(suite.name)
    if suite.name == "sent":
        return {name: kind for name, kind in SENT_COLUMNS.items() if name not in ADDED_COLUMNS}
    if suite.name in load_contract():
        return {name: kind.upper() for name, kind in entity_columns(suite.name).items() if name not in ADDED_COLUMNS}
    if suite.name in load_rules.COLUMNS:
        return dict(load_rules.COLUMNS[suite.name])
    return guessed(suite)


def guessed(suite: Suite) -> dict[str, str]:
    """Types of the columns that no contract declares, by what the rules compare them with."""
    kinds: dict[str, str] = {}
    for given in suite.expectations:
        kwargs = given["kwargs"]
        compared = [*kwargs.get("value_set", []), kwargs.get("min_value"), kwargs.get("max_value")]
        sample = next((value for value in compared if value is not None), None)
        is_pair = "column_A" in kwargs
        kind = (
            "BOOLEAN"
            if isinstance(sample, bool)
            else "DOUBLE"
            if is_pair or isinstance(sample, int | float)
            else "VARCHAR"
        )
        for name in (kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs):
            kinds.setdefault(name, kind)
    return {name: kind for name, kind in kinds.items() if name not in ADDED_COLUMNS}


def compared(node: object) -> Iterator[tuple[str, list[object]]]:
    """Columns of a row condition with the values they are compared with."""
    if isinstance(node, dict):
        if isinstance(node.get("column"), dict) and "parameter" in node:
            parameter = node["parameter"]
            yield node["column"]["name"], parameter if isinstance(parameter, list) else [parameter]
        for value in node.values():
            yield from compared(value)
    elif isinstance(node, list):
        for value in node:
            yield from compared(value)


def named_values(suite: Suite) -> Iterator[tuple[str, list[object]]]:
    """Columns with the values that the rules name, and those just beyond their limits."""
    for given in suite.expectations:
        kwargs = given["kwargs"]
        yield from compared(kwargs.get("row_condition"))
        if "column" in kwargs:
            yield kwargs["column"], kwargs.get("value_set", [])
            limits = [kwargs.get("min_value"), kwargs.get("max_value")]
            numbers = [limit for limit in limits if isinstance(limit, int | float)]
            yield kwargs["column"], [value for limit in numbers for value in (limit, limit - 1, limit + 1)]


def pools(suite: Suite, columns: dict[str, str]) -> dict[str, list[object]]:
    """Values to draw by column: those of its type and those the rules name, about as often."""
    found = {name: [*POOLS[kind], *[None] * (len(POOLS[kind]) // 8)] for name, kind in columns.items()}
    for name, values in named_values(suite):
        if name in found and values:
            found[name] += values * max(1, len(POOLS[columns[name]]) // (2 * len(values)))
    return found


def fill(con: duckdb.DuckDBPyConnection, suite: Suite, columns: dict[str, str], rows: int) -> None:
    """A table `batch` with good and bad values of every column."""
    draw = random.Random(suite.name)
    con.execute(
        "create or replace table batch (_row bigint, _now timestamp, _latest_allowed timestamp, "
        + ", ".join(f"{identifier(name)} {kind}" for name, kind in columns.items())
        + ")"
    )
    if rows == 0:
        return
    values = pools(suite, columns)
    drawn = [draw.choices(values[name], k=rows) for name in columns]
    unnested = ", ".join(f"unnest(?::{kind}[])" for kind in columns.values())
    con.execute(
        f"insert into batch select unnest(range({rows})), ?, ?, {unnested}", [NOW, NOW + timedelta(days=1), *drawn]
    )


def theirs(con: duckdb.DuckDBPyConnection, suite: Suite) -> dict[str, tuple[int, list[int] | None]]:
    """What Great Expectations itself finds by rule: how many, and which rows where it says so."""
    from great_expectations.core.batch import Batch as GxBatch
    from great_expectations.validator.validator import Validator

    engine, data = gx._engine(con, "batch")
    validator = Validator(execution_engine=engine, batches=[GxBatch(data=data)])
    validator.metrics_calculator.show_progress_bars = False
    expectations = gx._expectations(suite)
    results = validator.graph_validate(
        configurations=[expectation.configuration for expectation in expectations],
        runtime_configuration={
            "result_format": {
                "result_format": "COMPLETE",
                "unexpected_index_column_names": ["_row"],
                "partial_unexpected_count": ROWS,
                "return_unexpected_index_query": False,
            },
            "catch_exceptions": False,
        },
    )
    by_identity = {gx._identity(result.expectation_config.to_json_dict()): result for result in results}
    found: dict[str, tuple[int, list[int] | None]] = {}
    for each, expectation in zip(suite.rules, expectations, strict=True):
        result = by_identity[gx._identity(expectation.configuration.to_json_dict())]
        count = None if gx._is_about_batch(expectation) else result.result.get("unexpected_count")
        rows = result.result.get("unexpected_index_list")
        found[each.rule_id] = (
            int(not result.success) if count is None else count,
            sorted({index["_row"] for index in rows}) if rows is not None else None,
        )
    return found


def ours(con: duckdb.DuckDBPyConnection, suite: Suite, folder: Path) -> dict[str, tuple[int, list[int] | None]]:
    """What our audit finds by rule: how many and which rows."""
    batch = Batch(compile_suite(folder, suite, describe(con, "batch"), trusted=True), "batch", "_row")
    found = {result.rule_id: (result.failed, None) for result in audit(con, [batch])}
    rows = {
        each.rule.rule_id: [
            row for (row,) in con.execute(f"select _row from {BROKEN} where {tag} order by 1").fetchall()
        ]
        for each, tag in _tags(batch)
    }
    return {rule_id: (count, rows.get(rule_id)) for rule_id, (count, _) in found.items()}


def check(con: duckdb.DuckDBPyConnection, suite: Suite, folder: Path) -> dict[str, int]:
    mine, given = ours(con, suite, folder), theirs(con, suite)
    assert {rule_id: count for rule_id, (count, _) in mine.items()} == {key: count for key, (count, _) in given.items()}
    for rule_id, (_, rows) in given.items():
        if rows is not None:  # Great Expectations names no rows where it found none, and none of compound keys.
            assert mine[rule_id][1] == rows, rule_id
    return {rule_id: count for rule_id, (count, _) in mine.items()}


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set threads = 1")
        yield connection


SHIPPED = [_read(path) for path in (*sorted(SUITES.glob("*.json")), *sorted((SUITES / "marts").glob("*.json")))]


@pytest.mark.parametrize("suite", SHIPPED, ids=lambda suite: f"{suite.path.parent.name}-{suite.name}")
@pytest.mark.xdist_group("gx")
def test_every_suite_counts_and_finds_what_great_expectations_does(
    con: duckdb.DuckDBPyConnection, suite: Suite, compiled: Path
):
    fill(con, suite, columns_of(suite), ROWS)
    failed = check(con, suite, compiled)
    never = [
        each.rule_id for each in suite.rules if not failed[each.rule_id] and not each.rule_id.endswith("rows_present")
    ]
    assert not never, "the batch must hold a bad value for every rule"


@pytest.mark.parametrize("rows", [ROWS, 0])
@pytest.mark.xdist_group("gx")
def test_every_type_of_expectation_counts_and_finds_what_great_expectations_does(
    con: duckdb.DuckDBPyConnection, custom: Suite, compiled: Path, rows: int
):
    fill(con, custom, CUSTOM_COLUMNS, rows)
    failed = check(con, custom, compiled)
    assert any(failed.values())
    assert not all(failed.values())
