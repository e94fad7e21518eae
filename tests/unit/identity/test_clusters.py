"""What speaks against a group being one human takes it apart, and says why."""

from __future__ import annotations

from person_registry import Limits, Registry, empty_registry

MAIL, OTHER_MAIL = "karimi@example.ir", "office@karimi.ir"
PHONE = "09121234568"


def refusals(registry: Registry) -> set[str]:
    return {reason for (reason,) in registry.rows("select reason from identity.refusal")}


def one(registry: Registry, *keys: str) -> bool:
    customers = registry.customers()
    return len({customers[key] for key in keys}) == 1


def test_a_record_that_bridges_two_birth_dates_joins_one_side_at_most(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL, birth_date="1950-03-04")
    registry.put("crm:2", full_name="Ali Karimi", phone=PHONE, birth_date="1985-11-23")
    registry.put("web:1", full_name="Ali Karimi", email=MAIL, phone=PHONE)
    registry.resolve()
    assert not one(registry, "crm:1", "crm:2")
    assert refusals(registry) <= {"the records contradict each other", "fits two customers equally well"}
    assert refusals(registry)


def test_national_ids_that_differ_keep_namesakes_apart_and_a_slip_does_not(registry: Registry) -> None:
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL, national_id="1234567890", birth_date="1950-03-04")
    registry.put("crm:2", full_name="Ali Karimi", email=MAIL, national_id="7093318246", birth_date="1985-11-23")
    registry.put("crm:3", full_name="Ali Karimi", email=MAIL, national_id="1234567891", birth_date="1950-03-04")
    registry.resolve()
    assert one(registry, "crm:1", "crm:3")
    assert not one(registry, "crm:1", "crm:2")


def test_no_customer_has_more_records_than_the_limit() -> None:
    registry = empty_registry(Limits(max_customer_records=3))
    for number in range(5):
        registry.put(f"crm:{number}", full_name="Ali Karimi", email=MAIL)
    registry.resolve()
    assert max(len(group) for group in registry.groups()) == 3
    assert refusals(registry) == {"too many records"}
    registry.con.close()


def test_a_chain_of_names_does_not_make_one_human_of_its_ends(registry: Registry) -> None:
    """Each neighbour fits the next, as a household's records do; husband and wife stay two."""
    registry.put("crm:1", full_name="Ali Karimi", email=MAIL)
    registry.put("web:1", full_name="Karimi", email=MAIL, phone=PHONE)
    registry.put("crm:2", full_name="Sara Karimi", phone=PHONE)
    registry.resolve()
    assert not one(registry, "crm:1", "crm:2")


def test_what_a_household_shares_links_nobody_alone(registry: Registry) -> None:
    home = {"street": "12 Azadi Street", "street_2": "Flat 3", "city": "Tehran", "postal_code": "1234567890"}
    registry.put("crm:1", full_name="Katherine Miller", birth_date="1980-03-04", **home)
    registry.put("crm:2", full_name="Thomas Miller", birth_date="1978-12-24", **home)
    registry.put("desk:1", full_name="Catherine Miller", **home)
    registry.resolve()
    assert registry.groups() == {frozenset({"crm:1", "desk:1"}), frozenset({"crm:2"})}


def test_names_that_are_only_alike_wait_for_a_person(registry: Registry) -> None:
    home = {"street": "12 Azadi Street", "city": "Tehran", "postal_code": "1234567890"}
    registry.put("crm:1", full_name="Maria Thompson", **home)
    registry.put("desk:1", full_name="Mario Thompson", **home)
    registry.resolve()
    assert not one(registry, "crm:1", "desk:1")
    assert registry.rows("select count(*) from identity.doubtful") == [(1,)]


def test_address_lines_in_either_order_and_a_slip_in_the_code_meet(registry: Registry) -> None:
    registry.put(
        "crm:1", full_name="Katherine Miller", birth_date="1980-03-04",
        street="15 Lubuma Place", street_2="Merewether House", postal_code="3138", city="Greensborough",
    )  # fmt: skip
    registry.put(
        "desk:1", full_name="Catherine Miller",
        street="15 Merewether House", street_2="Lubumaplace", postal_code="3183", city="Greensborough",
    )  # fmt: skip
    registry.resolve()
    assert one(registry, "crm:1", "desk:1")
