"""Which columns of a source table the configuration uses, those within SQL expressions included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from orchestration.settings import ColumnMapping, EntityMapping, Table
from orchestration.sources.contract import load_contract
from orchestration.sources.errors import SourceError
from orchestration.sources.reading import BOOKED, first_line, named
from orchestration.sources.values import literal


@dataclass(frozen=True)
class Use:
    """A column of the source that the configuration uses.

    Attributes:
        column: Its name; of a nested path the first part.
        field: Where it is used, as in errors of the settings, below the table.
        is_required: Whether rows are worthless without it; JSON may leave out any other.
    """

    column: str
    field: str
    is_required: bool


def used_columns(con: duckdb.DuckDBPyConnection, table: Table) -> list[Use]:
    """Every use of a source column in the configuration of a table.

    Raises:
        SourceError: An expression is not SQL.
    """
    uses = [Use(_head(table, name), "key", is_required=True) for name in table.key]
    if table.cursor is not None:
        uses.append(Use(_head(table, table.cursor), "cursor", is_required=True))
    if table.deleted is not None:
        found = _in_expression(con, table, "deleted", table.deleted)
        uses += [Use(name, "deleted", is_required=False) for name in found]
    for mapping in table.entities:
        uses += _of_mapping(con, table, mapping)
    # What we book with a row (file, line, key) may be used too.
    return [use for use in uses if use.column not in BOOKED]


def fault(error: duckdb.Error) -> str:
    """What to say of a piece of SQL of cem.yml that failed; the value of a row stays out of it."""
    if isinstance(error, duckdb.BinderException | duckdb.CatalogException):
        return f"does not fit the columns: {first_line(error).partition('Error: ')[2]}"
    return f"fails on a row: {type(error).__name__}; use try_cast, or leave the row out by `where`"


def expressions(mapping: EntityMapping) -> Iterator[tuple[str, str]]:
    """Every piece of SQL of a mapping with the field it stands in, below the mapping."""
    if mapping.where is not None:
        yield "where", mapping.where
    for name, given in mapping.columns.items():
        if given.expression is not None:
            yield f"columns.{name}", given.expression


def _of_mapping(con: duckdb.DuckDBPyConnection, table: Table, mapping: EntityMapping) -> Iterator[Use]:
    field = f"entities.{mapping.entity}"
    if mapping.order_by is not None:
        yield Use(_head(table, mapping.order_by), f"{field}.order_by", is_required=True)
    if mapping.where is not None:
        for name in _in_expression(con, table, f"{field}.where", mapping.where):
            yield Use(name, f"{field}.where", is_required=False)
    columns = load_contract()[mapping.entity].columns
    for name, given in mapping.columns.items():
        path = f"{field}.columns.{name}"
        for column in _of_column(con, table, path, given):
            is_required = columns[name].required and given.column is not None
            yield Use(column, path, is_required=is_required)


def _of_column(con: duckdb.DuckDBPyConnection, table: Table, field: str, given: ColumnMapping) -> list[str]:
    if given.column is not None:
        return [_head(table, given.column)]
    if given.expression is not None:
        return _in_expression(con, table, f"{field}.expression", given.expression)
    return []


def _head(table: Table, column: str) -> str:
    return column.split(".")[0] if table.has_nested_values else column


def _in_expression(con: duckdb.DuckDBPyConnection, table: Table, field: str, expression: str) -> list[str]:
    row = con.execute(f"select json_serialize_sql({literal(f'select {expression}')})").fetchone()
    tree = json.loads(row[0]) if row else {}
    if tree.get("error"):
        raise SourceError(f"{named(table)}: {field} is not valid SQL: {tree.get('error_message')}")
    return list(dict.fromkeys(_references(tree, frozenset())))


def _references(node: Any, bound: frozenset[str]) -> Iterator[str]:  # noqa: ANN401 (a JSON tree)
    """Names of columns in a parsed statement, without those bound in it (lambda parameters, subqueries)."""
    if isinstance(node, list):
        for item in node:
            yield from _references(item, bound)
        return
    if not isinstance(node, dict) or node.get("class") == "SUBQUERY":
        return
    if node.get("class") == "LAMBDA":
        bound = bound | set(_references(node.get("lhs"), bound))
        yield from _references(node.get("expr"), bound)
        return
    if node.get("class") == "COLUMN_REF":
        name = node["column_names"][0]
        if name not in bound:
            yield name
        return
    for value in node.values():
        yield from _references(value, bound)
