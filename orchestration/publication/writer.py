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
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import duckdb

from orchestration.publication.content import (
    LOAD_SUMMARY_SPEC,
    Content,
    estimated_bytes,
    fingerprint,
    read_content,
)
from orchestration.publication.current import PUBLICATION, PUBLICATION_SPEC, Published, read_published
from orchestration.publication.files import (
    SPACE_MARGIN,
    Layout,
    finish_folder,
    remove,
    remove_leftovers,
    removed_on_failure,
    switch_file,
    switch_link,
    switch_second_name,
)
from orchestration.publication.masking import hashing, literal, load_key, masked_select, quoted
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
    """

    version: int
    rows: int
    path: Path
    changed: bool
    seconds: float
    row_counts: Mapping[str, int]


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
    content = read_content(con, marts)
    digest = fingerprint(con, content, _circumstances(settings), key)
    published = read_published(con, layout)
    if published and published.fingerprint == digest and _parquet_is(layout, settings, published.version):
        mark(con, settings, is_published=True)
        _clean(con, layout, settings, published.version)
        _book(con, published)
        seconds = time.perf_counter() - start
        return Publication(published.version, published.rows, layout.marts, False, seconds, {})

    version = 1 + max(_booked_version(con), published.version if published else 0, layout.parquet_version() or 0)
    needed = SPACE_FACTOR * estimated_bytes(con, content) + _log_bytes(settings) + SPACE_MARGIN
    require_space(layout.folder, needed, "a publication, written beside the one readers use,")
    with removed_on_failure(layout.draft(version), layout.parquet_draft(version)), hashing(con, key):
        counts, new = _write(con, settings, layout, content, (version, run_id, digest))
        if settings.publish.parquet:
            finish_folder(layout.parquet_draft(version), layout.parquet_folder(version))
        switch_file(layout.draft(version), layout.marts)
    if settings.publish.parquet:
        switch_link(layout.parquet, layout.parquet_folder(version))
    _clean(con, layout, settings, version)
    _book(con, new)
    return Publication(version, new.rows, layout.marts, True, time.perf_counter() - start, counts)


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


def _write(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    layout: Layout,
    content: Content,
    identity: tuple[int, str, str],
) -> tuple[dict[str, int], Published]:
    """Write the draft of the file, and of the Parquet folder from it."""
    version, run_id, digest = identity
    con.execute(f"attach {literal(str(layout.draft(version)))} as {_OUT}")
    try:
        con.execute("begin")
        try:
            counts = _write_marts(con, settings, content)
            new = Published(version, run_id, utc_now(), sum(counts.values()), digest, staleness(con, FRESH))
            _write_about(con, settings, content, new)
            con.execute("commit")
        except BaseException:
            con.execute("rollback")
            raise
        con.execute(f"checkpoint {_OUT}")
        if settings.publish.parquet:
            _write_parquet(con, layout.parquet_draft(version), content)
    finally:
        con.execute(f"detach {_OUT}")
    return counts, new


def _write_marts(con: duckdb.DuckDBPyConnection, settings: Settings, content: Content) -> dict[str, int]:
    counts: dict[str, int] = {}
    con.execute(f"create schema {_OUT}.{MARTS_SCHEMA}")
    con.execute(f"create schema {_OUT}.ops")
    for spec in content.tables:
        source = f"{quoted(spec.schema)}.{quoted(spec.name)}"
        select = f"from {source}"
        if settings.publish.personal_data == "masked":
            select = masked_select(spec, content.types[spec.name], source)
        row = con.execute(f"create table {_target(spec.name)} as {select}").fetchone()
        counts[spec.name] = int(row[0]) if row else 0
        _describe(con, "table", _target(spec.name), _descriptions(spec))
    for spec in content.views:
        con.execute(f"create view {_target(spec.name)} as {content.portable[spec.name].select}")
        _describe(con, "view", _target(spec.name), _descriptions(spec))
    return counts


def _write_about(con: duckdb.DuckDBPyConnection, settings: Settings, content: Content, new: Published) -> None:
    """Write the tables about the publication itself."""
    con.execute(f"create table {_OUT}.ops.load_summary as {content.load_summary}")
    _describe(con, "table", f"{_OUT}.ops.load_summary", LOAD_SUMMARY_SPEC)
    circumstances = _circumstances(settings)
    con.execute(
        f"""
        create table {_target(PUBLICATION)} as
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


def _write_parquet(con: duckdb.DuckDBPyConnection, folder: Path, content: Content) -> None:
    """Copy every mart of the finished draft, views as their rows, so that both forms hold the same."""
    folder.mkdir()
    for name in [*(spec.name for spec in (*content.tables, *content.views)), PUBLICATION]:
        path = literal(str(folder / f"{name}.parquet"))
        con.execute(f"copy (from {_target(name)}) to {path} (format parquet, compression zstd)")


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
