"""Runs each profile once, as a user would: `cem run` with its cem.yml, in a state folder of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import forked
import pytest
from homes import new_home

HERE = Path(__file__).parent
REAL_DATA = Path(os.environ.get("CEM_REAL_DATA") or HERE.parents[1] / ".." / "shared" / "data").resolve()


class Run:
    """A finished run of a profile.

    Attributes:
        config: Its cem.yml.
        home: Its state folder.
        environment: The environment it ran in.
        output: What it said.
    """

    def __init__(self, config: Path, home: Path) -> None:
        """Run the daily job; the test fails with the job's own words when it fails."""
        self.config = config
        self.home = home
        self.environment = {
            **os.environ,
            "CEM_CONFIG": str(config),
            "CEM_HOME": str(home),
            "CEM_REAL_DATA": str(REAL_DATA),
        }
        self.output = self.cem("run")

    def cem(self, *arguments: str) -> str:
        """Give a command and return what it printed."""
        done = forked.cem(*arguments, environment=self.environment)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the published marts."""
        with duckdb.connect(str(self.home / "published" / "cem.duckdb"), read_only=True) as con:
            return con.execute(query).fetchall()

    def row(self, query: str) -> tuple[Any, ...]:
        """Ask the published marts for one row."""
        (row,) = self.rows(query)
        return row


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip(f"real data is not at {REAL_DATA}; say where it is with CEM_REAL_DATA")
    return REAL_DATA


@pytest.fixture(scope="session")
def run_profile(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Gives the finished run of `<profile>/cem.yml`."""

    @cache
    def run(profile: str) -> Run:
        return Run(HERE / profile / "cem.yml", new_home(tmp_path_factory.mktemp(profile)))

    return run


@pytest.fixture(scope="session")
def files(real_data: Path) -> Callable[[str], tuple[Any, ...]]:
    """Asks the source files themselves, `{data}` being their folder: one row, by a way of its own."""

    def ask(query: str) -> tuple[Any, ...]:
        with duckdb.connect() as con:
            (row,) = con.execute(query.format(data=real_data)).fetchall()
            return row

    return ask
