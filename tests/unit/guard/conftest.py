"""Fixtures of the guard's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from guarded_shop import ORDER_COLUMNS, PERSON_COLUMNS, Shop
from homes import new_home

from orchestration.settings import EntityMapping, Settings, Source, Table
from orchestration.warehouse import BOOKKEEPING


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled suites, shared by the tests of a process: what each compiles is compiled for all."""
    return new_home(tmp_path_factory.mktemp("compiled")) / "guard"


@pytest.fixture
def settings(tmp_path: Path, compiled: Path) -> Settings:
    (tmp_path / "guard").symlink_to(compiled, target_is_directory=True)
    orders = Table(
        time_zone="UTC",
        source="shop",
        name="orders",
        files=("orders.csv",),
        format="csv",
        key=("no",),
        entities=(EntityMapping(entity="order", columns=ORDER_COLUMNS),),
    )
    people = Table(
        time_zone="UTC",
        source="shop",
        name="people",
        files=("people.csv",),
        format="csv",
        key=("id",),
        entities=(EntityMapping(entity="person", columns=PERSON_COLUMNS),),
    )
    source = Source(name="shop", kind="files", folder=tmp_path, tables=(orders, people))
    return Settings(config_path=tmp_path / "cem.yml", home=tmp_path, sources=(source,))


@pytest.fixture
def shop(settings: Settings) -> Iterator[Shop]:
    with duckdb.connect() as con:
        con.execute("set threads = 2")
        con.execute(BOOKKEEPING)
        yield Shop(con, settings)
