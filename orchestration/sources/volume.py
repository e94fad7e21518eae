"""How much of a source is about to be read, so that a load can be refused that the disk cannot hold.

Belongs here: sizes of what changed since the last load. Does not belong here: reading it (`extract.py`), and
how much room that takes (`defs/load.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

import duckdb

from orchestration.settings import Settings, Source, Table
from orchestration.sources.databases import Database, fingerprint
from orchestration.sources.errors import SourceError
from orchestration.sources.text_files import find_files, readable

EXPANSION = 8
"""Bytes of text in a byte of `.gz`, `.zip`, `.parquet` or `.xlsx`: what exports of tables reach at most, as a rule."""

COMPRESSED = frozenset({".gz", ".zip", ".parquet", ".xlsx"})


def bytes_to_read(con: duckdb.DuckDBPyConnection, settings: Settings, source: Source) -> int:
    """Bytes, unpacked, of the files of a source that are new or changed. Servers do not tell, and count as nothing.

    Files that cannot be read count as nothing too: who reads them says what is wrong, and no other table waits.

    Args:
        con: The warehouse.
        settings: The settings.
        source: The source.
    """
    booked = con.execute(
        "select table_name, name, value from ops.source_state where source = ? and kind = 'file'", [source.name]
    ).fetchall()
    known = {(table, name): value for table, name, value in booked}
    sizes: dict[str, int] = {}
    for table in source.tables:
        if table.files:
            with suppress(SourceError):
                sizes.update(_sizes(settings, table, known))
        elif table.is_database and source.engine == "sqlite":
            database = Database(source, "")
            path = database.sqlite_path
            if path.is_file() and known.get((table.name, path.name)) != fingerprint(database, table):
                sizes[str(path)] = path.stat().st_size
    return sum(sizes.values())


def _sizes(settings: Settings, table: Table, known: Mapping[tuple[str, str], str]) -> Iterator[tuple[str, int]]:
    """Paths and bytes of the files of a table that are new or changed."""
    for file in find_files(settings.source(table.source), table):
        if known.get((table.name, file.label)) != file.fingerprint:
            factor = EXPANSION if file.path.suffix.lower() in COMPRESSED else 1
            with readable(table, file.label):
                size = file.path.stat().st_size
            yield str(file.path), factor * size
