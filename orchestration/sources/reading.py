"""What every reader gives: the rows of a source as a SELECT, with the columns as sent.

Belongs here: the shape that readers share, names of columns, errors in words. Does not belong here: how a
kind of source is read (`files.py`, `inline.py`, `databases.py`) and what becomes of the rows (`extract.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from orchestration.settings import Table
from orchestration.sources.conformity import closest
from orchestration.sources.errors import SourceError
from orchestration.sources.values import identifier

BOOKED = (
    "_key",
    "_row_hash",
    "_cursor",
    "_source_file",
    "_source_row",
    "_load_id",
    "_loaded_at",
    "_deleted_at",
)
"""Columns that a candidate and a raw table have besides those of the source."""


@dataclass(frozen=True)
class Relation:
    """Rows of one file, database table or list, ready to be read.

    Attributes:
        sql: SELECT of the columns as sent and `_source_row` (1-based; NULL in a database).
        columns: Name and DuckDB type of each column as sent.
        file: What the rows are from, as `_source_file` says it; None in a database.
        tolerant_sql: The same SELECT setting lines with too few or too many fields aside, where that
            can be told from the rest.
    """

    sql: str
    columns: Mapping[str, str]
    file: str | None
    tolerant_sql: str | None = None


def named(table: Table) -> str:
    """A table as errors call it."""
    return f"{table.source}.{table.name}"


def column_names(table: Table, headers: Sequence[str | None], place: str) -> list[str]:
    """Names of the columns of a header: trimmed, `column_<n>` for empty ones.

    Args:
        table: The table that is read.
        headers: Names as written.
        place: The file, for errors.

    Raises:
        SourceError: Two names are the same but for case, blanks or form of letters, so that a mapping
            could not tell them apart; or a name is one of ours.
    """
    names = [
        "".join(c for c in (header or "") if unicodedata.category(c) != "Cf").strip() or f"column_{position}"
        for position, header in enumerate(headers, start=1)
    ]
    seen: dict[str, str] = {}
    for name in names:
        folded = unicodedata.normalize("NFKC", name).casefold()
        if folded in seen:
            if looks_like_data(names):
                raise SourceError(
                    f"{named(table)}: two of the {len(names)} columns of {place} have the same name, and the first "
                    "line looks like data, not names. Deliver it with its header line, or declare `header: false` "
                    "and `names` in cem.yml"
                )
            raise SourceError(
                f"{named(table)}: columns '{seen[folded]}' and '{name}' of {place} have the same name; "
                "rename one of them in the source"
            )
        if folded in BOOKED:
            raise SourceError(f"{named(table)}: column '{name}' of {place} has a reserved name; rename it")
        seen[folded] = name
    return names


def renamed(columns: Sequence[str], names: Sequence[str]) -> str:
    """Items of a select list that give columns their names."""
    pairs = zip(columns, names, strict=True)
    return ", ".join(f"{identifier(column)} as {identifier(name)}" for column, name in pairs)


_DATA = re.compile(r"@|\d\D{0,2}\d\D{0,2}\d\D{0,2}\d\D{0,2}\d|^[\W\d]*\d[\W\d]*$")
"""What a name of a column hardly has and a value often: an `@`, five digits nearly in a row, nothing but digits."""


def looks_like_data(names: Iterable[str]) -> bool:
    """Whether the names of columns seem to be the first row of a file that came without its header line."""
    return any(_DATA.search(name) for name in names)


def missing_text(table: Table, missing: Iterable[str], present: Sequence[str], place: str) -> str:
    """What to say when mapped columns are not there."""
    parts = []
    if looks_like_data(present):
        # Whatever stands there may be of a person: nothing of it is told.
        return (
            f"{named(table)}: {place} has no column {', '.join(map(repr, missing))}, which cem.yml uses; it has "
            f"{len(present)} columns that are not known: the first line looks like data, not names. Deliver it with "
            "its header line, or declare `header: false` and `names` in cem.yml"
        )
    for name in missing:
        close = closest(name, present)
        parts.append(f"'{name}'" + (f" (did you mean '{close}'?)" if close else ""))
    return (
        f"{named(table)}: {place} has no column {', '.join(parts)}, which cem.yml uses; "
        f"it has: {', '.join(present) or 'none'}"
    )


def first_line(error: duckdb.Error) -> str:
    """The first line of an engine error; the others may quote rows."""
    return str(error).strip().partition("\n")[0]


def without_secrets(text: str, secret: str) -> str:
    """A text without a connection string, wherever it comes from.

    A password with an `@` that nobody escaped: a driver takes what follows the first one for the host, and says so.
    """
    cleaned = text.replace(secret, "***") if secret else text
    cleaned = re.sub(r"://\S*@", "://***@", cleaned)
    _, _, rest = secret.partition("://")
    user, _, _ = rest.rpartition("@")
    for start in [position + 1 for position, sign in enumerate(user) if sign == "@"]:
        cleaned = cleaned.replace(f"{user[start:]}@", "***@")
    return re.sub(r"(?i)(password|passwd|pwd)\s*=\s*('[^']*'|\S+)", r"\1=***", cleaned)
