"""What is read in SQL by a country's plan is what `phonenumbers` says, for every country."""

from __future__ import annotations

import random

import duckdb
import phonenumbers
import pyarrow as pa
import pytest

from orchestration.identity import normalise
from orchestration.identity.numbering import plan_of

PLANS = {region: plan for region in sorted(phonenumbers.SUPPORTED_REGIONS) if (plan := plan_of(region)) is not None}
"""Countries whose plan settles numbers."""

KINDS = (
    phonenumbers.PhoneNumberType.MOBILE,
    phonenumbers.PhoneNumberType.FIXED_LINE,
    phonenumbers.PhoneNumberType.TOLL_FREE,
)


def spellings(region: str, draw: random.Random) -> set[str]:
    """Numbers of a country as people write them, right and wrong: other last digits, other starts, other lengths."""
    code = phonenumbers.country_code_for_region(region)
    texts = set()
    for kind in KINDS:
        example = phonenumbers.example_number_for_type(region, kind)
        if example is None:
            continue
        number = phonenumbers.national_significant_number(example)
        for _ in range(12):
            kept = draw.randrange(len(number))
            other = number[:kept] + "".join(draw.choice("0123456789") for _ in number[kept:])
            cut = other[: draw.randrange(4, len(other) + 1)]
            for nsn in (number, other, cut, other + draw.choice("0123456789")):
                prefix = draw.choice(["0", "1", "8", "06", "00", "011"])
                texts |= {
                    nsn,
                    f"0{nsn}",
                    f"{prefix}{nsn}",
                    f"+{code}{nsn}",
                    f"+{code}0{nsn}",
                    f"00{code}{nsn}",
                    f"{code}{nsn}",
                }
    return {text for text in texts if len(text) >= 6}


@pytest.mark.parametrize("region", PLANS)
def test_a_plan_says_what_the_library_says(region: str) -> None:
    plan = PLANS[region]
    texts = sorted(spellings(region, random.Random(region)))
    with duckdb.connect(config={"threads": 1}) as con:
        con.register("texts", pa.table({"text": texts}))
        found = con.execute(f"""
            with dialled as (select text, {plan.national} as national from texts)
            select text, {plan.e164} from dialled
        """).fetchall()
    settled = {text: (phone, True) for text, phone in found if phone is not None}
    assert settled == {text: normalise.parse_phone(text, region) for text in settled}
    assert settled


def test_what_plans_do_not_settle_the_library_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalise, "MIN_PLAN_NUMBERS", 1)
    monkeypatch.setattr(normalise, "LIBRARY_BATCH", 2)
    texts = {
        ("09121234568", "IR"), ("9121234568", "IR"), ("+989121234568", "IR"), ("00989121234568", "IR"),
        ("989121234568", "IR"), ("+447400123456", "IR"), ("123456", "IR"), ("09121234567", "IR"), ("0412987654", "AU"),
        ("2025550143", "US"), ("12025550143", "US"), ("89121234567", "RU"),
    }  # fmt: skip
    with duckdb.connect(config={"threads": 1}) as con:
        con.execute("create schema identity")
        con.execute("create table identity.phone (phone_text text, region text, phone text)")
        con.register("texts", pa.table(dict(zip(("phone_text", "region"), zip(*texts, strict=True), strict=True))))
        normalise.learn_phones(con, "texts", "learnt")
        found = con.execute("select phone_text, region, phone, is_valid, is_placeholder from learnt").fetchall()
    runs = {"09121234567", "+447400123456", "89121234567"}
    assert set(found) == {(text, region, *normalise.parse_phone(text, region), text in runs) for text, region in texts}
    assert len(found) == len(texts)
