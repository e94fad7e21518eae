"""Telling readers that their figures have stopped following the sources, without touching a figure.

A held load blocks everything downstream, so the published marts stay as they were. What readers have is then
issued again: a copy of the file (same version, same marts) in which only `_publication` says that it is stale,
since when and by which source tables, renamed over the old one in one step. The Parquet folder stays; its
`_publication.parquet` is replaced, also in one step. The next publication is fresh and takes the mark away.

Belongs here: when published figures are stale, and marking them. Does not belong here: why a load is held
(`guard`), and publishing (`writer`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.guard import held_loads
from orchestration.publication.current import PUBLICATION, Published, Staleness, read_published
from orchestration.publication.files import (
    SPACE_MARGIN,
    Layout,
    copy_file,
    remove_leftovers,
    removed_on_failure,
    switch_file,
    switch_second_name,
)
from orchestration.publication.masking import literal
from orchestration.publication.specs import MARTS_SCHEMA
from orchestration.space import require_space

if TYPE_CHECKING:
    import duckdb

    from orchestration.settings import Settings

FRESH = Staleness(is_stale=False, since=None, reason=None, held_loads=0)
"""The figures follow the sources."""

_COPY = "cem_publication_copy"


def staleness(con: duckdb.DuckDBPyConnection, before: Staleness) -> Staleness:
    """How the figures stand to the sources.

    Args:
        con: The warehouse.
        before: How they stood; `FRESH` for marts built from what is in the warehouse now.

    Returns:
        Stale while a load is held, and after a decision on it until the next publication.
    """
    held = held_loads(con)
    since = before.since or min((load.started_at for load in held), default=None)
    if held:
        tables = ", ".join(sorted({f"{load.source}.{load.table_name}" for load in held}))
        return Staleness(True, since, f"loads are held: {tables}", len(held))
    if not before.is_stale:
        return FRESH
    decided = con.execute(
        "select distinct source || '.' || table_name from ops.decisions "
        "where decided_at >= ? and kind <> 'replay' order by all",
        [since],
    ).fetchall()
    tables = ", ".join(table for (table,) in decided) or "another run"
    return Staleness(True, since, f"held loads were decided on and the next run publishes: {tables}", 0)


def current_publication(con: duckdb.DuckDBPyConnection, settings: Settings) -> Published | None:
    """What readers have now; None when nothing is published."""
    return read_published(con, Layout(settings.published))


def current_staleness(con: duckdb.DuckDBPyConnection, settings: Settings) -> Staleness | None:
    """What readers are told now; None when nothing is published."""
    published = current_publication(con, settings)
    return published.staleness if published else None


def mark(con: duckdb.DuckDBPyConnection, settings: Settings, *, is_published: bool = False) -> Staleness | None:
    """Tell readers how their figures stand to the sources. Nothing is written when they know.

    Args:
        con: The warehouse, outside a transaction.
        settings: The configuration.
        is_published: Whether what readers have is what the warehouse holds now, so that it may be called fresh.

    Returns:
        What readers are told; None when nothing is published.

    Raises:
        SpaceError: The disk is too full for a copy. What readers see is untouched.
    """
    layout = Layout(settings.published)
    published = read_published(con, layout)
    if published is None:
        return None
    wanted = staleness(con, FRESH if is_published else published.staleness)
    if wanted != published.staleness:
        _issue_again(con, layout, published.version, wanted)
    switch_second_name(layout.alias, layout.marts)
    return wanted


def _issue_again(con: duckdb.DuckDBPyConnection, layout: Layout, version: int, wanted: Staleness) -> None:
    remove_leftovers(layout)
    needed = layout.marts.stat().st_size + SPACE_MARGIN
    require_space(layout.folder, needed, "marking what is published as stale")
    draft, parquet = layout.draft(version), layout.parquet / f"{PUBLICATION}.parquet"
    parquet_draft = parquet.with_suffix(".tmp")
    with removed_on_failure(draft, parquet_draft):
        copy_file(layout.marts, draft)
        con.execute(f"attach {literal(str(draft))} as {_COPY}")
        try:
            table = f"{_COPY}.{MARTS_SCHEMA}.{PUBLICATION}"
            con.execute(
                f"update {table} set is_stale = ?, stale_since = ?, stale_reason = ?, held_loads = ?",
                [wanted.is_stale, wanted.since, wanted.reason, wanted.held_loads],
            )
            con.execute(f"checkpoint {_COPY}")
            has_parquet = layout.parquet_version() == version
            if has_parquet:
                con.execute(f"copy (from {table}) to {literal(str(parquet_draft))} (format parquet, compression zstd)")
        finally:
            con.execute(f"detach {_COPY}")
        # The file is last: what it says decides whether there is anything left to do.
        if has_parquet:
            switch_file(parquet_draft, parquet)
        switch_file(draft, layout.marts)
