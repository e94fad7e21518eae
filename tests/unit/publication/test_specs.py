"""Which marts are public is read from their documentation."""

from __future__ import annotations

from typing import Any

import pytest

from orchestration.publication.specs import MartColumn, MartSpec, PublicationError, mart_specs


def node(name: str, **over: Any) -> dict[str, Any]:
    return {
        "resource_type": "model",
        "name": name,
        "alias": name,
        "schema": "marts",
        "description": "One row\n  per thing.\n",
        "config": {"access": "public", "materialized": "table"},
        "columns": {},
    } | over


def manifest(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": {f"{each['resource_type']}.cem.{each['name']}": each for each in nodes}}


def test_public_models_of_the_marts_schema_are_published_in_order():
    specs = mart_specs(
        manifest(
            node("mart_b"),
            node("dim_a", config={"access": "public", "materialized": "view"}),
            node("mart_hidden", config={"access": "protected", "materialized": "table"}),
            node("int_x", schema="intermediate"),
            node("a_test", resource_type="test"),
            node("mart_e", config={"access": "public", "materialized": "ephemeral"}),
        )
    )
    assert [(spec.name, spec.kind, spec.description) for spec in specs if not spec.name.startswith("mart_clv")] == [
        ("dim_a", "view", "One row per thing."),
        ("mart_b", "table", "One row per thing."),
    ]


def test_personal_classes_come_from_the_column_s_meta():
    columns = {
        "email": {
            "name": "email",
            "description": "Mail.",
            "config": {"meta": {"personal": "email"}},
            "meta": {},
        },
        "phone": {"name": "phone", "description": "", "meta": {"personal": "phone"}},
        "city": {"name": "city", "description": "City."},
    }
    spec = mart_specs(manifest(node("dim_customer", columns=columns)))[0]
    assert spec.personal == {"email": "email", "phone": "phone"}
    assert spec.columns[0] == MartColumn("email", "Mail.", "email")


def test_the_owner_of_rows_comes_from_the_model_s_meta():
    owned = {"access": "public", "materialized": "table", "meta": {"owner": "coalesce(customer_id, order_key)"}}
    specs = {spec.name: spec for spec in mart_specs(manifest(node("fct_order", config=owned), node("mart_b")))}
    assert specs["fct_order"].owner == "coalesce(customer_id, order_key)"
    assert specs["mart_b"].owner is None


def test_marts_written_by_python_are_published_and_may_not_repeat_a_model():
    python_marts = {spec.name: spec for spec in mart_specs(manifest())}
    assert {"mart_clv", "mart_clv_parameters"} <= set(python_marts)
    assert all(spec.description and spec.columns for spec in python_marts.values())
    with pytest.raises(PublicationError, match="mart_clv"):
        mart_specs(manifest(node("mart_clv")))


def test_an_unknown_class_is_refused():
    with pytest.raises(PublicationError, match="allowed: name, email"):
        MartSpec("m", (MartColumn("iban", personal="account_number"),))
