"""What is audited: the projections of a source table, and of the marts, with the columns the guard adds.

Belongs here: temporary views over a relation, which suite each is audited against, which rules do not
apply, and how a row may be named without personal data. Does not belong here: the audit itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import yaml

from orchestration.guard.audit import Batch, rename
from orchestration.guard.compiler import compile_suite
from orchestration.guard.load_rules import compiled_suites
from orchestration.guard.results import GuardError, RuleResult
from orchestration.guard.sql import as_sent, describe, identifier, literal, qualified
from orchestration.guard.suites import Rule, Suite, custom_suite, entity_suite, mart_suites, record_suite, sent_suite
from orchestration.sources.contract import load_contract
from orchestration.sources.inline import inline_relation
from orchestration.sources.mapping import BOOKED, audit_columns, mapped_select
from orchestration.sources.text_files import BROKEN_BYTE
from orchestration.warehouse import columns_of

if TYPE_CHECKING:
    from orchestration.settings import EntityMapping, Settings, Table

FUTURE_SKEW = timedelta(days=1)
"""How far ahead a time may lie: clocks differ, and a local time read as UTC is up to 14 hours off."""

MART_MODELS = Path(__file__).resolve().parents[2] / "dbt_project" / "models" / "marts"
"""Where dbt declares the marts."""

SENT_VIEW = "guard_sent"
"""The live rows of the audited relation, numbered by `_row_hash`, which every projection hands through."""

MART_DECIMALS = 9
"""Marts are compared after rounding to so many decimals: 0.1 + 0.2 is not an error."""


PHONE = "(^|[^0-9A-Za-z])([+＋]|[0۰٠]{1,2})[0-9۰-۹٠-٩][0-9۰-۹٠-٩ ().-]{7,}( / |[|]|$)"
"""A key, or a part of one, that ends in nine digits or more behind a plus or a zero: it may be a person's number."""

ADDED_COLUMNS = {"_now": "TIMESTAMP", "_latest_allowed": "TIMESTAMP"}
"""Columns of every batch of a source table: the moment of the audit, and the latest time that is not the future."""

SENT_COLUMNS = {
    "_key": "VARCHAR",
    "_widest_bytes": "BIGINT",
    "_nul_values": "BIGINT",
    "_undecodable_values": "BIGINT",
    "_place": "VARCHAR",
    **ADDED_COLUMNS,
}
"""Columns that the suite on rows as sent can rely on whatever the source. `_place` is only there for reasons."""


ENTITY_COLUMNS = {"response": {"_scale_min": "BIGINT", "_scale_max": "BIGINT"}}
"""Columns that the batches of an entity have besides: of an answer, the scale of its question, NULL if unknown."""

SCALES = "guard_scales"
"""Temporary table of the scales of all known questions: `question_key`, `scale_min`, `scale_max`."""


class UnreadableMappingError(GuardError):
    """A mapping of cem.yml names a column that the load does not have."""


@dataclass(frozen=True)
class TableSuite:
    """One suite a source table is audited against.

    Attributes:
        suite: The suite.
        mapping: The entity mapping whose projection is audited; None: the rows as sent.
        prefix: What rule ids begin with instead of the suite's name.
        skipped: Ids of rules that do not apply.
        is_beside: Whether the projection is audited beside what is promoted, with the column `_id_is_taken`.
    """

    suite: Suite
    mapping: EntityMapping | None = None
    prefix: str | None = None
    skipped: frozenset[str] = frozenset()
    is_beside: bool = False


def table_suites(settings: Settings, table: Table) -> list[TableSuite]:
    """The suites of a source table: on rows as sent, the user's own, then one per entity mapping."""
    sent = sent_suite()
    # Without a key every row is its own record, named by file and line: it cannot occur twice.
    suites = [TableSuite(sent, skipped=frozenset() if table.key else frozenset({f"{sent.name}.key_unique"}))]
    custom = custom_suite(settings.config_path.parent, table.source, table.name)
    if custom is not None:
        suites.append(TableSuite(custom))
    several = Counter(mapping.entity for mapping in table.entities)
    seen: Counter[str] = Counter()
    for mapping in table.entities:
        suite = entity_suite(mapping.entity)
        seen[mapping.entity] += 1
        prefix = f"{suite.name}_{seen[mapping.entity]}" if several[mapping.entity] > 1 else None
        suites.append(TableSuite(suite, mapping, prefix, _not_applicable(suite, mapping)))
        if _may_collide(table, mapping):
            known = record_suite()
            known_as = f"{known.name}_{prefix or suite.name}" if len(table.entities) > 1 else None
            suites.append(TableSuite(known, mapping, known_as, is_beside=True))
    return suites


def _may_collide(table: Table, mapping: EntityMapping) -> bool:
    """Whether two records of a table, different by its key, may become one record of the contract."""
    key = mapping.columns[load_contract()[mapping.entity].key]
    return not mapping.one_per_key and not (key.column is not None and table.key == (key.column,) and not key.map)


def _not_applicable(suite: Suite, mapping: EntityMapping) -> frozenset[str]:
    if not mapping.one_per_key:
        return frozenset()
    key = load_contract()[mapping.entity].key
    return frozenset(
        rule.rule_id
        for rule in suite.rules
        if rule.expectation_type == "expect_column_values_to_be_unique" and rule.columns == (key,)
    )


def rules_of(settings: Settings, table: Table) -> list[RuleResult]:
    """The rules a source table is audited against, as results without counts. Reads suites only."""
    return [
        _unjudged(rule, audited.prefix)
        for audited in table_suites(settings, table)
        for rule in audited.suite.rules
        if rule.rule_id not in audited.skipped
    ]


def mart_rules(settings: Settings) -> list[RuleResult]:
    """The rules of the marts, as results without counts. Reads suites only."""
    return [_unjudged(rule, None) for suite in mart_suites() for rule in suite.rules]


def _unjudged(rule: Rule, prefix: str | None) -> RuleResult:
    return RuleResult(
        rule_id=rename(rule.rule_id, prefix),
        expectation_type=rule.expectation_type,
        column=rule.column,
        severity=rule.severity,
        description=rule.complaint,
        tolerance=rule.tolerance,
    )


def entity_columns(entity: str) -> dict[str, str]:
    """Columns that the suite of an entity can rely on whatever the source: name and type."""
    known = load_contract()[entity]
    columns = {name: column.duckdb_type.upper() for name, column in known.columns.items()}
    added = {"_uncast": "VARCHAR", **ADDED_COLUMNS, **ENTITY_COLUMNS.get(entity, {})}
    return {**columns, **audit_columns(known), **added}


def compiled_folder(settings: Settings) -> Path:
    """Where compiled suites are kept."""
    return settings.home / "guard"


def prepare(settings: Settings) -> None:
    """Compile every suite that this configuration needs and no data is needed for.

    Great Expectations takes seconds to import. Called at installation, this spares the first run of it; a run
    compiles by itself what is missing, such as your own suites, which wait for the columns of their tables.
    """
    folder = compiled_folder(settings)
    compile_suite(folder, sent_suite(), SENT_COLUMNS, trusted=True)
    for entity in sorted({mapping.entity for table in settings.tables() for mapping in table.entities}):
        compile_suite(folder, entity_suite(entity), entity_columns(entity), trusted=True)
    compile_suite(folder, record_suite(), {"_id_is_taken": "BOOLEAN"}, trusted=True)
    compiled_suites(folder)
    for suite in mart_suites():
        compile_suite(folder, suite, declared_columns(suite.name), trusted=True)


def declared_columns(mart: str) -> dict[str, str]:
    """Types by name of the columns of a mart, as its dbt contract or the Python that writes it declares them.

    Raises:
        GuardError: Nothing declares such a mart.
    """
    for path in MART_MODELS.rglob(f"{mart}.yml"):
        [model] = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
        return {column["name"]: str(column["data_type"]).upper() for column in model["columns"]}
    from orchestration.analytics import clv  # numpy and scipy cost a second

    for written in clv.MARTS:
        if written.name == mart:
            return {column.name: column.data_type.upper() for column in written.columns}
    raise GuardError(f"expectations/marts/{mart}.json: no dbt model and no Python declares marts.{mart}")


@contextmanager
def table_batches(
    con: duckdb.DuckDBPyConnection, settings: Settings, table: Table, relation: str, now: datetime
) -> Iterator[list[Batch]]:
    """The batches of a source table over a raw-shaped relation; their views are gone afterwards.

    Args:
        con: The warehouse.
        settings: The settings.
        table: The source table.
        relation: SQL name of a table shaped like the candidate. Deletions in it are not audited: they say
            nothing but a key.
        now: The moment of the audit, UTC.

    Yields:
        The batches, in the order of `table_suites`.

    Raises:
        UnreadableMappingError: A mapped column is not in the relation.
    """
    columns = describe(con, relation)
    con.execute(
        f"create or replace temp view {SENT_VIEW} as "
        f"select * replace (rowid::ubigint as _row_hash) from {relation} where _deleted_at is null"
    )
    views = [SENT_VIEW]
    if any(mapping.entity == "response" for mapping in table.entities):
        _write_scales(con, settings, table.source)
    try:
        sample = _sample(table)
        batches = []
        for number, audited in enumerate(table_suites(settings, table)):
            suite, mapping = audited.suite, audited.mapping
            query = _sent_query(columns) if mapping is None else _entity_query(table, mapping)
            if mapping is not None and audited.is_beside:
                query = _beside_promoted(con, table, mapping, query, relation)
            view = f"guard_batch_{number}"
            _create_view(con, table, view, query, now)
            views.append(view)
            trusted = suite.path.parent.name != "custom"
            compiled = compile_suite(compiled_folder(settings), suite, describe(con, view), trusted=trusted)
            details = {"_place": _place(columns)} if mapping is None else {}
            batches.append(Batch(compiled, view, sample, audited.prefix, audited.skipped, details))
        yield batches
    finally:
        for view in reversed(views):
            con.execute(f"drop view if exists {view}")


@contextmanager
def mart_batches(con: duckdb.DuckDBPyConnection, settings: Settings, suites: list[Suite]) -> Iterator[list[Batch]]:
    """The batches of the marts, each `marts.<suite>` as it stands; their views are gone afterwards."""
    batches = []
    tables = {
        name
        for (name,) in con.execute(
            "select table_name from duckdb_tables() where database_name = current_database() and schema_name = 'marts'"
        ).fetchall()
    }
    try:
        for number, suite in enumerate(suites):
            relation = f'"marts".{identifier(suite.name)}'
            rounded = ", ".join(
                f"round({identifier(name)}, {MART_DECIMALS}) as {identifier(name)}"
                for name, kind in describe(con, relation).items()
                if kind in ("DOUBLE", "FLOAT")
            )
            replaced = f" replace ({rounded})" if rounded else ""
            view = f"guard_mart_{number}"
            # A table numbers its rows for nothing; a view has to be numbered, which one thread does.
            row = "rowid" if suite.name in tables else "row_number() over ()"
            con.execute(f"create or replace temp view {view} as select *{replaced}, {row} as _row from {relation}")
            compiled = compile_suite(compiled_folder(settings), suite, describe(con, view), trusted=True)
            key = [f"coalesce({identifier(column)}::varchar, '-')" for column in suite.key]
            place = "'row ' || _row"
            sample = _named(f"concat_ws(' / ', {', '.join(key)})", place) if key else place
            batches.append(Batch(compiled=compiled, relation=view, sample=sample))
        yield batches
    finally:
        for number in range(len(suites)):
            con.execute(f"drop view if exists guard_mart_{number}")


def _create_view(con: duckdb.DuckDBPyConnection, table: Table, view: str, query: str, now: datetime) -> None:
    moment, latest = now.isoformat(sep=" "), (now + FUTURE_SKEW).isoformat(sep=" ")
    try:
        con.execute(
            f"create or replace temp view {view} as select *, _row_hash as _row, "
            f"{literal(moment)}::timestamp as _now, {literal(latest)}::timestamp as _latest_allowed "
            f"from ({query})"
        )
    except duckdb.BinderException as error:
        raise UnreadableMappingError(
            f"cem.yml maps a column that {table.source}.{table.name} does not have: {_first_line(error)}"
        ) from error


def _first_line(error: duckdb.BinderException) -> str:
    # The rest of a binder message quotes the statement; the first line only names columns.
    return str(error).partition("\n")[0].removeprefix("Binder Error: ")


def _entity_query(table: Table, mapping: EntityMapping) -> str:
    # Where several rows make one record, every one of them is audited and not only the last: should the last
    # end in quarantine, the one before it counts.
    query = mapped_select(table, mapping, SENT_VIEW, for_audit=True)
    if mapping.entity != "response":
        return query
    return (
        f"select answers.*, scales.scale_min as _scale_min, scales.scale_max as _scale_max from ({query}) as answers "
        f"left join {SCALES} as scales on answers.question_key = scales.question_key"
    )


def _write_scales(con: duckdb.DuckDBPyConnection, settings: Settings, source: str) -> None:
    """Note the scales of all questions that are promoted, wait beside the audited load, or stand in cem.yml."""
    selects = ["select null::varchar as question_key, null::bigint as scale_min, null::bigint as scale_max where false"]
    for table in settings.tables():
        for mapping in table.entities:
            if mapping.entity == "question":
                for relation in _known_rows(con, table, source):
                    query = mapped_select(table, mapping, relation)
                    selects.append(f"select question_key, scale_min, scale_max from ({query})")
    con.execute(
        f"create or replace temp table {SCALES} as select question_key, max(scale_min) as scale_min, "
        f"max(scale_max) as scale_max from ({' union all '.join(selects)}) where question_key is not null "
        # A question that is just changing its scale: the answers may be on either.
        "group by question_key having count(distinct (scale_min, scale_max)) = 1"
    )


def _known_rows(con: duckdb.DuckDBPyConnection, table: Table, source: str) -> Iterator[str]:
    schemas = [f"raw_{table.source}", *([f"candidate_{table.source}"] if table.source == source else [])]
    found = [
        f"{identifier(schema)}.{identifier(table.name)}" for schema in schemas if columns_of(con, schema, table.name)
    ]
    for relation in found:
        yield f"(select * from {relation} where _deleted_at is null)"
    written = inline_relation(table) if table.rows and not found else None
    if written is not None:
        booked = ", ".join(f"null as {name}" for name in BOOKED)
        yield f"(select *, {booked} from ({written.sql}))"


def _beside_promoted(
    con: duckdb.DuckDBPyConnection, table: Table, mapping: EntityMapping, query: str, relation: str
) -> str:
    """The mapped rows with whether another promoted record, which they do not replace, has their id."""
    if not columns_of(con, f"raw_{table.source}", table.name):
        return f"select *, false as _id_is_taken from ({query})"
    key = identifier(load_contract()[mapping.entity].key)
    kept = (
        f"(select * from {qualified(f'raw_{table.source}', table.name)} as raw where raw._deleted_at is null "
        f"and not exists (select 1 from {relation} as sent where sent._key = raw._key))"
    )
    taken = f"select {key} from ({mapped_select(table, mapping, kept)}) where {key} is not null"
    return f"select *, coalesce({key} in ({taken}), false) as _id_is_taken from ({query})"


def _sent_query(columns: dict[str, str]) -> str:
    texts = [identifier(name) for name, kind in as_sent(columns).items() if kind == "VARCHAR"]
    widest = ", ".join(f"coalesce(strlen({text}), 0)" for text in texts)
    return (
        f"select *, {f'greatest({widest})::bigint' if texts else '0::bigint'} as _widest_bytes, "
        f"{_holding(texts, 'chr(0)')} as _nul_values, "
        f"{_holding(texts, literal(BROKEN_BYTE))} as _undecodable_values from {SENT_VIEW}"
    )


def _holding(texts: list[str], mark: str) -> str:
    """How many values of a row hold a mark."""
    counts = " + ".join(f"coalesce(contains({text}, {mark}), false)::bigint" for text in texts)
    return f"({counts or '0::bigint'})"


def _place(columns: dict[str, str]) -> str:
    """Where a row stands: a line that does not fit the header is kept whole in the first column, without a key."""
    if not {"_source_file", "_source_row"} <= columns.keys():
        return "null::varchar"
    others = [identifier(name) for name in list(as_sent(columns))[1:]]
    is_line = (
        f"_key is null and coalesce({', '.join(f'{name}::varchar' for name in others)}) is null" if others else "false"
    )
    return f"case when {is_line} then 'line ' else 'record ' end || _source_row || coalesce(' of ' || _source_file, '')"


def _sample(table: Table) -> str:
    """SQL that names a row: by its key unless that is, or looks like, personal data."""
    number = "'row ' || (_row + 1)"
    if not key_is_impersonal(table):
        return number
    return _named("_key", number)


def _named(key: str, number: str) -> str:
    """SQL of a key, or of the number of its row where the key is missing or has the look of a mail or a phone."""
    return f"case when ({key}) is null or {key_looks_personal(key)} then {number} else {key} end"


def key_looks_personal(key: str) -> str:
    """SQL whether a key has the look of a mail or a phone number, whatever cem.yml says its columns are."""
    return f"(contains({key}, '@') or regexp_matches({key}, {literal(PHONE)}))"


def key_is_impersonal(table: Table) -> bool:
    """Whether the key of a source table is known to hold no personal data.

    It is when the table has no key of its own (records are named by file and line), or when every column of
    the key feeds an id of the contract and none feeds anything personal.
    """
    return all(_column_is_impersonal(table, column) for column in table.key)


def _column_is_impersonal(table: Table, column: str) -> bool:
    contract = load_contract()
    feeds_id = False
    for mapping in table.entities:
        entity = contract[mapping.entity]
        for name, origin in mapping.columns.items():
            if not _reads(origin.column, origin.expression, column):
                continue
            if entity.columns[name].personal:
                return False
            feeds_id = feeds_id or name in entity.identifiers
    return feeds_id


def _reads(mapped: str | None, expression: str | None, column: str) -> bool:
    if mapped is not None and (mapped == column or mapped.startswith(f"{column}.")):
        return True
    return expression is not None and re.search(re.escape(column), expression, re.IGNORECASE) is not None
