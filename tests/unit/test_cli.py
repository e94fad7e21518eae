"""What the command `cem` says and returns: answers in full, and one line for what an operator can mend."""

import csv
import io
import json
import subprocess
import sys
from datetime import datetime

import duckdb
import pytest

from orchestration import demo, semantic
from orchestration.cli import main
from orchestration.defs.run import RunOutcome
from orchestration.publication import Published, Staleness

CONFIG = """
company: Test
sources:
  - {name: demo, kind: demo, customers: 130, seed: 3}
"""

NO_FOLDER = "/sys/cem"
"""A folder that nobody may make, not even the administrator."""


@pytest.fixture
def state(home, tmp_path, monkeypatch):
    """A state folder and configuration that commands take."""
    (tmp_path / "cem.yml").write_text(CONFIG)
    monkeypatch.setenv("CEM_CONFIG", str(tmp_path / "cem.yml"))
    monkeypatch.setenv("CEM_HOME", str(home))
    return home


@pytest.fixture
def published(state):
    """Published marts without a second name: a month and region a row, more rows and columns than a terminal has."""
    (state / "published").mkdir()
    months = ", ".join(f"'مقدار ماه' as month_number_{number}" for number in range(40))
    with duckdb.connect() as con:
        con.execute(f"attach '{state / 'published' / 'marts.duckdb'}' as cem")
        con.execute("use cem; create schema marts")
        con.execute(f"""
            create table marts.mart_kpi as
            select range as id, 'استان آذربایجان شرقی و غربی، ' || range as region, range / 2 as value,
                null::text as note, {months}
            from range(200)
        """)
    return state


def said(capsys, *arguments):
    """Exit code, output and errors of a command."""
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_an_answer_has_every_row_column_and_word(published, capsys):
    code, out, _ = said(capsys, "query", "from marts.mart_kpi order by id")

    header, _, *rows, count = out.splitlines()
    assert code == 0
    assert header.split()[:4] == ["id", "region", "value", "note"] and header.split()[-1] == "month_number_39"
    assert [row.split()[0] for row in rows] == [str(number) for number in range(200)]
    assert all(f"استان آذربایجان شرقی و غربی، {number}" in row for number, row in enumerate(rows))
    assert count == "(200 rows)"


def test_persian_words_and_line_breaks_leave_columns_in_line(published, capsys):
    _, out, _ = said(capsys, "query", "select 'می‌رَوَم' as word, 7 as n union all select e'a\\nb', 10 order by n")

    assert out.splitlines() == ["word    n", "-----  --", "می‌رَوَم   7", "a\\nb   10", "(2 rows)"]


def test_before_the_first_publication_a_query_says_what_to_do(state, capsys):
    assert said(capsys, "query", "select 1") == (1, "", "cem: nothing is published yet; run `cem run` first\n")


def test_a_query_cannot_write_what_is_published(published, capsys):
    code, _, err = said(capsys, "query", "delete from marts.mart_kpi")
    assert code == 1 and "read-only" in err


def test_an_empty_answer_says_so(published, capsys):
    _, out, _ = said(capsys, "query", "select id, region from marts.mart_kpi where id < 0")

    assert out.splitlines() == ["id  region", "--  ------", "(0 rows)"]


def test_csv_can_be_read_again(published, capsys):
    sql = "select id, region, note, 'a,\"b\"' || chr(10) || 'c' as hard from marts.mart_kpi order by id"
    _, out, _ = said(capsys, "query", sql, "--csv")

    header, *rows = csv.reader(io.StringIO(out))
    assert header == ["id", "region", "note", "hard"]
    assert rows == [[str(n), f"استان آذربایجان شرقی و غربی، {n}", "", 'a,"b"\nc'] for n in range(200)]


def test_a_statement_without_rows_says_nothing(published, capsys):
    assert said(capsys, "query", "set threads = 1") == (0, "", "")


@pytest.mark.parametrize("options", [(), ("--csv",)])
def test_figures_come_with_every_row(state, capsys, monkeypatch, options):
    answer = duckdb.sql("select range as month, 'north' as region, 0.5 as csat from range(60)")
    monkeypatch.setattr(semantic.SemanticLayer, "__init__", lambda self, settings: None)
    monkeypatch.setattr(semantic.SemanticLayer, "answer", lambda self, question: answer)

    _, out, _ = said(capsys, "metrics", "csat", "--by", "month", *options)

    assert sum("north" in line for line in out.splitlines()) == 60


def test_a_failed_run_says_what_stays_up_and_that_it_does_not_follow(published, capsys, monkeypatch):
    before = Published(7, "before", datetime(2024, 5, 1, 3), 10, "hash", Staleness(False, None, None, 0))
    monkeypatch.setattr("orchestration.publication.current_publication", lambda con, settings: before)
    monkeypatch.setattr("orchestration.defs.run.run_daily", lambda _: RunOutcome("r", False, ("build: no room",)))

    code, out, err = said(capsys, "run")

    assert (code, out) == (1, "")
    assert err.split("\n")[1:3] == ["The run failed.", "  build: no room"]
    assert "version 7" in err and "do not follow what was loaded since" in err


@pytest.mark.parametrize("arguments", [("demo", "--folder", NO_FOLDER), ("load", "list"), ("prepare",)])
def test_what_may_not_be_written_is_told_in_one_line(state, capsys, monkeypatch, arguments):
    if arguments[0] != "demo":
        monkeypatch.setenv("CEM_HOME", NO_FOLDER)

    code, _, err = said(capsys, *arguments)

    assert code == 1
    assert err.startswith(f"cem: {NO_FOLDER}") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("action", "code", "told"),
    [
        ("review", 0, "No pair of records waits"),
        ("sample", 0, "No link waits"),
        ("train", 1, "cem: identity has tied no two records yet; run the daily job first"),
    ],
)
def test_before_the_first_run_identity_says_that_there_is_nothing_yet(state, capsys, action, code, told):
    returned, out, err = said(capsys, "identity", action)

    assert (returned, (out or err).startswith(told), (out + err).count("\n")) == (code, True, 1)


def test_a_page_in_a_folder_that_there_is_not_is_told_in_one_line(state, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestration.identity.explain.explain", lambda *_: "one customer")
    monkeypatch.setattr("orchestration.identity.explain_page.page", str)
    page = tmp_path / "nowhere" / "why.html"

    code, _, err = said(capsys, "explain", "crm:1", "shop:1", "--page", str(page))

    assert (code, err) == (1, f"cem: {page}: No such file or directory\n")


@pytest.mark.parametrize(
    ("where", "size", "told"),
    [
        ("the state folder", {"customers": 130, "seed": 3}, "130 customers (seed 3)"),
        ("elsewhere", {"customers": 110, "seed": 5}, "110 customers (seed 5)"),
    ],
)
def test_without_options_the_demo_company_is_that_of_cem_yml_or_the_one_that_is_there(
    state, capsys, tmp_path, where, size, told
):
    folder = tmp_path / "trial" if where == "elsewhere" else state / "demo"
    folder.mkdir()
    known = {**size, "days": 2, "end": demo.company.HISTORY_END.isoformat(), "rows": {}}
    (folder / demo.company.MANIFEST).write_text(json.dumps(known))

    code, out, err = said(capsys, "demo", *(["--folder", str(folder)] if where == "elsewhere" else []))

    assert code == 0, err
    assert told in out and "nothing to do" in out


def test_the_demo_company_stays_as_it_is_while_a_run_reads_it(state, capsys):
    script = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); print(); input()"
    command = [sys.executable, "-c", script, str(state / "run.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        run.stdout.readline()
        code, _, err = said(capsys, "demo", "--days", "7")
        run.kill()

    assert code == 1
    assert "one run at a time" in err
    assert demo.read(state / "demo") is None
