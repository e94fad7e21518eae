"""Writing one publication: all public marts of one moment, or nothing.

What readers find under the published folder:

- `marts.duckdb`: schema `marts` with every public mart and the one-row table `marts._publication` (which
  version this is), schema `ops` with how the loads stand. `cem.duckdb` is another name of the same file.
- `parquet/`: every mart as one Parquet file, and `_publication.parquet`. It is a link to the folder of the
  current version; resolve it once, and all files read below belong to one version.

How to read it:

- Open the file read-only. DuckDB names a database after its file, and in `marts.duckdb` the name
  `marts.mart_kpi` could mean two things, which DuckDB refuses. So open `cem.duckdb`, or say
  `attach 'marts.duckdb' as cem (read_only)`, or write `marts.marts.mart_kpi`.
- A reader that has the file open keeps the version it opened, whole, for as long as it wants. To see the
  next one: `detach` and `attach` again, or close every connection of the process to the file and open it anew
  (a second connection in one process shares the file that is open already).
- The two names of the file and the Parquet folder are switched one after the other, milliseconds apart:
  whoever combines them compares the version in each.

Whether the figures still follow the sources is said in `_publication` too: when a load is held, the version
that readers have is issued again with nothing changed but that mark (`staleness`).

How it is written: into a new file beside the old one, in one transaction from one state of the warehouse;
flushed to the disk; then renamed over the old one in one step. A crash at any point leaves the old version
or the new one, never a part; the next publication removes what a crash left.

The work follows the change (`changes`): the new file begins as a copy of the old one, in which only tables that
changed are replaced, or only the rows of owners that changed; Parquet files of unchanged marts are linked. What comes
of it holds the same rows as a file written whole. It is written whole when anything but the rows changed, when what is
published is not what was remembered of it, when it has grown too much or was copied too often (`changes`), and always
when personal data is kept: deleted rows stay in the bytes of a file until their blocks are used again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import duckdb

from orchestration.publication.changes import (
    EVERYTHING,
    Changes,
    find_changes,
    is_remembered,
    of_touched_owners,
    owners_compared,
    remember,
    table_hashes,
)
from orchestration.publication.content import (
    LOAD_SUMMARY_SPEC,
    Content,
    basis,
    estimated_bytes,
    fingerprint,
    read_content,
    relation,
)
from orchestration.publication.current import PUBLICATION, PUBLICATION_SPEC, Published, read_published
from orchestration.publication.files import (
    SPACE_MARGIN,
    Layout,
    copy_file,
    finish_folder,
    link_file,
    remove,
    remove_leftovers,
    removed_on_failure,
    switch_file,
    switch_link,
    switch_second_name,
)
from orchestration.publication.masking import hashing, literal, load_key, quoted
from orchestration.publication.specs import MARTS_SCHEMA, MartSpec, PublicationError
from orchestration.publication.staleness import FRESH, mark, staleness
from orchestration.space import is_disk_full, require_space
from orchestration.warehouse import utc_now

if TYPE_CHECKING:
    from orchestration.settings import Settings

logger = logging.getLogger(__name__)

KEY_FILE = "secret.key"
"""Name of the key of the published hashes, beside the warehouse and never published."""

SPACE_FACTOR = 3
"""Bytes to have free per byte in the warehouse: the file, its Parquet copy, hashes longer than mails."""

PARQUET_LEVEL = 1
"""Level of zstd: against the usual 3, a seventh less work for files that are 2 % larger (measured on the marts)."""

_OUT = "cem_publication_out"


@dataclass(frozen=True)
class Publication:
    """What came of publishing.

    Attributes:
        version: Version readers see now.
        rows: Rows of its tables together.
        path: The file readers open.
        changed: False when nothing differs from what was published, so that nothing was written.
        seconds: Time it took.
        row_counts: Rows by table; empty when nothing was written.
        written: Tables that were written whole; of others only the changes, or nothing.
    """

    version: int
    rows: int
    path: Path
    changed: bool
    seconds: float = 0.0
    row_counts: Mapping[str, int] = field(default_factory=dict)
    written: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Wanted:
    """A version that is about to be written; `before` is the one readers have, where there is one."""

    version: int
    before: int | None
    run_id: str
    digest: str
    content: Content
    hashes: Mapping[str, Sequence[str]]

    @property
    def counts(self) -> dict[str, int]:
        """Rows by table."""
        return {name: int(found[0]) for name, found in self.hashes.items()}


def publish(con: duckdb.DuckDBPyConnection, settings: Settings, run_id: str, marts: Sequence[MartSpec]) -> Publication:
    """Publish the marts as they stand in the warehouse, unless readers have exactly that already.

    Args:
        con: The warehouse, open for writing and outside a transaction.
        settings: The configuration.
        run_id: Run that publishes.
        marts: The public marts (`specs.mart_specs`).

    Raises:
        PublicationError: A mart is missing or not described, or the published folder cannot be written or holds
            something that is not ours. What readers see is untouched.
        SpaceError: The disk is too full for it; nothing was begun.
    """
    start = time.perf_counter()
    layout = Layout(settings.published)
    _require_writable(layout.folder)
    removed = remove_leftovers(layout)
    if removed:
        logger.warning("removed what a publication that did not end had left: %s", ", ".join(removed))
    given = settings.publish.hash_key
    key = given.get_secret_value().encode() if given else load_key(settings.home / KEY_FILE)
    with hashing(con, key), owners_compared(con):
        publication = _publish(con, settings, layout, run_id, marts, key)
    return replace(publication, seconds=time.perf_counter() - start)


def _publish(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    layout: Layout,
    run_id: str,
    marts: Sequence[MartSpec],
    key: bytes,
) -> Publication:
    """See `publish`; needs `masking.hashing` and `owners_compared` around it."""
    content = read_content(con, marts, is_masked=_is_masked(settings))
    hashes = table_hashes(con, content)
    how = basis(content, _circumstances(settings), key)
    digest = fingerprint(content, how, hashes, key)
    published = read_published(con, layout)
    if published and published.fingerprint == digest and _parquet_is(layout, settings, published.version):
        mark(con, settings, is_published=True)
        _clean(con, layout, settings, published.version)
        _book(con, published)
        if not is_remembered(con, published):
            changes = find_changes(con, layout, published, content, how, hashes).written_whole(published.version)
            size = layout.marts.stat().st_size
            remember(con, published, content, how, hashes, replace(changes, whole_bytes=size))
        return Publication(published.version, published.rows, layout.marts, changed=False)

    version = 1 + max(_booked_version(con), published.version if published else 0, layout.parquet_version() or 0)
    needed = SPACE_FACTOR * estimated_bytes(con, content) + _log_bytes(settings) + SPACE_MARGIN
    require_space(layout.folder, needed, "a publication, written beside the one readers use,")
    wanted = _Wanted(version, published.version if published else None, run_id, digest, content, hashes)
    changes = find_changes(con, layout, published, content, how, hashes)
    with removed_on_failure(layout.draft(version), layout.parquet_draft(version)):
        new, changes = _write_version(con, settings, layout, wanted, changes)
        if settings.publish.parquet:
            finish_folder(layout.parquet_draft(version), layout.parquet_folder(version))
        switch_file(layout.draft(version), layout.marts)
    if settings.publish.parquet:
        switch_link(layout.parquet, layout.parquet_folder(version))
    _clean(con, layout, settings, version)
    _book(con, new)
    remember(con, new, content, how, hashes, changes)
    return Publication(version, new.rows, layout.marts, True, row_counts=wanted.counts, written=changes.written)


def _require_writable(folder: Path) -> None:
    """Find out before any work that the folder cannot be written, and in words that help.

    Raises:
        PublicationError: It cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if is_disk_full(error):
            raise
        raise PublicationError(
            f"{folder} cannot be written ({error.strerror}). Readers keep what they have: let the user of this job "
            "write there, and run again"
        ) from error


def _circumstances(settings: Settings) -> dict[str, str]:
    """Everything of the settings that shows in the files."""
    return {
        "personal_data": settings.publish.personal_data,
        "company": settings.company,
        "time_zone": settings.reporting.time_zone,
        "currency": settings.reporting.currency,
    }


def _is_masked(settings: Settings) -> bool:
    return settings.publish.personal_data == "masked"


def _write_version(
    con: duckdb.DuckDBPyConnection, settings: Settings, layout: Layout, wanted: _Wanted, changes: Changes
) -> tuple[Published, Changes]:
    """Write the draft of the file and of the Parquet folder, whole when it cannot be done by the changes.

    Returns:
        What was written, and by which changes.
    """
    version = wanted.version
    if changes.is_copy and _is_masked(settings):
        try:
            with removed_on_failure(layout.draft(version), layout.parquet_draft(version)):
                copy_file(layout.marts, layout.draft(version))
                return _write(con, settings, layout, wanted, changes)
        except duckdb.Error as error:
            if is_disk_full(error):
                raise
            # Its text may quote a row.
            logger.warning("the changes cannot be written (%s); the file is written whole", type(error).__name__)
            changes = EVERYTHING
    return _write(con, settings, layout, wanted, changes.written_whole(version))


def _write(
    con: duckdb.DuckDBPyConnection, settings: Settings, layout: Layout, wanted: _Wanted, changes: Changes
) -> tuple[Published, Changes]:
    """Write the draft of the file, and of the Parquet folder from it."""
    draft, content = layout.draft(wanted.version), wanted.content
    con.execute(f"attach {literal(str(draft))} as {_OUT}")
    try:
        con.execute("begin")
        try:
            changes = _write_marts(con, wanted, changes)
            rows = sum(wanted.counts.values())
            new = Published(wanted.version, wanted.run_id, utc_now(), rows, wanted.digest, staleness(con, FRESH))
            _write_about(con, settings, content, new)
            con.execute("commit")
        except BaseException:
            con.execute("rollback")
            raise
        con.execute(f"checkpoint {_OUT}")
        if settings.publish.parquet:
            _write_parquet(con, layout.parquet_draft(wanted.version), content, _linkable(con, layout, wanted, changes))
    finally:
        con.execute(f"detach {_OUT}")
    return new, changes if changes.is_copy else replace(changes, whole_bytes=draft.stat().st_size)


def _write_marts(con: duckdb.DuckDBPyConnection, wanted: _Wanted, changes: Changes) -> Changes:
    """Bring every mart of the draft to what the warehouse holds.

    Returns:
        The changes, with what was written whole.
    """
    content, written = wanted.content, set()
    if not changes.is_copy:
        con.execute(f"create schema {_OUT}.{MARTS_SCHEMA}; create schema {_OUT}.ops")
    for spec in content.tables:
        if changes.is_copy and (spec.name in changes.unchanged or _replace_owners(con, wanted, spec, changes)):
            continue
        select = f"select {content.columns[spec.name]} from {relation(spec)}"
        con.execute(f"create or replace table {_target(spec.name)} as {select}")
        _describe(con, "table", _target(spec.name), _descriptions(spec))
        written.add(spec.name)
    if not changes.is_copy:
        for spec in content.views:
            con.execute(f"create view {_target(spec.name)} as {content.portable[spec.name].select}")
            _describe(con, "view", _target(spec.name), _descriptions(spec))
    return replace(changes, written=frozenset(written))


def _replace_owners(con: duckdb.DuckDBPyConnection, wanted: _Wanted, spec: MartSpec, changes: Changes) -> bool:
    """Replace the rows of touched owners in a mart; False when it must be written whole."""
    if spec.name not in changes.by_owner:
        return False
    columns, source, target = wanted.content.columns[spec.name], relation(spec), _target(spec.name)
    touched = of_touched_owners(spec)
    # Masking all rows to find some would cost as much as writing all: first the rows, then their masked columns. A view
    # does not number its rows; where its owner is a masked column, none is found, and the count tells.
    if spec.kind == "view":
        rows = touched
    else:
        rows = f"rowid in (select _row from (select {columns}, rowid as _row from {source}) where {touched})"
    con.execute(f"delete from {target} where {touched}")
    con.execute(f"insert into {target} select {columns} from (from {source} where {rows})")
    found = con.execute(f"select count(*) from {target}").fetchone()
    if found and found[0] == wanted.counts[spec.name]:
        return True
    logger.warning("%s has another number of rows than in the warehouse, and is written whole", spec.name)
    return False


def _write_about(con: duckdb.DuckDBPyConnection, settings: Settings, content: Content, new: Published) -> None:
    """Write the tables about the publication itself."""
    con.execute(f"create or replace table {_OUT}.ops.load_summary as {content.load_summary}")
    _describe(con, "table", f"{_OUT}.ops.load_summary", LOAD_SUMMARY_SPEC)
    circumstances = _circumstances(settings)
    con.execute(
        f"""
        create or replace table {_target(PUBLICATION)} as
        select
            $version::bigint as version, $run_id::varchar as run_id, $published_at::timestamp as published_at,
            $as_of_at::timestamp as as_of_at, $as_of_date::date as as_of_date,
            $is_stale::boolean as is_stale, $stale_since::timestamp as stale_since,
            $stale_reason::varchar as stale_reason, $held_loads::bigint as held_loads,
            $personal_data::varchar as personal_data,
            $company::varchar as company, $time_zone::varchar as time_zone, $currency::varchar as currency,
            $row_count::bigint as row_count, $fingerprint::varchar as fingerprint,
        """,
        {
            "version": new.version,
            "run_id": new.run_id,
            "published_at": new.published_at,
            "as_of_at": content.as_of[0],
            "as_of_date": content.as_of[1],
            "is_stale": new.staleness.is_stale,
            "stale_since": new.staleness.since,
            "stale_reason": new.staleness.reason,
            "held_loads": new.staleness.held_loads,
            "row_count": new.rows,
            "fingerprint": new.fingerprint,
            **circumstances,
        },
    )
    _describe(con, "table", _target(PUBLICATION), PUBLICATION_SPEC)


def _write_parquet(
    con: duckdb.DuckDBPyConnection, folder: Path, content: Content, linkable: Mapping[str, Path]
) -> None:
    """Copy every mart of the finished draft, views as their rows, so that both forms hold the same.

    Args:
        con: The warehouse, with the draft attached.
        folder: Where to.
        content: What is published.
        linkable: Files of the last version that hold the same, by mart.
    """
    folder.mkdir()
    for name in [*(spec.name for spec in (*content.tables, *content.views)), PUBLICATION]:
        path = folder / f"{name}.parquet"
        if name in linkable:
            link_file(linkable[name], path)
            continue
        options = f"format parquet, compression zstd, compression_level {PARQUET_LEVEL}"
        con.execute(f"copy (from {_target(name)}) to {literal(str(path))} ({options})")


def _linkable(con: duckdb.DuckDBPyConnection, layout: Layout, wanted: _Wanted, changes: Changes) -> dict[str, Path]:
    """Parquet files of unchanged marts in the last version, as far as they can be read."""
    if layout.parquet_version() != wanted.before:
        return {}
    same = changes.unchanged | changes.unchanged_views(wanted.content)
    files = {name: layout.parquet.resolve() / f"{name}.parquet" for name in same}
    return {name: path for name, path in files.items() if _is_parquet(con, path)}


def _is_parquet(con: duckdb.DuckDBPyConnection, path: Path) -> bool:
    """Whether a file is there and whole: Parquet says at its end what is in it."""
    try:
        con.execute("select num_rows from parquet_file_metadata(?)", [str(path)]).fetchone()
    except duckdb.Error:
        return False
    return True


def _target(name: str) -> str:
    return f"{_OUT}.{MARTS_SCHEMA}.{quoted(name)}"


def _descriptions(spec: MartSpec) -> dict[str, str]:
    return {"": spec.description} | {column.name: column.description for column in spec.columns}


def _describe(con: duckdb.DuckDBPyConnection, kind: str, relation: str, texts: Mapping[str, str]) -> None:
    """Put descriptions where BI tools and `describe` find them; the empty name is the relation's own."""
    statements = []
    for column, text in texts.items():
        what = f"column {relation}.{quoted(column)}" if column else f"{kind} {relation}"
        if text:
            statements.append(f"comment on {what} is {literal(text)}")
    if statements:
        con.execute("; ".join(statements))


def _parquet_is(layout: Layout, settings: Settings, version: int) -> bool:
    return not settings.publish.parquet or layout.parquet_version() == version


def _clean(con: duckdb.DuckDBPyConnection, layout: Layout, settings: Settings, version: int) -> None:
    """Bring the names around a version in order: the alias, and no more old Parquet folders than wanted."""
    switch_second_name(layout.alias, layout.marts)
    keep = {version} if settings.publish.parquet else set()
    if settings.publish.parquet:
        old = sorted((number for number, _ in layout.parquet_folders() if number != version), reverse=True)
        keep.update(old[: settings.publish.keep_versions])
    elif layout.parquet.is_symlink():
        layout.parquet.unlink()  # a copy that is no longer written would pass for the current one
    for number, folder in list(layout.parquet_folders()):
        if number not in keep or not _may_stay(con, settings, folder):
            remove(folder)


def _may_stay(con: duckdb.DuckDBPyConnection, settings: Settings, folder: Path) -> bool:
    """Whether an old folder shows no more personal data than is published now."""
    if settings.publish.personal_data == "kept":
        return True
    try:
        row = con.execute(
            "select personal_data from read_parquet(?)", [str(folder / f"{PUBLICATION}.parquet")]
        ).fetchone()
    except duckdb.Error:
        return False
    return row == ("masked",)


def _booked_version(con: duckdb.DuckDBPyConnection) -> int:
    row = con.execute("select coalesce(max(version), 0) from ops.publications").fetchone()
    return int(row[0]) if row else 0


def _book(con: duckdb.DuckDBPyConnection, published: Published) -> None:
    """Note a publication in the warehouse; also one that a crash, or a lost warehouse, left unnoted."""
    con.execute(
        "insert or ignore into ops.publications (version, run_id, published_at, row_count) values (?, ?, ?, ?)",
        [published.version, published.run_id, published.published_at, published.rows],
    )


def _log_bytes(settings: Settings) -> int:
    """Size of the warehouse's write-ahead log: rows that are in no block yet."""
    log = Path(f"{settings.warehouse}.wal")
    return SPACE_FACTOR * log.stat().st_size if log.exists() else 0
