"""Files of each format as relations: CSV and aligned text, JSON Lines, Parquet, Excel.

Belongs here: how a format is read exactly as sent. Does not belong here: finding and unpacking files
(`text_files.py`), keys and loads (`extract.py`).

Nothing is guessed from values: CSV, JSON and Excel give texts as written, Parquet its own types.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import duckdb

from orchestration.engine_errors import pass_on_lack_of_room, without_values
from orchestration.settings import Table
from orchestration.sources.errors import SourceError
from orchestration.sources.reading import Relation, column_names, named, renamed
from orchestration.sources.text_files import SourceFile, encoding_error, head
from orchestration.sources.values import identifier, literal

DELIMITERS = ",;\t|"

WHITESPACE = "whitespace"

MAX_OBJECT_BYTES = 64 << 20
"""Largest JSON object that is read; what is too large for a row is for the guard to say."""

MAX_LINE_BYTES = 16 << 20
"""Longest line of CSV that is read."""

REJECTS = "cem_rejects"
"""Temporary tables of lines with too few or too many fields."""

RAGGED = frozenset({"MISSING COLUMNS", "TOO MANY COLUMNS"})
"""What the engine calls such lines."""

RAGGED_SIGN = "Expected Number of Columns"
"""What its error says of them."""

UNEVEN_SIGN = "state machine reached an invalid state"
"""What it says of lines that end in several ways."""


def file_relation(con: duckdb.DuckDBPyConnection, table: Table, file: SourceFile, path: Path) -> Relation | None:
    """The rows of one file; None when the file is empty, or an empty list where the table is optional.

    Args:
        con: A connection with the extensions.
        table: The table.
        file: One of its files.
        path: The file as `text_files.unpacked` gives it; it must stay while the relation is read.

    Raises:
        SourceError: The file is not what the configuration says.
    """
    if path.stat().st_size == 0:
        return None
    if table.format == "jsonl":
        return _json_relation(con, table, file, path)
    if table.format == "parquet":
        return _parquet_relation(con, table, file, path)
    if table.format == "excel":
        return _excel_relation(con, table, file, path)
    if table.delimiter == WHITESPACE or table.widths:
        return _aligned_relation(table, file, path)
    return _csv_relation(table, file, path)


def reading_error(table: Table, file: SourceFile, path: Path, error: duckdb.Error) -> SourceError:
    """An engine error about a file in words; rows are not quoted.

    Raises:
        duckdb.Error: Memory or disk ran out, which no file is at fault for.
    """
    pass_on_lack_of_room(error)
    text = str(error)
    if "unicode" in text.lower() or "utf-8" in text.lower() or "utf8" in text.lower():
        wrong = encoding_error(table, file, path)
        if wrong is not None:
            return wrong
    line = re.search(r"(?:on Line: |in line )(\d+)", text)
    # The engine counts the end of a JSON line as the next one while it looks for where objects end.
    number = int(line.group(1)) - ("Malformed JSON" in text) if line else None
    place = f"{file.label}, line {number}" if number else file.label
    reasons = {
        RAGGED_SIGN: "the number of fields differs from the header",
        UNEVEN_SIGN: "a carriage return stands outside quotation marks",
        "unterminated quote": "a quotation mark is never closed; check `quote` in cem.yml",
        "Maximum line size": "a line is longer than 16 MB; check `quote` and `delimiter` in cem.yml",
        "unexpected end of data": "the file is cut off; deliver it again",
        "Malformed JSON": "not valid JSON",
        "has duplicate key": "an object has the same field twice; only one of them can be read",
        "Expected OBJECT": "not a JSON object; one a line, or a list of them, is expected",
        "No magic bytes": "not a Parquet file, or cut off",
        "too small to be a Parquet": "not a Parquet file, or cut off",
        "Failed to open zip": "not an Excel file (.xlsx), or cut off",
    }
    reason = next((words for sign, words in reasons.items() if sign in text), without_values(error))
    return SourceError(f"{named(table)}: {place}: {reason}", is_transient="cut off" in reason)


# CSV


def _csv_relation(table: Table, file: SourceFile, path: Path) -> Relation:
    text = head(table, file, path)
    delimiter = table.delimiter or _guessed_delimiter(text, table.quote)
    lines = io.StringIO(text, newline=None)
    try:
        first = next(csv.reader(lines, **_dialect(delimiter, table.quote)), [])  # type: ignore[arg-type]
    except csv.Error:
        raise SourceError(
            f"{named(table)}: {file.label}, line 1: a quotation mark is never closed, or a name is too long; check "
            "`quote` and `delimiter` in cem.yml"
        ) from None
    names = _names(table, file, first)
    return Relation(
        _csv_select(table, path, delimiter, names),
        dict.fromkeys(names, "VARCHAR"),
        file.label,
        tolerant_sql=_csv_select(table, path, delimiter, names, rejects=True),
    )


def _dialect(delimiter: str, quote: str) -> dict[str, object]:
    quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    return {"delimiter": delimiter, "quotechar": quote or None, "quoting": quoting}


def _guessed_delimiter(text: str, quote: str) -> str:
    """The separator that occurs most often outside quotes in the first line; a comma when none does."""
    line = re.split("[\r\n]", text, maxsplit=1)[0]
    if quote:
        line = re.sub(f"{re.escape(quote)}.*?{re.escape(quote)}", "", line)
    return max(DELIMITERS, key=line.count)


def _names(table: Table, file: SourceFile, first: list[str]) -> list[str]:
    if table.header:
        return column_names(table, first, file.label)
    if table.names and len(table.names) != len(first):
        raise SourceError(
            f"{named(table)}: {file.label} has {len(first)} columns, but `names` in cem.yml gives {len(table.names)}"
        )
    return column_names(table, table.names or [None] * len(first), file.label)


def _csv_select(table: Table, path: Path, delimiter: str, names: list[str], *, rejects: bool = False) -> str:
    """SELECT of a CSV file, strictly read, every field a text; an empty field is NULL, a quoted one is not.

    Args:
        table: The table.
        path: The file in UTF-8.
        delimiter: Field separator.
        names: Names of the columns.
        rejects: Whether lines that do not fit go to the temporary tables `REJECTS` instead of failing.
    """
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    tables = f"rejects_table = '{REJECTS}', rejects_scan = '{REJECTS}_scan'"
    aside = f", store_rejects = true, {tables}" if rejects else ""
    header = str(table.header).lower()
    return (
        "select *, row_number() over () as _source_row "
        f"from read_csv({literal(str(path))}, auto_detect = false, delim = {literal(delimiter)}, "
        f"quote = {literal(table.quote)}, escape = {literal(table.quote)}, header = {header}, "
        f"columns = {{{columns}}}, nullstr = '', allow_quoted_nulls = false, strict_mode = true, "
        f"max_line_size = {MAX_LINE_BYTES}, buffer_size = {2 * MAX_LINE_BYTES}{aside})"
    )


def _aligned_relation(table: Table, file: SourceFile, path: Path) -> Relation:
    """Columns aligned by blanks, or of fixed widths: one text a line, cut into fields."""
    lines = [line for line in head(table, file, path).splitlines() if line.strip()]
    if table.widths:
        starts = [1 + sum(table.widths[:position]) for position in range(len(table.widths))]
        cuts = [(start, width) for start, width in zip(starts, table.widths, strict=True)]
        first = [lines[0][start - 1 : start - 1 + width] for start, width in cuts] if lines else []
        fields = [f"nullif(trim(substr(line, {start}, {width})), '')" for start, width in cuts]
        fit = ""
    else:
        first = lines[0].split() if lines else []
        fields = [f"parts[{position}]" for position in range(1, len(first) + 1)]
        ragged = f"error('{RAGGED_SIGN}')"
        fit = f" and case when len(parts) = {len(first)} then true else {ragged} end"
    names = _names(table, file, first)
    selected = ", ".join(f"{field} as {identifier(name)}" for field, name in zip(fields, names, strict=True))
    # A separator that no text holds makes each line one field.
    sql = (
        f"select {selected}, row_number() over () as _source_row from ("
        "select line, regexp_split_to_array(trim(line), '\\s+') as parts "
        f"from read_csv({literal(str(path))}, auto_detect = false, delim = chr(1), quote = '', escape = '', "
        f"header = {str(table.header).lower()}, columns = {{'line': 'VARCHAR'}}, "
        f"max_line_size = {MAX_LINE_BYTES}, buffer_size = {2 * MAX_LINE_BYTES}) "
        f"where trim(line) <> ''{fit})"
    )
    return Relation(sql, dict.fromkeys(names, "VARCHAR"), file.label)


# JSON Lines


def _json_relation(con: duckdb.DuckDBPyConnection, table: Table, file: SourceFile, path: Path) -> Relation | None:
    text = head(table, file, path).lstrip()
    if not text or (table.optional and re.fullmatch(r"\[\s*\]\s*", text)):
        return None
    form = "array" if text.startswith("[") else "newline_delimited"
    options = f"format = '{form}', maximum_object_size = {MAX_OBJECT_BYTES}"
    objects = f"read_json_objects({literal(str(path))}, {options})"
    try:
        found = con.execute(
            "select key, min(number) as first from ("
            "select unnest(json_keys(json)) as key, number "
            f"from (select json, row_number() over () as number from {objects})) "
            "group by key order by first, key"
        ).fetchall()
    except duckdb.Error as error:
        raise reading_error(table, file, path, error) from None
    keys = [row[0] for row in found]
    if not keys:
        raise SourceError(f"{named(table)}: {file.label} holds no JSON objects; one a line is expected")
    names = column_names(table, keys, file.label)
    columns = ", ".join(f"{literal(key)}: 'VARCHAR'" for key in keys)
    selected = renamed(keys, names)
    sql = (
        f"select {selected}, row_number() over () as _source_row "
        f"from read_json({literal(str(path))}, {options}, columns = {{{columns}}})"
    )
    return Relation(sql, dict.fromkeys(names, "VARCHAR"), file.label)


# Parquet and Excel


def _parquet_relation(con: duckdb.DuckDBPyConnection, table: Table, file: SourceFile, path: Path) -> Relation:
    reader = f"read_parquet({literal(str(path))}, file_row_number = true)"
    described = _described(con, table, file, path, reader)
    del described["file_row_number"]
    names = column_names(table, list(described), file.label)
    selected = renamed(list(described), names)
    sql = f"select {selected}, file_row_number + 1 as _source_row from {reader}"
    return Relation(sql, dict(zip(names, described.values(), strict=True)), file.label)


def _excel_relation(con: duckdb.DuckDBPyConnection, table: Table, file: SourceFile, path: Path) -> Relation | None:
    con.execute("load excel")
    sheet = f", sheet = {literal(table.sheet)}" if table.sheet else ""
    reader = f"read_xlsx({literal(str(path))}, all_varchar = true, stop_at_empty = false{sheet}, header = "
    letters = list(_described(con, table, file, path, f"{reader}false)"))
    first = con.execute(f"select * from {reader}false) limit 1").fetchone()
    if first is None:
        return None
    names = _names(table, file, list(first) if table.header else letters)
    selected = renamed(letters, names)
    # Read without a header, the names cannot be changed by the engine; the header is row 1 then.
    offset = 1 if table.header else 0
    given = f"coalesce({', '.join(identifier(letter) for letter in letters)}) is not null"
    sql = (
        f"select {selected}, number - {offset} as _source_row "
        f"from (select *, row_number() over () as number from {reader}false)) "
        f"where number > {offset} and {given}"
    )
    return Relation(sql, dict.fromkeys(names, "VARCHAR"), file.label)


def _described(
    con: duckdb.DuckDBPyConnection, table: Table, file: SourceFile, path: Path, reader: str
) -> dict[str, str]:
    try:
        return {row[0]: row[1] for row in con.execute(f"describe select * from {reader}").fetchall()}
    except duckdb.Error as error:
        raise reading_error(table, file, path, error) from None
