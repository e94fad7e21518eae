"""The contract says what the rest is built on; its names and types are right."""

from __future__ import annotations

from orchestration.sources.contract import DUCKDB_TYPES, load_contract


def test_every_reference_points_to_an_entity_that_can_be_referred_to() -> None:
    contract = load_contract()

    for entity in contract.values():
        for column in entity.columns.values():
            if column.references is not None:
                target = contract[column.references]
                assert (target.extra_key or target.key) in target.columns
                assert column.reference_key in entity.key_columns().values()


def test_every_column_has_a_type_the_warehouse_knows_and_a_description() -> None:
    for entity in load_contract().values():
        assert entity.grain.startswith("One row per ")
        assert entity.key in entity.required
        for column in entity.columns.values():
            assert column.type in DUCKDB_TYPES
            assert column.description


def test_keys_are_named_after_the_entity() -> None:
    contract = load_contract()

    assert contract["ticket"].key_columns() == {
        "ticket_id": "ticket_key",
        "person_id": "person_key",
        "order_id": "order_key",
        "merged_into_ticket_id": "merged_into_ticket_key",
        "schedule_id": "schedule_key",
        "assignee_id": "assignee_key",
    }
    assert contract["business_schedule"].key_columns() == {
        "business_schedule_interval_id": "business_schedule_interval_key",
        "schedule_id": "schedule_key",
    }
