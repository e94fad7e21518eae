"""Small helpers to write SQL safely: names are quoted, texts are escaped.

Belongs here: quoting, comparing columns. Does not belong here: statements.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

BOOKKEEPING = (
    "_key",
    "_row_hash",
    "_cursor",
    "_source_file",
    "_source_row",
    "_load_id",
    "_loaded_at",
    "_deleted_at",
)
"""Columns that follow the as-sent columns of a candidate or raw table."""


def identifier(name: str) -> str:
    """A name as SQL, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """A schema and a name as SQL."""
    return f"{identifier(schema)}.{identifier(name)}"


def literal(text: str) -> str:
    """A text as SQL, whatever it holds."""
    return "'" + text.replace("'", "''") + "'"


def scalar(con: duckdb.DuckDBPyConnection, query: str, *parameters: object) -> int:
    """The single whole number a query gives (0 for NULL or no row)."""
    row = con.execute(query, list(parameters)).fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def describe(con: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Types by name of the columns of a table or view, in order."""
    return {row[0]: row[1] for row in con.execute(f"describe {relation}").fetchall()}


def aligned(new: Mapping[str, str], old: Mapping[str, str]) -> dict[str, str]:
    """The columns of a load under the names by which the raw table knows them: DuckDB ignores case in names."""
    known = {name.casefold(): name for name in old}
    return {known.get(name.casefold(), name): kind for name, kind in new.items()}


def as_sent(columns: Mapping[str, str]) -> dict[str, str]:
    """Only the columns that came from the source."""
    return {name: kind for name, kind in columns.items() if name not in BOOKKEEPING}
