"""The unify run: every person record to its customer, in one transaction.

A run reads which records are new, changed or gone since the last one and normalises those. What these touch is done
again, and nothing else: the edges of the values they bear or bore, the pairs of their blocking keys, the components
at either end of a tie that came or went. Each step is a function of the records it names, so the result is that of a
run over everything. Another model or threshold has all pairs weighed and all components made again, but no record read
and no edge. On unchanged input nothing is written at all.

Belongs here: the order of the steps, what is touched, the transaction, the result. Does not belong here: the rules
of any step.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import duckdb

from orchestration.identity import blocking, clusters, edges, normalise, stable_ids, state, weighing
from orchestration.identity.model import DEFAULT_MODEL, Model, features_sql, load_model
from orchestration.identity.state import IdentitySettings
from orchestration.identity.training import Ground
from orchestration.warehouse import new_load_id, utc_now

COLLECTED = "intermediate.int_person_record__collected"
"""The person records to resolve: one row per person_key, with the hash of what identity reads of it (`input_hash`)."""

UNSHARED = "unshared"
"""Rule of a record that is tied to no other: it is a customer by itself."""

FULL_SHARE = 0.1
"""When a larger share of the records changed, everything is done again: following so many changes costs as much."""

MIN_TRAINING_RECORDS = 20_000
"""Fewer records hold too few pairs to learn shares of a percent from."""

Learn = Callable[[Ground], Model]
"""Makes a model from the records of a run that has none."""

SLICE_PAIRS = 10_000_000
"""Pairs weighed at a time: with their records on both sides they take some gigabytes, whatever the warehouse holds."""

_DIFFERING = ("edge", "hub", "pair", "component", "refusal")
"""Tables that are computed for what is in question, and of which only the differences are written."""

_ONLY_FOR_EDGES = ("input_hash", "external_id", "linked_person_key", "is_bare")
"""Columns of a record that nobody asks for after its edges are made."""

_LOG = logging.getLogger(__name__)


class RecordIdError(RuntimeError):
    """Two records have one id."""


@dataclass(frozen=True, slots=True)
class IdentityResult:
    """What a run found and did. `is_changed` is false when nothing was written.

    `records`, `customers`, `edges`, `hubs` and `doubtful` (pairs for a person to look at) describe the state after
    the run, the others what the run changed: records new, changed or gone (`delta`) and ids created, ended by a
    merge, created by a split, retired.
    """

    records: int
    customers: int
    edges: int
    hubs: int
    doubtful: int
    delta: int
    created: int
    merged: int
    split: int
    retired: int
    is_changed: bool


def resolve(
    con: duckdb.DuckDBPyConnection,
    settings: IdentitySettings,
    run_id: str | None = None,
    now: datetime | None = None,
    collected: str = COLLECTED,
    model: Model | None = None,
    *,
    learn: Learn | None = None,
    full: bool = False,
) -> IdentityResult:
    """Resolve all person records to customers; all of it is written or nothing, but for a model that is learnt.

    Args:
        con: The warehouse, outside of a transaction.
        settings: The `identity` section of the settings.
        run_id: Id that events are booked under; made from the time when left out.
        now: Moment at which changed links end and begin, UTC; the present when left out.
        collected: Table of the person records.
        model: Weighs pairs; the default model when left out.
        learn: Makes the model that weighs pairs, once records are read and tied by rules; nothing is learnt when it is
            left out, of fewer than `MIN_TRAINING_RECORDS`, or when no rule ties any.
        full: Do everything again, whatever changed.

    Raises:
        RecordIdError: Two keys of records have one hash; one of the two must be renamed in its source.
    """
    state.ensure_schema(con)
    # No step goes by the order of rows, and keeping it doubles what writing them costs.
    kept = con.execute("select current_setting('preserve_insertion_order')").fetchall()[0][0]
    con.execute("set preserve_insertion_order = false")
    try:
        return _resolve(
            con,
            settings,
            run_id or new_load_id(),
            now or utc_now(),
            collected,
            model or load_model(DEFAULT_MODEL),
            learn,
            full,
        )
    finally:
        con.execute(f"set preserve_insertion_order = {kept}")
        _drop_temporary(con)


def _resolve(
    con: duckdb.DuckDBPyConnection,
    settings: IdentitySettings,
    run_id: str,
    now: datetime,
    collected: str,
    model: Model,
    learn: Learn | None,
    full: bool,
) -> IdentityResult:
    """Work everything out in temporary tables, then write the differences in one transaction.

    Inside the transaction it could not be worked out: DuckDB takes tables made there for empty when it plans.
    """
    records = int(con.execute(f"select count(*) from {collected}").fetchall()[0][0])
    rules = state.rules_of(settings)
    is_new_rules = state.read_fact(con, state.RULES) != rules
    is_input_new = _compare_inputs(con, collected, is_new_rules)
    decided = int(con.execute("select count(*) from identity.decision where not is_applied").fetchall()[0][0])
    known_weights = state.read_fact(con, state.WEIGHTS)
    learns = learn is not None and records >= MIN_TRAINING_RECORDS
    is_new = is_input_new or is_new_rules or known_weights != state.weights_of(settings, model, records)
    if not (is_new or decided or full or (learns and con.execute("from identity.edge limit 1").fetchall())):
        return _summary(con, 0, stable_ids.Changes(0, 0, 0, 0), is_changed=False)
    delta = _normalise_delta(con, settings, collected)
    keeps_edges = not (is_new_rules or full or delta > FULL_SHARE * records)
    _LOG.info("identity: %s records new, changed or gone", delta)
    _list_forgotten_phones(con)
    _take_scope(con, is_partial=keeps_edges)
    edges.build_edges(con, settings, is_partial=keeps_edges)
    _list_differences(con, "hub", f"where {edges.HUB_HASH} in (from id_touched)" if keeps_edges else "")
    con.execute("""
        create or replace temp table id_hub_now as
        select kind, value from identity.hub anti join id_hub_old using (kind, value)
        union
        select kind, value from id_hub_new
    """)
    _block_records(con)
    if learn is not None and learns:
        model = _learn(con, learn, keeps_edges=keeps_edges) or model
    weights = state.weights_of(settings, model, records)
    is_partial = keeps_edges and known_weights == weights
    _weigh_pairs(con, settings, model, records, is_partial=is_partial)
    _list_differences(con, "edge", "semi join id_replaced using (value_hash)" if keeps_edges else "")
    _list_differences(con, "pair", _of_touched("id_weighed_record") if is_partial else "")
    _list_affected(con, is_partial=is_partial)
    _list_ties(con)
    clusters.place_records(con, settings, model, records)
    _list_differences(con, "component", "where record_id in (from id_once_affected)" if is_partial else "")
    _list_differences(
        con,
        "refusal",
        "where record_a in (from id_once_affected) or record_b in (from id_once_affected)" if is_partial else "",
    )
    _name_rules(con)
    changes = stable_ids.elect_ids(con, "id_placement")
    doubtful_before = _count_doubtful(con, "id_once_affected") if is_partial else 0
    con.begin()
    try:
        _write_records(con)
        for table in _DIFFERING:
            _write_differences(con, table)
        stable_ids.write_ids(con, run_id, now)
        con.execute("update identity.decision set is_applied = true where not is_applied")
        state.write_fact(con, state.RULES, rules)
        state.write_fact(con, state.WEIGHTS, weights)
        doubtful = state.read_fact(con, state.DOUBTFUL)
        con.execute("delete from identity.state where name = ?", [state.DOUBTFUL])
        con.commit()
    except BaseException:
        con.rollback()
        raise
    if doubtful is None or not is_partial or decided:
        _keep_doubtful(con, _count_doubtful(con))
    else:
        _keep_doubtful(con, int(doubtful) + _count_doubtful(con, "id_once_affected") - doubtful_before)
    return _summary(con, delta, changes, is_changed=True)


def _count_doubtful(con: duckdb.DuckDBPyConnection, among: str | None = None) -> int:
    """Pairs that wait for a decision, of all records or of some: a pair turns only when both its records may."""
    return int(con.execute(f"select count(*) from ({state.doubtful_sql(among)})").fetchall()[0][0])


def _keep_doubtful(con: duckdb.DuckDBPyConnection, count: int) -> None:
    """Remember the number of doubtful pairs; it is missing from the beginning of a run to here."""
    state.write_fact(con, state.DOUBTFUL, str(count))


def _compare_inputs(con: duckdb.DuckDBPyConnection, collected: str, is_new_rules: bool) -> bool:
    """List what is new (`input_row`) and what is no more (`old_hash`) in `id_odd_input`; whether any is.

    A hash is of a record and its key, so it stands for the record: of one that changed there is a new and an old one.
    New records are known by the number of their row: a model that follows the loads has them at the end of its table,
    and nothing before is read then.
    """
    if is_new_rules:
        odd = f"""
            select rowid as input_row, null as old_hash from {collected}
            union all
            select null, input_hash from identity.record
        """
    else:
        odd = f"""
            select input.rowid as input_row, record.input_hash as old_hash
            from {collected} as input
            full outer join identity.record as record on input.input_hash = record.input_hash
            where input.input_hash is null or record.input_hash is null
        """
    con.execute(f"create or replace temp table id_odd_input as {odd}")
    return bool(con.execute("select exists (from id_odd_input)").fetchall()[0][0])


def _normalise_delta(con: duckdb.DuckDBPyConnection, settings: IdentitySettings, collected: str) -> int:
    """Normalise new and changed records (`id_new_record`); `id_record` shows all records as they are to be.

    Returns:
        How many records are new, changed or gone: those of `id_delta` (record_id, person_key).
    """
    con.execute(
        f"""
        create or replace temp table id_new as
        with input as (
            select source, input_hash, {", ".join(state.INPUT)}
            from {collected}
            where rowid in (select input_row from id_odd_input)
        )
        select
            {state.record_id_sql("input.person_key")} as record_id,
            input.person_key,
            input.source,
            input.person_id as source_record_id,
            input.created_at,
            coalesce(
                nullif(concat_ws(' ', nullif(trim(given_name), ''), nullif(trim(family_name), '')), ''),
                nullif(trim(full_name), '')
            ) as name,
            nullif(trim(input.email), '') as email,
            {normalise.phone_text_sql("nullif(trim(input.phone), '')")} as phone_text,
            {normalise.external_id_sql("input.external_id")} as external_id,
            {normalise.linked_person_key_sql("input.linked_person_key")} as linked_person_key,
            {normalise.birth_sql("input.birth_date")} as birth,
            {normalise.code_sql("input.national_id")} as national_id,
            {normalise.address_sql("input.street")} as street,
            {normalise.address_sql("input.street_2")} as street_2,
            {normalise.code_sql("input.postal_code")} as postal_code,
            {normalise.address_sql("input.city")} as city,
            input.is_bare,
            input.input_hash,
            {normalise.region_sql("input.country", settings.default_country)} as region,
        from input
        """
    )
    normalise.learn_phones(con, "id_new", "id_new_phone")
    normalise.add_name_keys(con, "id_new", "id_name")
    normalise.add_emails(con, "(select email as text from id_new)", "id_email", settings.role_mailboxes)
    con.execute("""
        create or replace temp table id_new_record as
        select
            new.record_id,
            new.person_key,
            new.source,
            new.source_record_id,
            new.input_hash,
            new.created_at,
            name.name_key,
            name.name_skeleton,
            name.name_fold,
            name.given,
            name.family,
            name.given_fold,
            name.given_skeleton,
            name.family_fold,
            name.family_skeleton,
            name.is_persian,
            email.email,
            coalesce(email.is_role, false) as is_role_email,
            phone.phone,
            coalesce(phone.is_placeholder, false) as is_placeholder_phone,
            new.external_id,
            new.linked_person_key,
            new.birth,
            new.national_id,
            new.street,
            new.street_2,
            new.postal_code,
            new.city,
            new.is_bare,
        from id_new as new
        left join id_name as name on new.name = name.name
        left join id_email as email on new.email = email.text
        left join (select * from identity.phone union all select * from id_new_phone) as phone
            on new.phone_text = phone.phone_text and new.region = phone.region
    """)
    # By its key as well: another record may have the hash that this one had.
    con.execute("""
        create or replace temp table id_known as
        select record_id from identity.record semi join id_odd_input on record.input_hash = id_odd_input.old_hash
        union
        select record_id from identity.record semi join id_new_record using (record_id)
    """)
    con.execute(f"""
        create or replace temp table id_old_record as
        select {", ".join(edges.COLUMNS)} from identity.record semi join id_known using (record_id)
    """)
    con.execute("""
        create or replace temp table id_delta as
        select record_id, person_key from id_new_record union select record_id, person_key from id_old_record
    """)
    con.execute("""
        create or replace temp view id_record as
        select * from identity.record anti join id_known using (record_id)
        union all by name
        select * from id_new_record
    """)
    for table in ("id_new", "id_name", "id_email"):
        con.execute(f"drop table {table}")
    _refuse_equal_ids(con)
    return int(con.execute("select count(*) from id_delta").fetchall()[0][0])


def _refuse_equal_ids(con: duckdb.DuckDBPyConnection) -> None:
    """63 bits collide once in a million warehouses of ten million records; then nothing may be glued silently."""
    twice = con.execute("""
        with ids as (
            select record_id, person_key from id_new_record
            union
            select record_id, person_key from identity.record where record_id in (select record_id from id_new_record)
        )
        select list(person_key order by person_key) from ids group by record_id having count(*) > 1
    """).fetchall()
    if twice:
        raise RecordIdError(f"records {' and '.join(twice[0][0])} have the same hash; give one of them another id")


def _list_forgotten_phones(con: duckdb.DuckDBPyConnection) -> None:
    """Spellings to drop (`id_old_phone`): the dictionary keeps no number of a person who was deleted.

    A spelling that is no phone cannot be matched to the records that bear it; those all go, and are read again when
    a record with one of them changes.
    """
    con.execute("""
        create or replace temp table id_old_phone as
        with in_question as (
            select phone_text, region, phone
            from identity.phone
            where exists (from id_known) and (phone is null or phone in (select phone from id_old_record))
        ),
        borne as (select phone from id_record semi join in_question using (phone))
        select phone_text, region from in_question where phone is null or phone not in (from borne)
    """)


def _take_scope(con: duckdb.DuckDBPyConnection, *, is_partial: bool) -> None:
    """The records whose values are in question (`id_scope`), and for a part those values (`id_touched`).

    These are the values of records as they were and as they are; of nameless records that a changed one lends its
    name as well.
    """
    if not is_partial:
        con.execute("create or replace temp view id_scope as from id_record")
        return
    columns = ", ".join(edges.COLUMNS)
    con.execute(f"""
        create or replace temp table id_changed as
        select {columns} from id_old_record
        union all by name
        select {columns} from id_new_record
        union all by name
        select {columns} from identity.record
        where name_key is null and linked_person_key in (select person_key from id_delta)
    """)
    con.execute(f"create or replace temp table id_touched as {edges.value_hashes_sql('id_changed')}")
    con.execute(f"""
        create or replace temp table id_scope as
        with kin as (
            select person_key from id_changed
            union
            select linked_person_key from id_changed where linked_person_key is not null
        ),
        bearing as (
            select record_id from id_new_record
            union
            select record_id from identity.record semi join id_changed using (email)
            union
            select record_id from identity.record semi join id_changed using (phone)
            union
            select record_id from identity.record semi join id_changed using (national_id)
            union
            select record_id from identity.record semi join id_changed using (source, external_id)
            union
            select {state.record_id_sql("person_key")} from kin
            union
            select record_id from identity.record semi join kin on record.linked_person_key = kin.person_key
        )
        select {columns} from id_record semi join bearing using (record_id)
    """)


def _block_records(con: duckdb.DuckDBPyConnection) -> None:
    """Blocking keys of new records (`id_new_block`) and of all (`id_block`)."""
    blocking.block_records(con, features_sql("id_new_record"), "id_new_block")
    con.execute("""
        create or replace temp view id_block as
        select * from identity.block anti join id_known using (record_id)
        union all
        select * from id_new_block
    """)


def _learn(con: duckdb.DuckDBPyConnection, learn: Learn, *, keeps_edges: bool) -> Model | None:
    """The model that is learnt from all records and what rules tie; None when they tie no two."""
    con.execute(f"""
        create or replace temp view id_tied as
        select record_a, record_b from id_edge
        {
        "union all select record_a, record_b from identity.edge anti join id_replaced using (value_hash)"
        if keeps_edges
        else ""
    }
    """)
    if not con.execute("from id_tied limit 1").fetchall():
        return None
    # What is learnt shall be the same each time: a sample goes by the order of rows.
    con.execute("set preserve_insertion_order = true")
    try:
        return learn(Ground("id_record", "id_tied", "id_hub_now", "id_block"))
    finally:
        con.execute("set preserve_insertion_order = false")


def _weigh_pairs(
    con: duckdb.DuckDBPyConnection, settings: IdentitySettings, model: Model, records: int, *, is_partial: bool
) -> None:
    """Weigh the pairs in question: `id_pair`. For a part, they are those of the records in `id_weighed_record`."""
    if is_partial:
        _list_weighed_records(con)
        _take_near_blocks(con)
        blocking.make_pairs(con, "id_near_block", "id_candidate", "id_weighed_record")
        _take_near_records(con)
    else:
        blocking.make_pairs(con, "id_block", "id_candidate")
    _weigh_candidates(con, settings, model, records)
    con.execute("drop table id_candidate")


def _weigh_candidates(con: duckdb.DuckDBPyConnection, settings: IdentitySettings, model: Model, records: int) -> None:
    """Verdicts on the pairs of `id_candidate`, as many at a time as fit in memory with their records: `id_pair`."""
    thresholds = weighing.Thresholds.of(settings.link_probability, settings.review_probability)
    candidates = con.execute("select count(*) from id_candidate").fetchall()[0][0]
    slices = max(1, math.ceil(candidates / SLICE_PAIRS))
    con.execute("""
        create or replace temp table id_pair (record_a bigint, record_b bigint, bits double, verdict text)
    """)
    for number in range(slices):
        con.execute(f"""
            create or replace temp view id_slice as
            select record_a, record_b from id_candidate {f"where record_a % {slices} = {number}" if slices > 1 else ""}
        """)
        weighing.weigh(
            con, model, records, "id_slice", "id_record", "id_weighed", hubs="id_hub_now", floor=thresholds.doubt_bits
        )
        con.execute(f"""
            insert into id_pair
            select record_a, record_b, round(bits, 6) as bits, {weighing.verdict_sql(thresholds)} as verdict
            from id_weighed
            where verdict is not null
        """)
        con.execute("drop table id_weighed")
        if slices > 1:
            _LOG.info("identity: weighed %s of %s parts of %s pairs", number + 1, slices, candidates)


def _list_weighed_records(con: duckdb.DuckDBPyConnection) -> None:
    """Records whose pairs may weigh something else than before.

    Those are the changed ones, those of keys that became or ceased to be rare, and those that bear a value that
    became or ceased to be a hub.
    """
    con.execute("""
        create or replace temp table id_touched_key as
        select key from id_new_block
        union
        select key from identity.block semi join id_known using (record_id)
    """)
    con.execute("create or replace temp table id_met_block as from identity.block semi join id_touched_key using (key)")
    con.execute("""
        create or replace temp table id_now_met as
        select record_id, key from id_met_block anti join id_known using (record_id)
        union all
        select record_id, key from id_new_block
    """)
    con.execute(f"""
        create or replace temp table id_weighed_record as
        with then_counted as (select key, count(*) as records from id_met_block group by key),
        now_counted as (select key, count(*) as records from id_now_met group by key),
        turned as (
            select key
            from then_counted
            left join now_counted using (key)
            where (then_counted.records > {blocking.BLOCK_MAX_RECORDS})
                != (coalesce(now_counted.records, 0) > {blocking.BLOCK_MAX_RECORDS})
        )
        select record_id from id_delta
        union
        select record_id from id_now_met semi join turned using (key)
    """)
    con.execute("""
        create or replace temp table id_turned_hub as
        (select kind, value from id_hub_old except select kind, value from id_hub_new)
        union all
        (select kind, value from id_hub_new except select kind, value from id_hub_old)
    """)
    for kind in ("email", "phone", "national_id"):
        con.execute(f"""
            insert into id_weighed_record
            select record_id
            from id_record
            where {kind} in (select value from id_turned_hub where kind = '{kind}')
                and record_id not in (from id_weighed_record)
        """)


def _take_near_blocks(con: duckdb.DuckDBPyConnection) -> None:
    """Every record of the keys that records in `id_weighed_record` have or had: `id_near_block` (record_id, key).

    Of the keys of changed records it is known by now; the history is read for the others.
    """
    con.execute("""
        create or replace temp table id_near_key as
        with unchanged as (from id_weighed_record anti join id_delta using (record_id))
        select distinct key from id_block semi join unchanged using (record_id) anti join id_touched_key using (key)
    """)
    con.execute("""
        create or replace temp table id_near_block as
        select record_id, key from id_now_met
        union all
        select record_id, key from id_block semi join id_near_key using (key)
    """)


def _take_near_records(con: duckdb.DuckDBPyConnection) -> None:
    """Let `id_record` show only the records that what is left to do can look at: one scan of the history, not many.

    These are the records at either end of a tie or pair that comes, stays or goes, with the components they were in: a
    new component is made of such components.
    """
    con.execute(f"""
        create or replace temp table id_near_record as
        with ends as (
            select record_a as record_id from id_candidate
            union
            select record_b from id_candidate
            union
            select unnest([record_a, record_b]) from identity.pair {_of_touched("id_weighed_record")}
            union
            select record_id from id_scope
            union
            select record_id from id_weighed_record
            union
            select unnest([{state.record_id_sql("person_key_a")}, {state.record_id_sql("person_key_b")}])
            from identity.decision
        ),
        met as (select distinct component_id from identity.component semi join ends using (record_id)),
        near as (
            select record_id from ends
            union
            select record_id from identity.component semi join met using (component_id)
        )
        select * exclude ({", ".join(_ONLY_FOR_EDGES)}) from id_record semi join near using (record_id)
    """)
    con.execute("create or replace temp view id_record as from id_near_record")


def _of_touched(records: str) -> str:
    return f"where record_a in (from {records}) or record_b in (from {records})"


def _list_affected(con: duckdb.DuckDBPyConnection, *, is_partial: bool) -> None:
    """Records whose group may be another than before: `id_affected`; with those that are gone: `id_once_affected`."""
    con.execute(f"""
        create or replace temp table id_decided as
        with decided as (
            select distinct kind,
                {state.record_id_sql("person_key_a")} as one,
                {state.record_id_sql("person_key_b")} as other,
            from identity.decision
            where undone_at is null
        )
        select kind, least(one, other) as record_a, greatest(one, other) as record_b
        from decided
        where one in (select record_id from id_record) and other in (select record_id from id_record)
    """)
    con.execute("""
        create or replace temp table id_forbidden as
        select record_a, record_b from id_decided where kind = 'forbid'
    """)
    if not is_partial:
        con.execute("""
            create or replace temp table id_once_affected as
            select record_id from id_record
            union
            select record_id from id_delta
        """)
    else:
        con.execute(f"""
            create or replace temp table id_once_affected as
            with ends as (
                select record_id from id_delta
                union
                select unnest([record_a, record_b]) from (
                    select record_a, record_b from id_edge_old union all select record_a, record_b from id_edge_new
                    union all
                    select record_a, record_b from id_pair_old union all select record_a, record_b from id_pair_new
                )
                union
                select unnest([{state.record_id_sql("person_key_a")}, {state.record_id_sql("person_key_b")}])
                from identity.decision
                where not is_applied
                union
                -- What is decided about a record that was gone holds again when it is back.
                select unnest([record_a, record_b])
                from id_decided
                {_of_touched("(select record_id from id_delta)")}
            ),
            met as (select distinct component_id from identity.component semi join ends using (record_id))
            select record_id from ends
            union
            select record_id from identity.component semi join met using (component_id)
        """)
    con.execute("""
        create or replace temp table id_affected as
        select record_id from id_record semi join id_once_affected using (record_id)
    """)


def _list_ties(con: duckdb.DuckDBPyConnection) -> None:
    """What ties affected records (`id_tie`), with what it is and how strong."""
    con.execute(f"""
        create or replace temp table id_tie as
        with tied as (
            select * from identity.edge anti join id_edge_old using (record_a, record_b, kind, value_hash)
            union all by name
            select * from id_edge_new
        ),
        linked as (
            select * from identity.pair anti join id_pair_old using (record_a, record_b)
            union all by name
            select * from id_pair_new
        ),
        ties as (
            select record_a, record_b, kind, is_name_checked, null::double as bits,
                case
                    when kind in ('external_id', 'linked_id') then {clusters.DECLARED}
                    when is_name_checked or kind = 'email+phone+name' then {clusters.NAMED}
                    else {clusters.UNNAMED}
                end as strength,
            from tied
            union all
            select record_a, record_b, 'model', false, bits, least(bits, {clusters.UNNAMED} - 1)
            from linked
            where verdict = '{weighing.LINK}'
            union all
            select record_a, record_b, 'decision', false, null, {clusters.FORCED} from id_decided where kind = 'force'
        )
        select * from ties semi join id_affected on ties.record_a = id_affected.record_id
    """)


def _write_records(con: duckdb.DuckDBPyConnection) -> None:
    for table in ("record", "block"):
        con.execute(f"""
            delete from identity.{table}
            where record_id in (from id_known)
        """)
        con.execute(f"insert into identity.{table} by name select * from id_new_{table}")
    con.execute("insert into identity.phone by name select * from id_new_phone")
    con.execute("""
        delete from identity.phone
        using id_old_phone
        where phone.phone_text = id_old_phone.phone_text and phone.region = id_old_phone.region
    """)


def _name_rules(con: duckdb.DuckDBPyConnection) -> None:
    """What ties each affected record to its customer: `id_rule` (record_id, rule, score, evidence).

    Ties that a guard refused tie nobody.
    """
    con.execute(f"""
        create or replace temp table id_rule as
        with held as (
            select tie.*
            from id_tie as tie
            inner join id_placement as a on tie.record_a = a.record_id
            inner join id_placement as b on tie.record_b = b.record_id and a.component_id = b.component_id
        ),
        ends as (
            select record_a as record_id, kind, is_name_checked, bits from held
            union all
            select record_b as record_id, kind, is_name_checked, bits from held
        ),
        evidence as (
            select
                record_id,
                concat_ws(
                    '+',
                    case when bool_or(kind = 'decision') then 'decision' end,
                    case when bool_or(kind = 'external_id') then 'external_id' end,
                    case when bool_or(kind = 'linked_id') then 'linked_id' end,
                    case when bool_or(kind = 'national_id') then 'national_id' end,
                    case when bool_or(kind in ('email', 'email+phone+name')) then 'email' end,
                    case when bool_or(kind in ('phone', 'email+phone+name')) then 'phone' end,
                    case when bool_or(kind = 'email+phone+name' or is_name_checked) then 'name' end,
                    case when bool_and(kind = 'model') then 'model' end
                ) as rule,
                case when bool_and(kind = 'model') then {weighing.to_probability_sql("max(bits)")}
                    else 1.0 end as score,
                concat_ws(
                    '; ',
                    case when count(*) filter (where kind != 'model') > 0
                        then count(*) filter (where kind != 'model') || ' by rules' end,
                    case when count(*) filter (where kind = 'model') > 0
                        then count(*) filter (where kind = 'model') || ' by the model, up to '
                            || round(max(bits), 1) || ' bits' end
                ) as evidence,
            from ends
            group by record_id
        )
        select affected.record_id, coalesce(evidence.rule, '{UNSHARED}') as rule,
            coalesce(evidence.score, 1.0) as score,
            coalesce(evidence.evidence, 'nothing shared') as evidence,
        from id_affected as affected
        left join evidence on affected.record_id = evidence.record_id
    """)


def _list_differences(con: duckdb.DuckDBPyConnection, table: str, part: str) -> None:
    """Rows of `identity.<table>` that `id_<table>` does not have, and the other way round.

    Args:
        con: The warehouse.
        table: Its name.
        part: SQL that limits the kept table to what was computed again.
    """
    wanted = f"id_{table}"
    columns = ", ".join(name for name, *_ in con.execute(f"describe identity.{table}").fetchall())
    con.execute(f"create or replace temp table {wanted}_kept as select {columns} from identity.{table} {part}")
    for name, one, other in (("old", f"{wanted}_kept", wanted), ("new", wanted, f"{wanted}_kept")):
        con.execute(f"""
            create or replace temp table {wanted}_{name} as
            select {columns} from {one} except select {columns} from {other}
        """)
    con.execute(f"drop table {wanted}_kept")


def _write_differences(con: duckdb.DuckDBPyConnection, table: str) -> None:
    columns = [name for name, *_ in con.execute(f"describe identity.{table}").fetchall()]
    same = " and ".join(f"kept.{column} = id_{table}_old.{column}" for column in columns)
    con.execute(f"delete from identity.{table} as kept using id_{table}_old where {same}")
    con.execute(f"insert into identity.{table} by name select * from id_{table}_new")


def _drop_temporary(con: duckdb.DuckDBPyConnection) -> None:
    """Free what the run kept in memory."""
    views = con.execute("select view_name from duckdb_views() where temporary and starts_with(view_name, 'id_')")
    for (name,) in views.fetchall():
        con.execute(f"drop view temp.{name}")
    tables = con.execute("select table_name from duckdb_tables() where temporary and starts_with(table_name, 'id_')")
    for (name,) in tables.fetchall():
        con.execute(f"drop table temp.{name}")


def _summary(
    con: duckdb.DuckDBPyConnection, delta: int, changes: stable_ids.Changes, *, is_changed: bool
) -> IdentityResult:
    records, customers, edge_count, hubs = con.execute("""
        select
            (select count(*) from identity.member),
            (select count(*) from identity.customer where ended_at is null),
            (select count(*) from identity.edge),
            (select count(*) from identity.hub)
    """).fetchall()[0]
    doubtful = state.read_fact(con, state.DOUBTFUL)
    return IdentityResult(
        records=records,
        customers=customers,
        edges=edge_count,
        hubs=hubs,
        doubtful=_count_doubtful(con) if doubtful is None else int(doubtful),
        delta=delta,
        created=changes.created,
        merged=changes.merged,
        split=changes.split,
        retired=changes.retired,
        is_changed=is_changed,
    )
