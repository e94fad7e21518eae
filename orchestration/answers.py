"""The rows of a query as an operator reads them: aligned text for the eye, CSV for other programs; always all rows.

DuckDB's own tables leave out rows, columns and the ends of texts. Belongs here: how rows are written. Does not belong
here: the summary of a run, which chooses what it says (`report.py`).
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TextIO

import duckdb

_NUMBERS = (
    *("BIGINT", "DECIMAL", "DOUBLE", "FLOAT", "HUGEINT", "INTEGER", "SMALLINT", "TINYINT"),
    *("UBIGINT", "UHUGEINT", "UINTEGER", "USMALLINT", "UTINYINT"),
)
"""Beginnings of the names of types that are read from the right."""

_AT_ONCE = 10_000
"""Rows fetched at a time, so that CSV of any length needs little memory."""


def write_table(rows: duckdb.DuckDBPyRelation, stream: TextIO) -> None:
    """Write one line per row below the names of the columns, numbers to the right, and the number of rows."""
    lines = [[_in_one_line(cell) for cell in row] for row in _texts(rows)]
    is_number = [str(each).startswith(_NUMBERS) for each in rows.types]
    widths = [max(map(_width, cells)) for cells in zip(rows.columns, *lines, strict=True)]
    for line in (rows.columns, ["-" * width for width in widths], *lines):
        cells = [_aligned(*each) for each in zip(line, widths, is_number, strict=True)]
        stream.write("  ".join(cells).rstrip() + "\n")
    stream.write(f"({len(lines):,} {'row' if len(lines) == 1 else 'rows'})\n")


def write_csv(rows: duckdb.DuckDBPyRelation, stream: TextIO) -> None:
    """Write the names of the columns and the rows as RFC 4180 has it; NULL is an empty field."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(rows.columns)
    writer.writerows(_texts(rows))


def _texts(rows: duckdb.DuckDBPyRelation) -> Iterator[Sequence[str | None]]:
    """The rows, their values as DuckDB writes them."""
    texts = rows.project("columns(*)::varchar")
    while some := texts.fetchmany(_AT_ONCE):
        yield from some


def _in_one_line(cell: str | None) -> str:
    return "NULL" if cell is None else cell.replace("\r", "\\r").replace("\n", "\\n")


def _aligned(text: str, width: int, to_the_right: bool) -> str:
    filling = " " * (width - _width(text))
    return filling + text if to_the_right else text + filling


def _width(text: str) -> int:
    """Columns that a text takes in a terminal: joiners and vowel signs take none, ideographs two."""
    if text.isascii():
        return len(text)
    return sum(_sign_width(sign) for sign in text)


def _sign_width(sign: str) -> int:
    if unicodedata.category(sign) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1
