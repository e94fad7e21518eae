"""The contract entities as data: `contract.yml`, read once.

Belongs here: what the contract says and the names that follow from it (keys, types). Does not belong
here: how a source is mapped onto it (`mapping.py`) and rules about values (`expectations/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

CONTRACT_PATH = Path(__file__).with_name("contract.yml")

DUCKDB_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "text": "varchar",
        "integer": "bigint",
        "number": "double",
        # Money is never a float; four decimals keep unit prices and converted amounts exact.
        "amount": "decimal(18,4)",
        "boolean": "boolean",
        "timestamp": "timestamp",
        "date": "date",
    }
)
"""Contract type to DuckDB type."""


def key_name(column: str) -> str:
    """The name of the globally unique key that goes with an id column: `person_id` gives `person_key`."""
    return f"{column.removesuffix('_id')}_key"


@dataclass(frozen=True)
class Column:
    """One column of a contract entity.

    Attributes:
        name: Name in the contract.
        type: Contract type, one of `DUCKDB_TYPES`.
        description: Meaning and unit.
        required: Whether a mapping must give it.
        values: Allowed words; empty when free.
        references: Name of the entity the column points to.
        personal: Class of personal data (name, email, phone, address, text, birth_date).
    """

    name: str
    type: str
    description: str
    required: bool = False
    values: tuple[str, ...] = ()
    references: str | None = None
    personal: str | None = None

    @property
    def duckdb_type(self) -> str:
        """The DuckDB type of the column."""
        return DUCKDB_TYPES[self.type]

    @property
    def sql_type(self) -> str:
        """The DuckDB type as our SQL spells it."""
        return self.duckdb_type.replace(",", ", ")

    @property
    def reference_key(self) -> str | None:
        """Name of the key column of a reference (`assignee_id` gives `assignee_key`); None otherwise."""
        return key_name(self.name) if self.references else None


@dataclass(frozen=True)
class Entity:
    """One contract entity.

    Attributes:
        name: Singular name.
        plural: Plural name, used in model names.
        domain: crm, ticketing, survey, social or web.
        grain: "One row per …".
        key: Name of the id column.
        columns: Columns by name, in the order of the contract.
        extra_key: Id column that other entities refer to when it is not the entity's own key.
    """

    name: str
    plural: str
    domain: str
    grain: str
    key: str
    columns: Mapping[str, Column]
    extra_key: str | None = None

    @property
    def key_name(self) -> str:
        """Name of the globally unique key of the entity's rows, `<entity>_key`."""
        return key_name(self.key)

    @property
    def required(self) -> tuple[str, ...]:
        """Columns a mapping must give."""
        return tuple(column.name for column in self.columns.values() if column.required)

    @property
    def identifiers(self) -> frozenset[str]:
        """Columns that hold ids: the key, the references and the key others refer to."""
        references = {column.name for column in self.columns.values() if column.references}
        return frozenset({self.key, *references} | ({self.extra_key} if self.extra_key else set()))

    def key_columns(self) -> Mapping[str, str]:
        """Key columns by the id column they are built from, the entity's own key first."""
        keys = {self.key: self.key_name}
        keys |= {column.name: key_name(column.name) for column in self.columns.values() if column.references}
        if self.extra_key:
            keys[self.extra_key] = key_name(self.extra_key)
        return MappingProxyType(keys)


@cache
def load_contract() -> Mapping[str, Entity]:
    """All contract entities by name, in the order of the file."""
    document = yaml.safe_load(CONTRACT_PATH.read_text(encoding="utf-8"))
    return MappingProxyType({name: _entity(name, body) for name, body in document.items()})


def _entity(name: str, body: dict[str, Any]) -> Entity:
    columns = {
        column: Column(
            name=column,
            type=given["type"],
            description=given["description"],
            required=given.get("required", False),
            values=tuple(given.get("values", ())),
            references=given.get("references"),
            personal=given.get("personal"),
        )
        for column, given in body["columns"].items()
    }
    return Entity(
        name=name,
        plural=body["plural"],
        domain=body["domain"],
        grain=body["grain"],
        key=body["key"],
        columns=MappingProxyType(columns),
        extra_key=body.get("reference_key"),
    )
