"""Work follows the change, and the result is that of a run over everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from person_registry import Limits, Registry, empty_registry

from orchestration.identity import blocking, decisions, edges, resolution

PHONE = "09121234568"
COMPUTED = ("record", "edge", "hub", "block", "pair", "component", "refusal")
"""Tables that must not tell in which order the records came."""


@pytest.fixture(autouse=True)
def only_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every run but the first is a partial one; small blocks and groups, so that limits are met."""
    monkeypatch.setattr(resolution, "FULL_SHARE", 1000.0)
    monkeypatch.setattr(blocking, "BLOCK_MAX_RECORDS", 3)
    yield


def new_registry() -> Registry:
    return empty_registry(Limits(hub_max_records=3, hub_max_names=2, max_customer_records=5))


def state(registry: Registry) -> dict[str, Any]:
    tables: dict[str, Any] = {
        table: registry.rows(f"select * from identity.{table} order by all") for table in COMPUTED
    }
    # Which record names a component is of no matter.
    component = registry.rows("select list(record_id order by record_id) from identity.component group by component_id")
    tables["component"] = sorted(component)
    tables["refusal"] = registry.rows("select record_a, record_b, reason from identity.refusal order by all")
    tables["groups"] = registry.groups()
    return tables


record = st.fixed_dictionaries(
    {
        "full_name": st.sampled_from(
            [None, "Ali Karimi", "علی کریمی", "A. Karimi", "Sara Ahmadi", "Karimi", "Ali Karimy", "Katherine Miller"]
        ),
        "email": st.sampled_from([None, "alikarimi@x.ir", "alikarimi@y.ir", "sara.ahmadi@x.ir", "info@x.ir"]),
        "phone": st.sampled_from([None, PHONE, "09129876501", "09120000000"]),
        "birth_date": st.sampled_from([None, None, "1980-03-04", "1980-04-03", "1991-12-24"]),
        "national_id": st.sampled_from([None, None, "1234567890", "9876543210"]),
        "street": st.sampled_from([None, "12 Azadi Street"]),
        "street_2": st.sampled_from([None, None, "Azadi Street"]),
        "postal_code": st.sampled_from([None, "1234567890"]),
        "city": st.sampled_from([None, "Tehran"]),
        "external_id": st.sampled_from([None, None, None, "1"]),
        "linked_person_key": st.sampled_from([None, None, None, "s:1", "s:2", "s:gone"]),
        "created_at": st.sampled_from([None, "2020-01-01", "2021-01-01"]),
    }
)
key = st.sampled_from([f"{source}:{n}" for source in "st" for n in range(6)])
change = st.tuples(st.just("record"), key, st.none() | record)
decision = st.tuples(st.sampled_from(["force", "forbid", "undo"]), key, key)
history = st.lists(st.lists(change | change | change | decision, min_size=1, max_size=6), min_size=2, max_size=4)


def apply(registry: Registry, step: tuple[Any, ...]) -> None:
    kind, first, second = step
    if kind == "record":
        if second is None:
            registry.remove(first)
        else:
            registry.put(first, **second)
    elif first != second:
        decide = {"force": decisions.force, "forbid": decisions.forbid, "undo": decisions.undo}[kind]
        try:
            decide(registry.con, first, second, by="Mina", reason="asked them")
        except decisions.DecisionError:
            return


def assert_is_as_after_one_run(registry: Registry) -> None:
    """Compare with one run over the records and decisions that the registry has come to, by its settings."""
    at_once = empty_registry(registry.settings)
    at_once.con.register(
        "collected", registry.con.execute("from intermediate.int_person_record__collected").to_arrow_table()
    )
    at_once.con.execute("insert into intermediate.int_person_record__collected by name select * from collected")
    at_once.con.execute("create schema identity")
    at_once.con.register("decided", registry.con.execute("from identity.decision").to_arrow_table())
    at_once.con.execute("create table identity.decision as from decided")
    at_once.resolve()
    assert state(registry) == state(at_once)
    registry.con.close()
    at_once.con.close()


@pytest.mark.parametrize("gone", ["s:1", "t:1"])
def test_a_decision_holds_again_when_a_record_is_back(gone: str) -> None:
    registry = new_registry()
    people = {
        "s:1": {"full_name": "Ali Karimi", "email": "alikarimi@x.ir"},
        "s:2": {"full_name": "Ali Karimi", "email": "alikarimi@x.ir"},
        "t:1": {"full_name": "Sara Ahmadi", "email": "sara.ahmadi@x.ir"},
        "t:2": {"full_name": "Sara Ahmadi", "email": "sara.ahmadi@x.ir"},
    }
    for person_key, columns in people.items():
        registry.put(person_key, **columns)
    registry.resolve()
    decisions.force(registry.con, "s:1", "t:1", by="Mina", reason="asked them")
    registry.resolve()
    registry.remove(gone)
    registry.resolve()
    registry.put(gone, **people[gone])
    registry.resolve()
    assert registry.groups() == {frozenset(people)}
    assert_is_as_after_one_run(registry)


def test_a_linked_id_that_too_many_have_is_one_hub_however_often_it_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edges, "DECLARED_MAX_RECORDS", 3)
    registry = new_registry()
    for number in range(6):
        registry.put(f"s:{number}", linked_person_key="crm:guest")
        registry.resolve()
    assert registry.rows("select kind, value, record_count from identity.hub") == [("linked_id", "crm:guest", 6)]
    for number in range(3):
        registry.remove(f"s:{number}")
    registry.resolve()
    assert registry.rows("from identity.hub") == []
    assert_is_as_after_one_run(registry)


searching = settings(
    max_examples=settings().max_examples // 25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@searching
@given(history)
def test_any_history_in_parts_gives_what_one_run_gives(runs: list[list[tuple[Any, ...]]]) -> None:
    registry = new_registry()
    registry.resolve()
    for steps in runs:
        for step in steps:
            apply(registry, step)
        registry.resolve()
    assert_is_as_after_one_run(registry)


@searching
@given(history, st.sampled_from([{"link_probability": 0.6}, {"review_probability": 0.9}, {"max_customer_records": 2}]))
def test_other_weights_give_what_a_run_that_began_with_them_gives(
    runs: list[list[tuple[Any, ...]]], other: dict[str, Any]
) -> None:
    registry = new_registry()
    usual = registry.settings
    for number, steps in enumerate(runs):
        for step in steps:
            apply(registry, step)
        registry.settings = replace(usual, **other) if number % 2 else usual
        registry.resolve()
    registry.settings = replace(usual, **other)
    assert registry.resolve().delta == 0, "no record is read again"
    assert_is_as_after_one_run(registry)
