"""Compiled suites: the same counts and the same rows as Great Expectations, from a cache that notices changes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from orchestration.guard import gx
from orchestration.guard.audit import BROKEN, Batch, _tags, audit
from orchestration.guard.batches import ADDED_COLUMNS, SENT_COLUMNS, declared_columns, entity_columns
from orchestration.guard.compiler import compile_suite
from orchestration.guard.results import GuardError
from orchestration.guard.sql import describe, identifier
from orchestration.guard.suites import Suite, _parse, entity_suite, mart_suites, sent_suite
from orchestration.sources.contract import load_contract

NOW = datetime(2024, 6, 1, 12)

POOLS: dict[str, list[object]] = {
    "varchar": [None, "", "a", "b", "c", "it's 100% \\ odd", "EUR", "Euro", "de", "DE", "open", "closed", "nps",
                "earn", "redeem", "09:30", "24:00", "9:30", "Europe/Berlin", "GMT+1!", "returned", "customer",
                "someone@example.org", "a@b", "x y@example.org", "s\u043emeone@example.org", "9.12E+11", "0912",
                "C0123456789abcdef", "day", "gregorian", "csat", "suppressed", "ok"],
    "integer": [None, -5, 0, 1, 2, 7, 8, 10, 100],
    "bigint": [None, -5, 0, 1, 2, 7, 8, 10, 100],
    "double": [None, -200.0, -1.0, 0.0, 0.3, 1.0, 9.5, 101.0, 1e16, float("nan"), float("inf")],
    "decimal(18,4)": [None, "-3.5", "0", "12.25", "99999.99"],
    "boolean": [None, True, False],
    "timestamp": [None, datetime(1403, 1, 15), datetime(1900, 1, 1), datetime(1970, 1, 1), datetime(2024, 1, 1, 8),
                  datetime(2024, 1, 2), datetime(2024, 6, 2, 11, 59), datetime(2024, 6, 2, 12, 1),
                  datetime(2030, 1, 1), datetime(9999, 12, 31)],
    "date": [None, date(1365, 2, 1), date(1900, 1, 1), date(1990, 5, 5), date(2024, 6, 2), date(2031, 1, 1)],
}  # fmt: skip


def columns_of(suite: Suite) -> dict[str, str]:
    """Columns and types of what a suite audits."""
    if suite.name == "sent":
        return _without_moments(SENT_COLUMNS)
    if suite.path.parent.name == "marts":
        return {name: kind.lower() for name, kind in declared_columns(suite.name).items()}
    return _without_moments(entity_columns(suite.name))


def _without_moments(columns: Mapping[str, str]) -> dict[str, str]:
    return {name: kind.lower() for name, kind in columns.items() if name not in ADDED_COLUMNS}


def fill(con: duckdb.DuckDBPyConnection, suite: Suite, columns: dict[str, str], rows: int, seed: object = 0) -> None:
    """A table `batch` with good and bad values of every column."""
    draw = random.Random(f"{suite.name} {seed}")
    sets: dict[str, list[object]] = {}
    for given in suite.expectations:
        if "value_set" in given["kwargs"] and columns[given["kwargs"]["column"]] == "varchar":
            sets[given["kwargs"]["column"]] = [*given["kwargs"]["value_set"], None, "unheard of"]
    latest = NOW + timedelta(days=1)
    con.execute(
        "create table batch (_row bigint, _now timestamp, _latest_allowed timestamp, "
        + ", ".join(f"{identifier(name)} {kind}" for name, kind in columns.items())
        + ")"
    )
    drawn = [draw.choices(sets.get(name) or POOLS[kind], k=rows) for name, kind in columns.items()]
    values = ", ".join(f"unnest(?::{kind}[])" for kind in columns.values())
    con.execute(f"insert into batch select unnest(range({rows})), ?, ?, {values}", [NOW, latest, *drawn])


def failing_rows(con: duckdb.DuckDBPyConnection, suite: Suite) -> dict[str, list[int]]:
    """The rows Great Expectations itself finds, by rule."""
    from great_expectations.core.batch import Batch as GxBatch
    from great_expectations.validator.validator import Validator

    engine, data = gx._engine(con, "batch")
    validator = Validator(execution_engine=engine, batches=[GxBatch(data=data)])
    validator.metrics_calculator.show_progress_bars = False
    results = validator.graph_validate(
        configurations=[expectation.configuration for expectation in gx._expectations(suite)],
        runtime_configuration={
            "result_format": {"result_format": "COMPLETE", "unexpected_index_column_names": ["_row"]},
            "catch_exceptions": False,
        },
    )
    found = {
        gx._identity(result.expectation_config.to_json_dict()): sorted(
            {index["_row"] for index in result.result.get("unexpected_index_list") or []}
        )
        for result in results
    }
    return {
        each.rule_id: found[gx._identity(expectation.configuration.to_json_dict())]
        for each, expectation in zip(suite.rules, gx._expectations(suite), strict=True)
    }


@pytest.mark.parametrize(
    "suite", [*map(entity_suite, load_contract()), sent_suite(), *mart_suites()], ids=lambda suite: suite.name
)
def test_counts_equal_those_of_great_expectations(suite: Suite, compiled: Path):
    with duckdb.connect() as con:
        fill(con, suite, columns_of(suite), 400)
        batch = Batch(compile_suite(compiled, suite, describe(con, "batch"), trusted=True), "batch", "_row")
        ours = {result.rule_id: result.failed for result in audit(con, [batch])}
        assert ours == gx.unexpected_counts(con, suite, "batch")
        assert any(ours.values())


def suite_of(folder: Path, *expectations: dict[str, object], name: str = "shop__odd") -> Suite:
    path = folder / "custom" / f"{name}.json"
    path.parent.mkdir(exist_ok=True, parents=True)
    document = {"name": name, "expectations": [{"severity": "critical", **one} for one in expectations]}
    path.write_text(json.dumps(document), encoding="utf-8")
    return _parse(path, random.randrange(10**9))


def rule(kind: str, name: str | None = None, **kwargs: object) -> dict[str, object]:
    return {"type": kind, "kwargs": kwargs, "meta": {"rule": name} if name else {}}


EVERY_TYPE: Sequence[dict[str, object]] = [
    rule("expect_column_values_to_be_between", column="n", min_value=0, max_value=8, strict_min=True),
    rule("expect_column_values_to_be_in_set", column="t", value_set=["a", "it's 100% \\ odd"]),
    rule("expect_column_values_to_not_be_in_set", column="t", value_set=["b", "c"]),
    rule("expect_column_values_to_not_be_null", column="t"),
    rule("expect_column_values_to_be_null", column="t"),
    rule("expect_column_values_to_be_unique", column="t"),
    rule("expect_column_values_to_be_unique", "partly", column="n",
         row_condition={"type": "comparison", "column": {"name": "t"}, "operator": "IN", "parameter": ["a", "b"]}),
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
    rule("expect_column_values_to_match_regex", column="t", regex=r"[ab\\%']$"),
    rule("expect_column_values_to_not_match_regex", column="t", regex=r"^\d+\.\d+E\+"),
    rule("expect_column_values_to_match_regex_list", column="t", regex_list=["^a", "E+"], match_on="any"),
    rule("expect_column_values_to_match_like_pattern", column="t", like_pattern="%@%"),
    rule("expect_column_values_to_not_match_like_pattern", column="t", like_pattern="%100\\%%"),
    rule("expect_multicolumn_sum_to_equal", column_list=["n", "m"], sum_total=8),
    rule("expect_table_row_count_to_be_between", min_value=10, max_value=100),
    rule("expect_column_values_to_not_be_null", "or", column="t", row_condition={"type": "or", "conditions": [
        {"type": "nullity", "column": {"name": "n"}, "is_null": True},
        {"type": "comparison", "column": {"name": "m"}, "operator": ">", "parameter": 7}]}),
    rule("expect_column_values_to_be_between", "mostly", column="m", max_value=5, mostly=0.8),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_every_type_of_expectation_fails_the_same_rows(tmp_path: Path, seed: int):
    suite = suite_of(tmp_path, *EVERY_TYPE)
    with duckdb.connect() as con:
        # Few rows: Great Expectations names at most 20 of those that fail.
        fill(con, suite, {"t": "varchar", "n": "bigint", "m": "bigint"}, 20, seed)
        compiled = compile_suite(tmp_path, suite, describe(con, "batch"), trusted=False)
        batch = Batch(compiled, "batch", "_row")
        ours = {result.rule_id: result.failed for result in audit(con, [batch])}
        assert ours == gx.unexpected_counts(con, suite, "batch")
        assert sum(count > 0 for count in ours.values()) > len(ours) / 2
        theirs = failing_rows(con, suite)
        for each, tag in _tags(batch):
            rows = con.execute(f"select _row from {BROKEN} where {tag} order by _row").fetchall()
            if "compound" in each.rule.expectation_type:
                continue  # Great Expectations counts these rows but does not name them.
            assert [row[0] for row in rows] == theirs[each.rule.rule_id], each.rule.rule_id


def test_more_rules_than_one_mask_holds(tmp_path: Path):
    suite = suite_of(
        tmp_path,
        *[
            rule("expect_column_values_to_be_between", f"below_{limit}", column="n", max_value=limit)
            for limit in range(65)
        ],
    )
    with duckdb.connect() as con:
        con.execute("create table batch as select range as _row, range as n from range(66)")
        batch = Batch(compile_suite(tmp_path, suite, {"n": "BIGINT"}, trusted=False), "batch", "_row")
        results = audit(con, [batch])
        assert [result.failed for result in results] == [65 - limit for limit in range(65)]
        assert results[64].sample_keys == ["65"]
        assert results[0].sample_keys == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("name", ["order", "Größe", "شهر", 'a"b', "x'); drop table batch; --", "_id", "qualify", "%"])
def test_columns_may_have_any_name(tmp_path: Path, name: str):
    suite = suite_of(
        tmp_path,
        rule("expect_column_values_to_not_be_null", column=name),
        rule("expect_column_values_to_be_unique", column=name),
        rule("expect_column_values_to_match_regex", column=name, regex="^1$"),
    )
    with duckdb.connect() as con:
        con.execute(f"create table batch as select range as _row, nullif(range, 2)::varchar as {identifier(name)} "
                    "from range(3)")  # fmt: skip
        compiled = compile_suite(tmp_path, suite, describe(con, "batch"), trusted=False)
        assert [one.failed for one in audit(con, [Batch(compiled, "batch", "_row")])] == [1, 0, 1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (rule("expect_column_mean_to_be_between", column="n", min_value=1), "does not judge single rows"),
        (rule("expect_column_values_to_be_increasing", column="n"), "does not judge single rows"),
        (
            rule("expect_column_value_z_scores_to_be_less_than", column="n", threshold=3, double_sided=True),
            "does not judge single rows",
        ),
        (rule("expect_column_values_to_be_between", column="t", min_value=1), r"cannot be applied to t \(VARCHAR\)"),
        (rule("expect_column_values_to_not_be_null", column="gone"), "there is no column gone"),
        (rule("expect_column_values_to_be_nice", column="n"), "expect_column_values_to_be_nice"),
        (rule("expect_column_values_to_not_be_null", column="n", row_condition="n > 1"), "structured form"),
        (rule("expect_column_values_to_be_in_set", value_set=[1]), "in_set"),
    ],
)
def test_what_cannot_be_compiled_is_refused(tmp_path: Path, given: dict[str, object], words: str):
    suite = suite_of(tmp_path, given)
    with pytest.raises(GuardError, match=words) as caught:
        compile_suite(tmp_path, suite, {"n": "BIGINT", "t": "VARCHAR"}, trusted=False)
    assert "shop__odd.json" in str(caught.value)


def test_the_cache_spares_great_expectations_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    original = gx.row_conditions
    monkeypatch.setattr(gx, "row_conditions", lambda *given: calls.append(1) or original(*given))
    columns = {"n": "BIGINT", "t": "VARCHAR"}
    suite = suite_of(tmp_path, rule("expect_column_values_to_be_between", column="n", max_value=3))
    first = compile_suite(tmp_path, suite, columns, trusted=False)
    again = compile_suite(tmp_path, suite, {**columns, "unrelated": "VARCHAR"}, trusted=False)
    assert (len(calls), again) == (1, first)
    compile_suite(tmp_path, suite, {**columns, "n": "DOUBLE"}, trusted=False)
    changed = suite_of(tmp_path, rule("expect_column_values_to_be_between", column="n", max_value=4))
    compile_suite(tmp_path, changed, columns, trusted=False)
    assert len(calls) == 3


def test_great_expectations_is_not_imported_without_need():
    code = "import sys, orchestration.guard; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_suite_needs_proof_only_when_somebody_changed_it(tmp_path: Path):
    columns = {"n": "BIGINT"}
    shipped = suite_of(tmp_path, rule("expect_column_values_to_not_be_null", column="n"))
    assert not compile_suite(tmp_path, shipped, columns, trusted=True).needs_proof
    changed = suite_of(tmp_path, rule("expect_column_values_to_be_null", column="n"))
    compiled = compile_suite(tmp_path, changed, columns, trusted=True)
    assert compiled.needs_proof
    compiled.proven()
    assert not compile_suite(tmp_path, changed, columns, trusted=True).needs_proof
    own = suite_of(tmp_path, rule("expect_column_values_to_not_be_null", column="n"), name="shop__own")
    assert compile_suite(tmp_path, own, columns, trusted=False).needs_proof
