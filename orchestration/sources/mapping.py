"""From rows as sent to rows of a contract entity: one SELECT, the same for the audit and for staging.

Belongs here: which column of the contract comes from where. Does not belong here: how one value is read
(`values.py`), where the SELECT ends up (`staging.py`, the guard).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from textwrap import indent

from orchestration.settings import ColumnMapping, EntityMapping, Table
from orchestration.sources.contract import Column, Entity, load_contract
from orchestration.sources.values import (
    boolean,
    call,
    case,
    day,
    identifier,
    iso_ordered,
    literal,
    nested,
    normalised,
    number,
    sortable,
    timestamp,
    trimmed,
    word,
)

BOOKED = ("_key", "_row_hash", "_cursor", "_load_id", "_loaded_at", "_deleted_at")
"""Columns of every raw table that every mapped row keeps."""

Ctes = list[tuple[str, str]]
"""Common table expressions: name and body."""

Cleaner = Callable[[str, Column, ColumnMapping], str]
"""Gives the SQL of one mapped column from its name, its contract and its mapping."""


def mapped_select(table: Table, mapping: EntityMapping, relation: str) -> str:
    """The SELECT that maps rows as sent onto a contract entity.

    It gives one row per row of the relation that passes `where`: every contract column with its type (NULL
    when not mapped), the keys of the entity and of its references, `source`, the booked columns, and
    `_uncast`: the contract columns whose text could not be read, separated by commas; NULL when all could.
    Several rows of one record (`one_per_key`) stay apart here, so that each of them can be audited.

    Args:
        table: The source table.
        mapping: One of its entity mappings.
        relation: SQL of a relation of the raw shape.
    """
    ctes = mapping_ctes(table, mapping, relation, prefix="")
    return with_ctes(ctes, ctes[-1][0])


def with_ctes(ctes: Ctes, final: str) -> str:
    """A query of common table expressions that ends in one of them."""
    bodies = ",\n\n".join(f"{name} as (\n{indent(body, '    ')}\n)" for name, body in ctes)
    return f"with\n\n{bodies}\n\nselect * from {final}"


def mapping_ctes(table: Table, mapping: EntityMapping, relation: str, prefix: str, *, with_order: bool = False) -> Ctes:
    """The steps of `mapped_select`; the last one has the mapped rows.

    Args:
        table: The source table.
        mapping: One of its entity mappings.
        relation: SQL of a relation of the raw shape.
        prefix: Put before the name of each step, to tell several mappings in one query apart.
        with_order: Whether to add what decides which of several rows of one record is the last:
            `_source_file`, `_source_row` and, where the mapping names a column for it, `_order`.
    """
    return _Mapper(table, mapping, with_order=with_order).ctes(relation, prefix)


def output_columns(entity: Entity) -> list[str]:
    """Columns a mapped row has for its entity, in order: source, key, contract columns."""
    columns = ["source", entity.key_name]
    for name, column in entity.columns.items():
        columns.append(name)
        if column.reference_key:
            columns.append(column.reference_key)
    if entity.extra_key:
        columns.append(entity.key_columns()[entity.extra_key])
    return columns


class _Mapper:
    """Builds the steps of one mapping."""

    def __init__(self, table: Table, mapping: EntityMapping, *, with_order: bool) -> None:
        self._table = table
        self._mapping = mapping
        self._entity = load_contract()[mapping.entity]
        self._mapped = {
            name: (column, mapping.columns[name])
            for name, column in self._entity.columns.items()
            if name in mapping.columns
        }
        # Without a column that says so, the cursor decides which row is last; it is booked anyway.
        self._order = mapping.order_by if with_order else None
        self._order_column = ("_order",) if self._order is not None else ()
        self._files = ("_source_file", "_source_row") if with_order else ()

    def ctes(self, relation: str, prefix: str) -> Ctes:
        names = [f"{prefix}{step}" for step in ("sent", "cleaned", "known", "typed", "mapped")]
        return [
            (names[0], self._sent(relation)),
            (names[1], self._step(names[0], self._cleaned, normalised)),
            (names[2], self._step(names[1], self._known, self._ordered)),
            (names[3], self._typed(names[2])),
            (names[4], self._final(names[3])),
        ]

    # Step 1: the text of each mapped column.

    def _sent(self, relation: str) -> str:
        lines = [*BOOKED, *self._files]
        if self._order is not None:
            lines.append(f"{column_text(self._table, self._order)} as _order")
        lines += [f"{self._origin(given)} as {name}" for name, (_, given) in self._mapped.items()]
        where = f"\nwhere\n    {self._mapping.where}" if self._mapping.where else ""
        return f"{_select(lines)}\nfrom {relation}{where}"

    def _origin(self, given: ColumnMapping) -> str:
        if given.value is not None:
            return literal(given.value)
        if given.expression is not None:
            return f"cast({given.expression} as varchar)"
        return column_text(self._table, given.column or "")

    # Steps 2 and 3: blanks and markers away, words of the source to words of the contract.

    def _step(self, relation: str, build: Cleaner, build_order: Callable[[str], str]) -> str:
        lines = [*BOOKED, *self._files]
        if self._order is not None:
            ordered = build_order("_order")
            lines.append("_order" if ordered == "_order" else f"{ordered} as _order")
        for name, (column, given) in self._mapped.items():
            expression = build(name, column, given)
            lines.append(name if expression == name else f"{expression} as {name}")
        return f"{_select(lines)}\nfrom {relation}"

    def _cleaned(self, name: str, column: Column, given: ColumnMapping) -> str:
        if column.type == "text" and name not in self._entity.identifiers and not column.values:
            return trimmed(name)
        return normalised(name, given.decimal or self._table.decimal)

    def _known(self, name: str, column: Column, given: ColumnMapping) -> str:
        missing = dict.fromkeys((*self._table.missing, *given.missing))
        branches = []
        if missing:
            branches.append((f"{name} in ({', '.join(map(literal, missing))})", "null"))
        for sent, meant in (given.map or {}).items():
            branches.append((f"{name} = {literal(sent)}", "null" if meant is None else literal(meant)))
        if given.map and given.has_default:
            default = "null" if given.default is None else literal(given.default)
            return case(*branches, (f"{name} is not null", default))
        wanted = self._wanted(name, column, given)
        return case(*branches, otherwise=wanted) if branches else wanted

    def _wanted(self, name: str, column: Column, given: ColumnMapping) -> str:
        if column.values:
            return word(name)
        if column.type in {"timestamp", "date"} and not given.format:
            return iso_ordered(name, given.date_order or self._table.date_order)
        return name

    def _ordered(self, name: str) -> str:
        return iso_ordered(name, self._table.date_order)

    # Step 4: types. The text stays beside the value, to tell what could not be read.

    def _typed(self, relation: str) -> str:
        lines = [*BOOKED, *self._files]
        if self._order is not None:
            lines.append(f"{sortable('_order')} as _order")
        for name, (column, given) in self._mapped.items():
            if column.type == "text":
                lines.append(name)
            else:
                lines += [f"{self._cast(name, column, given)} as {name}", f"{name} as {name}__text"]
        return f"{_select(lines)}\nfrom {relation}"

    def _cast(self, name: str, column: Column, given: ColumnMapping) -> str:
        is_sheet = self._table.format == "excel"
        if column.type == "boolean":
            return boolean(name)
        if column.type == "date":
            return day(name, formats=given.format, is_sheet=is_sheet)
        if column.type == "timestamp":
            zone = given.time_zone or self._table.time_zone or "UTC"
            return timestamp(name, zone=zone, formats=given.format, is_sheet=is_sheet)
        is_strict = self._table.format == "csv" or self._table.rows is not None
        decimal = given.decimal or self._table.decimal
        return number(name, column.sql_type, decimal, is_locale_strict=is_strict)

    # Step 5: all columns of the contract, and the keys.

    def _final(self, relation: str) -> str:
        keys = {key: identity for identity, key in self._entity.key_columns().items()}
        lines = []
        for name in output_columns(self._entity):
            if name == "source":
                lines.append(f"{literal(self._table.source)} as source")
            elif name in keys:
                lines.append(f"{self._key(keys[name])} as {name}")
            elif name in self._mapped:
                lines.append(name)
            else:
                lines.append(f"cast(null as {self._entity.columns[name].sql_type}) as {name}")
        lines += [*BOOKED, *self._files, *self._order_column, f"{self._uncast()} as _uncast"]
        return f"{_select(lines)}\nfrom {relation}"

    def _key(self, identity: str) -> str:
        if identity not in self._mapped:
            return "cast(null as varchar)"
        source = self._mapping.columns[identity].source or self._table.source
        return f"{literal(source + ':')} || {identity}"

    def _uncast(self) -> str:
        tests = [
            case((f"{name}__text is not null and {name} is null", literal(name)))
            for name, (column, _) in self._mapped.items()
            if column.type != "text"
        ]
        if not tests:
            return "cast(null as varchar)"
        return call("nullif", call("concat_ws", "','", *tests), "''")


def column_text(table: Table, column: str) -> str:
    """SQL of the text of a source column; `a.b` reaches into nested values where the format has such."""
    head, *path = column.split(".") if table.has_nested_values else [column]
    if not path:
        return f"cast({identifier(column)} as varchar)"
    steps = "".join(_json_step(step) for step in path)
    return f"json_extract_string(try_cast({identifier(head)} as json), {literal('$' + steps)})"


def _json_step(step: str) -> str:
    """`b` as a key, `b[0]` as a key and a position."""
    match = re.fullmatch(r"(.*?)((?:\[\d+\])*)", step)
    name, positions = match.groups() if match else (step, "")
    escaped = name.replace('"', '\\"')
    return f'."{escaped}"{positions}' if name else positions


def _select(lines: list[str]) -> str:
    return "select\n" + ",\n".join(f"    {nested(line)}" for line in lines)
