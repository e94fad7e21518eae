"""The suites as data: they load in Great Expectations, agree with the contract and say what they mean."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
import yaml
from test_parity import columns_of

from orchestration.guard.batches import ADDED_COLUMNS, MART_MODELS, declared_columns, entity_columns
from orchestration.guard.compiler import UNIQUE_TYPES, condition_columns
from orchestration.guard.results import GuardError, check_name
from orchestration.guard.suites import (
    LOAD_SUITES,
    SUITES,
    Suite,
    _read,
    custom_suite,
    entity_suite,
    load_suites,
    mart_suites,
    record_suite,
    sent_suite,
)
from orchestration.sources.contract import load_contract

DBT_TESTS = MART_MODELS.parents[1] / "tests"
FILES = sorted(SUITES.glob("*.json")) + sorted((SUITES / "marts").glob("*.json"))
ENTITIES = list(load_contract())


def expectations(entity: str, kind: str, **kwargs: object) -> list[dict[str, object]]:
    return [
        given
        for given in entity_suite(entity).expectations
        if given["type"] == kind and kwargs.items() <= given["kwargs"].items()
    ]


def test_every_entity_has_a_suite_and_nothing_else_does():
    assert {path.stem for path in SUITES.glob("*.json")} == {*ENTITIES, "sent", "record", *LOAD_SUITES}


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_suite_agrees_with_the_contract(entity: str):
    contract = load_contract()[entity]
    for column in contract.columns.values():
        given = expectations(entity, "expect_column_values_to_not_be_null", column=column.name)
        is_required = any(one["severity"] == "critical" and "row_condition" not in one["kwargs"] for one in given)
        assert is_required == column.required, column.name
        sets = expectations(entity, "expect_column_values_to_be_in_set", column=column.name)
        if column.values:
            assert [tuple(one["kwargs"]["value_set"]) for one in sets] == [column.values], column.name
    assert expectations(entity, "expect_column_values_to_be_unique", column=contract.key)
    assert expectations(entity, "expect_column_values_to_be_null", column="_uncast")
    named = {column for rule in entity_suite(entity).rules for column in rule.columns}
    assert named <= entity_columns(entity).keys()


def dbt_tests(mart: str) -> dict[str, set[str]]:
    """Names of the generic tests and constraints of a mart's columns in dbt; empty for a mart that Python writes."""
    for path in MART_MODELS.rglob(f"{mart}.yml"):
        [model] = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
        named = {
            column["name"]: [*column.get("data_tests", ()), *(held["type"] for held in column.get("constraints", ()))]
            for column in model["columns"]
        }
        return {
            name: {test if isinstance(test, str) else next(iter(test)) for test in tests}
            for name, tests in named.items()
        }
    return {}


IN_DBT = {
    "expect_column_values_to_not_be_null": {"not_null", "primary_key"},
    "expect_column_values_to_be_unique": {"unique", "primary_key"},
    "expect_column_values_to_be_in_set": {"accepted_values"},
}
"""Rules on all rows of a mart, and the tests of dbt that say the same."""


@pytest.mark.parametrize("suite", mart_suites(), ids=lambda suite: suite.name)
def test_a_suite_of_a_mart_knows_its_columns_and_says_nothing_that_dbt_tests(suite: Suite):
    columns = declared_columns(suite.name)
    named = {column for rule in suite.rules for column in rule.columns} | condition_columns(suite)
    assert named <= set(columns)
    assert suite.key
    assert set(suite.key) <= set(columns)
    tests = dbt_tests(suite.name)
    for given in suite.expectations:
        column = given["kwargs"].get("column")
        if "row_condition" not in given["kwargs"]:
            same = IN_DBT.get(given["type"], set()) & tests.get(column, set())
            assert not same, f"{suite.name}.{column}: dbt tests {same} already"


@pytest.mark.parametrize("suite", mart_suites(), ids=lambda suite: suite.name)
def test_the_key_of_every_mart_is_held_by_dbt_or_by_its_suite(suite: Suite):
    tests = dbt_tests(suite.name)
    if len(suite.key) == 1 and tests:
        assert "primary_key" in tests[suite.key[0]]
    elif tests:
        singular = " ".join(path.read_text(encoding="utf-8") for path in DBT_TESTS.glob("assert_*_are_unique.sql"))
        named = (f"'{suite.name}': {list(suite.key)},", f"ref('{suite.name}')", f"ref('{suite.name}_parts')")
        assert any(name in singular for name in named)
    else:
        unique = [rule.columns for rule in suite.rules if rule.expectation_type in UNIQUE_TYPES]
        given = {rule.columns for rule in suite.rules if rule.expectation_type == "expect_column_values_to_not_be_null"}
        assert suite.key in unique
        assert {(column,) for column in suite.key} <= given


def test_currencies_are_the_same_everywhere():
    sets = [
        given["kwargs"]["value_set"]
        for entity in ENTITIES
        for given in expectations(entity, "expect_column_values_to_be_in_set", column="currency")
    ]
    assert len(sets) == sum("currency" in entity.columns for entity in load_contract().values())
    assert all(one == sets[0] for one in sets)
    assert {"EUR", "IRR", "USD"} <= set(sets[0])


@pytest.mark.parametrize("mode", ["ephemeral", "file"])
@pytest.mark.xdist_group("gx")
def test_stock_great_expectations_reads_and_validates_every_suite(tmp_path: Path, mode: str):
    """Its own context, its own data source on a DuckDB file, and not a line of ours."""
    import great_expectations as gx

    with duckdb.connect(tmp_path / "batches.duckdb") as con:
        for path, columns in zip(FILES, map(columns_of, map(_read, FILES)), strict=True):
            fields = ", ".join(f'"{name}" {kind}' for name, kind in {**columns, **ADDED_COLUMNS}.items())
            con.execute(f'create table "{table_of(path)}" ({fields})')
            con.execute(f'insert into "{table_of(path)}" select {", ".join(["null"] * (len(columns) + 2))}')
    options = {"project_root_dir": tmp_path} if mode == "file" else {}
    context = gx.get_context(mode=mode, **options)
    context.enable_analytics(False)
    source = context.data_sources.add_sql(
        "batches",
        connection_string=f"duckdb:///{tmp_path / 'batches.duckdb'}",
        # Without these GX ends transactions that it did not begin.
        kwargs={"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None, "skip_autocommit_rollback": True},
    )
    for path in FILES:
        document = json.loads(path.read_text(encoding="utf-8"))
        suite = context.suites.add(gx.ExpectationSuite(**{**document, "name": table_of(path)}))
        # GX skips what it cannot read with a line in the log, so the count is the proof.
        assert len(suite.expectations) == len(document["expectations"])
        assert [str(one.severity.value) for one in suite.expectations] == [
            one["severity"] for one in document["expectations"]
        ]
        # A misspelt argument would be kept by nobody: what GX holds must hold every argument of the file.
        for held, given in zip(suite.expectations, document["expectations"], strict=True):
            assert set(given["kwargs"]) <= set(held.configuration.kwargs) | set(held.dict())
        asset = source.add_table_asset(table_of(path), table_name=table_of(path))
        if mode == "file":
            continue
        suite.expectations = [one for one in suite.expectations if one.expectation_type not in NOT_ON_DUCKDB]
        results = asset.add_batch_definition_whole_table("all").get_batch().validate(suite).results
        assert len(results) == len(suite.expectations)
        assert not [result.expectation_config.type for result in results if raised(result.exception_info)]
    if mode == "file":
        again = gx.get_context(mode="file", project_root_dir=tmp_path)
        assert {suite.name for suite in again.suites.all()} == {table_of(path) for path in FILES}


def table_of(path: Path) -> str:
    """Not the suite's own name: stock GX on DuckDB does not quote `order`."""
    return f"batch_{path.stem}" if path.parent == SUITES else f"{path.parent.name}_{path.stem}"


NOT_ON_DUCKDB = {"expect_column_values_to_match_regex", "expect_column_values_to_not_match_regex"}
"""What stock GX knows no operator for on DuckDB; ours lends it one."""


def raised(exception_info: dict[str, object]) -> bool:
    """GX gives one record, or one per failed metric."""
    records = [exception_info] if "raised_exception" in exception_info else exception_info.values()
    return any(record["raised_exception"] for record in records)


@pytest.mark.parametrize(
    "suite",
    [*map(entity_suite, ENTITIES), sent_suite(), record_suite(), *load_suites(), *mart_suites()],
    ids=lambda suite: suite.name,
)
def test_every_rule_has_a_name_and_says_what_must_hold(suite):
    for given, rule in zip(suite.expectations, suite.rules, strict=True):
        assert given["meta"]["rule"]
        assert given["description"]
        assert rule.complaint.startswith(suite.name)
        assert check_name(rule.rule_id).replace("_", "").isalnum()


def write(folder: Path, expectations: list[dict[str, object]]) -> Path:
    path = folder / "expectations" / "custom" / "shop__orders.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"name": "shop__orders", "expectations": expectations}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([{"kwargs": {}}], "no `type`"),
        ([{"type": "expect_column_values_to_not_be_null", "severity": "fatal"}], "critical, warning, info"),
        ([{"type": "a", "meta": {"rule": "x"}}, {"type": "b", "meta": {"rule": "x"}}], "share the name"),
        ([{"type": "a", "meta": {"detail": "email"}}], "must name a `_` column"),
    ],
)
def test_a_wrong_suite_is_refused_by_name(tmp_path: Path, wrong: list[dict[str, object]], words: str):
    path = write(tmp_path, wrong)
    with pytest.raises(GuardError, match=words) as caught:
        custom_suite(tmp_path, "shop", "orders")
    assert str(path) in str(caught.value)


def test_a_changed_suite_is_read_again(tmp_path: Path):
    write(tmp_path, [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}}])
    before = custom_suite(tmp_path, "shop", "orders")
    path = write(tmp_path, [])
    # Even within one tick of a coarse clock.
    import os

    os.utime(path, ns=(1, 1))
    assert len(before.rules) == 1
    assert custom_suite(tmp_path, "shop", "orders").rules == ()
    assert custom_suite(tmp_path, "shop", "people") is None


def test_names_of_checks_stay_apart_in_any_script():
    assert check_name("order.amount_not_negative") == "order_amount_not_negative"
    assert check_name("shop__x.نام_given") != check_name("shop__x.شهر_given")
