"""Fixtures for identity."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from person_registry import COLLECTED, Registry


@pytest.fixture
def registry() -> Iterator[Registry]:
    """An empty collection of person records."""
    con = duckdb.connect()
    con.execute(COLLECTED)
    yield Registry(con)
    con.close()
