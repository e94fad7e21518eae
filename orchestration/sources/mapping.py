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
    gregorian,
    identifier,
    is_day,
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

PLACEHOLDER_DAYS = ("1900-01-01", "1970-01-01", "9999-12-31")
"""Days that stand for "unknown" or "never" in many systems; 1970-01-01 is a birthday like any other."""

Ctes = list[tuple[str, str]]
"""Common table expressions: name and body."""

Cleaner = Callable[[str, Column, ColumnMapping], str]
"""Gives the SQL of one mapped column from its name, its contract and its mapping."""


def mapped_select(table: Table, mapping: EntityMapping, relation: str, *, for_audit: bool = False) -> str:
    """The SELECT that maps rows as sent onto a contract entity.

    It gives one row per row of the relation that passes `where`: every contract column with its type (NULL
    when not mapped), the keys of the entity and of its references, `source`, `_table`, the booked columns, and
    `_uncast`: the contract columns whose text could not be read, separated by commas; NULL when all could.
    A placeholder date (1900-01-01, 1970-01-01, 9999-12-31) is NULL in an optional column; in a required one it
    is that day at midnight UTC, for the rules to find. Several rows of one record (`one_per_key`) stay apart here,
    so that each of them can be audited.

    Args:
        table: The source table.
        mapping: One of its entity mappings.
        relation: SQL of a relation of the raw shape.
        for_audit: Whether to add what only the audit asks for (`audit_columns`).
    """
    ctes = mapping_ctes(table, mapping, relation, prefix="", for_audit=for_audit)
    return with_ctes(ctes, ctes[-1][0])


def with_ctes(ctes: Ctes, final: str) -> str:
    """A query of common table expressions that ends in one of them."""
    bodies = ",\n\n".join(f"{name} as (\n{indent(body, '    ')}\n)" for name, body in ctes)
    return f"with\n\n{bodies}\n\nselect * from {final}"


def audit_columns(entity: Entity) -> dict[str, str]:
    """What the audit knows of a mapped row besides its columns: name and DuckDB type.

    `_placeholders` names the optional columns that held a placeholder date, separated by commas; NULL when none
    did. `_<column>_until` is the last moment that a time may mean: of a bare day its end, else the time itself.
    """
    until = {f"_{column.name}_until": "TIMESTAMP" for column in entity.columns.values() if column.type == "timestamp"}
    return {"_placeholders": "VARCHAR", **until}


def mapping_ctes(
    table: Table,
    mapping: EntityMapping,
    relation: str,
    prefix: str,
    *,
    with_order: bool = False,
    for_audit: bool = False,
) -> Ctes:
    """The steps of `mapped_select`; the last one has the mapped rows.

    Args:
        table: The source table.
        mapping: One of its entity mappings.
        relation: SQL of a relation of the raw shape.
        prefix: Put before the name of each step, to tell several mappings in one query apart.
        with_order: Whether to add what decides which of several rows of one record is the last:
            `_source_file`, `_source_row` and, where the mapping names a column for it, `_order`.
        for_audit: Whether to add `audit_columns`.
    """
    return _Mapper(table, mapping, with_order=with_order, for_audit=for_audit).ctes(relation, prefix)


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

    def __init__(self, table: Table, mapping: EntityMapping, *, with_order: bool, for_audit: bool) -> None:
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
        self._for_audit = for_audit
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
            is_jalali = (given.calendar or self._table.calendar) == "jalali"
            order = given.date_order or self._table.date_order or ("ymd" if is_jalali else None)
            ordered = iso_ordered(name, order)
            return gregorian(ordered) if is_jalali else ordered
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
        is_declared = given.decimal is not None or "decimal" in self._table.model_fields_set
        return number(name, column.sql_type, decimal, is_locale_strict=is_strict, is_declared=is_declared)

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
                lines.append(self._dated(name))
            else:
                lines.append(f"cast(null as {self._entity.columns[name].sql_type}) as {name}")
        lines += [f"{literal(self._table.name)} as _table", *BOOKED, *self._files, *self._order_column]
        if self._for_audit:
            lines += [f"{self._placeholders()} as _placeholders", *self._until()]
        lines.append(f"{self._uncast()} as _uncast")
        return f"{_select(lines)}\nfrom {relation}"

    def _key(self, identity: str) -> str:
        if identity not in self._mapped:
            return "cast(null as varchar)"
        source = self._mapping.columns[identity].source or self._table.source
        return f"{literal(source + ':')} || {identity}"

    # Dates that are none.

    def _dated(self, name: str) -> str:
        """A column without placeholder dates, or with them in the one form that the rules know."""
        column, _ = self._mapped[name]
        if column.type not in {"timestamp", "date"}:
            return name
        if not column.required:
            return f"{case((self._is_placeholder(name), 'null'), otherwise=name)} as {name}"
        if column.type == "date":
            return name
        written = f"cast({self._day(name)} as timestamp)"
        return f"{case((self._is_placeholder(name), written), otherwise=name)} as {name}"

    def _is_placeholder(self, name: str) -> str:
        column, _ = self._mapped[name]
        is_birthday = column.type == "date"
        days = ", ".join(f"date '{each}'" for each in PLACEHOLDER_DAYS if each != "1970-01-01" or not is_birthday)
        if is_birthday:
            return f"{name} in ({days})"
        # The day as written is read again only where the moment is near one of them.
        near = f"({name} < timestamp '1970-01-03' or {name} >= timestamp '9999-12-30')"
        return f"{near}\nand {self._day(name)} in ({days})"

    def _day(self, name: str) -> str:
        """The day as written, whatever its zone."""
        _, given = self._mapped[name]
        if given.format or self._table.format == "excel":
            return day(f"{name}__text", formats=given.format, is_sheet=True)
        return f"try_cast(left({name}__text, 10) as date)"

    def _placeholders(self) -> str:
        names = [
            case((self._is_placeholder(name), literal(name)))
            for name, (column, _) in self._mapped.items()
            if column.type in {"timestamp", "date"} and not column.required
        ]
        return call("nullif", call("concat_ws", "','", *names), "''") if names else "cast(null as varchar)"

    def _until(self) -> list[str]:
        lines = []
        for name, column in self._entity.columns.items():
            if column.type != "timestamp":
                continue
            if name not in self._mapped:
                lines.append(f"cast(null as timestamp) as _{name}_until")
                continue
            _, given = self._mapped[name]
            bare = is_day(f"{name}__text", formats=given.format, is_sheet=self._table.format == "excel")
            end = f"{name} + interval '86399' second"
            none = [] if column.required else [(self._is_placeholder(name), "null")]
            lines.append(f"{case(*none, (bare, end), otherwise=name)} as _{name}_until")
        return lines

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
