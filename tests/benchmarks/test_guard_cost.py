"""What the guard costs against what it replaces: the same tickets and rules, each contender in its own process.

CPU seconds and peak memory by contender, as ratios; never a limit on a clock. `CEM_BENCH_TICKETS` sets the size,
`CEM_BENCH_REPEATS` how often the cheap ones are run (the least counts), `CEM_BENCH_CONTENDERS` which of them. DuckDB
has one thread (`CEM_BENCH_THREADS`): one that waits for another spins, and that would count as work.

The contenders do not all do the same. Like is compared with like in two groups:

- Move the load: `ours`, `SQL same job`, `SQL rules only`, `plain copy`. Three quarters of what each of them costs is
  DuckDB compressing the rows into the new table, which none can avoid.
- Find the bad rows and leave the load where it is: `audit only`, `audit same rules`, both of GX, dbt's tests (which
  only count), and the hash scan, which is what reading all values once costs. Nothing that moves the rows can be as
  cheap.

But for `audit same rules`, ours judges 25 rules: the twenty, and the five on rows as sent that every load must pass
(key given and unique, no NUL, no undecodable byte, no value of a megabyte). `SQL same job` does so too, keeps
quarantined rows as JSON with all reasons, counts and samples each rule, and books the load; `SQL rules only` is the
twenty rules and the split.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from results import Keep

from orchestration.guard import guard_table
from orchestration.guard import prepare as compile_suites
from orchestration.guard.audit import audit, bad_rows
from orchestration.guard.batches import table_batches
from orchestration.guard.suites import custom_suite
from orchestration.settings import Settings, Source, Table
from orchestration.sources.extract import Extracted
from orchestration.warehouse import BOOKKEEPING, utc_now

TICKETS = int(os.environ.get("CEM_BENCH_TICKETS", "200000"))
REPEATS = int(os.environ.get("CEM_BENCH_REPEATS", "3"))
THREADS = int(os.environ.get("CEM_BENCH_THREADS", "1"))
CONTENDERS = os.environ.get("CEM_BENCH_CONTENDERS", "")
FOLDER = Path(__file__).resolve().parent

TEXTS = ("ticket_id", "person_id", "status", "priority", "type", "channel", "subject", "email")

TICKET_SQL = """
select
    't' || case when range % 50021 = 0 then range - 1 else range end as ticket_id,
    'p' || (hash(range) % 900000) as person_id,
    case when range % 9973 = 0 then 'lost' else ['new', 'open', 'pending', 'resolved', 'closed'][1 + range % 5] end
        as status,
    case when range % 7919 = 0 then 'asap' else ['low', 'normal', 'high', 'urgent'][1 + range % 4] end as priority,
    ['question', 'incident', 'problem', 'request'][1 + range % 4] as type,
    ['email', 'phone', 'chat', 'web'][1 + range % 4] as channel,
    'سفارش ' || (hash(range + 1) % 100000) || ' is late' as subject,
    'someone' || (hash(range) % 900000) || case when range % 6007 = 0 then ' ' else '@' end || 'x.org' as email,
    timestamp '2020-01-01' + to_seconds(range * 20) as created_at,
    timestamp '2020-01-01' + to_seconds(range * 20 + case when range % 8009 = 0 then -90 else 9000 end) as resolved_at,
    timestamp '2020-01-01' + to_seconds(range * 20 + 90000) as updated_at,
    case when range % 10007 = 0 then -1 else range % 4 end as reopen_count,
    (range % 7)::bigint as reassignment_count,
    (hash(range + 2) % 100000) / 7.0 as first_reply_minutes
from range({rows})
"""
"""Tickets of which about one in two thousand breaks a rule; a few share their id with another."""


def between(column: str, **limits: object) -> dict[str, object]:
    return {"type": "expect_column_values_to_be_between", "kwargs": {"column": column, **limits}}


def among(column: str, values: list[str]) -> dict[str, object]:
    return {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": column, "value_set": values}}


def given(column: str) -> dict[str, object]:
    return {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": column}}


def after(later: str, earlier: str) -> dict[str, object]:
    return {
        "type": "expect_column_pair_values_a_to_be_greater_than_b",
        "kwargs": {
            "column_A": later,
            "column_B": earlier,
            "or_equal": True,
            "ignore_row_if": "either_value_is_missing",
        },
    }


RULES: list[tuple[dict[str, object], str]] = [
    ({"type": "expect_column_values_to_be_unique", "kwargs": {"column": "ticket_id"}}, ""),
    (given("ticket_id"), "ticket_id is null"),
    (given("person_id"), "person_id is null"),
    (given("created_at"), "created_at is null"),
    (given("status"), "status is null"),
    (among("status", ["new", "open", "pending", "resolved", "closed"]),
     "status not in ('new', 'open', 'pending', 'resolved', 'closed')"),
    (among("priority", ["low", "normal", "high", "urgent"]), "priority not in ('low', 'normal', 'high', 'urgent')"),
    (among("type", ["question", "incident", "problem", "request"]),
     "type not in ('question', 'incident', 'problem', 'request')"),
    (among("channel", ["email", "phone", "chat", "web"]), "channel not in ('email', 'phone', 'chat', 'web')"),
    ({"type": "expect_column_values_to_match_regex", "kwargs": {"column": "email", "regex": "^[^@ ]+@[^@ ]+$"}},
     "not regexp_matches(email, '^[^@ ]+@[^@ ]+$')"),
    ({"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": "subject", "max_value": 500}},
     "length(subject) > 500"),
    (between("created_at", min_value="2000-01-01"), "created_at < timestamp '2000-01-01'"),
    (between("resolved_at", min_value="2000-01-01"), "resolved_at < timestamp '2000-01-01'"),
    (between("updated_at", min_value="2000-01-01"), "updated_at < timestamp '2000-01-01'"),
    (after("resolved_at", "created_at"), "resolved_at < created_at"),
    (after("updated_at", "created_at"), "updated_at < created_at"),
    (between("reopen_count", min_value=0), "reopen_count < 0"),
    (between("reassignment_count", min_value=0, max_value=1000), "reassignment_count not between 0 and 1000"),
    (between("first_reply_minutes", min_value=0, max_value=1000000), "first_reply_minutes not between 0 and 1000000"),
    ({"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": "ticket_id", "max_value": 64}},
     "length(ticket_id) > 64"),
]  # fmt: skip
"""Twenty rules: the expectation, and the same as SQL for those who write it by hand."""


def expectations() -> list[dict[str, object]]:
    return [
        {**rule, "severity": "critical", "description": f"rule {number}", "meta": {"rule": f"rule_{number}"}}
        for number, (rule, _) in enumerate(RULES)
    ]


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(str(folder / "warehouse.duckdb"))
    con.execute(f"set threads = {THREADS}; set memory_limit = '6GB'")
    return con


def prepare(folder: Path) -> None:
    """The warehouse that every contender gets a copy of: the tickets as a load that waits for the guard."""
    with connect(folder) as con:
        con.execute(BOOKKEEPING)
        con.execute("create schema candidate_desk")
        con.execute(
            "create table candidate_desk.tickets as select *, ticket_id as _key, "
            "hash(ticket_id, subject) as _row_hash, "
            "null::varchar as _cursor, 'tickets.parquet' as _source_file, "
            "row_number() over () as _source_row, 'load1' as _load_id, timestamp '2024-06-01' as _loaded_at, "
            f"null::timestamp as _deleted_at from ({TICKET_SQL.format(rows=TICKETS)})"
        )
    suite = folder / "expectations" / "custom" / "desk__tickets.json"
    suite.parent.mkdir(parents=True)
    suite.write_text(json.dumps({"name": "desk__tickets", "expectations": expectations()}), encoding="utf-8")


def settings_of(folder: Path) -> Settings:
    table = Table(source="desk", name="tickets", files=("tickets.parquet",), format="parquet", key=("ticket_id",))
    source = Source(name="desk", kind="files", folder=folder, tables=(table,))
    return Settings(config_path=folder / "cem.yml", home=folder, sources=(source,))


def compile_ours(folder: Path) -> None:
    """What is done once: suites are compiled, as at installation, and the user's own is marked as proven."""
    settings = settings_of(folder)
    compile_suites(settings)
    [table] = settings.tables()
    with connect(folder) as con, table_batches(con, settings, table, "candidate_desk.tickets", utc_now()) as batches:
        for batch in batches:
            batch.compiled.proven()


def ours(folder: Path) -> dict[str, int]:
    """Tag with reasons, unique keys, quarantine and promotion, all of it in the guard."""
    settings = settings_of(folder)
    extracted = Extracted(
        source="desk", table_name="tickets", load_id="load1", extracted=TICKETS, deduplicated=0,
        candidates=TICKETS, deleted=0, skipped=False, state=(),
    )  # fmt: skip
    with connect(folder) as con:
        verdict = guard_table(con, settings, next(iter(settings.tables())), extracted)
        assert verdict.status == "promoted", verdict.reason
    return {"good": verdict.promoted, "bad": verdict.quarantined}


def hash_scan(folder: Path) -> dict[str, int]:
    """Read every value of the table once, as a hash does."""
    with connect(folder) as con:
        columns = [row[0] for row in con.execute("describe candidate_desk.tickets").fetchall()]
        [rows] = con.execute(
            f"select count(distinct h % 2) from (select hash({', '.join(columns)}) as h from candidate_desk.tickets)"
        ).fetchone()
    return {"rows": rows}


def plain_copy(folder: Path) -> dict[str, int]:
    """Copy the load to where it would go."""
    with connect(folder) as con:
        con.execute("create schema raw_desk; create table raw_desk.tickets as from candidate_desk.tickets")
    return {"rows": TICKETS}


def audit_only(folder: Path) -> dict[str, int]:
    """Our audit: every row that breaks a rule, with its reasons, and counts and samples of each rule."""
    settings = settings_of(folder)
    [table] = settings.tables()
    with connect(folder) as con, table_batches(con, settings, table, "candidate_desk.tickets", utc_now()) as batches:
        failures = sum(result.failed for result in audit(con, batches))
        bad = len(con.execute(bad_rows(batches)).fetchall())
    return {"failures": failures, "bad": bad}


def same_rules(folder: Path) -> dict[str, int]:
    """Our audit of the twenty rules that everybody judges, without the five on rows as sent."""
    settings = settings_of(folder)
    [table] = settings.tables()
    with connect(folder) as con, table_batches(con, settings, table, "candidate_desk.tickets", utc_now()) as batches:
        [own] = [batch for batch in batches if len(batch.rules) == len(RULES)]
        failures = sum(result.failed for result in audit(con, [own]))
        bad = len(con.execute(bad_rows([own])).fetchall())
    return {"failures": failures, "bad": bad}


SENT_RULES = (
    "_key is null",
    f"greatest({', '.join(f'coalesce(strlen({text}), 0)' for text in TEXTS)}) > 1000000",
    " or ".join(f"coalesce(contains({text}, chr(0)), false)" for text in TEXTS),
    " or ".join(f"coalesce(contains({text}, '\ufdd0'), false)" for text in TEXTS),
)
"""Four of the five rules on rows as sent, by hand; the fifth, a unique key, is one of the twenty here."""


def by_hand_all(folder: Path) -> dict[str, int]:
    """What ours does, in SQL somebody wrote for this one table, in one transaction."""
    conditions = [*(sql or "ticket_id in (select ticket_id from twice)" for _, sql in RULES), *SENT_RULES]
    bits = " | ".join(f"case when {sql} then {1 << n} else 0 end" for n, sql in enumerate(conditions))
    reasons = ", ".join(f"case when mask & {1 << n} <> 0 then 'rule {n}' end" for n in range(len(conditions)))
    counts = ", ".join(
        f"{{'rule': {n}, 'failed': count(*) filter (mask & {1 << n} <> 0), "
        f"'samples': arg_min('row ' || row, row, 5) filter (mask & {1 << n} <> 0)}}"
        for n in range(len(conditions))
    )
    with connect(folder) as con:
        con.execute(
            "create temp table twice as select ticket_id from candidate_desk.tickets group by 1 having count(*) > 1"
        )
        con.execute(
            f"create temp table bad as select rowid as row, mask, list_filter([{reasons}], lambda reason: reason is "
            f"not null) as reasons from (select rowid, {bits} as mask from candidate_desk.tickets) where mask <> 0"
        )
        con.execute("begin; create schema raw_desk")
        con.execute(f"create table ops.tickets_rules as select unnest([{counts}], recursive := true) from bad")
        con.execute("create table quarantine.tickets as select 'load1' as load_id, now() as quarantined_at, "
                    "coalesce(sent._key, 'row ' || bad.row) as key, sent._row_hash as row_hash, bad.reasons, "
                    "to_json(sent) as row from candidate_desk.tickets as sent "
                    "inner join bad on sent.rowid = bad.row")  # fmt: skip
        con.execute(
            "create table raw_desk.tickets as from candidate_desk.tickets where rowid not in (select row from bad)"
        )
        [good] = con.execute("select count(*) from raw_desk.tickets").fetchone()
        [bad] = con.execute("select count(*) from quarantine.tickets").fetchone()
        assert good + bad == TICKETS
        con.execute(f"create table ops.tickets_loads as select 'load1' as load_id, {good} as good, {bad} as bad")
        con.execute("drop table candidate_desk.tickets; commit")
    return {"good": good, "bad": bad}


def by_hand(folder: Path) -> dict[str, int]:
    """The twenty rules in SQL somebody wrote for this one table: tag, unique key, split, in one transaction."""
    bits = " | ".join(f"case when {sql} then {1 << n} else 0 end" for n, (_, sql) in enumerate(RULES) if sql)
    reasons = ", ".join(f"case when mask & {1 << n} <> 0 then 'rule {n}' end" for n in range(len(RULES)))
    with connect(folder) as con:
        con.execute(
            "create temp table twice as select ticket_id from candidate_desk.tickets group by 1 having count(*) > 1"
        )
        con.execute(
            f"create temp table bad as select rowid as row, mask, "
            f"list_filter([{reasons}], lambda reason: reason is not null) as reasons from (select rowid, {bits} | "
            "case when ticket_id in (select ticket_id from twice) then 1 else 0 end as mask "
            "from candidate_desk.tickets) where mask <> 0"
        )
        con.execute("begin; create schema raw_desk")
        con.execute("create table quarantine.tickets as select tickets.*, bad.reasons from candidate_desk.tickets "
                    "inner join bad on tickets.rowid = bad.row")  # fmt: skip
        con.execute(
            "create table raw_desk.tickets as from candidate_desk.tickets where rowid not in (select row from bad)"
        )
        con.execute("drop table candidate_desk.tickets; commit")
        [good] = con.execute("select count(*) from raw_desk.tickets").fetchone()
        [bad] = con.execute("select count(*) from quarantine.tickets").fetchone()
    return {"good": good, "bad": bad}


def gx_on_duckdb(folder: Path) -> dict[str, int]:
    """Great Expectations over DuckDB with the rows of all failures. It splits nothing."""
    from great_expectations.core.batch import Batch
    from great_expectations.validator.validator import Validator

    from orchestration.guard import gx

    suite = custom_suite(folder, "desk", "tickets")
    assert suite is not None
    complete = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": ["_source_row"],
        "partial_unexpected_count": TICKETS,
        "return_unexpected_index_query": False,
    }
    with connect(folder) as con:
        con.execute("create temp view batch as from candidate_desk.tickets")
        engine, data = gx._engine(con, "batch")
        validator = Validator(execution_engine=engine, batches=[Batch(data=data)])
        results = validator.graph_validate(
            configurations=[one.configuration for one in gx._expectations(suite)],
            runtime_configuration={"result_format": complete, "catch_exceptions": False},
        )
    return {"failures": sum(result.result["unexpected_count"] for result in results)}


def gx_on_pandas(folder: Path) -> dict[str, int]:
    """Great Expectations on pandas, the frame read from DuckDB. It splits nothing."""
    import great_expectations as gx

    with connect(folder) as con:
        frame = con.execute("select * exclude (_deleted_at, _cursor) from candidate_desk.tickets").df()
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    told = expectations()
    for one in told:
        if isinstance(one["kwargs"].get("min_value"), str):  # pandas compares times with times only
            one["kwargs"] = {**one["kwargs"], "min_value": datetime.fromisoformat(one["kwargs"]["min_value"])}
    suite = context.suites.add(gx.ExpectationSuite(name="tickets", expectations=told))
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset("tickets")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    results = batch.validate(suite, result_format={"result_format": "COMPLETE"}).results
    assert all("unexpected_count" in result.result for result in results), [
        (result.expectation_config.to_json_dict()["kwargs"], str(result.exception_info)[:300])
        for result in results
        if "unexpected_count" not in result.result
    ]
    return {"failures": sum(result.result["unexpected_count"] for result in results)}


def dbt_tests(folder: Path) -> dict[str, int]:
    """Twenty tests of dbt-duckdb, which say how many rows fail and not which. They split nothing."""
    from dbt.cli.main import dbtRunner

    project = folder / "dbt"
    (project / "tests").mkdir(parents=True)
    (project / "dbt_project.yml").write_text(
        "{name: bench, version: '1.0.0', profile: bench, flags: {send_anonymous_usage_stats: false}}"
    )
    (project / "profiles.yml").write_text(
        f"bench: {{target: dev, outputs: {{dev: {{type: duckdb, path: '{folder / 'warehouse.duckdb'}', threads: 1}}}}}}"
    )
    unique = "select ticket_id from candidate_desk.tickets group by 1 having count(*) > 1"
    for number, (_, sql) in enumerate(RULES):
        query = f"select 1 from candidate_desk.tickets where {sql}" if sql else unique
        (project / "tests" / f"rule_{number}.sql").write_text(f"{{{{ config(severity='warn') }}}} {query}")
    result = dbtRunner().invoke(
        [
            "--quiet",
            "test",
            "--project-dir",
            str(project),
            "--profiles-dir",
            str(project),
            "--target-path",
            str(folder / "t"),
        ]
    )
    assert result.result is not None, result.exception
    return {"failures": sum(one.failures or 0 for one in result.result.results)}


ALL: dict[str, Callable[[Path], dict[str, int]]] = {
    "ours": ours,
    "audit only": audit_only,
    "audit same rules": same_rules,
    "SQL same job": by_hand_all,
    "SQL rules only": by_hand,
    "plain copy": plain_copy,
    "full hash scan": hash_scan,
    "GX over DuckDB": gx_on_duckdb,
    "GX on pandas": gx_on_pandas,
    "20 dbt tests": dbt_tests,
}

IMPORTS = {
    "GX over DuckDB": "import orchestration.guard.gx",
    "GX on pandas": "import great_expectations, pandas",
    "20 dbt tests": "from dbt.cli.main import dbtRunner",
}
"""Imported before the meter runs: what is compared is the work, which grows with the data."""


def contend(name: str, folder: Path) -> None:
    """One contender, in the process that is its own: its cost as a line of JSON."""
    # What does not fit fails by itself, and not the machine.
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_DATA, (free, free))
    import pandas  # noqa: F401  (DuckDB imports it at the first parameter that is bound)

    exec(IMPORTS.get(name, ""))
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = ALL[name](folder)
    after_ = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after_.ru_utime + after_.ru_stime - before.ru_utime - before.ru_stime
    sys.stdout.write(json.dumps({"cpu_seconds": cpu, "peak_mb": after_.ru_maxrss / 1024, **found}) + "\n")


def cost_of(name: str, start: Path, folder: Path) -> dict[str, float] | None:
    """What one contender costs on a copy of the warehouse, in a process of its own; None: more memory than is free."""
    subprocess.run(["cp", "-r", str(start), str(folder)], check=True)
    run = subprocess.run(
        [sys.executable, __file__, name, str(folder)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(FOLDER.parents[1]), "CEM_BENCH_TICKETS": str(TICKETS)},
    )  # fmt: skip
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    if "MemoryError" in run.stderr:
        return None
    assert run.returncode == 0, f"{name}: {run.stderr[-2000:]}"
    return json.loads(run.stdout.splitlines()[-1])


def line(name: str, costs: dict[str, dict[str, float]]) -> str:
    """A contender's line of the table."""
    if name not in costs:
        return f"  {name:<18}needs more memory than is free"
    cost = costs[name]
    ratios = [
        f"{cost['cpu_seconds'] / costs[other]['cpu_seconds']:8.2f}" if other in costs else f"{'':8}"
        for other in ("ours", "audit only")
    ]
    found = ", ".join(f"{count:,} {what}" for what, count in cost.items() if what not in ("cpu_seconds", "peak_mb"))
    return f"  {name:<18}{''.join(ratios)}  {cost['cpu_seconds']:9.2f} s  {cost['peak_mb']:8,.0f} MB  {found}"


@pytest.mark.benchmark
def test_what_the_guard_costs(tmp_path: Path, keep: Keep):
    start = tmp_path / "start"
    start.mkdir()
    prepare(start)
    compile_ours(start)
    costs: dict[str, dict[str, float]] = {}
    names = [one for one in ALL if not CONTENDERS or one in CONTENDERS.split(",")]
    # In rounds, so that what else the machine does meets all of them alike.
    for turn in range(REPEATS):
        for name in names if turn == 0 else [one for one in names if one not in IMPORTS]:
            cost = cost_of(name, start, tmp_path / "run")
            if cost is not None and (name not in costs or cost["cpu_seconds"] < costs[name]["cpu_seconds"]):
                costs[name] = cost
    head = f"{TICKETS:,} tickets, {len(RULES)} rules; CPU against ours and audit only; peak memory"
    text = "\n".join([head, *(line(name, costs) for name in names)])
    keep("what the guard costs", {"tickets": TICKETS, "rules": len(RULES), "costs": costs}, text)
    assert len({cost["bad"] for cost in costs.values() if "bad" in cost}) <= 1


if __name__ == "__main__":
    contend(sys.argv[1], Path(sys.argv[2]))
