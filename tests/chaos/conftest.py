"""The demo company that the whole test run shares, as what the tests of this folder compare with."""

from __future__ import annotations

import job
import pytest
from chaos import Reference, files_of
from demo_company import DAYS, Installation


@pytest.fixture(scope="session")
def references(company: Installation, later_company: Installation) -> tuple[Reference, Reference]:
    """The undisturbed installation after its first run, and some weeks later."""
    return reference(0, company), reference(DAYS, later_company)


def reference(day: int, installation: Installation) -> Reference:
    home = installation.home
    published = home / "published" / "cem.duckdb"
    pieces = job.pieces_of(installation.output.splitlines())
    return Reference(day, installation.found, home / "warehouse.duckdb", published, files_of(home), pieces)
