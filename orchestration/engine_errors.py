"""Errors of the engine without the values they quote.

DuckDB quotes the value that did not fit ("Could not convert string 'Sara …' to INT32"), and such a message ends in
logs, in dbt's artefacts, in Dagster's events and in notifications. Its other messages name tables and columns only.

Belongs here: which messages quote values, and what is said instead; which errors are about the machine and not about
what it works on. Does not belong here: what to do about an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

_ABOUT_STATEMENTS = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException)
"""Errors about a statement: their first line names columns and tables, the others quote the statement."""

_ABOUT_VALUES = (
    duckdb.ConversionException,
    duckdb.IntegrityError,
    duckdb.InvalidInputException,
    duckdb.OutOfRangeException,
    duckdb.TypeMismatchException,
)
"""Errors about values, which they quote."""


def without_values(error: duckdb.Error) -> str:
    """What an engine error says, without a value of a row."""
    text = str(error)
    if isinstance(error, _ABOUT_STATEMENTS):
        return text.partition("\n")[0]
    if not isinstance(error, _ABOUT_VALUES):
        return text
    kind = text.partition(":")[0] if re.match(r"[\w ]+ Error:", text) else type(error).__name__
    column = re.search(r"when casting from source column (\w+)", text)
    where = f" in column {column[1]}" if column else ""
    return f"{kind}: a value{where} does not fit what is done with it; the value is not shown here"


def pass_on_lack_of_room(error: duckdb.Error) -> None:
    """Let an error through that is not about what was read or asked: this engine ran out of memory or disk.

    A server that a query was sent to may be out of room too, which is an error of its own.

    Raises:
        duckdb.Error: The same error.
    """
    if isinstance(error, duckdb.OutOfMemoryException) or "Could not write file" in str(error):
        raise error


@contextmanager
def values_hidden() -> Iterator[None]:
    """Let no error out of the block that quotes a value, be it as the cause of another.

    Raises:
        duckdb.Error: The engine's error, of the same class, without the value.
    """
    try:
        yield
    except duckdb.Error as error:
        if not isinstance(error, (*_ABOUT_VALUES, *_ABOUT_STATEMENTS)):
            raise
        raise type(error)(without_values(error)) from None
    except Exception as error:
        link: BaseException | None = error
        while link is not None:
            following = link.__cause__ or link.__context__
            if isinstance(following, _ABOUT_VALUES):
                link.__cause__ = link.__context__ = None
                break
            link = following
        raise
