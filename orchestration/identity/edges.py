"""From identifiers to edges: which two records a shared value ties together.

Edges of a value are a pure function of the records that share it and of those these link to; nothing else is looked
at. That is what lets a run recompute the edges of touched values only, and makes the result independent of history.

0. A record without name goes by the name of the record that its source links it to, if any.
1. A record's identifiers are its mail, its phone, its national id, its external id within its source, the key of
   the record it links to, and its own key where another record links to it. Each is a 64-bit hash of kind and value.
2. A mail, phone or national id in more than `hub_max_records` records or under more than `hub_max_names` different
   names, a mailbox of a role and a placeholder phone are hubs: they tie nobody and are reported in `identity.hub`.
3. Ids that a source declares (external and linked ids) tie without looking at names.
4. A value under one name ties all its records. Under several names, the fullest name is the anchor of a first group
   that takes every name compatible with it, the fullest name left over anchors the next, and so on. Names with an
   initial, and then single tokens, join the one group they fit, and none when they fit several; a record without
   name joins when the value has one group only, and never by the mailbox of a household (`family.karimi@`).
5. A record without a full name does not join people by their mail when it has a phone and they have others: behind
   one mail with one name there may be a couple, and the second phone is the second person's.
6. Where both mail and phone of a record are hubs, mail, phone and a name of two tokens together are an identifier:
   the clerk of an office is still one person behind `info@` and the switchboard.

Does not belong here: how values are normalised, and what follows from edges.
"""

from __future__ import annotations

import duckdb

from orchestration.identity.normalise import (
    MIN_TWO_TYPOS_LETTERS,
    MIN_TYPO_LETTERS,
    name_fold_sql,
    name_skeleton_sql,
)
from orchestration.identity.state import IdentitySettings

DECLARED_MAX_RECORDS = 1000
"""No human has a thousand records: an external id in more of them is a default that somebody forgot."""

COLUMNS = (
    "record_id", "person_key", "source", "name_key", "name_skeleton", "email", "is_role_email", "phone",
    "is_placeholder_phone", "national_id", "external_id", "linked_person_key",
)  # fmt: skip
"""Columns of a record that edges are made of."""

HOUSEHOLD_WORDS = ("family", "familie", "famille", "familia", "household", "home", "khanevadeh", "khanevade")
"""Words in a mailbox that say it is a household's."""

HUB_HASH = "hash(case kind when 'linked_id' then 'rec' else kind end || ':' || value)"
"""SQL for the hash by which records bear the value of a row of `identity.hub`."""

_PERSONS = """
    select
        record.record_id, record.person_key, record.source, record.email, record.is_role_email, record.phone,
        record.national_id, record.is_placeholder_phone, record.external_id, record.linked_person_key,
        coalesce(record.name_key, lent.name_key) as name_key,
        coalesce(record.name_skeleton, lent.name_skeleton) as name_skeleton,
        -- hash(NULL) is a number: a record without name or phone must stay without.
        case when coalesce(record.name_key, lent.name_key) is not null
            then hash(coalesce(record.name_key, lent.name_key)) end as name_id,
        -- The end of the number only: where the record names no country, the country code was a guess.
        case when record.phone is not null and not record.is_placeholder_phone
            then hash(right(record.phone, 8)) end as phone_id,
    from id_scope as record
    left join id_lent_name as lent on record.record_id = lent.record_id
"""
"""Records as the rules see them, with the names that rule 0 lends (`id_lent_name`)."""

_IDENTIFIERS = """
    select record_id, 'email' as kind, hash('email:' || email) as value_hash, is_role_email as is_blocked,
        name_id, phone_id, name_key, name_skeleton
    from persons
    where email is not null
    union all
    select record_id, 'phone' as kind, hash('phone:' || phone) as value_hash, is_placeholder_phone as is_blocked,
        name_id, phone_id, name_key, name_skeleton
    from persons
    where phone is not null
    union all
    select record_id, 'national_id' as kind, hash('national_id:' || national_id) as value_hash, false as is_blocked,
        name_id, phone_id, name_key, name_skeleton
    from persons
    where national_id is not null
    union all
    select record_id, 'external_id' as kind, hash('external_id:' || source || ':' || external_id) as value_hash,
        false as is_blocked, name_id, phone_id, name_key, name_skeleton
    from persons
    where external_id is not null
    union all
    select record_id, 'linked_id' as kind, hash('rec:' || linked_person_key) as value_hash,
        false as is_blocked, name_id, phone_id, name_key, name_skeleton
    from persons
    where linked_person_key is not null
    union all
    select record_id, 'linked_id' as kind, hash('rec:' || person_key) as value_hash,
        false as is_blocked, name_id, phone_id, name_key, name_skeleton
    from persons
    where person_key in (select linked_person_key from persons where linked_person_key is not null)
"""


def value_hashes_sql(records: str) -> str:
    """SQL for the values that records bear: `value_hash`, one row per record and value, rule 6 left aside."""
    return f"""
        select hash('email:' || email) as value_hash from {records} where email is not null
        union
        select hash('phone:' || phone) from {records} where phone is not null
        union
        select hash('national_id:' || national_id) from {records} where national_id is not null
        union
        select hash('external_id:' || source || ':' || external_id) from {records} where external_id is not null
        union
        select hash('rec:' || linked_person_key) from {records} where linked_person_key is not null
        union
        select hash('rec:' || person_key) from {records}
    """


def build_edges(con: duckdb.DuckDBPyConnection, settings: IdentitySettings, *, is_partial: bool) -> None:
    """Make temporary tables `id_edge`, `id_hub` and, for a part, `id_replaced`.

    `id_edge` has one row per pair of records and value (record_a the smallest record of its group), `id_hub` one
    row per blocked value; both have the columns of `identity.edge` and `identity.hub`. `id_replaced` (value_hash)
    has the values whose edges they are; without it they are all there are.

    Args:
        con: The warehouse, with the temporary relation `id_record`, all records in the form of `identity.record`, and
            `id_scope`, those of them that bear a value in question, with the columns in `COLUMNS`.
        settings: The `identity` section of the settings.
        is_partial: Only the values in temporary table `id_touched` (value_hash) are in question; `id_scope` has every
            record that bears one, and `id_old_record` those that changed, as they were.
    """
    _collect_identifiers(con, settings, is_partial=is_partial)
    _group_single_name_values(con)
    compare_names(con)
    _group_full_names(con)
    _group_partial_names(con)
    _group_nameless(con)
    _star(con)
    _report_hubs(con)


def _collect_identifiers(con: duckdb.DuckDBPyConnection, settings: IdentitySettings, *, is_partial: bool) -> None:
    """Values in two records or more, with their hubs taken out: `id_ident`, `id_value`."""
    con.execute("""
        create or replace temp table id_lent_name as
        with nameless as (
            select record_id, linked_person_key
            from id_scope
            where name_key is null and linked_person_key is not null
        )
        select nameless.record_id, linked.name_key, linked.name_skeleton
        from nameless
        inner join id_record as linked on nameless.linked_person_key = linked.person_key
    """)
    con.execute(f"""
        create or replace temp table id_all as
        with persons as ({_PERSONS}),
        borne as ({_IDENTIFIERS}),
        identifiers as (from borne {"semi join id_touched using (value_hash)" if is_partial else ""}),
        shared as (select value_hash from identifiers group by value_hash having count(distinct record_id) > 1)
        select distinct
            identifiers.value_hash, identifiers.kind, identifiers.is_blocked, identifiers.record_id,
            identifiers.name_id, identifiers.phone_id, identifiers.name_key, identifiers.name_skeleton,
        from identifiers
        semi join shared on identifiers.value_hash = shared.value_hash
    """)
    con.execute("""
        create or replace temp table id_value_all as
        select
            value_hash,
            any_value(kind) as kind,
            bool_or(is_blocked) as is_blocked,
            count(*) as record_count,
            count(distinct name_skeleton) as name_count,
            count(distinct name_id) as spelling_count,
        from id_all
        group by value_hash
    """)
    con.execute(
        """
        create or replace temp table id_hub_value as
        select
            value_hash,
            kind,
            case
                when is_blocked and kind = 'email' then 'role mailbox'
                when is_blocked then 'placeholder'
                when kind in ('email', 'phone', 'national_id') and record_count > $max_records then 'too many records'
                when kind in ('email', 'phone', 'national_id') and name_count > $max_names then 'too many names'
                when record_count > $declared_max_records then 'too many records'
            end as reason,
            record_count,
            name_count,
        from id_value_all
        where reason is not null
        """,
        {
            "max_records": settings.hub_max_records,
            "max_names": settings.hub_max_names,
            "declared_max_records": DECLARED_MAX_RECORDS,
        },
    )
    con.execute("""
        create or replace temp table id_ident as
        select value_hash, kind, record_id, name_id, phone_id, name_key
        from id_all
        anti join id_hub_value on id_all.value_hash = id_hub_value.value_hash
    """)
    _list_hubs(con, is_partial=is_partial)
    _add_office_identifiers(con, settings, is_partial=is_partial)
    con.execute("""
        create or replace temp table id_value as
        select value_hash, any_value(kind) as kind, count(distinct name_id) as spelling_count
        from id_ident
        group by value_hash
    """)
    con.execute("drop table id_all")
    con.execute("drop table id_value_all")


def _list_hubs(con: duckdb.DuckDBPyConnection, *, is_partial: bool) -> None:
    """Mails and phones that are hubs, those of the last run that are not in question included: `id_known_hub`."""
    con.execute("create or replace temp table id_known_hub as select value_hash from id_hub_value")
    if is_partial:
        con.execute(f"""
            insert into id_known_hub
            select {HUB_HASH} as value_hash
            from identity.hub
            where kind in ('email', 'phone') and {HUB_HASH} not in (select value_hash from id_touched)
        """)


_OFFICE = "hash('email+phone+name:' || email || '|' || phone || '|' || name_skeleton)"


def _add_office_identifiers(con: duckdb.DuckDBPyConnection, settings: IdentitySettings, *, is_partial: bool) -> None:
    """Identifiers of rule 6, for records whose mail and phone are both hubs."""
    bears_touched = """(
        hash('email:' || email) in (select value_hash from id_touched)
        or hash('phone:' || phone) in (select value_hash from id_touched)
    )"""
    con.execute(
        f"""
        insert into id_ident
        with office as (
            select record_id, name_key, {_OFFICE} as value_hash
            from id_scope
            where
                contains(name_key, ' ') and not is_placeholder_phone
                and hash('email:' || email) in (select value_hash from id_known_hub)
                and hash('phone:' || phone) in (select value_hash from id_known_hub)
                {"and " + bears_touched if is_partial else ""}
        ),
        counted as (
            select *, count(*) over (partition by value_hash) as record_count
            from office
        )
        select value_hash, 'email+phone+name' as kind, record_id, hash(name_key) as name_id, null as phone_id, name_key
        from counted
        where record_count between 2 and $max_records
        """,
        {"max_records": settings.hub_max_records},
    )
    if is_partial:
        con.execute(f"""
            create or replace temp table id_replaced as
            select value_hash from id_touched
            union
            select {_OFFICE}
            from (
                select email, phone, name_skeleton from id_scope where {bears_touched}
                union all
                select email, phone, name_skeleton from id_old_record
            )
            where email is not null and phone is not null and name_skeleton is not null
        """)


def _group_single_name_values(con: duckdb.DuckDBPyConnection) -> None:
    """Groups of values that need no comparison: `id_group` (value_hash, name_id, group_id; NULL name is no name)."""
    words = "|".join(HOUSEHOLD_WORDS)
    con.execute(f"""
        create or replace temp table id_household as
        select distinct hash('email:' || email) as value_hash
        from id_scope
        where regexp_matches(split_part(email, '@', 1), '(^|[._-])({words})([._-]|$)')
    """)
    con.execute("""
        create or replace temp table id_group as
        select distinct ident.value_hash, ident.name_id, 0::ubigint as group_id
        from id_ident as ident
        inner join id_value as value on ident.value_hash = value.value_hash
        where
            (value.spelling_count <= 1 or value.kind not in ('email', 'phone', 'national_id'))
            and (ident.name_id is not null or ident.value_hash not in (from id_household))
    """)
    con.execute("""
        create or replace temp table id_open as
        select
            ident.value_hash,
            ident.name_id,
            any_value(ident.name_key) as name_key,
            len(string_split(any_value(ident.name_key), ' ')) as token_count,
            len(list_filter(string_split(any_value(ident.name_key), ' '), lambda t: length(t) > 1)) as full_tokens,
        from id_ident as ident
        anti join id_group on ident.value_hash = id_group.value_hash
        where ident.name_id is not null
        group by ident.value_hash, ident.name_id
    """)


def compare_names(con: duckdb.DuckDBPyConnection) -> None:
    """Compatible pairs among the names of `id_open` that share a value, each pair judged once: `id_compatible`.

    Two names are compatible when every token of the one with fewer tokens fits a token, or two neighbouring tokens
    written as one, of the other; the order of tokens does not matter. Tokens fit when they are
      - equal, or within one slip of the pen (two in long tokens) in the fold, if of one script;
      - of the same skeleton, if of two scripts;
      - a letter and a token that begins with it. Initials alone are no evidence: one token must fit in full.
    A vowel exchanged at the end (Maria, Mario) is no slip.
    """
    con.execute("""
        create or replace temp table id_pair as
        with pairs as (
            select distinct least(a.name_id, b.name_id) as name_a, greatest(a.name_id, b.name_id) as name_b
            from id_open as a
            inner join id_open as b on a.value_hash = b.value_hash and a.name_id < b.name_id
        ),
        names as (
            select name_id, len(string_split(any_value(name_key), ' ')) as token_count
            from id_open
            group by name_id
        )
        select
            pairs.name_a,
            pairs.name_b,
            case when a.token_count <= b.token_count then pairs.name_a else pairs.name_b end as small,
            case when a.token_count <= b.token_count then pairs.name_b else pairs.name_a end as large,
        from pairs
        inner join names as a on pairs.name_a = a.name_id
        inner join names as b on pairs.name_b = b.name_id
    """)
    con.execute(f"""
        create or replace temp table id_token as
        with names as (select name_id, any_value(name_key) as name_key from id_open group by name_id),
        folded as (
            select name_id, name_key, {name_fold_sql("name_key")} as name_fold
            from names
        ),
        forms as (
            select
                name_id,
                string_split(name_key, ' ') as tokens,
                string_split(name_fold, ' ') as folds,
                string_split({name_skeleton_sql("name_fold")}, ' ') as skeletons,
            from folded
        ),
        positions as (
            select *, unnest(range(1, len(tokens) + 1)) as pos
            from forms
        )
        select name_id, pos, false as is_joined, tokens[pos] as token, folds[pos] as fold, skeletons[pos] as skeleton,
            regexp_matches(tokens[pos], '^[\\x{{0600}}-\\x{{06FF}}]') as is_arabic_script
        from positions
        union all
        select name_id, pos, true as is_joined, tokens[pos] || tokens[pos + 1] as token,
            folds[pos] || folds[pos + 1] as fold, skeletons[pos] || skeletons[pos + 1] as skeleton,
            regexp_matches(tokens[pos], '^[\\x{{0600}}-\\x{{06FF}}]') as is_arabic_script
        from positions
        where pos < len(tokens)
    """)
    con.execute(f"""
        create or replace temp table id_compatible as
        with compared as (
            select
                pair.name_a, pair.name_b, s.pos,
                s.is_arabic_script = l.is_arabic_script as is_one_script,
                least(length(s.fold), length(l.fold)) as letters,
                damerau_levenshtein(s.fold, l.fold) as slips,
                length(s.token) = 1 or length(l.token) = 1 as has_initial,
                -- In the fold as well, so that C. fits Karim and a Latin initial fits a Persian name.
                left(s.token, 1) = left(l.token, 1)
                or left(s.fold, 1) = left(l.fold, 1)
                or (left(s.fold, 1) in ('a', 'e', 'o') and left(l.fold, 1) in ('a', 'e', 'o')) as is_same_start,
                right(s.fold, 1) != right(l.fold, 1)
                and right(s.fold, 1) in ('a', 'e', 'o')
                and right(l.fold, 1) in ('a', 'e', 'o') as has_other_ending,
                s.fold = l.fold as is_same_fold,
                s.skeleton = l.skeleton as is_same_skeleton,
            from id_pair as pair
            inner join id_token as s on pair.small = s.name_id and not s.is_joined
            inner join id_token as l on pair.large = l.name_id
        ),
        judged as (
            select
                name_a, name_b, pos,
                not has_initial and case
                    when not is_one_script then is_same_skeleton
                    when is_same_fold then true
                    when has_other_ending then false
                    when slips <= 1 then letters >= {MIN_TYPO_LETTERS}
                    when slips <= 2 then letters >= {MIN_TWO_TYPOS_LETTERS}
                    else false
                end as fits_in_full,
                has_initial and is_same_start as fits_as_initial,
            from compared
        ),
        tokens as (
            select
                name_a, name_b, pos,
                bool_or(fits_in_full) as fits_in_full,
                bool_or(fits_in_full or fits_as_initial) as fits,
            from judged
            group by name_a, name_b, pos
        ),
        names as (
            select name_a, name_b
            from tokens
            group by name_a, name_b
            having bool_and(fits) and bool_or(fits_in_full)
        )
        select name_a as name_id, name_b as other_name_id from names
        union all
        select name_b as name_id, name_a as other_name_id from names
    """)


def _anchor_rounds(con: duckdb.DuckDBPyConnection) -> None:
    """Group the names of `id_todo` round by round: fullest name left, and all compatible with it.

    Each round settles at least one name of every value, so there are never more rounds than names on a value.
    """
    while con.execute("select count(*) from id_todo").fetchall()[0][0]:
        con.execute("""
            create or replace temp table id_settled as
            with anchors as (
                select
                    value_hash,
                    arg_max(name_id, (full_tokens, length(name_key), name_key)) as anchor_id,
                from id_todo
                group by value_hash
            )
            select todo.value_hash, todo.name_id, anchors.anchor_id as group_id
            from id_todo as todo
            inner join anchors on todo.value_hash = anchors.value_hash
            left join id_compatible as compatible
                on todo.name_id = compatible.name_id and anchors.anchor_id = compatible.other_name_id
            where todo.name_id = anchors.anchor_id or compatible.name_id is not null
        """)
        con.execute("insert into id_group select value_hash, name_id, group_id from id_settled")
        con.execute("""
            delete from id_todo
            using id_settled
            where id_todo.value_hash = id_settled.value_hash and id_todo.name_id = id_settled.name_id
        """)


def _group_full_names(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create or replace temp table id_todo as select * from id_open where full_tokens >= 2")
    _anchor_rounds(con)


def _group_partial_names(con: duckdb.DuckDBPyConnection) -> None:
    """Partial names join the one group they fit; those that fit no group form groups of their own.

    Names with an initial come first, so that `Bass` on a mail of `Todd Bass` and `M. Bass` is known to fit both.
    """
    for part in ("token_count > 1", "token_count = 1"):
        con.execute(f"""
            create or replace temp table id_fit as
            select
                partial.value_hash,
                partial.name_id,
                count(distinct grouped.group_id) as group_count,
                min(grouped.group_id) as group_id,
            from id_open as partial
            inner join id_compatible as compatible on partial.name_id = compatible.name_id
            inner join id_group as grouped
                on partial.value_hash = grouped.value_hash and compatible.other_name_id = grouped.name_id
            where partial.full_tokens < 2 and partial.{part}
            group by partial.value_hash, partial.name_id
        """)
        con.execute(f"""
            create or replace temp table id_todo as
            select partial.*
            from id_open as partial
            anti join id_fit on partial.value_hash = id_fit.value_hash and partial.name_id = id_fit.name_id
            where partial.full_tokens < 2 and partial.{part}
        """)
        con.execute("insert into id_group select value_hash, name_id, group_id from id_fit where group_count = 1")
        _anchor_rounds(con)


def _group_nameless(con: duckdb.DuckDBPyConnection) -> None:
    """Records without name join where their value's names are one group, and stay alone elsewhere."""
    con.execute("""
        insert into id_group
        select value_hash, null as name_id, min(group_id) as group_id
        from id_group
        semi join id_open on id_group.value_hash = id_open.value_hash
        where value_hash not in (from id_household)
        group by value_hash
        having count(distinct group_id) = 1
    """)


def _star(con: duckdb.DuckDBPyConnection) -> None:
    """Edges from the smallest record of each group to its others: as many as needed, no more."""
    con.execute("""
        create or replace temp table id_grouped as
        select
            ident.value_hash, ident.kind, ident.record_id, ident.phone_id, grouped.group_id,
            ident.name_id is not null as has_name,
            len(list_filter(string_split(coalesce(ident.name_key, ''), ' '), lambda t: length(t) > 1)) >= 2 as is_full,
        from id_ident as ident
        inner join id_group as grouped
            on ident.value_hash = grouped.value_hash and ident.name_id is not distinct from grouped.name_id
    """)
    con.execute("""
        create or replace temp table id_edge as
        with phones as (
            select value_hash, group_id, list(distinct phone_id) as phone_ids
            from id_grouped
            where kind = 'email' and is_full and phone_id is not null
            group by value_hash, group_id
        ),
        contradicted as (
            select grouped.value_hash, grouped.record_id
            from id_grouped as grouped
            inner join phones on grouped.value_hash = phones.value_hash and grouped.group_id = phones.group_id
            where not grouped.is_full and not list_contains(phones.phone_ids, grouped.phone_id)
        ),
        stars as (
            select
                grouped.*,
                min(record_id) over same_group as center_id,
                arg_min(has_name, record_id) over same_group as has_center_name,
            from id_grouped as grouped
            anti join contradicted
                on grouped.value_hash = contradicted.value_hash and grouped.record_id = contradicted.record_id
            window same_group as (partition by value_hash, group_id)
        )
        select
            center_id as record_a,
            record_id as record_b,
            kind,
            kind in ('email', 'phone', 'national_id') and has_name and has_center_name as is_name_checked,
            value_hash,
        from stars
        where record_id > center_id
    """)


def _report_hubs(con: duckdb.DuckDBPyConnection) -> None:
    """The blocked values in words."""
    con.execute("""
        create or replace temp table id_hub as
        with written as (
            select hash('email:' || email) as value_hash, email as value from id_scope
            where email is not null
            union
            select hash('phone:' || phone) as value_hash, phone as value from id_scope
            where phone is not null
            union
            select hash('national_id:' || national_id) as value_hash, national_id as value from id_scope
            where national_id is not null
            union
            select hash('external_id:' || source || ':' || external_id) as value_hash,
                source || ':' || external_id as value
            from id_scope
            where external_id is not null
            union
            select hash('rec:' || linked_person_key) as value_hash, linked_person_key as value from id_scope
            where linked_person_key is not null
        )
        select hub.kind, written.value, hub.reason, hub.record_count, hub.name_count
        from id_hub_value as hub
        inner join written on hub.value_hash = written.value_hash
    """)
