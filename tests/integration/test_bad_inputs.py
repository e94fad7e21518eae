"""Every class of bad input through the daily job: what happens to its rows, and that nothing wrong is published."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import duckdb
import forked
import pytest
from bad_inputs import HELD, LATER, ROWS, Case, Delivery
from homes import new_home

from orchestration.settings import load_settings
from orchestration.sources.mapping import mapped_select

CONFIG = """
company: Bad inputs
reporting: {time_zone: Europe/Berlin, currency: EUR}
engine: {memory_limit: 2GB, threads: 2}
sources:
  - name: bad
    kind: files
    folder: in
    time_zone: Europe/Berlin
    tables:
      - name: questions
        rows: [{id: recommend, survey: s, metric: nps, low: "0", high: "10"}]
        key: id
        entity: question
        columns: {question_id: id, survey_id: survey, metric: metric, scale_min: low, scale_max: high}
"""

HELD_SOURCE = """\
  - name: held
    kind: files
    folder: in
    tables:
"""

pytestmark = pytest.mark.xdist_group("bad_inputs")


class Plant:
    """A folder of deliveries and the state folder they are loaded into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = new_home(folder / "var")
        self.config = folder / "cem.yml"
        (folder / "in").mkdir()

    def declare(self, cases: list[Case], held: list[Case]) -> None:
        text = CONFIG + "".join(case.table() for case in cases)
        if held:
            text += HELD_SOURCE + "".join(case.table() for case in held)
        self.config.write_text(text, encoding="utf-8")
        self.settings = load_settings(self.config, self.home)

    def deliver(self, table: str, delivery: Delivery) -> None:
        """Put files in the place of those delivered before."""
        for path in (self.folder / "in").glob(f"{table}.*"):
            path.unlink()
        for name, content in zip(delivery.names(table), delivery.contents, strict=True):
            (self.folder / "in" / name).write_bytes(content)

    def cem(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        places = {"CEM_HOME": str(self.home), "CEM_CONFIG": str(self.config)}
        return forked.cem(*arguments, environment={**os.environ, **places})

    def warehouse(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self.home / "warehouse.duckdb"), read_only=True)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """One run over all the cases of `ROWS`, and the first deliveries of `LATER`."""
    plant = Plant(tmp_path_factory.mktemp("bad_inputs"))
    plant.declare([*ROWS, *LATER], [])
    for case in (*ROWS, *LATER):
        plant.deliver(case.name, case.delivery)
    result = plant.cem("run")
    assert result.returncode == 0, result.stdout + result.stderr
    return plant


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_rows_are_mended_quarantined_or_counted_and_none_is_lost(loaded: Plant, case: Case):
    check_counts(loaded, case)
    check_quarantine(loaded, case)
    check_warnings(loaded, case)
    check_values(loaded, case)


@pytest.fixture(scope="module")
def later(loaded: Plant) -> tuple[Plant, str, bool]:
    """A second run: the second deliveries of `LATER`, and all of `HELD`. What it said; whether the marts stayed."""
    before = published(loaded)
    loaded.declare([*ROWS, *LATER], HELD)
    for case in LATER:
        assert case.then is not None
        loaded.deliver(case.name, case.then)
    for case in HELD:
        loaded.deliver(case.name, case.delivery)
    result = loaded.cem("run")
    assert result.returncode == 1, result.stdout
    return loaded, result.stderr, published(loaded) == before


def published(plant: Plant) -> dict[str, int]:
    """A hash of the rows of each published table, but for the note on the publication, which says that it is stale."""
    with duckdb.connect(str(plant.home / "published" / "cem.duckdb"), read_only=True) as con:
        names = con.execute(
            "select table_name from duckdb_tables() where schema_name = 'marts' and table_name <> '_publication'"
        ).fetchall()
        assert len(names) > 20
        return {
            name: con.execute(f"select coalesce(sum(hash(mart)), 0) from marts.{name} as mart").fetchone()[0]
            for (name,) in names
        }


@pytest.mark.parametrize("case", [*(case for case in LATER if case.told), *HELD], ids=lambda case: case.name)
def test_a_held_load_says_why_and_moves_nothing(later: tuple[Plant, str, bool], case: Case):
    plant, told, marts_stayed = later
    assert case.told in told
    assert marts_stayed
    with plant.warehouse() as con:
        live = con.execute(
            "select sum(promoted) from ops.loads where table_name = ? and status = 'promoted'", [case.name]
        ).fetchone()
        rows = con.execute("select count(*) from quarantine.rows where table_name = ?", [case.name]).fetchone()
    assert rows == (0,)
    assert (live == (None,)) == (case in HELD)


@pytest.mark.parametrize("case", [case for case in LATER if not case.told], ids=lambda case: case.name)
def test_a_second_delivery_changes_what_it_must(later: tuple[Plant, str, bool], case: Case):
    plant, _, _ = later
    check_counts(plant, case)
    check_warnings(plant, case)
    check_values(plant, case)


def check_counts(plant: Plant, case: Case) -> None:
    with plant.warehouse() as con:
        status, *counts = con.execute(
            "select status, promoted, quarantined, deduplicated, extracted, reason from ops.loads "
            "where table_name = ? order by started_at desc limit 1",
            [case.name],
        ).fetchone()
        bad = con.execute("select count(*) from quarantine.rows where table_name = ?", [case.name]).fetchone()
    assert status == "promoted", counts
    assert counts[0] + counts[1] + counts[2] == counts[3]
    assert tuple(counts[:3]) == (case.kept, bad[0], case.known)


def check_quarantine(plant: Plant, case: Case) -> None:
    with plant.warehouse() as con:
        rows = con.execute(
            "select key, reasons, row from quarantine.rows where table_name = ? and released_at is null", [case.name]
        ).fetchall()
    file = case.delivery.names(case.name)[0]
    expected = {f"{file}{key}" if key.startswith("#") else key: rule for key, rule in case.bad.items()}
    assert {key for key, _, _ in rows} == set(expected)
    for key, reasons, row in rows:
        assert any(reason.endswith(f"[{expected[key]}]") for reason in reasons), reasons
        assert row


def check_warnings(plant: Plant, case: Case) -> None:
    with plant.warehouse() as con:
        found = dict(
            con.execute(
                "select rule_id, failed from ops.load_rules where table_name = ? and severity = 'warning' "
                "and failed > 0",
                [case.name],
            ).fetchall()
        )
    assert found.items() >= case.warned.items()


def check_values(plant: Plant, case: Case) -> None:
    if case.shows is None:
        return
    query, expected = case.shows
    [table] = [table for table in plant.settings.tables() if table.name == case.name]
    mapped = mapped_select(table, table.entities[0], f"raw_bad.{case.name}")
    with plant.warehouse() as con:
        con.execute("set timezone = 'UTC'")
        found = con.execute(f"with mapped as ({mapped}), raw as (from raw_bad.{case.name}) {query}").fetchall()
    assert found == expected
