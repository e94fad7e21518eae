"""The linkage model: what two records agree on, and how much each agreement weighs.

A comparison looks at one attribute of two records and says which of its levels holds, best first. A level weighs
log2(m / u) bits: m is the share of the pairs of one human that reach it, u that of the pairs of two. Bits add up
(Fellegi and Sunter), from the bits of the prior: how many other records of its human a record has among all.

The conditions are here, the figures in a file: `training` learns them, `default_model.json` holds those a warehouse
starts with. A level with a `frequency` weighs more for rare values: its u is the share of records with that value.

Belongs here: comparisons, the file, the SQL that weighs pairs. Does not belong here: which pairs are weighed
(`blocking`), and what is made of the weight (`weighing`, `clusters`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestration.identity.normalise import MIN_TWO_TYPOS_LETTERS, MIN_TYPO_LETTERS
from orchestration.whole_files import write_whole

DEFAULT_MODEL = Path(__file__).with_name("default_model.json")
"""The model a warehouse starts with: estimates, learnt from no data, of how often people and clerks err and of how many
values there are. A company of a few thousand records cannot teach a model of its own, and would have to do without."""

FREQUENCIES = ("name_fold", "name_skeleton", "birth", "street_2", "postal_code", "city")
"""Attributes of which some values are far more frequent than others."""


class ModelError(ValueError):
    """The model file does not fit the comparisons; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Level:
    """One outcome of a comparison.

    Attributes:
        label: What holds, in words; the model file goes by it.
        condition: SQL over the columns of both records, suffixed `_l` and `_r`.
        frequency: Column whose value's frequency takes the place of u; the condition makes both sides equal.
    """

    label: str
    condition: str
    frequency: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One attribute: `missing` says when nothing can be said, `levels` are tried in order, `other` is what is left.

    Attributes:
        is_personal: Whether the attribute is a human's own; a household shares the others.
    """

    name: str
    missing: str
    levels: tuple[Level, ...]
    other: str = "different"
    is_personal: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """All outcomes but "missing", best first."""
        return (*(level.label for level in self.levels), self.other)


def may_be_slips_sql(one: str, other: str) -> str:
    """SQL: a cheap condition that texts of five letters or more meet wherever one slip parts them, of nine or more two.

    A slip touches two neighbouring letters at most. So one slip leaves the first two letters or the last two as they
    are, and two slips leave one of these ends or the middle, which one more or less letter before it has moved.
    """
    return (
        f"(left({one}, 2) = left({other}, 2) or right({one}, 2) = right({other}, 2)"
        f" or least(length({one}), length({other})) >= {MIN_TWO_TYPOS_LETTERS}"
        f" and contains({other}, substr({one}, 4, 3)))"
    )


def _fits(one: str, other: str) -> str:
    """SQL: two parts of a name (`given_l`, …) are one, or a slip of the pen apart; across scripts skeletons meet."""

    def form(part: str, suffix: str) -> str:
        name, _, side = part.rpartition("_")
        return f"{name}{suffix}_{side}"

    a, b = one, other
    vowels = "('a', 'e', 'i', 'o', 'u', 'y')"
    # A vowel exchanged at the end (Maria, Mario) is another name.
    ending = f"(right({a}, 1) = right({b}, 1) or right({a}, 1) not in {vowels} or right({b}, 1) not in {vowels})"
    # As cases and not as one condition: within a value DuckDB works out every part of a condition, the distance too.
    return (
        f"case when is_persian_l != is_persian_r"
        f" then {form(a, '_skeleton')} = {form(b, '_skeleton')} and length({form(a, '_skeleton')}) >= 2"
        f" when {form(a, '_fold')} = {form(b, '_fold')} then true"
        f" when least(length({a}), length({b})) >= {MIN_TYPO_LETTERS} and abs(length({a}) - length({b})) <= 2"
        f" and {ending} and {may_be_slips_sql(a, b)} then damerau_levenshtein({a}, {b}) <="
        f" case when least(length({a}), length({b})) >= {MIN_TWO_TYPOS_LETTERS} then 2 else 1 end"
        " else false end"
    )


_GIVEN = _fits("given_l", "given_r")
_FAMILY = _fits("family_l", "family_r")
# More letters off than a slip: a name misheard, or another one much like it.
_ALIKE = " and ".join(
    f"(({fits}) or jaro_winkler_similarity({part}_l, {part}_r) >= 0.9)"
    for part, fits in (("given", _GIVEN), ("family", _FAMILY))
)
_GIVEN_IS_FAMILY, _FAMILY_IS_GIVEN = _fits("given_l", "family_r"), _fits("family_l", "given_r")
_CROSSED = f"({_GIVEN_IS_FAMILY}) and ({_FAMILY_IS_GIVEN})"
# A name of one token keeps it as its family name.
_PARTIAL = (
    f"(given_l is null or given_r is null) and (({_FAMILY}) or ({_FAMILY_IS_GIVEN})"
    f" or ({_GIVEN_IS_FAMILY}))"
    " or (length(given_l) = 1 or length(given_r) = 1)"
    f" and left(given_skeleton_l, 1) = left(given_skeleton_r, 1) and ({_FAMILY})"
)

_ONE_MAILBOX_NAME = "(mailbox_l = mailbox_r and length(mailbox_l) >= 6)"
# Numbers part namesakes at one provider: a slip is one of letters.
_MAILBOX_SLIP = (
    "case when least(length(mailbox_l), length(mailbox_r)) >= 6 and abs(length(mailbox_l) - length(mailbox_r)) <= 1"
    f" and {may_be_slips_sql('mailbox_l', 'mailbox_r')}"
    " and split_part(email_l, '@', 2) = split_part(email_r, '@', 2)"
    " then damerau_levenshtein(mailbox_l, mailbox_r) <= 1"
    " and regexp_replace(mailbox_l, '[^0-9]', '', 'g') = regexp_replace(mailbox_r, '[^0-9]', '', 'g')"
    " else false end"
)
# Namesakes have such mailboxes at every provider; what the name has said is not said again.
_MADE_OF_NAME = (
    "(regexp_replace(mailbox_l, '[^0-9]', '', 'g') = '' and length(family_l) >= 3"
    " and (contains(mailbox_l, family_l) or contains(mailbox_l, family_fold_l)))"
)


# One digit leaves the first seven of eleven or the last three as they are.
_ONE_DIGIT_APART = (
    "case when abs(length(phone_l) - length(phone_r)) > 1 then false"
    " when least(length(phone_l), length(phone_r)) >= 11 and left(phone_l, 7) != left(phone_r, 7)"
    " and right(phone_l, 3) != right(phone_r, 3) then false"
    " else damerau_levenshtein(phone_l, phone_r) <= 1 end"
)


def _alike(one: str, other: str) -> str:
    """SQL: two lines of an address, without their numbers and blanks, are one but for slips."""
    return f"jaro_winkler_similarity({one}, {other}) >= 0.9"


# Forms ask for two lines, and people fill them in either order.
_CROSSED_LINES = f"({_alike('road_l', 'street_2_r')} or {_alike('street_2_l', 'road_r')})"

COMPARISONS: tuple[Comparison, ...] = (
    Comparison(
        "name",
        "name_fold_l is null or name_fold_r is null",
        (
            Level("same name", "name_fold_l = name_fold_r", "name_fold"),
            Level(
                "same name in two scripts",
                "is_persian_l != is_persian_r and name_skeleton_l = name_skeleton_r",
                "name_skeleton",
            ),
            Level("both names within a slip", f"(({_GIVEN}) and ({_FAMILY})) or ({_CROSSED})"),
            Level("both names alike", f"is_persian_l = is_persian_r and {_ALIKE}"),
            Level("one name fits, the other is missing or an initial", _PARTIAL),
            Level("family name fits, given name does not", f"({_FAMILY})"),
            Level("given name fits, family name does not", f"({_GIVEN})"),
        ),
    ),
    Comparison(
        "email",
        f"email_l is null or email_r is null or email_l != email_r and ({_ONE_MAILBOX_NAME} or ({_MAILBOX_SLIP}))"
        f" and {_MADE_OF_NAME}",
        (
            Level("same mailbox", "email_l = email_r"),
            Level("same mailbox name, other provider", _ONE_MAILBOX_NAME),
            Level("one slip apart", f"({_MAILBOX_SLIP})"),
        ),
    ),
    Comparison(
        "phone",
        "phone_l is null or phone_r is null",
        (
            Level("same number", "right(phone_l, 8) = right(phone_r, 8)"),
            Level("one digit apart", _ONE_DIGIT_APART),
        ),
    ),
    Comparison(
        "birth date",
        "birth_l is null or birth_r is null",
        (
            Level("same date", "birth_l = birth_r", "birth"),
            Level(
                "day and month swapped",
                "left(birth_l, 4) = left(birth_r, 4) and right(birth_l, 2) = substr(birth_r, 5, 2)"
                " and right(birth_r, 2) = substr(birth_l, 5, 2)",
            ),
            Level("one digit apart", "damerau_levenshtein(birth_l, birth_r) <= 1"),
            Level("two digits apart", "damerau_levenshtein(birth_l, birth_r) <= 2"),
        ),
        is_personal=True,
    ),
    Comparison(
        "national id",
        "national_id_l is null or national_id_r is null",
        (
            Level("same id", "national_id_l = national_id_r"),
            Level("one slip apart", "damerau_levenshtein(national_id_l, national_id_r) <= 1"),
            Level("two slips apart", "damerau_levenshtein(national_id_l, national_id_r) <= 2"),
        ),
        is_personal=True,
    ),
    Comparison(
        "street",
        "street_l is null or street_r is null",
        (
            Level("same street and number", "street_l = street_r"),
            Level("same number, street within slips", f"house_l = house_r and {_alike('road_l', 'road_r')}"),
            Level("street within slips, other number", _alike("road_l", "road_r")),
            Level("in the other's second line", _CROSSED_LINES),
        ),
    ),
    Comparison(
        "second line",
        "street_2_l is null or street_2_r is null",
        (
            Level("same line", "street_2_l = street_2_r", "street_2"),
            Level("within slips", _alike("street_2_l", "street_2_r")),
            Level("in the other's street", _CROSSED_LINES),
        ),
    ),
    Comparison(
        "place",
        "coalesce(postal_code_l, city_l) is null or coalesce(postal_code_r, city_r) is null"
        " or (postal_code_l is null or postal_code_r is null) and (city_l is null or city_r is null)",
        (
            Level("same postal code", "postal_code_l = postal_code_r", "postal_code"),
            Level(
                "same city, postal code one slip apart",
                "city_l = city_r and damerau_levenshtein(postal_code_l, postal_code_r) <= 1",
            ),
            Level("same city", "city_l = city_r", "city"),
            Level("postal code one slip apart", "damerau_levenshtein(postal_code_l, postal_code_r) <= 1"),
            Level("city within slips", "jaro_winkler_similarity(city_l, city_r) >= 0.9"),
        ),
    ),
)
"""All comparisons. Order of levels matters: the first that holds counts."""

NAME = next(each for each in COMPARISONS if each.name == "name")
"""The dearest comparison, which is why `weighing` leaves it for the last."""

PARTS = {
    "name": (
        "name_fold_l != name_fold_r",
        {
            "given_fits": _GIVEN,
            "family_fits": _FAMILY,
            "given_is_family": _GIVEN_IS_FAMILY,
            "family_is_given": _FAMILY_IS_GIVEN,
        },
    ),
    "email": ("email_l != email_r", {"is_mailbox_slip": _MAILBOX_SLIP}),
}
"""By comparison: what several of its levels ask for, and where anybody asks. Most pairs reach none of the first levels:
whoever weighs many pairs works each part out once and hands `level_sql` these columns."""

COLUMNS = (
    "name_fold", "name_skeleton", "is_persian", "given", "family", "given_fold", "given_skeleton",
    "family_fold", "family_skeleton", "email", "mailbox", "phone", "birth", "national_id", "street", "street_2",
    "house", "road", "postal_code", "city",
)  # fmt: skip
"""Columns of a record that comparisons read."""

NAME_AGREES = ("same name", "same name in two scripts", "both names within a slip")
"""Outcomes of `name` that speak of one human. A single name or an initial fits a whole household."""

NAME_CONTRADICTS = (
    "family name fits, given name does not",
    "given name fits, family name does not",
    "different",
)
"""Outcomes of `name` that speak of two humans. What a household shares does not outweigh them."""

PERSONAL_BITS = 3.0
"""Bits of birth date and national id from which they speak of one human, eight to one, and outweigh a contradicting
name: people marry and clerks err."""


@dataclass(frozen=True)
class Model:
    """A trained model.

    Attributes:
        partners: Other records of its human that a record has, on average.
        m: Share of pairs of one human by comparison and label.
        u: Share of pairs of two humans by comparison and label.
        frequencies: Share of records by column and hash of a value, of values more frequent than `rare`.
        rare: Share of records that a value not in `frequencies` is taken to have, by column.
        about: How it was trained, for the reader of the file.
    """

    partners: float
    m: Mapping[str, Mapping[str, float]]
    u: Mapping[str, Mapping[str, float]]
    rare: Mapping[str, float] = field(default_factory=dict)
    frequencies: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a file that does not know the comparisons as they are now."""
        for comparison in COMPARISONS:
            for name, shares in (("m", self.m), ("u", self.u)):
                if set(shares.get(comparison.name, {})) != set(comparison.labels):
                    raise ModelError(
                        f"identity model: '{name}' of comparison '{comparison.name}' has other levels than this "
                        "version compares; train it anew with `cem identity train`"
                    )
                if any(not 0 < share <= 1 for share in shares[comparison.name].values()):
                    raise ModelError(f"identity model: a share of '{comparison.name}' is not between 0 and 1")

    def bits(self, comparison: Comparison, label: str) -> float:
        """Weight of an outcome, before frequencies."""
        return math.log2(self.m[comparison.name][label] / self.u[comparison.name][label])

    def prior_bits(self, records: int) -> float:
        """Log odds that two random records are one human, among so many records.

        The number goes in by its power of four, so that a few more records do not weigh every pair anew.
        """
        return math.log2(self.partners / order_of(records))

    @cached_property
    def signature(self) -> str:
        """Changes whenever a pair could weigh something else."""
        import hashlib

        content = json.dumps(
            [repr(COMPARISONS), self.partners, self.m, self.u, self.rare, self.frequencies],
            sort_keys=True,
            ensure_ascii=False,
        )
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def order_of(records: int) -> int:
    """The power of four nearest to a number of records, 256 at least."""
    return int(4 ** max(4, round(math.log(max(records, 1), 4))))


def current_model(path: Path) -> Model:
    """The trained model, or the default one while there is none."""
    return load_model(path if path.exists() else DEFAULT_MODEL)


def load_model(path: Path) -> Model:
    """The model in a file.

    Raises:
        ModelError: The file is damaged, or does not fit the comparisons.
    """
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ModelError(f"{path} is damaged; train the model anew with `cem identity train`") from None
    try:
        return Model(
            partners=known["partners"],
            m={name: {each["level"]: each["m"] for each in levels} for name, levels in known["comparisons"].items()},
            u={name: {each["level"]: each["u"] for each in levels} for name, levels in known["comparisons"].items()},
            rare=known["rare"],
            frequencies=known["frequencies"],
            about=known["about"],
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is no identity model ({error}); train it with `cem identity train`") from None


def save_model(model: Model, path: Path) -> None:
    """Write a model as JSON, for people to review: bits of every level beside m and u. In one step."""
    document = {
        "about": model.about,
        "partners": model.partners,
        "comparisons": {
            comparison.name: [
                {
                    "level": label,
                    "m": model.m[comparison.name][label],
                    "u": model.u[comparison.name][label],
                    "bits": round(model.bits(comparison, label), 2),
                }
                for label in comparison.labels
            ]
            for comparison in COMPARISONS
        },
        "rare": model.rare,
        "frequencies": model.frequencies,
    }
    write_whole(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def features_sql(records: str, hubs: str | None = None) -> str:
    """SQL for what comparisons read of records in the form of `identity.record`.

    Args:
        records: Relation of the records.
        hubs: Relation (kind, value) of values that tie nobody: they are no evidence either. Left out, only role mails
            and placeholders are nobody's.
    """

    def own(kind: str, is_nobodys: str) -> str:
        hub = f" or {kind} in (select value from {hubs} where kind = '{kind}')" if hubs else ""
        return f"case when not ({is_nobodys}{hub}) then {kind} end as {kind}"

    return f"""(
        select *, split_part(email, '@', 1) as mailbox
        from (
            select record_id, name_key, name_fold, name_skeleton, is_persian, given, family, given_fold, given_skeleton,
                family_fold, family_skeleton, birth, street, postal_code, city,
                nullif(regexp_replace(street_2, '[0-9 ]', '', 'g'), '') as street_2,
                nullif(regexp_replace(street, '[0-9 ]', '', 'g'), '') as road,
                {own("email", "is_role_email")},
                {own("phone", "is_placeholder_phone")},
                {own("national_id", "false")},
                nullif(regexp_extract(street, '\\d+'), '') as house,
            from {records}
        )
    )"""


def term_hash_sql(column: str) -> str:
    """SQL for the key of a value in `frequencies`: names stay out of the file, and the hash is no engine's own."""
    return f"left(md5({column}), 12)"


def parts_sql(comparison: Comparison) -> list[str]:
    """SQL for the columns of a comparison in `PARTS`; NULL where nobody asks."""
    asked, parts = PARTS.get(comparison.name, ("", {}))
    return [f"case when {asked} then {sql} end as {part}" for part, sql in parts.items()]


def level_sql(comparison: Comparison, *, has_parts: bool = False) -> str:
    """SQL for the outcome: 0 is the best level, -1 says nothing can be said.

    Args:
        comparison: What is compared.
        has_parts: Whether the pairs have the columns of `parts_sql`.
    """
    whens = "\n".join(f"when {level.condition} then {number}" for number, level in enumerate(comparison.levels))
    outcome = f"case when {comparison.missing} then -1\n{whens}\nelse {len(comparison.levels)} end"
    for part, sql in PARTS.get(comparison.name, ("", {}))[1].items() if has_parts else ():
        outcome = outcome.replace(f"({sql})", part)
    return outcome


def columns_of(comparison: Comparison, side: str) -> tuple[str, ...]:
    """Columns of `COLUMNS` that a comparison reads of one side, `l` or `r`."""
    read = set(re.findall(rf"\b(\w+)_{side}\b", level_sql(comparison)))
    return tuple(column for column in COLUMNS if column in read)


def best_bits(model: Model, comparison: Comparison, *, is_first: bool) -> float:
    """The most that the first level of a comparison can weigh, for the rarest value, or any level behind it."""
    best = []
    for number, label in enumerate(comparison.labels):
        frequency = comparison.levels[number].frequency if number < len(comparison.levels) else None
        known = model.frequencies.get(frequency or "", {}).values()
        share = min([model.rare[frequency], *known]) if frequency and frequency in model.rare else None
        m = model.m[comparison.name][label]
        best.append(math.log2(m / share) if share else model.bits(comparison, label))
    return best[0] if is_first else max(best[1:])


def weight_sql(model: Model, comparison: Comparison, outcome: str) -> str:
    """SQL for the bits of an outcome (a column of `level_sql`), with frequencies where a level has them."""
    return f"case {outcome} {''.join(_weights(model, comparison))} else 0.0::double end"


def _weights(model: Model, comparison: Comparison) -> Iterator[str]:
    for number, label in enumerate(comparison.labels):
        frequency = comparison.levels[number].frequency if number < len(comparison.levels) else None
        m = model.m[comparison.name][label]
        if frequency and frequency in model.rare:
            yield f" when {number} then log2({m!r} / {frequency}_share_l)"
        else:
            # Without the cast a decimal, whose sums overflow.
            yield f" when {number} then {model.bits(comparison, label)!r}::double"


def outcome_column(comparison: Comparison) -> str:
    """Name of the column that holds the outcome of a comparison."""
    return "level_" + comparison.name.replace(" ", "_")


def bits_column(comparison: Comparison) -> str:
    """Name of the column that holds the bits of its outcome."""
    return outcome_column(comparison) + "_bits"
