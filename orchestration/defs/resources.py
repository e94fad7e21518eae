"""How steps reach the warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from orchestration.settings import Settings
from orchestration.warehouse import connect, install_extensions, run_lock


@contextmanager
def writing(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse, open for writing and locked against other runs for the length of a step.

    Raises:
        WarehouseBusyError: Another run, or a program that has the file open, is in the way.
    """
    with run_lock(settings.home):
        install_extensions(settings.extensions)
        con = connect(settings.warehouse, settings.extensions, settings.engine.memory_limit, settings.engine.threads)
        try:
            yield con
        finally:
            con.close()
