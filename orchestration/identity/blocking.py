"""Which pairs are worth weighing: those that share one of a few compound keys.

A key in more than `BLOCK_MAX_RECORDS` records makes no pairs. So every record meets a bounded number of others and
work grows with the records, whatever is frequent among them: on small data single attributes still make pairs, on
big data only their combinations are rare enough.

Belongs here: the keys, and the pairs they make. Does not belong here: weighing pairs.
"""

from __future__ import annotations

import hashlib

import duckdb

BLOCK_MAX_RECORDS = 20
"""Records that may share a key. Two records of one human share several keys, most of them rare; what only meets in a
crowd of more than twenty has too little in common to be linked without a person's look."""

MIN_MAILBOX_LETTERS = 6
"""Shorter mailbox names are first names, which half of all providers have."""

KEYS: dict[str, tuple[str, ...]] = {
    "national id": ("national_id",),
    "digits of national id": ("array_to_string(list_sort(string_split(national_id, '')), '')",),
    "phone": ("right(phone, 8)",),
    "mailbox": (f"case when length(mailbox) >= {MIN_MAILBOX_LETTERS} then mailbox end",),
    "name": ("name_skeleton",),
    "name and city": ("name_skeleton", "city"),
    "name and birth year": ("name_skeleton", "left(birth, 4)"),
    "name and end of phone": ("name_skeleton", "right(phone, 4)"),
    "name and start of mailbox": ("name_skeleton", "left(mailbox, 3)"),
    "family name and birth date": ("family_skeleton", "birth"),
    "given name and birth date": ("given_skeleton", "birth"),
    "postal code and birth date": ("postal_code", "birth"),
    "house and birth date": ("house", "birth"),
    "city and birth date": ("city", "birth"),
    "city and street": ("city", "street"),
    "family name and postal code": ("family_skeleton", "postal_code"),
    "given name and postal code": ("given_skeleton", "postal_code"),
    "family name and street": ("family_skeleton", "street"),
    "given name and street": ("given_skeleton", "street"),
    "postal code and street": ("postal_code", "street"),
    "postal code and second line": ("postal_code", "street_2"),
    "family name and second line": ("family_skeleton", "street_2"),
    "given name and second line": ("given_skeleton", "street_2"),
    "birth date and second line": ("birth", "street_2"),
}
"""Expressions over the columns of a record; a key with a missing part is no key.

Chosen so that a pair survives the loss or a slip in any two of name, birth date, address, mail and phone."""


SIGNATURE = f"{BLOCK_MAX_RECORDS}:{hashlib.sha256(repr(KEYS).encode()).hexdigest()[:16]}"
"""Changes whenever equal records could meet otherwise."""


def block_records(con: duckdb.DuckDBPyConnection, records: str, target: str) -> None:
    """Make temporary table `target` (record_id, key), one row per record and key it has.

    Args:
        con: The warehouse.
        records: Relation of records in the form of `identity.record`, which comparisons read.
        target: Name of the table to make.
    """
    # Of a part, an empty text is as good as none; the separator keeps parts from running into each other.
    keys = [
        "case when "
        + " and ".join(f"coalesce({part}, '') != ''" for part in parts)
        + f" then hash('{name}', {', '.join(parts)}) end"
        for name, parts in KEYS.items()
    ]
    # The name of a key goes into its hash, so that no two keys of a record are equal.
    con.execute(f"""
        create or replace temp table {target} as
        with keyed as (select record_id, unnest([{", ".join(keys)}]) as key from {records})
        select record_id, key
        from keyed
        where key is not null
    """)


def make_pairs(con: duckdb.DuckDBPyConnection, blocks: str, target: str, touched: str | None = None) -> None:
    """Make temporary table `target` (record_a, record_b), one row per pair of records that share a key.

    Args:
        con: The warehouse.
        blocks: Relation (record_id, key).
        target: Name of the table to make; record_a is the smaller one.
        touched: Relation (record_id) of which one must be in every pair; all pairs when left out.
    """
    met = f"semi join (select key from {blocks} semi join {touched} using (record_id)) using (key)" if touched else ""
    con.execute(f"""
        create or replace temp table id_shared as
        select key from {blocks} {met} group by key having count(*) between 2 and {BLOCK_MAX_RECORDS}
    """)
    con.execute(f"""
        create or replace temp table id_meeting as
        select record_id, key from {blocks} semi join id_shared using (key)
    """)
    only = f"semi join {touched} using (record_id)" if touched else ""
    con.execute(f"""
        create or replace temp table {target} as
        select distinct least(one.record_id, other.record_id) as record_a,
            greatest(one.record_id, other.record_id) as record_b
        from (select * from id_meeting {only}) as one
        inner join id_meeting as other on one.key = other.key
        where one.record_id {"!=" if touched else "<"} other.record_id
    """)
    con.execute("drop table id_shared")
    con.execute("drop table id_meeting")
