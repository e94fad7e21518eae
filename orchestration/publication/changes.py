"""What of a publication is new: tables, and in tables that follow their owners, the owners.

The warehouse remembers what the published file holds: a hash per table, and per owner of each mart that says whose
its rows are (`MartSpec.owner`). A table whose hash is the same is not written again, and of a mart with owners only
the rows of those owners whose hash is another one. So nobody has to say what was changed, and nothing is missed:
whatever changed a mart, its rows tell.

What is remembered belongs to one file and says so by the file's fingerprint. Of any other file (one put back from a
backup, or written by a run that was killed before it could book) nothing is known, and it is written whole.

Belongs here: hashing what tables hold, finding the changes, remembering. Does not belong here: writing them (`writer`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import duckdb

from orchestration.builds import find
from orchestration.publication.content import Content, plain_columns, relation
from orchestration.publication.masking import literal
from orchestration.publication.specs import MartSpec, PublicationError

if TYPE_CHECKING:
    from orchestration.publication.current import Published
    from orchestration.publication.files import Layout

MOST_GROWTH = 1.5
"""Times the size of the file when it was written whole, above which it is written whole again: a table that is replaced
leaves its old blocks free for the next one, and deleted rows wait until DuckDB merges their row groups."""

MOST_VERSIONS = 30
"""Versions after which a file is written whole again, a month of nights: what the disk has spoiled in tables that
nobody writes any more is made good then, for a thirtieth of the cost."""

MOST_TOUCHED = 0.2
"""Share of a mart's owners above which it is written whole: nearly every row group would hold some of them anyway."""

_NOW, _TOUCHED = "cem_publication_owners", "cem_publication_touched"


@dataclass(frozen=True)
class Changes:
    """How a version differs from the published one.

    Attributes:
        is_copy: Whether the new file begins as a copy of the published one; else it is written whole.
        unchanged: Tables that hold what they held.
        by_owner: Changed tables of which only the rows of touched owners are replaced, in a copy.
        whole_version: Version that was written whole last.
        whole_bytes: Size of its file.
        written: Tables that were written whole, as far as they have been.
    """

    is_copy: bool
    unchanged: frozenset[str] = frozenset()
    by_owner: frozenset[str] = frozenset()
    whole_version: int = 0
    whole_bytes: int = 0
    written: frozenset[str] = frozenset()

    def written_whole(self, version: int) -> Changes:
        """The same changes for a file that begins empty; Parquet files of unchanged tables can be kept all the same."""
        return replace(self, is_copy=False, by_owner=frozenset(), whole_version=version, whole_bytes=0)

    def unchanged_views(self, content: Content) -> frozenset[str]:
        """Views that read nothing but what is unchanged, directly or through other views."""
        same = set(self.unchanged)
        for spec in content.views:  # each comes after those it reads
            if content.portable[spec.name].reads <= same:
                same.add(spec.name)
        return frozenset(same - self.unchanged)


EVERYTHING = Changes(is_copy=False)
"""Nothing is known of what is published."""


def table_hashes(con: duckdb.DuckDBPyConnection, content: Content) -> dict[str, list[str]]:
    """What each table holds: its row count and two order-free sums over hashes, and its columns.

    One sum would miss some pairs of changes. The hashes are those of its rows; of a table with owners those of what
    each owner has, so that its rows are read once for both. Needs `masking.hashing` and `owners_compared` around it.

    Raises:
        PublicationError: The owner of a mart is no expression over its columns.
    """
    return find(
        con,
        "content of the marts",
        {spec.name: [spec.owner, content.types[spec.name]] for spec in content.tables},
        lambda: {spec.name: _hashes(con, spec, content) for spec in content.tables},
    )


def find_changes(
    con: duckdb.DuckDBPyConnection,
    layout: Layout,
    published: Published | None,
    content: Content,
    basis: str,
    hashes: Mapping[str, Sequence[str]],
) -> Changes:
    """Compare what would be published with what is. Needs `masking.hashing` and `owners_compared` around it.

    Args:
        con: The warehouse.
        layout: Names under the published folder.
        published: What readers have.
        content: What would be published.
        basis: How (`content.basis`).
        hashes: What each table holds (`table_hashes`).

    Raises:
        PublicationError: The owner of a mart is no expression over its columns.
    """
    changes = _changes_of_tables(con, layout, published, basis, hashes)
    changed = [spec for spec in content.tables if spec.owner is not None and spec.name not in changes.unchanged]
    read = {mart for (mart,) in con.execute(f"select distinct mart from {_NOW}").fetchall()}
    for spec in changed:
        if spec.name not in read:
            _read_owners(con, spec, content)
    _compare_owners(con, [spec.name for spec in changed])
    return replace(changes, by_owner=_few_touched(con)) if changes.is_copy else changes


@contextmanager
def owners_compared(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Keep what is found about owners on the connection, for as long as the block runs."""
    con.execute(f"create or replace temp table {_NOW} (mart text, owner ubigint, row_count bigint, content ubigint)")
    try:
        yield
    finally:
        con.execute(f"drop table if exists {_NOW}; drop table if exists {_TOUCHED}")


def of_touched_owners(spec: MartSpec) -> str:
    """SQL condition on the published columns of a mart: the row is of an owner with changes."""
    return f"hash({spec.owner}) in (select owner from temp.{_TOUCHED} where mart = {literal(spec.name)})"


def is_remembered(con: duckdb.DuckDBPyConnection, published: Published) -> bool:
    """Whether it is known what the file holds that readers have; not so after a crash between writing and booking."""
    row = con.execute("select fingerprint from ops.published_file").fetchone()
    return row is not None and row[0] == published.fingerprint


def remember(
    con: duckdb.DuckDBPyConnection,
    published: Published,
    content: Content,
    basis: str,
    hashes: Mapping[str, Sequence[str]],
    changes: Changes,
) -> None:
    """Keep in mind what the file holds that readers have now. Needs the block of `find_changes` around it."""
    following = [spec.name for spec in content.tables if spec.owner is not None]
    con.execute("begin")
    try:
        con.execute("delete from ops.published_owners where not list_contains(?, mart)", [following])
        con.execute(f"delete from ops.published_owners where (mart, owner) in (from temp.{_TOUCHED})")
        con.execute(
            f"insert into ops.published_owners select mart, owner, content from temp.{_NOW} "
            f"where (mart, owner) in (from temp.{_TOUCHED})"
        )
        con.execute("delete from ops.published_file")
        con.execute(
            "insert into ops.published_file values (?, ?, ?, ?, ?)",
            [published.fingerprint, basis, changes.whole_version, changes.whole_bytes, json.dumps(hashes)],
        )
        con.execute("commit")
    except BaseException:
        con.execute("rollback")
        raise


def _changes_of_tables(
    con: duckdb.DuckDBPyConnection,
    layout: Layout,
    published: Published | None,
    basis: str,
    hashes: Mapping[str, Sequence[str]],
) -> Changes:
    row = con.execute(
        "select fingerprint, basis, whole_version, whole_bytes, tables from ops.published_file"
    ).fetchone()
    if row is None or published is None or row[:2] != (published.fingerprint, basis):
        return EVERYTHING
    _, _, whole_version, whole_bytes, tables = row
    if published.version - whole_version >= MOST_VERSIONS - 1:
        return EVERYTHING
    before = json.loads(tables)
    return Changes(
        is_copy=layout.marts.stat().st_size <= MOST_GROWTH * whole_bytes,
        unchanged=frozenset(name for name, found in hashes.items() if before.get(name) == list(found)),
        whole_version=whole_version,
        whole_bytes=whole_bytes,
    )


def _hashes(con: duckdb.DuckDBPyConnection, spec: MartSpec, content: Content) -> list[str]:
    types = content.types[spec.name]
    if spec.owner is None:
        hashed = f"select 1 as row_count, hash({plain_columns(types)}) as content from {relation(spec)}"
    else:
        _read_owners(con, spec, content)
        hashed = f"select row_count, content from {_NOW} where mart = {literal(spec.name)}"
    row = con.execute(
        f"select coalesce(sum(row_count), 0)::text, sum(content)::text, bit_xor(content)::text from ({hashed})"
    ).fetchone()
    return [*map(str, row or ()), *(f"{column} {sql_type}" for column, sql_type in types.items())]


def _read_owners(con: duckdb.DuckDBPyConnection, spec: MartSpec, content: Content) -> None:
    """Hash the rows of each owner. Owners are those of the published columns: in the file there are no others."""
    row = f"hash({plain_columns(content.types[spec.name])}) as _row_hash"
    try:
        con.execute(
            f"""
            insert into {_NOW}
            select ?, hash({spec.owner}), count(*), hash(count(*), sum(_row_hash), bit_xor(_row_hash))
            from (select {content.columns[spec.name]}, {row} from {relation(spec)})
            group by 2
            """,
            [spec.name],
        )
    except duckdb.BinderException as error:
        raise PublicationError(
            f"{spec.name}: its owner, {spec.owner}, is no expression over its columns; correct `meta: {{owner: …}}` "
            "of the model"
        ) from error


def _compare_owners(con: duckdb.DuckDBPyConnection, marts: Sequence[str]) -> None:
    con.execute(
        f"""
        create or replace temp table {_TOUCHED} as
        select mart, owner
        from (from {_NOW} where list_contains($marts, mart)) as now
        full join (from ops.published_owners where list_contains($marts, mart)) as before using (mart, owner)
        where now.content is distinct from before.content
        """,
        {"marts": list(marts)},
    )


def _few_touched(con: duckdb.DuckDBPyConnection) -> frozenset[str]:
    rows = con.execute(
        f"""
        select mart
        from (select mart, count(*) as touched from {_TOUCHED} group by mart)
        inner join (select mart, count(*) as owners from {_NOW} group by mart) using (mart)
        where touched <= ? * owners
        """,
        [MOST_TOUCHED],
    ).fetchall()
    return frozenset(mart for (mart,) in rows)
