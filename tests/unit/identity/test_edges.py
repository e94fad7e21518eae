"""Which records are tied by what they share."""

from __future__ import annotations

import pytest
from person_registry import Limits, Registry

from orchestration.identity.edges import DECLARED_MAX_RECORDS

MAIL = "karimi@example.ir"


def is_one(registry: Registry, *keys: str) -> bool:
    registry.resolve()
    customers = registry.customers()
    return len({customers[key] for key in keys}) == 1


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("Ali Karimi", "ali  KARIMI", True),
        ("Ali Karimi", "Karimi, Ali", True),
        ("Ali Karimi", "Mr Ali Karimi", True),
        ("Ali Karimi", "A. Karimi", True),
        ("A Karimi", "Ali Karimi", True),
        ("Ali Karimi", "Karimi", True),
        ("Ali Karimi", "علی کریمی", True),
        ("Mohammadreza Karimi", "محمد رضا کریمی", True),
        ("Mohammad Reza Karimi", "Mohammadreza Karimi", True),
        ("Mohammad Reza Karimi", "Reza Karimi", True),
        ("Hossein Rezaei", "Hussain Rezaee", True),
        ("Mohammad Karimi", "Muhammed Karimi", True),
        ("Katherine Miller", "Kathrine Miller", True),
        ("Christina Miller", "C. Miller", True),
        ("ع. کریمی", "Ali Karimi", True),
        ("Ali Karimi", "Sara Karimi", False),
        ("Ali Karimi", "B. Karimi", False),
        ("Hassan Karimi", "Hossein Karimi", False),
        ("حسن کریمی", "حسین کریمی", False),
        ("Mina Karimi", "Mona Karimi", False),
        ("Maria Rossi", "Mario Rossi", False),
        ("Ali Karimi", "سارا کریمی", False),
        ("A. K.", "Ali Karimi", False),
    ],
)
def test_two_names_on_one_mail(registry: Registry, one: str, other: str, is_same: bool) -> None:
    registry.put("crm:1", full_name=one, email=MAIL)
    registry.put("desk:1", full_name=other, email=MAIL)
    assert is_one(registry, "crm:1", "desk:1") is is_same


def test_given_and_family_name_come_before_the_full_name(registry: Registry) -> None:
    registry.put("crm:1", full_name="K. A.", given_name="Ali", family_name="Karimi", email=MAIL)
    registry.put("desk:1", full_name="Ali Karimi", email=MAIL)
    assert is_one(registry, "crm:1", "desk:1")


def test_a_family_on_one_mail_is_kept_apart_in_any_script(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL)
    registry.put("crm:2", full_name="Sara Ahmadi Karimi", email=MAIL)
    registry.put("desk:1", full_name="علی کریمی", email=MAIL)
    registry.put("desk:2", full_name="سارا احمدی کریمی", email=MAIL)
    registry.put("desk:3", full_name="S. Ahmadi", email=MAIL)
    registry.put("desk:4", full_name="Karimi", email=MAIL)
    registry.put("web:1", email=MAIL)
    registry.resolve()
    assert registry.groups() == {
        frozenset({"crm:1", "desk:1"}),
        frozenset({"crm:2", "desk:2", "desk:3"}),
        frozenset({"desk:4"}),
        frozenset({"web:1"}),
    }


def test_a_token_that_fits_a_full_and_an_initialled_name_joins_neither(registry: Registry) -> None:
    registry.put("crm:1", full_name="Todd Bass", email=MAIL)
    registry.put("crm:2", full_name="M. Bass", email=MAIL)
    registry.put("crm:3", full_name="Bass", email=MAIL)
    registry.resolve()
    assert len(registry.groups()) == 3


def test_records_without_name_join_the_one_person_of_a_mail(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL)
    registry.put("desk:1", full_name="A. Karimi", email=MAIL)
    registry.put("web:1", email=MAIL)
    assert is_one(registry, "crm:1", "desk:1", "web:1")


def test_records_without_any_name_on_a_value_are_one(registry: Registry) -> None:
    registry.put("web:1", phone="09121234568")
    registry.put("web:2", phone="+98 912 123 45 68")
    assert is_one(registry, "web:1", "web:2")


def test_another_phone_keeps_a_record_without_full_name_apart(registry: Registry) -> None:
    registry.put("crm:1", full_name="Brooke Compton", email=MAIL, phone="09121234568")
    registry.put("crm:2", family_name="Compton", email=MAIL, phone="09129876501")
    registry.put("web:1", email=MAIL, phone="09121234568")
    registry.resolve()
    assert registry.groups() == {frozenset({"crm:1", "web:1"}), frozenset({"crm:2"})}


def test_a_record_without_name_goes_by_the_name_of_the_record_it_is_linked_to(registry: Registry) -> None:
    registry.put("crm:1", full_name="Cody Weber")
    registry.put("crm:2", full_name="Brady Weber", email=MAIL)
    registry.put("web:1", email=MAIL, linked_person_key="crm:1")
    registry.resolve()
    assert registry.groups() == {frozenset({"crm:1", "web:1"}), frozenset({"crm:2"})}


def test_ids_that_sources_declare_bind_without_a_look_at_names(registry: Registry) -> None:
    registry.put("shop:1", full_name="Ali Karimi", external_id="H1")
    registry.put("shop:2", full_name="Sara Ahmadi", external_id="H1")
    registry.put("desk:1", full_name="Zoe", external_id="H1")
    registry.put("web:1", full_name="Somebody Else", linked_person_key="shop:1")
    registry.resolve()
    assert registry.groups() == {frozenset({"shop:1", "shop:2", "web:1"}), frozenset({"desk:1"})}


def test_links_to_a_record_that_is_missing_still_tie_those_who_have_them(registry: Registry) -> None:
    registry.put("web:1", linked_person_key="crm:gone")
    registry.put("web:2", linked_person_key="crm:gone")
    assert is_one(registry, "web:1", "web:2")


@pytest.mark.parametrize("nobody", ["0", "null", "undefined", "Unknown"])
def test_a_stand_in_of_an_id_ties_nobody(registry: Registry, nobody: str) -> None:
    registry.put("pos:1", full_name="Ali Karimi", national_id=nobody)
    registry.put("pos:2", full_name="Ali Karimi", national_id=nobody)
    registry.put("web:1", full_name="Ali Karimi", linked_person_key=f"crm:{nobody}")
    registry.put("web:2", full_name="Sara Ahmadi", linked_person_key=f"crm:{nobody}")
    registry.put("shop:1", full_name="Reza Nouri", external_id=nobody)
    registry.put("shop:2", full_name="Mina Taheri", external_id=nobody)
    assert registry.resolve().customers == 6


def test_hubs_tie_nobody_and_are_reported(registry: Registry) -> None:
    registry.settings = Limits(hub_max_records=5, hub_max_names=3)
    for number in range(6):
        registry.put(f"crm:a{number}", full_name="Ali Karimi", email="many@example.ir")
    for number, name in enumerate(["Ali Karimi", "Sara Ahmadi", "Reza Nouri", "Mina Taheri"]):
        registry.put(f"crm:b{number}", full_name=name, phone="09121234568")
    for number in range(2):
        registry.put(f"crm:c{number}", full_name="Ali Karimi", email="info@example.ir")
        registry.put(f"crm:d{number}", full_name="Ali Karimi", phone="09120000000")
    result = registry.resolve()
    assert result.customers == result.records == 14
    assert registry.rows("select kind, value, reason, record_count, name_count from identity.hub order by value") == [
        ("phone", "+989120000000", "placeholder", 2, 1),
        ("phone", "+989121234568", "too many names", 4, 4),
        ("email", "info@example.ir", "role mailbox", 2, 1),
        ("email", "many@example.ir", "too many records", 6, 1),
    ]


def test_spellings_of_one_name_are_one_name_to_the_hub_limit(registry: Registry) -> None:
    registry.settings = Limits(hub_max_names=2)
    for number, name in enumerate(["Ali Karimi", "علی کریمی", "Karimi Ali", "Aly Karimi"]):
        registry.put(f"crm:{number}", full_name=name, email=MAIL)
    assert is_one(registry, "crm:0", "crm:1", "crm:2", "crm:3")


def test_a_declared_id_may_be_shared_by_more_than_a_mail_but_not_by_all(registry: Registry) -> None:
    for number in range(40):
        registry.put(f"shop:{number}", external_id="regular guest")
    registry.con.execute(f"""
        insert into intermediate.int_person_record__collected by name
        select 'pos:' || i as person_key, 'pos' as source, i::text as person_id, 'default' as external_id,
            false as is_bare
        from range({DECLARED_MAX_RECORDS + 1}) as numbers(i)
    """)
    result = registry.resolve()
    assert result.customers == 1 + DECLARED_MAX_RECORDS + 1
    assert registry.rows("select kind, value, reason from identity.hub") == [
        ("external_id", "pos:default", "too many records")
    ]


def test_a_clerk_is_one_person_behind_the_office_mail_and_the_switchboard(registry: Registry) -> None:
    registry.settings = Limits(hub_max_names=2)
    for number, name in enumerate(["Ali Karimi", "Sara Ahmadi", "Reza Nouri"]):
        registry.put(f"crm:{number}", full_name=name, email="office@acme.ir", phone="02188776601")
        registry.put(f"desk:{number}", full_name=name, email="office@acme.ir", phone="02188776601")
    registry.resolve()
    assert registry.groups() == {frozenset({f"crm:{n}", f"desk:{n}"}) for n in range(3)}
    assert registry.rows("select distinct rule from identity.customer_xref") == [("email+phone+name",)]


def test_rules_say_what_ties_a_record(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL, phone="09121234568")
    registry.put("desk:1", full_name="Ali Karimi", email=MAIL, phone="09121234568")
    registry.put("web:1", email=MAIL)
    registry.put("web:2", linked_person_key="crm:1")
    registry.put("pos:1", full_name="Ali Karimi")
    registry.resolve()
    assert dict(registry.rows("select person_key, rule from identity.customer_xref")) == {
        "crm:1": "linked_id+email+phone+name",
        "desk:1": "email+phone+name",
        "web:1": "email",
        "web:2": "linked_id",
        "pos:1": "unshared",
    }
