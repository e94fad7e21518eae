"""Companies that the tests of this folder share; generating one takes seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from orchestration.demo import advance, generate
from orchestration.demo.delivery import CRM_TABLES

CUSTOMERS = 2000
DAYS = 94
"""A quarter, and past the first 91 days: events after them are drawn in a block of their own."""


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory, extensions: Path) -> Path:
    """A company at the end of its history. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("demo") / "company"
    generate(folder, customers=CUSTOMERS, extensions=extensions)
    return folder


@pytest.fixture(scope="session")
def older_company(company: Path, extensions: Path) -> Path:
    """The same company a quarter later."""
    folder = company.with_name("older")
    shutil.copytree(company, folder)
    advance(folder, DAYS, extensions=extensions)
    return folder


@pytest.fixture(scope="session")
def delivered(extensions: Path, company: Path) -> duckdb.DuckDBPyConnection:
    return read_company(company, extensions)


@pytest.fixture(scope="session")
def delivered_later(extensions: Path, older_company: Path) -> duckdb.DuckDBPyConnection:
    return read_company(older_company, extensions)


@pytest.fixture
def con(delivered: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """All tables of the company, those of the database in schema `crm`; `ticket` and `answer` are cleaned.

    Views of a test are temporary, so they stay its own.
    """
    return delivered.cursor()


@pytest.fixture
def later(delivered_later: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Like `con`, of the company a quarter later."""
    return delivered_later.cursor()


def read_company(folder: Path, extensions: Path) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(config={"extension_directory": str(extensions)})
    con.execute("create schema crm")
    con.execute(f"attach '{folder / 'crm.db'}' as database (type sqlite, read_only)")
    for table in CRM_TABLES:
        con.execute(f"create table crm.{table} as from database.{table}")
    files = {
        "support": ("read_json('{}_2*.jsonl', union_by_name = true)", ("tickets", "ticket_events")),
        "survey": ("read_csv('{}_*.csv', delim = ';', all_varchar = true)", ("invitations", "responses")),
        "social": ("read_json('{}_*.jsonl', union_by_name = true)", ("mentions",)),
        "web": ("read_parquet('{}_*.parquet')", ("sessions", "visitors", "campaign_touches", "self_service_views")),
        "_truth": ("read_parquet('{}.parquet')", ("customers", "who_is_who")),
    }
    for part, (reader, tables) in files.items():
        for table in tables:
            con.execute(f"create table {table} as from {reader.format(folder / part / table)}")
    con.execute(
        """
        create table ticket as
        from tickets qualify row_number() over (partition by ticket_id order by updated_at desc) = 1
        """
    )
    con.execute(
        """
        create table answer as
        select
            * replace (try_cast(translate(trim(score), '۰۱۲۳۴۵۶۷۸۹', '0123456789') as integer) as score),
            try_strptime(answered_at, '%d/%m/%Y %H:%M') - interval 210 minute as answered
        from (select distinct * from responses)
        """
    )
    return con


def value(con: duckdb.DuckDBPyConnection, query: str) -> float:
    """The one number that a query gives."""
    (found,) = con.sql(query).fetchone() or (None,)
    assert found is not None
    return float(found)
