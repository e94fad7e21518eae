"""What people decide holds, is kept with name and reason, and can be taken back."""

from __future__ import annotations

import pytest
from person_registry import Registry

from orchestration.identity import decisions
from orchestration.identity.explain import explain

MAIL = "karimi@example.ir"


def one(registry: Registry, *keys: str) -> bool:
    registry.resolve()
    customers = registry.customers()
    return len({customers[key] for key in keys}) == 1


def test_force_joins_what_no_rule_would_and_undo_parts_it_under_the_old_ids(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi")
    registry.put("desk:1", full_name="Zoe Smith")
    registry.resolve()
    before = registry.customers()
    decisions.force(registry.con, "desk:1", "crm:1", by="Mina", reason="showed both cards")
    assert one(registry, "crm:1", "desk:1")
    assert registry.rows("select distinct rule from identity.customer_xref where valid_to is null") == [("decision",)]
    assert "by Mina" in str(explain(registry.con, "crm:1", "desk:1"))
    decisions.undo(registry.con, "crm:1", "desk:1", by="Reza", reason="cards were borrowed")
    assert not one(registry, "crm:1", "desk:1")
    assert registry.customers() == before
    assert registry.rows("select kind, decided_by, undone_by, undo_reason from identity.decision") == [
        ("force", "Mina", "Reza", "cards were borrowed")
    ]


def test_force_joins_whole_customers_whatever_their_records_say(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL, birth_date="1950-03-04")
    registry.put("desk:1", full_name="Ali Karimi", email=MAIL)
    registry.put("crm:2", full_name="Sara Ahmadi", email="sara@x.ir", birth_date="1985-11-23")
    registry.put("desk:2", full_name="Sara Ahmadi", email="sara@x.ir")
    registry.resolve()
    before = registry.customers()
    decisions.force(registry.con, "crm:1", "crm:2", by="Mina", reason="she took his account over")
    assert one(registry, "crm:1", "desk:1", "crm:2", "desk:2")
    decisions.undo(registry.con, "crm:1", "crm:2", by="Mina", reason="she did not")
    registry.resolve()
    assert registry.customers() == before


def test_forbid_undoes_a_merge_and_holds_when_other_records_bridge_the_two(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL)
    registry.put("crm:2", full_name="Ali Karimi", email=MAIL)
    assert one(registry, "crm:1", "crm:2")
    decisions.forbid(registry.con, "crm:1", "crm:2", by="Mina", reason="father and son")
    assert not one(registry, "crm:1", "crm:2")
    registry.put("desk:1", full_name="Ali Karimi", email=MAIL)
    assert not one(registry, "crm:1", "crm:2")
    assert ("a person forbade it",) in registry.rows("select reason from identity.refusal")


def test_a_later_decision_takes_the_place_of_the_earlier_one(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL)
    registry.put("crm:2", full_name="Ali Karimi", email=MAIL)
    registry.resolve()
    decisions.forbid(registry.con, "crm:1", "crm:2", by="Mina", reason="father and son")
    decisions.force(registry.con, "crm:1", "crm:2", by="Reza", reason="no, one man")
    assert one(registry, "crm:1", "crm:2")
    assert registry.rows("select count(*), count(*) filter (where undone_at is null) from identity.decision") == [
        (2, 1)
    ]


@pytest.mark.parametrize(
    ("first", "second", "by", "reason", "says"),
    [
        ("crm:1", "crm:1", "Mina", "x", "name two records"),
        ("crm:1", "crm:9", "Mina", "x", "crm:9 is no record"),
        ("crm:1", "crm:2", " ", "x", "the name of who decides"),
        ("crm:1", "crm:2", "Mina", "", "a reason"),
    ],
)
def test_what_cannot_be_decided_says_why(
    registry: Registry, first: str, second: str, by: str, reason: str, says: str
) -> None:
    registry.put("crm:1", full_name="Ali Karimi")
    registry.put("crm:2", full_name="Ali Karimi")
    registry.resolve()
    with pytest.raises(decisions.DecisionError, match=says):
        decisions.force(registry.con, first, second, by=by, reason=reason)


def test_doubtful_pairs_wait_until_somebody_decides(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL, phone="09121234568")
    registry.put("crm:2", full_name="Sara Karimi", email=MAIL)
    registry.put("desk:1", full_name="Karimi", email=MAIL)
    registry.resolve()
    pairs = {frozenset(pair[:2]) for pair in decisions.waiting(registry.con, 10)}
    assert pairs == {frozenset({"crm:1", "desk:1"}), frozenset({"crm:2", "desk:1"})}
    decisions.forbid(registry.con, "crm:2", "desk:1", by="Mina", reason="asked")
    registry.resolve()
    assert [set(pair[:2]) for pair in decisions.waiting(registry.con, 10)] == [{"crm:1", "desk:1"}]


def test_judged_links_are_kept_and_leave_the_sample(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email="ali@x.ir")
    registry.put("web:1", full_name="Ali Karimi", email="ali@x.ir")
    registry.put("web:2", email="ali@x.ir")
    registry.put("crm:9", full_name="Sara Ahmadi", email="sara@x.ir")
    registry.resolve()
    links = decisions.sample(registry.con, 10)
    assert len(links) == 2
    assert {evidence for *_, evidence in links} == {"rule", "rule and name"}
    one, other, _ = links[0]
    decisions.judge(registry.con, other, one, "Mina", is_same=True)
    decisions.judge(registry.con, one, other, "Mina", is_same=False)
    assert registry.rows("select person_key_a, person_key_b, is_same from identity.judgement") == [(one, other, False)]
    assert decisions.sample(registry.con, 10) == links[1:]
    assert not registry.resolve().is_changed
    with pytest.raises(decisions.DecisionError, match="no link of the sample"):
        decisions.judge(registry.con, "crm:1", "crm:9", "Mina", is_same=True)
