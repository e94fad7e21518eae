"""What readers of a published copy see in place of personal data.

| class | published |
|---|---|
| name | a label that tells rows apart without naming anyone: `Customer 9F3A1C` from the customer id, `Agent 1b2c3d4e` from a keyed hash; parts of a name are NULL |
| email, phone | a keyed hash of the normalised value: equal stays equal, so counts and joins work |
| address | NULL |
| birth_date | the first day of its year |
| text | mail addresses and runs of seven or more digits, in any script and however spaced, are cut out |

A mail address or a phone number in a column of no class (an id that a source made of one) is hashed too, because an
id must stay joinable and may not name its owner: equal ids have equal hashes in all marts. What counts as a phone
number there begins with + or zeros, so that order numbers stay readable. Names inside free text are not recognised:
do not publish a text column that needs that, or leave it out of the mart.

A plain hash of a mail address is guessable: anybody can hash a list of addresses and compare. The key makes
that impossible for whoever has only the published file. The mail domain is not kept either, because a
company's or a family's own domain names its owner.

The hash is HMAC-SHA256 (RFC 2104), cut to its first 128 bits, composed of DuckDB's `sha256` so that a
million rows are hashed as one set. Whoever holds the key can compute it elsewhere:
`hmac.new(key, value, "sha256").hexdigest()[:32]`, with mails trimmed and in lower case and phones as digits.
"""  # noqa: E501 - a table row is one line

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.publication.specs import MartSpec, PublicationError

if TYPE_CHECKING:
    import duckdb

HASH_LENGTH = 32
"""Hex digits of a published hash: 128 bits keep collisions out of reach at half the bytes."""

LABEL_HASH_LENGTH = 8
"""Hex digits in a label such as `Agent 1b2c3d4e`: short enough to read, distinct among thousands."""

CUSTOMER_LABEL_LENGTH = 6
"""Characters of the customer id in a label: the full id stands in the same row."""

MINIMUM_KEY_BYTES = 16
"""A shorter key could be found by trying."""

MAIL_PATTERN = r"""[^\s@<>()\[\]{}"',;:|=]+@[^\s@<>()\[\]{}"',;:|=]+\.[^\s@<>()\[\]{}"',;:|=.]+"""
NUMBER_PATTERN = r"\p{Nd}(?:[\p{Z}\p{Cf}\p{Pd}\s().+/_]{0,3}\p{Nd}){6,}"
"""Seven digits or more of any script, with the spaces, dashes and marks people write between them."""

_BETWEEN = r"[ ()./\p{Pd}\x{a0}\x{200e}\x{200f}]*"
_OPENING = r"[ ()/\p{Pd}\x{a0}\x{200e}\x{200f}]*"
PHONE_ID_PATTERN = (
    rf"(?:^|:){_OPENING}(?:[+＋]{_OPENING}[0۰٠]?|[0۰٠]{{1,2}}){_OPENING}"
    rf"[1-9۱-۹١-٩](?:{_BETWEEN}[0-9۰-۹٠-٩]){{8,13}}{_OPENING}(?:$|:| [^ :]+:)"
)
"""An id, or a part of a key such as `shop:+98 912 345 6789`, that is a phone number: 9 to 14 digits behind a plus or
one or two zeros. A third zero is a number filled up to its width, a point after the zero a fraction."""

SHORTEST_PHONE = 10
"""Bytes of the shortest text that `PHONE_ID_PATTERN` finds."""

_DIVIDERS = r"""\s*[\[\]{},"']+\s*"""

CUSTOMER_NAMES = ("full_name", "customer_name")
"""Names that belong to the `customer_id` of their row."""

NAME_PARTS = ("given_name", "family_name", "first_name", "last_name", "middle_name")
"""Names that say nothing beside the label of the whole."""

_BLOCK = 64  # bytes of a SHA-256 block, to which RFC 2104 pads the key
_DIGITS = ("۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩", "01234567890123456789")


def load_key(key_file: Path) -> bytes:
    """The key of the published hashes; made once and kept where only its owner reads it.

    Keep a copy with the backups: another key makes other hashes, and what was joined to the old ones no
    longer joins. To share hashes with another system, write its key to the file before the first run.

    Args:
        key_file: Where the key is kept.

    Raises:
        PublicationError: The key is too short to protect anything.
    """
    if not key_file.exists():
        key_file.parent.mkdir(parents=True, exist_ok=True)
        draft = key_file.with_name(key_file.name + ".tmp")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(secrets.token_hex(32))
            handle.flush()
            os.fsync(handle.fileno())
        draft.replace(key_file)  # a half-written key never carries the name of the real one
    elif key_file.stat().st_mode & 0o077:
        key_file.chmod(0o600)
    key = key_file.read_bytes().strip()
    if len(key) < MINIMUM_KEY_BYTES:
        raise PublicationError(
            f"{key_file}: the key of published hashes has {len(key)} bytes; "
            f"at least {MINIMUM_KEY_BYTES} are needed, for example from `openssl rand -hex 32`"
        )
    return key


@contextmanager
def hashing(con: duckdb.DuckDBPyConnection, key: bytes) -> Iterator[None]:
    """Make `keyed_hash` work on this connection, for as long as the block runs.

    The key travels as variables of the session: in the text of a query it would end up in error messages,
    logs and the definition of views.
    """
    padded = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    con.execute("set variable cem_hash_inner = ?::blob", [bytes(byte ^ 0x36 for byte in padded)])
    con.execute("set variable cem_hash_outer = ?::blob", [bytes(byte ^ 0x5C for byte in padded)])
    try:
        yield
    finally:
        con.execute("reset variable cem_hash_inner")
        con.execute("reset variable cem_hash_outer")


def keyed_hash(expression: str) -> str:
    """SQL of the keyed hash of a text expression; NULL stays NULL. Needs `hashing` around the query."""
    inner = f"unhex(sha256(getvariable('cem_hash_inner') || encode({expression})))"
    return f"left(sha256(getvariable('cem_hash_outer') || {inner}), {HASH_LENGTH})"


def masked_select(spec: MartSpec, types: dict[str, str], relation: str) -> str:
    """SQL that reads a mart as its readers may see it: same columns, same types, same rows.

    Args:
        spec: The mart.
        types: DuckDB type by column, in the order of the columns.
        relation: What to read from.
    """
    return f"select {masked_columns(spec, types)} from {relation}"


def masked_columns(spec: MartSpec, types: dict[str, str]) -> str:
    """SQL of all columns of a mart as its readers may see them, under their names."""
    return ", ".join(
        f"{masked(column, sql_type, spec, types)} as {quoted(column)}" for column, sql_type in types.items()
    )


def masked(column: str, sql_type: str, spec: MartSpec, types: dict[str, str]) -> str:
    """SQL of one column as readers may see it."""
    personal = spec.personal.get(column)
    value = quoted(column)
    if personal is None:
        return _without_contacts(value, sql_type)
    if personal == "birth_date" and sql_type == "DATE":
        return f"date_trunc('year', {value})::date"
    if sql_type != "VARCHAR" or personal in ("address", "birth_date"):
        # Whatever a class does, it does to text; what has another type is hidden whole.
        return f"null::{sql_type}"
    if personal == "name":
        return _label(column, spec, types)
    if personal == "email":
        return keyed_hash(f"lower(trim({value}))")
    if personal == "phone":
        latin = f"translate({value}, '{_DIGITS[0]}', '{_DIGITS[1]}')"
        return keyed_hash(f"coalesce(nullif(regexp_replace({latin}, '[^0-9]', '', 'g'), ''), {value})")
    return redacted(value)


def redacted(value: str) -> str:
    """SQL of a text without the mail addresses and long numbers in it."""
    without_mails = f"regexp_replace({value}, {literal(MAIL_PATTERN)}, '[mail]', 'g')"
    return f"regexp_replace({without_mails}, {literal(NUMBER_PATTERN)}, '[number]', 'g')"


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


def _label(column: str, spec: MartSpec, types: dict[str, str]) -> str:
    if column in NAME_PARTS:
        return "null::VARCHAR"
    value = quoted(column)
    if column in CUSTOMER_NAMES and "customer_id" in types:
        number = f"upper(right(customer_id, {CUSTOMER_LABEL_LENGTH}))"
        return f"case when {value} is not null then 'Customer ' || {number} end"
    if column == "name" and spec.name.startswith("dim_"):
        word = spec.name.removeprefix("dim_")
    else:
        word = column.removesuffix("_name").removesuffix("_id")
    label = word.replace("_", " ").capitalize()
    return f"{literal(label + ' ')} || left({keyed_hash(f'lower(trim({value}))')}, {LABEL_HASH_LENGTH})"


def _without_contacts(value: str, sql_type: str) -> str:
    """Hide a mail address or a phone number that a source uses as an id, wherever it ends up."""
    if not any(word in sql_type for word in ("VARCHAR", "JSON", "ENUM")):
        return value
    if sql_type == "VARCHAR":
        return f"case when {_is_mail(value)} or {_is_phone(value)} then {keyed_hash(value)} else {value} end"
    as_text = f"{value}::varchar"
    # Lists and documents are of many values: in them a value also begins and ends at what encloses or divides.
    parts = f"regexp_replace({as_text}, {literal(_DIVIDERS)}, ':', 'g')"
    return f"case when {_is_mail(as_text)} or {_is_phone(parts)} then null::{sql_type} else {value} end"


def _is_mail(text: str) -> str:
    return f"(contains({text}, '@') and regexp_matches({text}, {literal(MAIL_PATTERN)}))"


def _is_phone(text: str) -> str:
    """SQL whether an id is a phone number; plain looks leave few rows to the pattern, which costs ten times as much.

    Plus, zero and parenthesis sort below the other digits and all letters.
    """
    latin = " or ".join([f"{text} < '1'", *(f"contains({text}, ':{sign}')" for sign in "0+(")])
    other = " or ".join(f"contains({text}, '{sign}')" for sign in "۰٠＋")
    may_be = f"{latin} or (strlen({text}) > length({text}) and ({other}))"
    found = f"regexp_matches({text}, {literal(PHONE_ID_PATTERN)})"
    return f"(strlen({text}) >= {SHORTEST_PHONE} and ({may_be}) and {found})"
