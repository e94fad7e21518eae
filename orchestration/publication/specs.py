"""Which marts are public, and which of their columns are personal.

The answer is read from where models are documented: dbt's manifest for the models written in SQL, and the
documentation beside the code for the marts that Python writes. Nothing is listed here a second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

MARTS_SCHEMA = "marts"
"""Schema of the public marts, in the warehouse and in what is published."""

PERSONAL_CLASSES = ("name", "email", "phone", "address", "text", "birth_date")
"""Kinds of personal data a column may hold; `masking` knows what to do with each."""


class PublicationError(RuntimeError):
    """The marts cannot be published as they stand; the message says which, why and what to do."""


@dataclass(frozen=True)
class MartColumn:
    """One documented column of a mart.

    Attributes:
        name: Name of the column.
        description: What readers are told about it.
        personal: Its class of personal data, one of `PERSONAL_CLASSES`; None when it holds none.
    """

    name: str
    description: str = ""
    personal: str | None = None

    def __post_init__(self) -> None:
        """Refuse a class that nothing knows how to mask, since it would be published as it is."""
        if self.personal is not None and self.personal not in PERSONAL_CLASSES:
            raise PublicationError(
                f"column {self.name}: personal class {self.personal!r} is unknown; "
                f"allowed: {', '.join(PERSONAL_CLASSES)}"
            )


@dataclass(frozen=True)
class MartSpec:
    """One public mart.

    Attributes:
        name: Name of the table or view.
        columns: Every column it has; one that is missing here is refused, because nobody has said whether
            it is personal.
        description: What readers are told about it, beginning with its grain.
        kind: Whether readers get a table, or a view over other public marts.
        owner: SQL expression over its published columns that says whose a row is, such as the customer's id; its
            rows are replaced by owner when some changed. None when it is written whole.
        schema: Schema in the warehouse and in the published file.
    """

    name: str
    columns: tuple[MartColumn, ...]
    description: str = ""
    kind: Literal["table", "view"] = "table"
    owner: str | None = None
    schema: str = MARTS_SCHEMA

    @property
    def personal(self) -> dict[str, str]:
        """Class of personal data by column, only of the columns that hold some."""
        return {column.name: column.personal for column in self.columns if column.personal}


def mart_specs(manifest: Mapping[str, Any]) -> list[MartSpec]:
    """The public marts: every public dbt model of the schema `marts`, and the marts that Python writes.

    Args:
        manifest: dbt's manifest as plain data.

    Raises:
        PublicationError: Two marts share a name, or a column has an unknown personal class.
    """
    from orchestration.analytics import clv  # numpy and scipy cost a second

    specs = [_from_node(node) for node in manifest["nodes"].values() if _is_public_mart(node)]
    specs += [
        MartSpec(
            name=mart.name,
            description=mart.description,
            columns=tuple(MartColumn(column.name, column.description) for column in mart.columns),
        )
        for mart in clv.MARTS
    ]
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PublicationError(f"marts documented twice, by dbt and by Python: {', '.join(twice)}")
    return sorted(specs, key=lambda spec: spec.name)


def _is_public_mart(node: Mapping[str, Any]) -> bool:
    config = node.get("config") or {}
    access = config.get("access") or node.get("access")
    return (
        node.get("resource_type") == "model"
        and node.get("schema") == MARTS_SCHEMA
        and access == "public"
        and config.get("materialized") != "ephemeral"
    )


def _from_node(node: Mapping[str, Any]) -> MartSpec:
    return MartSpec(
        name=node.get("alias") or node["name"],
        description=_one_line(node.get("description")),
        kind="view" if node["config"].get("materialized") == "view" else "table",
        owner=_meta(node).get("owner"),
        columns=tuple(
            MartColumn(column["name"], _one_line(column.get("description")), _personal_class(column))
            for column in node["columns"].values()
        ),
    )


def _personal_class(column: Mapping[str, Any]) -> str | None:
    personal: str | None = _meta(column).get("personal")
    return personal


def _meta(documented: Mapping[str, Any]) -> dict[str, Any]:
    """What a model or column says in `config: {meta: …}`, or in the `meta:` of older projects beside it."""
    return {**(documented.get("meta") or {}), **((documented.get("config") or {}).get("meta") or {})}


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
