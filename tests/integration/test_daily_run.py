"""The product as its users meet it: the command, the second run, the failure, the readers."""

import duckdb
import pytest
from demo_company import cem
from fact_recomputation import differences
from kpi_recomputation import Rules, disagreements, facts_of, recompute

from orchestration.identity import resolve
from orchestration.semantic import Question, SemanticLayer
from orchestration.settings import load_settings
from orchestration.sources.staging import setting_values
from orchestration.warehouse import connect


def published(home, sql):
    with duckdb.connect(str(home / "published" / "cem.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_the_first_run_shows_progress_loads_customers_and_kpis(company):
    output = company.output
    for stage in ("extract", "guard", "unify", "model", "publish"):
        assert any(line.startswith(stage) and " rows " in line for line in output.splitlines())
    assert "demo_crm" in output
    assert "customers" in output
    for kpi in ("NPS", "CSAT", "CES", "Retention", "Churn", "CLV", "First contact", "First response", "Complaints"):
        assert kpi in output
    assert "make ui" in output
    assert "marts.duckdb" in output


def test_every_load_is_conserved(company):
    home = company.home
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
    home = company.home
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


def test_every_row_of_the_facts_agrees_with_a_recomputation_from_the_records(company):
    home = company.home
    settings = load_settings(home.parent / "cem.yml", home)
    assert differences(home / "warehouse.duckdb", setting_values(settings))[:5] == []


def test_every_month_of_every_kpi_agrees_with_a_recomputation(company):
    home = company.home
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


def test_the_semantic_layer_gives_the_same_figures_by_month_and_channel(company):
    home = company.home
    settings = load_settings(home.parent / "cem.yml", home)
    layer = SemanticLayer(settings)
    asked = {
        "csat": "survey_record",
        "ces": "survey_record",
        "fcr_7d": "ticket_record",
        "net_sentiment": "mention_record",
    }
    asked |= {"first_response_minutes": "ticket_record", "survey_response_rate": "contact_record"}
    ratios = published(
        home,
        "select metric from marts.dim_metric where period_kind = 'flow' and metric not like '%weighted' "
        "and interval_kind not in ('order_statistic', 'kaplan_meier', 'poisson')",
    )
    assert layer.figures().keys() == {metric for (metric,) in ratios}
    for figure, records in asked.items():
        for slice_, dimension in (("all", ()), ("channel", (f"{records}__channel",))):
            rows = layer.answer(Question([figure], ["metric_time__month", *dimension])).fetchall()
            found = {(month.date(), *rest[:-2]): (rest[-2], rest[-1]) for month, *rest in rows if rest[-1]}
            cells = published(
                home,
                f"select period_start, slice_value, value, n from marts.mart_kpi where metric = '{figure}' and "
                f"period_grain = 'month' and calendar = 'gregorian' and slice = '{slice_}' and n > 0",
            )
            wanted = {(start, value)[: 1 + len(dimension)]: (figure_, n) for start, value, figure_, n in cells}
            assert found.keys() == wanted.keys()
            assert len(wanted) >= 12
            for cell, (value, n) in wanted.items():
                assert found[cell] == (pytest.approx(value), n)


def test_identity_joins_records_without_losing_any(company):
    home = company.home
    records, customers = published(home, "select sum(record_count), count(*) from marts.dim_customer")[0]
    assert customers < records
    orphans = published(
        home,
        "select count(*) from marts.fct_order as o anti join marts.dim_customer as c using (customer_id)",
    )
    assert orphans == [(0,)]


def test_published_names_and_addresses_are_masked(company):
    home = company.home
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as con:
        mails = {m for (m,) in con.execute("select email from marts.dim_customer where email is not null").fetchall()}
    shown = {m for (m,) in published(home, "select email from marts.dim_customer where email is not null")}
    assert len(mails) > 100
    assert not mails & shown


def test_a_second_run_loads_nothing_changes_nothing_and_says_so(company):
    home = company.home
    before = (home / "published" / "marts.duckdb").stat()
    rows = published(home, "select version from marts._publication")
    result = cem(home, "run")
    assert result.returncode == 0, result.stderr
    after = (home / "published" / "marts.duckdb").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert published(home, "select version from marts._publication") == rows
    assert result.stdout.count("nothing new") >= 4


def test_days_later_new_changed_and_deleted_records_arrive_once(company, later_company):
    orders = published(company.home, "select count(*) from marts.fct_order")[0][0]
    home = later_company.home
    later = published(home, "select count(*), count(distinct order_key) from marts.fct_order")[0]
    assert later[0] == later[1] > orders
    assert published(home, "select version from marts._publication") == [(2,)]
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as con:
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


def test_a_held_load_stops_the_run_and_the_published_marts_stay(company, tmp_path):
    moved = company.copy(tmp_path)
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
    home = company.home
    line = next(line for line in company.output.splitlines() if "cem query" in line)
    result = cem(home, "query", line.split('"')[1])
    assert result.returncode == 0, result.stderr
    assert "period_start" in result.stdout


def test_operators_see_loads_quarantine_and_why_records_are_one(company):
    home = company.home
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


FACTS = ("fct_interaction", "fct_order", "fct_survey_response", "fct_ticket")


def follow(home):
    """What the next run makes of people's decisions, up to the facts: what each customer has, before and in all."""
    settings = load_settings(home.parent / "cem.yml", home)
    con = connect(settings.warehouse, settings.extensions, "1GB", 1)
    resolve(con, settings.identity)
    con.close()
    between = (f"int_person__resolved+,+{model}" for model in ("dim_customer", *FACTS))
    built = cem(home, "dbt", "run", "--select", *between)
    assert built.returncode == 0, built.stdout
    return facts(home)


def facts(home):
    """By customer and fact: rows, and the amount of orders in cents."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as con:
        rows = con.execute(
            "select customer_id, 'records', record_count, 0 from marts.dim_customer"
            + "".join(
                f" union all select customer_id, '{fact}', count(*), "
                + ("coalesce(sum(amount) * 100, 0)::bigint" if fact == "fct_order" else "0")
                + f" from marts.{fact} where customer_id is not null group by customer_id"
                for fact in FACTS
            )
        ).fetchall()
    return {(customer, fact): (count, cents) for customer, fact, count, cents in rows}


def total(facts_):
    totals = {}
    for (_, fact), (count, cents) in facts_.items():
        rows, amount = totals.get(fact, (0, 0))
        totals[fact] = (rows + count, amount + cents)
    return totals


def test_facts_follow_a_merge_and_its_undoing_without_losing_a_row(company, tmp_path):
    home = company.copy(tmp_path)
    before = facts(home)
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as con:
        (one, kept), (other, ended) = con.execute(
            "select min(person_key), customer_id from marts.fct_order group by customer_id "
            "order by count(*) desc, 2 limit 2"
        ).fetchall()
    assert cem(home, "identity", "force", one, other, "--by", "Mina", "--reason", "one man").returncode == 0
    merged = follow(home)
    assert total(merged) == total(before)
    customers = {customer for customer, _ in before} - {customer for customer, _ in merged}
    assert len(customers) == 1 and customers < {kept, ended}
    (survivor,) = {kept, ended} - customers
    both = tuple(map(sum, zip(before[kept, "fct_order"], before[ended, "fct_order"], strict=True)))
    assert merged[survivor, "fct_order"] == both
    assert cem(home, "identity", "undo", one, other, "--by", "Reza", "--reason", "two men").returncode == 0
    assert follow(home) == before


def test_wrong_configuration_names_file_line_field_and_allowed_values(tmp_path):
    config = tmp_path / "cem.yml"
    config.write_text("company: X\nsources:\n  - {name: a, kind: fils, folder: .}\n")
    result = cem(tmp_path / "var", "run", config=config)
    assert result.returncode == 2
    assert f"{config}:3" in result.stderr
    assert "kind" in result.stderr
    assert "files" in result.stderr
    assert not (tmp_path / "var" / "warehouse.duckdb").exists()
