"""What a publication would hold: is every mart there and described, and what stands for all of it.

Belongs here: reading the warehouse's marts and bookkeeping to decide. Does not belong here: writing.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestration.publication.masking import literal, masked_columns, quoted
from orchestration.publication.specs import MARTS_SCHEMA, MartSpec, PublicationError
from orchestration.warehouse import columns_of

if TYPE_CHECKING:
    import duckdb

FORMAT = 4
"""Raised when the layout of the published files changes, so that unchanged data is published anew."""

LOAD_SUMMARY = """
with last_load as (
    select
        source,
        table_name,
        arg_max(status, load_id) as status,
        max(finished_at) as last_load_at,
        max(finished_at) filter (where status in ('promoted', 'released')) as last_promoted_at,
        arg_max(promoted, load_id) as promoted,
        arg_max(quarantined, load_id) as quarantined,
        arg_max(deduplicated, load_id) as deduplicated,
    from ops.loads
    group by source, table_name
),

quarantine_open as (
    select source, table_name, count(*) as row_count
    from quarantine.rows
    where released_at is null
    group by source, table_name
),

present as ({present})

select
    last_load.source,
    last_load.table_name,
    last_load.status,
    last_load.last_load_at,
    last_load.last_promoted_at,
    coalesce(present.row_count, 0) as row_count,
    last_load.promoted,
    last_load.quarantined,
    last_load.deduplicated,
    coalesce(quarantine_open.row_count, 0) as quarantine_open,
from last_load
left join quarantine_open using (source, table_name)
left join present using (source, table_name)
order by all
"""
"""How the loads stand; ids of loads sort by time. Reasons stay behind: they may quote a row."""

LOAD_SUMMARY_SPEC = {
    "": "One row per source and table: how its loads stood when the marts were published.",
    "source": "Name of the source in cem.yml.",
    "table_name": "Table of the source.",
    "status": "Status of the last load: promoted, held, released or discarded.",
    "last_load_at": "When the last load that brought something ended, UTC.",
    "last_promoted_at": "When rows were last let through, UTC.",
    "row_count": "Rows of the table that the marts are built from, without deleted ones.",
    "promoted": "Rows the last load let through.",
    "quarantined": "Rows the last load put into quarantine.",
    "deduplicated": "Rows of the last load that were there already.",
    "quarantine_open": "Rows of all loads waiting in quarantine.",
}
"""Descriptions by column; the empty name is the table's own."""


@dataclass(frozen=True)
class PortableView:
    """A view that means the same in the published file as in the warehouse.

    Attributes:
        select: Its query, with the marts named so that they resolve inside the view's own file.
        reads: Names of the marts it reads.
    """

    select: str
    reads: frozenset[str]


@dataclass(frozen=True)
class Content:
    """All a publication would hold, as it stands in the warehouse.

    Attributes:
        tables: Marts to copy.
        views: Marts to recreate as views, each after those it reads.
        types: DuckDB type by column, by mart.
        columns: The columns of each of `tables` as readers may see them, as SQL.
        portable: The queries of `views`.
        load_summary: Query of the load summary.
        summary: Rows of the load summary, as text: what `fingerprint` needs of it.
        as_of: The moment and date the marts are computed for; both None when no model says.
    """

    tables: tuple[MartSpec, ...]
    views: tuple[MartSpec, ...]
    types: Mapping[str, dict[str, str]]
    columns: Mapping[str, str]
    portable: Mapping[str, PortableView]
    load_summary: str
    summary: str
    as_of: tuple[Any, Any]


def read_content(con: duckdb.DuckDBPyConnection, marts: Sequence[MartSpec], *, is_masked: bool) -> Content:
    """Find the marts in the warehouse and decide how each is published.

    Args:
        con: The warehouse.
        marts: The public marts.
        is_masked: Whether personal data is masked.

    Raises:
        PublicationError: A mart is not in the warehouse, or has columns nobody described.
    """
    types = _column_types(con)
    _require_described(marts, types)
    portable = dict(_portable_views(con, marts))
    views = _in_order(marts, portable)
    load_summary = _load_summary(con)
    summary = con.execute(load_summary).fetchall()
    tables = tuple(spec for spec in marts if spec not in views)
    return Content(
        tables=tables,
        views=views,
        types={spec.name: types[spec.name] for spec in marts},
        columns={
            spec.name: masked_columns(spec, types[spec.name]) if is_masked else plain_columns(types[spec.name])
            for spec in tables
        },
        portable={spec.name: portable[spec.name] for spec in views},
        load_summary=load_summary,
        summary=json.dumps(summary, default=str),
        as_of=_as_of(con),
    )


def basis(content: Content, circumstances: Mapping[str, Any], key: bytes) -> str:
    """One hash over how the marts are published, whatever is in them: what all rows of a file have in common.

    Args:
        content: What would be published.
        circumstances: All else that shows in the files, such as whether personal data is masked.
        key: Key of the published hashes; another key makes another publication.
    """
    return _keyed(
        {
            "format": FORMAT,
            "circumstances": dict(circumstances),
            "columns": dict(content.columns),
            "types": dict(content.types),
            "views": {name: view.select for name, view in content.portable.items()},
            "documentation": [_documentation(spec) for spec in (*content.tables, *content.views)],
        },
        key,
    )


def fingerprint(content: Content, basis: str, hashes: Mapping[str, Sequence[str]], key: bytes) -> str:
    """One hash over everything a publication would hold: equal hashes, nothing to publish.

    It is keyed, since the hash of a short table is a guess away from its rows.

    Args:
        content: What would be published.
        basis: How (`basis`).
        hashes: What each table holds (`changes.table_hashes`).
        key: Key of the published hashes.
    """
    as_of = [str(part) for part in content.as_of]
    return _keyed({"basis": basis, "tables": dict(hashes), "summary": content.summary, "as_of": as_of}, key)


def _keyed(parts: Mapping[str, Any], key: bytes) -> str:
    return hmac.new(key, json.dumps(parts, sort_keys=True).encode(), "sha256").hexdigest()


def estimated_bytes(con: duckdb.DuckDBPyConnection, content: Content) -> int:
    """What the tables take in the warehouse, in bytes; rows not yet in its blocks count with its log.

    A view that becomes a table takes nothing there, and is not counted.
    """
    blocks: set[int] = set()
    for spec in content.tables:
        if spec.kind == "view":
            continue
        found = con.execute(
            "select distinct block_id from pragma_storage_info(?) where persistent", [relation(spec)]
        ).fetchall()
        blocks.update(row[0] for row in found)
    size = con.execute(
        "select block_size from pragma_database_size() where database_name = current_database()"
    ).fetchone()
    return len(blocks) * (size[0] if size else 0)


def _column_types(con: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    rows = con.execute(
        """
        select table_name, column_name, data_type from duckdb_columns()
        where schema_name = ? and database_name = current_database()
        order by table_name, column_index
        """,
        [MARTS_SCHEMA],
    ).fetchall()
    types: dict[str, dict[str, str]] = {}
    for table, column, sql_type in rows:
        types.setdefault(table, {})[column] = sql_type
    return types


def _load_summary(con: duckdb.DuckDBPyConnection) -> str:
    """The query of the load summary, with a count over each raw table there is."""
    tables = con.execute(
        """
        select distinct loads.source, loads.table_name
        from ops.loads as loads
        inner join duckdb_tables() as tables
            on tables.schema_name = 'raw_' || loads.source and tables.table_name = loads.table_name
        where tables.database_name = current_database()
        order by all
        """
    ).fetchall()
    counts = [
        f"select {literal(source)} as source, {literal(table)} as table_name, count(*) as row_count "
        f"from {quoted(f'raw_{source}')}.{quoted(table)} where _deleted_at is null"
        for source, table in tables
    ]
    none = "select null::text as source, null::text as table_name, 0::bigint as row_count where false"
    return LOAD_SUMMARY.format(present=" union all ".join(counts) or none)


def _require_described(marts: Sequence[MartSpec], types: Mapping[str, Mapping[str, str]]) -> None:
    missing = sorted(spec.name for spec in marts if spec.name not in types)
    if missing:
        raise PublicationError(f"not in the warehouse, though public: {', '.join(missing)}; build the marts first")
    strange = [
        f"{spec.name}.{column}"
        for spec in marts
        for column in types[spec.name]
        if column not in {described.name for described in spec.columns}
    ]
    if strange:
        raise PublicationError(
            f"columns nobody described, so nobody said whether they are personal: {', '.join(strange)}; "
            "describe them beside their model"
        )


def _as_of(con: duckdb.DuckDBPyConnection) -> tuple[Any, Any]:
    if not {"as_of_at", "as_of_date"} <= columns_of(con, "intermediate", "int_as_of__resolved").keys():
        return None, None
    row = con.execute("select as_of_at, as_of_date from intermediate.int_as_of__resolved").fetchone()
    return (row[0], row[1]) if row else (None, None)


def _documentation(spec: MartSpec) -> list[Any]:
    columns = [[column.name, column.description, column.personal] for column in spec.columns]
    return [spec.name, spec.kind, spec.owner, spec.description, columns]


def relation(spec: MartSpec) -> str:
    """The mart in the warehouse, as SQL."""
    return f"{quoted(spec.schema)}.{quoted(spec.name)}"


def plain_columns(types: Mapping[str, str]) -> str:
    """Columns as they are, as SQL."""
    return ", ".join(quoted(column) for column in types)


_IDENTIFIER = r'(?:"(?:[^"]|"")*"|\w+)'
_VIEW = re.compile(rf"CREATE VIEW (?:{_IDENTIFIER}\.)*{_IDENTIFIER} AS (.*?);?\s*", re.DOTALL)


def _portable_views(con: duckdb.DuckDBPyConnection, marts: Sequence[MartSpec]) -> Iterator[tuple[str, PortableView]]:
    """Queries of the views that read nothing but public marts.

    A view that cannot be moved (it reads another schema, or DuckDB cannot take its query apart) is left
    out, and so published as a table: slower to write, but the same to its readers.
    """
    names = {spec.name for spec in marts}
    definitions = dict(
        con.execute(
            "select view_name, sql from duckdb_views() "
            "where schema_name = ? and database_name = current_database() and not internal",
            [MARTS_SCHEMA],
        ).fetchall()
    )
    for spec in marts:
        match = _VIEW.fullmatch(definitions.get(spec.name, ""))
        if spec.kind != "view" or not match:
            continue
        reads: set[str] = set()
        tree = json.loads(_scalar(con, f"select json_serialize_sql({literal(match[1])}::varchar)"))
        if tree.get("error") or not _loosen(tree, names, reads):
            continue
        select = _scalar(con, f"select json_deserialize_sql({literal(json.dumps(tree))}::json)")
        yield spec.name, PortableView(select, frozenset(reads))


def _loosen(tree: Any, names: set[str], reads: set[str]) -> bool:  # noqa: ANN401 - a parse tree
    """Strip catalog and schema from every table of a parse tree; False when one is not a public mart.

    A bare name inside a view resolves in the schema of the view, whatever the file is called or attached as.
    """
    if isinstance(tree, list):
        return all(_loosen(child, names, reads) for child in tree)
    if not isinstance(tree, dict):
        return True
    if tree.get("type") == "TABLE_FUNCTION" or _is_qualified_column(tree):
        return False
    if tree.get("type") == "BASE_TABLE" and tree["schema_name"]:
        if tree["schema_name"] != MARTS_SCHEMA or tree["table_name"] not in names:
            return False
        reads.add(tree["table_name"])
        tree["catalog_name"] = tree["schema_name"] = ""
    return all(_loosen(child, names, reads) for child in tree.values())


def _is_qualified_column(node: Mapping[str, Any]) -> bool:
    """Whether a column is named through the schema that is about to be stripped from its table."""
    return node.get("type") == "COLUMN_REF" and MARTS_SCHEMA in node["column_names"][:-2]


def _in_order(marts: Sequence[MartSpec], portable: Mapping[str, PortableView]) -> tuple[MartSpec, ...]:
    """The portable views, each after the views it reads."""
    waiting = [spec for spec in marts if spec.name in portable]
    ordered: list[MartSpec] = []
    while waiting:
        names = {spec.name for spec in waiting}
        ready = [spec for spec in waiting if not portable[spec.name].reads & names]
        ordered += ready
        waiting = [spec for spec in waiting if spec not in ready]
    return tuple(ordered)


def _scalar(con: duckdb.DuckDBPyConnection, query: str) -> str:
    row = con.execute(query).fetchone()
    return str(row[0]) if row else ""
