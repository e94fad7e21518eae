"""The product as its users meet it: the command, the second run, the failure, the readers."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from kpi_recomputation import Rules, disagreements, facts_of, recompute

from orchestration.settings import load_settings
from orchestration.sources.staging import setting_values

CONFIG = """
company: Test Retail
reporting: {time_zone: Asia/Tehran, currency: USD}
engine: {memory_limit: 2GB, threads: 2, disk_reserve: 8MB}
sources:
  - {name: demo, kind: demo, customers: 1000, seed: 3}
"""


LIST_RUNS = """
import json, dagster
with dagster.DagsterInstance.get() as instance:
    print(json.dumps([run.status.value for run in instance.get_runs()]))
"""

pytestmark = pytest.mark.xdist_group("daily_run")  # one first run for all


def cem(home, *arguments, config=None):
    return subprocess.run(
        [Path(sys.executable).with_name("cem"), *arguments],
        env={**os.environ, "CEM_HOME": str(home), "CEM_CONFIG": str(config or home.parent / "cem.yml")},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def company(tmp_path_factory):
    """A state folder after its first run, with what the run printed."""
    folder = tmp_path_factory.mktemp("company")
    (folder / "cem.yml").write_text(CONFIG)
    result = cem(folder / "var", "run")
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "var", result.stdout


def published(home, sql):
    with duckdb.connect(str(home / "published" / "cem.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_the_first_run_shows_progress_loads_customers_and_kpis(company):
    _, output = company
    for stage in ("extract", "guard", "unify", "model", "publish"):
        assert any(line.startswith(stage) and " rows " in line for line in output.splitlines())
    assert "demo_crm" in output
    assert "customers" in output
    for kpi in ("NPS", "CSAT", "CES", "Retention", "Churn", "CLV", "First contact", "First response", "Complaints"):
        assert kpi in output
    assert "make ui" in output
    assert "marts.duckdb" in output


def test_every_load_is_conserved(company):
    home, _ = company
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as con:
        wrong = con.execute(
            "select * from ops.loads where extracted <> promoted + quarantined + deduplicated"
        ).fetchall()
        loads, quarantined = con.execute("select count(*), sum(quarantined) from ops.loads").fetchone()
        in_quarantine = con.execute("select count(*) from quarantine.rows").fetchone()[0]
    assert wrong == []
    assert loads > 15
    assert quarantined == in_quarantine > 0


def test_the_ten_kpis_have_values_with_n_and_interval(company):
    home, _ = company
    rows = published(
        home,
        """
        select metric, max(n) from marts.mart_kpi
        where slice = 'all' and value is not null and ci_low <= value and value <= ci_high
            and period_grain in ('month', 'quarter')
        group by metric
        """,
    )
    assert {metric for metric, n in rows if n >= 10} >= {
        "nps", "csat", "ces", "retention_rate", "churn_rate", "clv_to_date", "fcr_7d",
        "first_response_minutes", "complaint_rate", "net_sentiment",
    }  # fmt: skip


def test_every_month_of_every_kpi_agrees_with_a_recomputation(company):
    home, _ = company
    settings = load_settings(home.parent / "cem.yml", home)
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as con:
        (as_of,) = con.execute("select as_of_date from intermediate.int_as_of__resolved").fetchone()
        found = con.execute(
            "from marts.mart_kpi where period_grain in ('month', 'all') and slice in ('all', 'channel')"
        )
        names = [column[0] for column in found.description]
        figures = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    rules = Rules(setting_values(settings), as_of, frozenset({"month", "all"}), frozenset({"all", "channel"}))
    assert disagreements(figures, recompute(facts_of(home / "warehouse.duckdb"), rules))[:5] == []


def test_identity_joins_records_without_losing_any(company):
    home, _ = company
    records, customers = published(home, "select sum(record_count), count(*) from marts.dim_customer")[0]
    assert customers < records
    orphans = published(
        home,
        "select count(*) from marts.fct_order as o anti join marts.dim_customer as c using (customer_id)",
    )
    assert orphans == [(0,)]


def test_published_names_and_addresses_are_masked(company):
    home, _ = company
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as con:
        mails = {m for (m,) in con.execute("select email from marts.dim_customer where email is not null").fetchall()}
    shown = {m for (m,) in published(home, "select email from marts.dim_customer where email is not null")}
    assert len(mails) > 100
    assert not mails & shown


def test_a_second_run_loads_nothing_changes_nothing_and_says_so(company):
    home, _ = company
    before = (home / "published" / "marts.duckdb").stat()
    rows = published(home, "select version from marts._publication")
    result = cem(home, "run")
    assert result.returncode == 0, result.stderr
    after = (home / "published" / "marts.duckdb").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert published(home, "select version from marts._publication") == rows
    assert result.stdout.count("nothing new") >= 4


def test_days_later_new_changed_and_deleted_records_arrive_once(company, tmp_path):
    home, _ = company
    moved = tmp_path / "var"
    shutil.copytree(home, moved, symlinks=True)
    shutil.copy(home.parent / "cem.yml", tmp_path / "cem.yml")
    orders = published(moved, "select count(*) from marts.fct_order")[0][0]
    assert cem(moved, "demo", "--customers", "1000", "--seed", "3", "--days", "21").returncode == 0
    result = cem(moved, "run")
    assert result.returncode == 0, result.stdout + result.stderr
    later = published(moved, "select count(*), count(distinct order_key) from marts.fct_order")[0]
    assert later[0] == later[1] > orders
    assert published(moved, "select version from marts._publication") == [(2,)]
    with duckdb.connect(str(moved / "warehouse.duckdb"), read_only=True) as con:
        deleted = [
            key
            for table in ("people", "orders", "activities")
            for (key,) in con.execute(f"select _key from raw_demo_crm.{table} where _deleted_at is not null").fetchall()
        ]
        left = con.execute(
            "select count(*) from marts.fct_interaction where record_key in (select 'demo_crm:' || unnest(?))",
            [deleted],
        ).fetchone()
    assert deleted
    assert left == (0,)


def test_a_killed_run_leaves_nothing_that_stops_the_next_one(tmp_path):
    (tmp_path / "cem.yml").write_text(CONFIG.replace("seed: 3", "seed: 4"))
    environment = {**os.environ, "CEM_HOME": str(tmp_path / "var"), "CEM_CONFIG": str(tmp_path / "cem.yml")}
    run = subprocess.Popen(
        [Path(sys.executable).with_name("cem"), "run"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert any(line.startswith("guard") for line in iter(run.stdout.readline, ""))
    run.kill()
    run.wait()
    run.stdout.close()
    result = cem(tmp_path / "var", "run")
    assert result.returncode == 0, result.stdout + result.stderr
    runs = json.loads(
        subprocess.run(
            [sys.executable, "-c", LIST_RUNS],
            env={**environment, "DAGSTER_HOME": str(tmp_path / "var" / "dagster")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert sorted(runs) == ["FAILURE", "SUCCESS"]
    with duckdb.connect(str(tmp_path / "var" / "warehouse.duckdb"), read_only=True) as con:
        left = con.execute("select count(*) from duckdb_tables() where schema_name like 'candidate%'").fetchone()
    assert left == (0,)


def test_a_held_load_stops_the_run_and_the_published_marts_stay(company, tmp_path):
    home, _ = company
    moved = tmp_path / "var"
    shutil.copytree(home, moved, symlinks=True)
    shutil.copy(home.parent / "cem.yml", tmp_path / "cem.yml")
    figures = "select metric, period_start, slice, slice_value, value from marts.mart_kpi order by all"
    before = published(moved, figures)
    survey_file = next((moved / "demo").rglob("*response*.csv"))
    lines = survey_file.read_text().splitlines()
    survey_file.write_text("\n".join([lines[0], *(",".join(["broken"] * len(line.split(","))) for line in lines[1:])]))
    result = cem(moved, "run")
    assert result.returncode == 1
    assert "held" in result.stderr
    assert published(moved, figures) == before
    [(version, is_stale, reason)] = published(moved, "select version, is_stale, stale_reason from marts._publication")
    assert (version, is_stale) == (1, True)
    assert "demo_survey" in reason and reason in result.stderr


def test_the_query_of_the_summary_works(company):
    home, output = company
    line = next(line for line in output.splitlines() if "cem query" in line)
    result = cem(home, "query", line.split('"')[1])
    assert result.returncode == 0, result.stderr
    assert "period_start" in result.stdout


def test_operators_see_loads_quarantine_and_why_records_are_one(company):
    home, _ = company
    assert "demo_crm.orders" in cem(home, "load", "list").stdout
    assert "must not be" in cem(home, "quarantine", "list").stdout
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as con:
        first, second = con.execute(
            "select min(person_key), max(person_key) from identity.customer_xref where valid_to is null "
            "group by customer_id having count(*) > 1 order by all limit 1"
        ).fetchone()
    assert "one customer" in cem(home, "explain", first, second).stdout
    unknown = cem(home, "explain", first, "nobody:1")
    assert unknown.returncode == 1
    assert "nobody:1" in unknown.stderr


def test_wrong_configuration_names_file_line_field_and_allowed_values(tmp_path):
    config = tmp_path / "cem.yml"
    config.write_text("company: X\nsources:\n  - {name: a, kind: fils, folder: .}\n")
    result = cem(tmp_path / "var", "run", config=config)
    assert result.returncode == 2
    assert f"{config}:3" in result.stderr
    assert "kind" in result.stderr
    assert "files" in result.stderr
    assert not (tmp_path / "var" / "warehouse.duckdb").exists()
