"""Compiled suites: what can be compiled, what is refused, and a cache that notices changes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from orchestration.guard import gx
from orchestration.guard.audit import Batch, audit
from orchestration.guard.compiler import compile_suite
from orchestration.guard.results import GuardError
from orchestration.guard.sql import describe, identifier
from orchestration.guard.suites import Suite, _parse


def suite_of(folder: Path, *expectations: dict[str, object], name: str = "shop__odd") -> Suite:
    path = folder / "custom" / f"{name}.json"
    path.parent.mkdir(exist_ok=True, parents=True)
    document = {"name": name, "expectations": [{"severity": "critical", **one} for one in expectations]}
    path.write_text(json.dumps(document), encoding="utf-8")
    return _parse(path, random.randrange(10**9))


def rule(kind: str, name: str | None = None, **kwargs: object) -> dict[str, object]:
    return {"type": kind, "kwargs": kwargs, "meta": {"rule": name} if name else {}}


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


def test_all_rules_about_a_batch_are_judged_by_one_query(tmp_path: Path):
    suite = suite_of(
        tmp_path,
        rule("expect_column_mean_to_be_between", column="n", min_value=0.5, max_value=1.5),
        rule("expect_column_median_to_be_between", column="n", max_value=0),
        rule("expect_column_stdev_to_be_between", column="x", min_value=0),
        rule("expect_column_distinct_values_to_contain_set", column="n", value_set=[0, 1, 2]),
        rule("expect_table_row_count_to_equal", value=4),
    )
    with duckdb.connect() as con:
        con.execute("create table batch as select range as _row, range as n, 'inf'::double as x from range(3)")
        compiled = compile_suite(tmp_path, suite, describe(con, "batch"), trusted=False)
        results = audit(con, [Batch(compiled, "batch", "_row")])
        assert [(result.failed, result.checked) for result in results] == [(0, 3), (1, 3), (1, 3), (0, 3), (1, 3)]
        con.execute("truncate batch")
        assert [result.failed for result in audit(con, [Batch(compiled, "batch", "_row")])] == [1, 1, 1, 1, 1]


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
        (rule("expect_column_mean_to_be_between", column="t", min_value=1), r"cannot be applied to t \(VARCHAR\)"),
        (rule("expect_column_most_common_value_to_be_in_set", column="t", value_set=["a"]), "nor the batch"),
        (rule("expect_column_values_to_be_increasing", column="n"), "judges neither single rows"),
        (
            rule("expect_column_value_z_scores_to_be_less_than", column="n", threshold=3, double_sided=True),
            "judges neither single rows",
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
    original = gx.conditions
    monkeypatch.setattr(gx, "conditions", lambda *given: calls.append(1) or original(*given))
    columns = {"n": "BIGINT", "t": "VARCHAR"}
    suite = suite_of(tmp_path, rule("expect_column_values_to_be_between", column="n", max_value=3))
    first = compile_suite(tmp_path, suite, columns, trusted=False)
    again = compile_suite(tmp_path, suite, {**columns, "unrelated": "VARCHAR"}, trusted=False)
    assert (len(calls), again) == (1, first)
    compile_suite(tmp_path, suite, {**columns, "n": "DOUBLE"}, trusted=False)
    changed = suite_of(tmp_path, rule("expect_column_values_to_be_between", column="n", max_value=4))
    compile_suite(tmp_path, changed, columns, trusted=False)
    assert len(calls) == 3


def test_a_damaged_cache_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    suite = suite_of(tmp_path, rule("expect_column_values_to_be_between", column="n", max_value=3))
    first = compile_suite(tmp_path, suite, {"n": "BIGINT"}, trusted=True)
    whole = first.cache.read_text()
    first.cache.write_text(whole[:40])
    assert compile_suite(tmp_path, suite, {"n": "BIGINT"}, trusted=True) == first
    assert f"{first.cache} is damaged" in caplog.text
    assert first.cache.read_text() == whole
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


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
