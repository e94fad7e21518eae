"""The profile describes what the generator writes: all of it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from orchestration.settings import DEMO_PROFILE, Settings, Table, load_settings

# One worker generates the shared companies once.
pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture
def settings(tmp_path: Path, company: Path) -> Settings:
    config = tmp_path / "cem.yml"
    config.write_text("sources:\n  - {name: demo, kind: demo, customers: 2000, seed: 7}\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "demo").symlink_to(company)
    return load_settings(config, tmp_path / "home")


def delivered_columns(con: duckdb.DuckDBPyConnection, table: Table, folder: Path) -> set[str]:
    if table.rows is not None:
        return set(table.rows[0])
    if table.is_database:
        return set(con.sql(f"from crm.{table.table or table.name} limit 0").columns)
    path = f"{folder}/{table.files[0]}"
    reader = {"jsonl": "read_json", "csv": "read_csv", "parquet": "read_parquet"}[str(table.format)]
    return set(con.sql(f"from {reader}('{path}', union_by_name = true) limit 0").columns)


def test_five_systems_are_described(settings: Settings) -> None:
    names = [source.name for source in settings.sources]
    assert names == ["demo_crm", "demo_support", "demo_survey", "demo_social", "demo_web"]


def test_every_named_column_is_delivered(settings: Settings, con: duckdb.DuckDBPyConnection) -> None:
    missing = []
    for source in settings.sources:
        for table in source.tables:
            columns = delivered_columns(con, table, source.folder)
            named = {*table.key, table.cursor or table.key[0]}
            for mapping in table.entities:
                named |= {mapped.column for mapped in mapping.columns.values() if mapped.column}
                named |= {mapping.order_by} if mapping.order_by else set()
            missing += [f"{table.source}.{table.name}.{name}" for name in named - columns]
    assert missing == []


def test_every_file_belongs_to_one_table(settings: Settings, company: Path) -> None:
    claims = [
        path.relative_to(source.folder.resolve().parent)
        for source in settings.sources
        for table in source.tables
        for pattern in table.files
        for path in source.folder.resolve().glob(pattern)
    ]
    files = {path.relative_to(company) for path in company.glob("[!_]*/*")}
    assert len(claims) == len(set(claims))
    assert set(claims) == files


def test_every_table_of_the_database_is_read(settings: Settings, con: duckdb.DuckDBPyConnection) -> None:
    tables = {row[0] for row in con.sql("select table_name from duckdb_tables() where schema_name = 'crm'").fetchall()}
    assert tables == {table.name for table in settings.source("demo_crm").tables}


def test_the_truth_is_out_of_reach() -> None:
    named = [line for line in DEMO_PROFILE.read_text(encoding="utf-8").splitlines() if "_truth" in line]
    assert all(line.startswith("#") for line in named)


def test_persons_come_from_every_system(settings: Settings) -> None:
    persons = {table.source for table in settings.tables() for mapping in table.entities if mapping.entity == "person"}
    assert persons == {source.name for source in settings.sources}
