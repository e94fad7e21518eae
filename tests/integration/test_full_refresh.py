"""What daily runs made of changes, one after another, is what one build from nothing makes of all records at once.

Models that keep rows between runs (whichever those are: all models of the project are looked at) must not be able to
tell how their records came: new, changed, late or deleted, on one day or on another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import duckdb
from demo_company import advance, build_models

from orchestration import builds, transform
from orchestration.analytics.clv import build_clv
from orchestration.analytics.sentiment import build_sentiment
from orchestration.cli import main
from orchestration.defs import transform as transform_step
from orchestration.defs.run import run_daily
from orchestration.identity import decisions
from orchestration.settings import load_settings
from orchestration.transform import TransformError
from orchestration.warehouse import utc_now, writing

NIGHTS = ({"people_are_joined", "killed"}, {"references_changed"}, {"time_went_back"})
"""What happens on days, after each of which the job runs once more; the shared company had a first run and one weeks
later."""

REFERENCES = {
    ("demo_crm", "products"): "product_line = 'all', unit_cost = '1.5'",
    ("demo_support", "agents"): "is_bot = (is_bot = 'false')::text",
    ("demo_survey", "surveys"): "name = name || '!', channel = 'sms'",
    ("demo_survey", "questions"): "highest = (highest::int + 1)::text",
}
"""What else a night may find of tables of which a row tells of many records of others."""

WHAT_CHANGED = {
    "intermediate.int_person__unseen",
    "intermediate.int_record__touched",
    "intermediate.int_customer__touched",
    "intermediate.int_kpi_wait_cell__touched",
}
"""What a run has found changed, which a build from nothing does not ask."""

REBUILT = ("staging", "intermediate", "marts")
"""Schemas of which nothing is left. Raw tables, identities and models of sentiment are what they are built from."""

TELL_OF_RUNS = {
    "mart_kpi_parts": ("restated_at", "previous_value"),  # what an earlier run published
    "mart_kpi": ("restated_at", "previous_value", "restated_by"),  # the same, and the difference to it
    "mart_load_quality": ("unpromoted_hours",),  # the time since a moment of the clock
}
"""Columns that are left out, because they say when something was built."""


@dataclass(frozen=True)
class Content:
    """The rows of a relation, whatever their order: their number and, by column, what their values sum up to."""

    rows: int
    columns: dict[str, int | None]


def test_daily_runs_end_where_a_full_refresh_does(later_company, tmp_path, monkeypatch):
    home = later_company.copy(tmp_path / "daily")
    settings = load_settings(home.parent / "cem.yml", home)
    refreshes = []
    for night in NIGHTS:
        advance(home, 1)
        with monkeypatch.context() as patch:
            counted = Builds(ends_early="killed" in night)
            patch.setattr(transform_step, "build", counted)
            happen(settings, night)
            outcome = run_daily(settings)
        assert outcome.is_success or "killed" in night, outcome.failures
        refreshes += counted.refreshes
    assert not any(refreshes), "a night built everything anew, which proves nothing"
    daily = contents(settings)
    assert models(settings) - WHAT_CHANGED <= daily.keys()
    build_from_nothing(settings)
    anew = contents(settings)
    assert anew.keys() == daily.keys()
    assert {name: difference(daily[name], anew[name]) for name in daily if daily[name] != anew[name]} == {}


def test_a_night_looks_at_the_keys_of_what_it_made_and_a_test_at_all(later_company, tmp_path, monkeypatch):
    """Of a mart by what was touched, of an entity by the new loads: a night finds a doubled row of these only.

    A row without a key is found whoever made it.
    """
    settings = copied(later_company, tmp_path / "doubled", monkeypatch)
    tests = ["primary_key_fct_order_order_key", "primary_key_int_order__unioned_order_key"]
    with writing(settings) as con:
        con.execute("""
            insert into intermediate.int_customer__touched
            select customer_id, now() from marts.fct_order where customer_id is not null limit 1;
            insert into ops.loads
            select 'new', source, _table, 'promoted', 1, 1, 0, 0, null, now(), now()
            from intermediate.int_order__unioned limit 1
        """)
    for made, load_id, finds_it in (("in", "new", True), ("not in", "old", False)):
        of_touched = f"customer_id {made} (select customer_id from intermediate.int_customer__touched)"
        of_load = f"* replace ('{load_id}' as _load_id)"
        with writing(settings) as con:
            con.execute(f"create or replace temp table twice as from marts.fct_order where {of_touched} limit 1")
            con.execute("insert into marts.fct_order from twice")
            con.execute(
                f"create or replace temp table twice as select {of_load} from intermediate.int_order__unioned limit 1"
            )
            con.execute("insert into intermediate.int_order__unioned from twice")
        # One after the other: what is made of an entity is skipped where a test of the entity fails.
        for test in tests:
            (result,) = transform.build(settings, ["--select", test])
            assert (result.status == "fail") is finds_it, result.message
        assert main(["dbt", "test", "--select", *tests]) != 0
        with writing(settings) as con:
            con.execute("create or replace temp table once as select distinct * from marts.fct_order")
            con.execute("truncate marts.fct_order; insert into marts.fct_order from once")
            con.execute(f"delete from intermediate.int_order__unioned where _load_id = '{load_id}'")
    assert main(["dbt", "test", "--select", *tests]) == 0
    with writing(settings) as con:
        con.execute(
            "insert into intermediate.int_order__unioned "
            "select * replace (null as order_key) from intermediate.int_order__unioned limit 1"
        )
    (result,) = transform.build(settings, ["--select", tests[1]])
    assert (result.status, result.failures) == ("fail", 1)


def copied(company, folder, monkeypatch):
    """The settings of a copy of a company, which commands find by the environment."""
    home = company.copy(folder)
    monkeypatch.setenv("CEM_CONFIG", str(home.parent / "cem.yml"))
    monkeypatch.setenv("CEM_HOME", str(home))
    return load_settings(home.parent / "cem.yml", home)


def happen(settings, night):
    """What else happens before a night."""
    with writing(settings) as con:
        if "people_are_joined" in night:
            one, other = con.execute(
                "select min(person_key), max(person_key) from identity.customer_xref where valid_to is null"
            ).fetchone()
            decisions.force(con, one, other, "tester", "one of them asked")
            builds.forget(con)
        if "references_changed" in night:
            for (source, table), change in REFERENCES.items():
                con.execute(f"update raw_{source}.{table} set {change}, _load_id = 'references'")
                con.execute(
                    "insert into ops.loads values ('references', ?, ?, 'promoted', 1, 1, 0, 0, null, now(), now())",
                    [source, table],
                )
        if "time_went_back" in night:
            con.execute("update ops.builds set as_of_at = as_of_at + interval 40 day where stage = 'model'")


@dataclass
class Builds:
    """`build_models`, counted.

    Attributes:
        ends_early: Whether the models after identity are built in part only, and fail then.
        refreshes: For each call so far, whether it built everything anew.
    """

    ends_early: bool = False
    refreshes: list[bool] = field(default_factory=list)

    def __call__(self, settings, arguments):
        self.refreshes.append("--full-refresh" in arguments)
        if self.ends_early and "--exclude" in arguments:
            some = [argument for argument in arguments if argument == "--full-refresh"]
            build_models(settings, ["--select", "+fct_order", "+fct_survey_response", *some])
            raise TransformError("killed")
        return build_models(settings, arguments)


def build_from_nothing(settings):
    """What the job builds, as it builds it, in a warehouse that has the records and nothing made of them."""
    with writing(settings) as con:
        for schema in REBUILT:
            con.execute(f"drop schema {schema} cascade")
        con.execute("delete from sentiment.text_score")
    unify = transform.UNIFY_SELECTION.split()
    built = build_models(settings, ["--full-refresh", "--select", *unify])
    with writing(settings) as con:
        build_sentiment(con, utc_now())
    built += build_models(settings, ["--full-refresh", "--exclude", *unify])
    assert transform.failures_text(settings, built) == ""
    with writing(settings) as con:
        build_clv(con, settings)


def models(settings):
    """Names of all models of the project, but for staging, which only reads raw tables."""
    nodes = transform.load_manifest(settings)["nodes"].values()
    return {
        f"{node['schema']}.{node['alias']}"
        for node in nodes
        if node["resource_type"] == "model" and node["schema"] in ("intermediate", "marts")
    }


def contents(settings):
    """The content of everything that is built, tables and views, by name."""
    with duckdb.connect(str(settings.warehouse), read_only=True) as con:
        con.execute("set threads = 2")
        columns = con.execute(
            "select table_schema, table_name, list(column_name), list(data_type) from information_schema.columns "
            "where table_schema in ('intermediate', 'marts') and table_catalog = current_catalog() group by all"
        ).fetchall()
        return {
            f"{schema}.{table}": content(con, schema, table, *rest)
            for schema, table, *rest in columns
            if f"{schema}.{table}" not in WHAT_CHANGED
        }


def content(con, schema, table, names, types):
    compared = {name: kind for name, kind in zip(names, types, strict=True) if name not in TELL_OF_RUNS.get(table, ())}
    # A sum of doubles depends on the order of its rows in the last digits.
    values = {name: f'round("{name}", 6)' if kind == "DOUBLE" else f'"{name}"' for name, kind in compared.items()}
    sums = ", ".join(f"sum(hash({value}))" for value in values.values())
    rows, whole, *each = con.execute(
        f'select count(*), sum(hash({", ".join(values.values())})), {sums} from "{schema}"."{table}"'
    ).fetchone()
    return Content(rows, {"the whole row": whole, **dict(zip(values, each, strict=True))})


def difference(daily, anew):
    """Where to look: the number of rows, and the columns whose values differ."""
    differing = [name for name in daily.columns if daily.columns[name] != anew.columns.get(name)]
    return f"{daily.rows} rows after daily runs, {anew.rows} built anew; {', '.join(differing)}"
