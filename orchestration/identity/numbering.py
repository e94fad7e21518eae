"""Numbers that a country's plan settles, read in SQL from the plans that `phonenumbers` carries.

`phonenumbers` reads one number at a time, some tens of microseconds each, which on millions of numbers is a good part
of a run. Most numbers are of the plainest kind: written as people of the country dial them, or with plus and country
code, and of a range the plan has assigned. For these the library's steps come to four, and its patterns are ones that
DuckDB can match:

1. There is no international prefix, and no country code without a plus: the digits are what is dialled at home.
2. The prefix of calls within the country is cut, where there is one.
3. What is left has a length and a form of the plan as a whole.
4. It has a length and a form of one kind of numbers (mobile, fixed line, …), so that its range is assigned.

A number that fails any step is not settled here: the library reads it. A country whose plan needs more (rules that
rewrite numbers, a code shared with a larger country) settles none. Tests compare both readings for every country.

Belongs here: which numbers need no library, and their form. Does not belong here: reading the others (`normalise`).
"""

from __future__ import annotations

from dataclasses import dataclass

import phonenumbers
from phonenumbers import PhoneMetadata
from phonenumbers.phonemetadata import PhoneNumberDesc

_KINDS = (
    "mobile", "fixed_line", "toll_free", "premium_rate", "shared_cost", "voip", "personal_number", "pager", "uan",
    "voicemail",
)  # fmt: skip
"""Kinds of numbers that make a number valid, as attributes of the library's metadata; the frequent ones first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is read of one country's plan.

    Attributes:
        national: SQL over `text` (digits, with or without a leading plus): the number within the country, NULL where
            that is not for steps 1 and 2 to say.
        e164: SQL over `national`: the E.164 form, NULL where the number is not settled.
    """

    national: str
    e164: str


def plan_of(region: str) -> Plan | None:
    """The plan of a country (ISO 3166 alpha-2); None where it settles no number."""
    plan = PhoneMetadata.metadata_for_region(region, None)
    if plan is None or plan.country_code is None or not _is_plain(plan):
        return None
    # Of countries that share a code, only the first one's numbers are known by its own plan.
    if phonenumbers.region_code_for_country_code(plan.country_code) != region:
        return None
    code = str(plan.country_code)
    dialled = f"regexp_full_match(text, '[0-9]+') and not starts_with(text, '{code}')"
    if plan.international_prefix:
        dialled += f" and not regexp_matches(text, '^(?:{plan.international_prefix})')"
    home = f"case when {dialled} then text when starts_with(text, '+{code}') then substr(text, {len(code) + 2}) end"
    prefix = plan.national_prefix_for_parsing
    general, *kinds = [_has_form(each) for each in _descriptions(plan)]
    return Plan(
        national=f"regexp_replace({home}, '^(?:{prefix})', '')" if prefix else home,
        e164=f"case when {general} and ({' or '.join(kinds)}) then '+{code}' || national end",
    )


def _is_plain(plan: PhoneMetadata) -> bool:
    """Whether the plan rewrites no number, and no pattern looks ahead, which DuckDB's engine (RE2) cannot."""
    patterns = [plan.international_prefix, plan.national_prefix_for_parsing]
    patterns += [each.national_number_pattern for each in _descriptions(plan)]
    return not (plan.national_prefix_transform_rule or plan.leading_digits) and not any(
        "(?=" in pattern or "(?!" in pattern for pattern in patterns if pattern
    )


def _descriptions(plan: PhoneMetadata) -> list[PhoneNumberDesc]:
    """Lengths and forms of the plan as a whole, and of each kind of numbers that it has."""
    kinds = [getattr(plan, kind) for kind in _KINDS]
    return [plan.general_desc, *(kind for kind in kinds if kind is not None and kind.national_number_pattern)]


def _has_form(description: PhoneNumberDesc) -> str:
    lengths = ", ".join(str(length) for length in description.possible_length)
    has_length = f"length(national) in ({lengths}) and " if lengths else ""
    return f"({has_length}regexp_full_match(national, '{description.national_number_pattern}'))"
