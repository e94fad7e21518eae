"""The company is reproducible, moves forward without touching what it delivered, and survives interruptions."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from datetime import date
from pathlib import Path

import duckdb
import pytest

from orchestration.demo import DemoError, advance, generate, read
from orchestration.demo.delivery import CRM_TABLES
from tests.unit.demo.conftest import CUSTOMERS, DAYS, value

# One worker generates the shared companies once.
pytestmark = pytest.mark.xdist_group("demo")

SMALL, SEED = 300, 3


def files(folder: Path) -> dict[str, str]:
    """Hash of every delivered file but the database and the truth, which change with time."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("[!_]*/*"))
        if path.is_file()
    }


def crm(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    with sqlite3.connect(folder / "crm.db") as con:
        return {table: sorted(con.execute(f"select * from {table}").fetchall(), key=repr) for table in CRM_TABLES}


def truth(folder: Path) -> list[tuple[object, ...]]:
    return duckdb.sql(f"from read_parquet('{folder}/_truth/who_is_who.parquet') order by all").fetchall()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, extensions: Path) -> Path:
    """A small company. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("small") / "company"
    generate(folder, customers=SMALL, seed=SEED, extensions=extensions)
    return folder


@pytest.fixture(scope="module")
def small_later(small: Path, extensions: Path) -> Path:
    """The same company three days later."""
    folder = small.with_name("later")
    shutil.copytree(small, folder)
    advance(folder, 3, extensions=extensions)
    return folder


def test_same_seed_gives_the_same_company_to_the_byte(tmp_path: Path, extensions: Path, small: Path) -> None:
    generate(tmp_path / "other", customers=SMALL, seed=SEED, extensions=extensions, threads=1)
    assert files(tmp_path / "other") == files(small)
    assert crm(tmp_path / "other") == crm(small)
    assert truth(tmp_path / "other") == truth(small)


def test_another_seed_gives_another_company(tmp_path: Path, extensions: Path, small: Path) -> None:
    generate(tmp_path / "other", customers=SMALL, seed=SEED + 1, extensions=extensions)
    other = files(tmp_path / "other")
    same = {name for name, content in files(small).items() if other.get(name) == content}
    assert same <= {"support/business_schedules.jsonl"}


def test_generating_again_touches_nothing(company: Path, extensions: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in company.rglob("*")}
    again = generate(company, customers=CUSTOMERS, extensions=extensions)
    assert not again.is_changed
    assert "nothing to do" in str(again)
    assert {path: path.stat().st_mtime_ns for path in company.rglob("*")} == before


def test_a_company_that_lived_longer_is_left_alone(older_company: Path, extensions: Path) -> None:
    assert generate(older_company, customers=CUSTOMERS, days=3, extensions=extensions).days == DAYS


@pytest.mark.parametrize("change", [{"customers": CUSTOMERS + 1}, {"seed": 8}, {"end": date(2026, 3, 31)}])
def test_other_parameters_for_an_existing_company_are_refused(
    company: Path, extensions: Path, change: dict[str, object]
) -> None:
    with pytest.raises(DemoError, match="delete the folder or name another one"):
        generate(company, **{"customers": CUSTOMERS, "extensions": extensions, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("parameters", [{"customers": 10}, {"customers": 20_000_000}, {"days": -1}, {"days": 9999}])
def test_parameters_out_of_range_write_nothing(tmp_path: Path, parameters: dict[str, int]) -> None:
    with pytest.raises(DemoError, match="allowed"):
        generate(tmp_path / "company", **parameters)  # type: ignore[arg-type]
    assert not (tmp_path / "company").exists()


def test_advancing_needs_a_company(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="generate one first"):
        advance(tmp_path, 1)


def test_advancing_adds_files_and_keeps_the_old_ones(company: Path, older_company: Path) -> None:
    before, after = files(company), files(older_company)
    assert {name: after.get(name) for name in before} == before
    added = set(after) - set(before)
    assert any(name.startswith("support/tickets_2026-07-") for name in added)
    assert {name.split("/")[0] for name in added} == {"support", "survey", "social", "web"}


def test_advancing_inserts_changes_and_deletes_in_the_crm(company: Path, older_company: Path) -> None:
    before, after = crm(company), crm(older_company)
    for table in ("people", "orders", "subscriptions", "opportunities"):
        old, new = {row[0]: row for row in before[table]}, {row[0]: row for row in after[table]}
        assert set(new) - set(old), f"no new {table}"
        assert any(new[key] != row for key, row in old.items() if key in new), f"no changed {table}"
    for table in ("people", "activities"):
        assert {row[0] for row in before[table]} - {row[0] for row in after[table]}, f"no deleted {table}"


def test_advancing_brings_new_versions_of_old_tickets(con: duckdb.DuckDBPyConnection, older_company: Path) -> None:
    known = {row[0] for row in con.sql("select ticket_id from tickets").fetchall()}
    new_files = f"read_json('{older_company}/support/tickets_2026-0[789]-*.jsonl', union_by_name = true)"
    delivered = {row[0] for row in con.sql(f"select ticket_id from {new_files}").fetchall()}
    assert delivered & known, "no ticket of the history changed"
    assert delivered - known, "no new ticket"


@pytest.mark.parametrize(
    "late",
    [
        "answer where delivered_at > '2026-07-01 03:30:00' and answered < '2026-07-01'",
        "mentions where found_at >= '2026-07-01' and found_at > published_at + interval 1 day",
        "crm.activities where modified_at > '2026-07-02' and occurred_at < '2026-07-01'",
    ],
)
def test_advancing_brings_late_records(later: duckdb.DuckDBPyConnection, late: str) -> None:
    assert value(later, f"select count(*) from {late}") > 0


def test_nothing_happens_after_today(con: duckdb.DuckDBPyConnection) -> None:
    for query in (
        "select max(occurred_at)::timestamp from ticket_events",
        "select max(updated_at)::timestamp from tickets",
        "select max(answered) from answer",
        "select max(started_at) from sessions",
        "select max(try_cast(modified_at as timestamp)) - interval 210 minute from crm.orders",
    ):
        (latest,) = con.sql(query).fetchone() or (None,)
        assert latest is not None
        assert date(2026, 6, 20) <= latest.date() <= date(2026, 6, 30), query


def test_steps_lead_where_one_stride_leads(
    tmp_path: Path, extensions: Path, company: Path, older_company: Path
) -> None:
    stepped = tmp_path / "company"
    shutil.copytree(company, stepped)
    advance(stepped, 4, extensions=extensions)
    assert advance(stepped, DAYS - 4, extensions=extensions).today == date(2026, 10, 2)
    assert files(stepped) == files(older_company)
    assert crm(stepped) == crm(older_company)
    assert truth(stepped) == truth(older_company)


def test_generating_with_days_is_generating_and_advancing(tmp_path: Path, extensions: Path, small_later: Path) -> None:
    generated = tmp_path / "generated"
    assert generate(generated, customers=SMALL, seed=SEED, days=3, extensions=extensions).days == 3
    assert files(generated) == files(small_later)
    assert crm(generated) == crm(small_later)


def test_an_interrupted_creation_is_made_again(tmp_path: Path, extensions: Path, company: Path) -> None:
    folder = tmp_path / "company"
    shutil.copytree(company, folder)
    (folder / "company.json").unlink()
    (folder / "support" / "tickets_2025-Q1.jsonl").unlink()
    assert read(folder) is None
    assert generate(folder, customers=CUSTOMERS, extensions=extensions).is_changed
    assert files(folder) == files(company)
    assert crm(folder) == crm(company)


def test_an_interrupted_advance_is_made_again(tmp_path: Path, extensions: Path, small: Path, small_later: Path) -> None:
    folder = tmp_path / "company"
    shutil.copytree(small_later, folder)
    # Killed just before the last step: everything delivered, nothing noted.
    shutil.copy(small / "company.json", folder)
    advance(folder, 3, extensions=extensions)
    assert files(folder) == files(small_later)
    assert crm(folder) == crm(small_later)


def test_rows_grow_with_customers(tmp_path: Path, extensions: Path, company: Path) -> None:
    small = generate(tmp_path / "company", customers=CUSTOMERS // 4, extensions=extensions)
    large = read(company)
    assert large is not None
    for table, rows in large.rows.items():
        if rows > 1000:
            assert rows / small.rows[table] == pytest.approx(4, rel=0.35), table


def test_a_customer_has_about_ten_interactions(company: Path) -> None:
    known = read(company)
    assert known is not None
    interactions = (
        "crm.orders", "crm.activities", "support.tickets", "survey.responses", "social.mentions", "web.sessions",
        "web.campaign_touches", "web.self_service_views",
    )  # fmt: skip
    assert 7 <= sum(known.rows[table] for table in interactions) / CUSTOMERS <= 15
