"""The seeds as they come: what they say of customers before anybody has edited them."""

import csv
from pathlib import Path

SEEDS = Path(__file__).parents[3] / "dbt_project" / "seeds"


def test_who_subscribes_without_orders_is_no_contact_without_purchase() -> None:
    """Activity is known of whoever bought or subscribed: a rule for either state asks for nothing besides."""
    with (SEEDS / "persona_rule.csv").open(newline="") as lines:
        asked = {
            rule["persona"]: {
                name: value for name, value in rule.items() if value and name not in ("priority", "persona")
            }
            for rule in csv.DictReader(lines)
        }
    assert asked["regular"] == {"is_active": "true"}
    assert asked["lapsed customer"] == {"is_active": "false"}
    assert list(asked)[-1] == "contact without purchase"
    assert asked["contact without purchase"] == {}
