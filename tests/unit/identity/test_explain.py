"""Explanations say what the tables hold."""

from __future__ import annotations

import pytest
from person_registry import Registry

from orchestration.identity.explain import UnknownRecordError, explain
from orchestration.identity.explain_page import page
from orchestration.identity.model import COMPARISONS

MAIL = "karimi@example.ir"


def test_a_shared_value_that_ties(registry: Registry) -> None:
    for key in ("crm:1", "desk:1", "web:1"):
        registry.put(key, full_name="Ali Karimi", email=MAIL)
    registry.resolve()
    said = explain(registry.con, "desk:1", "web:1")
    assert said.is_same
    assert [(item.kind, item.outcome) for item in said.shared] == [("email", "ties them")]
    assert said.path[0].from_person_key == "desk:1"
    assert "names fit" in str(said)


def test_a_path_over_other_records(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL)
    registry.put("desk:1", full_name="Ali Karimi", email=MAIL, phone="09121234568")
    registry.put("pos:1", phone="09121234568", external_id="H1")
    registry.put("pos:2", external_id="H1")
    registry.resolve()
    said = explain(registry.con, "crm:1", "pos:2")
    assert said.shared == ()
    assert [(step.kind, step.to_person_key) for step in said.path] == [
        ("email", "desk:1"),
        ("phone", "pos:1"),
        ("external_id", "pos:2"),
    ]
    assert "they share no identifier" in str(said)


def test_names_that_do_not_fit_and_hubs(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL, phone="09120000000")
    registry.put("crm:2", full_name="Sara Ahmadi", email=MAIL, phone="09120000000")
    registry.resolve()
    said = explain(registry.con, "crm:1", "crm:2")
    assert not said.is_same
    assert said.path == ()
    assert {item.kind: item.outcome for item in said.shared} == {
        "email": "does not tie them: names or phones do not fit",
        "phone": "ties nobody: placeholder",
    }


def test_an_unknown_record_is_named(registry: Registry) -> None:
    registry.resolve()
    with pytest.raises(UnknownRecordError, match="crm:9"):
        explain(registry.con, "crm:9", "crm:1")


def test_a_warehouse_without_a_run_is_said_to_have_none(registry: Registry) -> None:
    with pytest.raises(UnknownRecordError, match="has not run"):
        explain(registry.con, "crm:1", "crm:2")


def test_why_two_records_are_not_one(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL, birth_date="1980-01-02")
    registry.put("crm:2", full_name="Sara Karimi", email=MAIL, birth_date="1991-05-06")
    registry.resolve()
    said = explain(registry.con, "crm:1", "crm:2")
    assert not said.is_same
    found = {each.comparison: (each.level, each.bits > 0) for each in said.weight.outcomes}
    assert found["name"] == ("family name fits, given name does not", True)
    assert found["birth date"] == ("different", False)
    assert found["phone"] == ("missing, or shared by too many", False)
    assert said.weight.probability == pytest.approx(1 / (1 + 2.0**-said.weight.bits))


def test_the_page_is_whole_and_what_records_say_is_escaped(registry: Registry) -> None:
    registry.put("crm:<b>1", full_name="Ali Karimi", email="<script>alert(1)</script>@x.ir", external_id="<i>1")
    registry.put("crm:2", full_name="علی کریمی", external_id="<i>1")
    registry.resolve()
    shown = page(explain(registry.con, "crm:<b>1", "crm:2"))
    assert "<script" not in shown
    assert "<i>" not in shown
    assert "&lt;i&gt;1" in shown
    assert "http" not in shown
    assert shown.count("<rect") == 1 + len(COMPARISONS) + 1
