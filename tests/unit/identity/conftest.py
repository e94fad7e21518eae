"""Fixtures for identity."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from person_registry import Registry, empty_registry


@pytest.fixture
def registry() -> Iterator[Registry]:
    """An empty collection of person records."""
    found = empty_registry()
    yield found
    found.con.close()
