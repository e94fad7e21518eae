"""The warehouse file: how to open it, the tables every stage books into, and the lock that keeps runs apart.

Belongs here: connecting, extensions, the DDL of the bookkeeping schemas, what to say and do when the engine
fails. Does not belong here: anything that knows a source, a rule or a model.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

import duckdb

from orchestration.engine_errors import values_hidden
from orchestration.space import SpaceError, is_disk_full, release_reserve

if TYPE_CHECKING:
    from orchestration.settings import Settings

EXTENSIONS = ("excel", "mysql_scanner", "postgres_scanner", "sqlite_scanner")
"""DuckDB extensions that sources need; they come as wheels, so no network is asked at run time."""

BOOKKEEPING = """
create schema if not exists ops;
create schema if not exists quarantine;
create table if not exists ops.loads (
    load_id text not null,
    source text not null,
    table_name text not null,
    status text not null check (status in ('promoted', 'held', 'released', 'discarded')),
    extracted bigint not null,
    promoted bigint not null,
    quarantined bigint not null,
    deduplicated bigint not null,
    reason text,
    started_at timestamp not null,
    finished_at timestamp not null,
    primary key (load_id, source, table_name)
);
create table if not exists ops.load_rules (
    load_id text not null,
    source text not null,
    table_name text not null,
    rule_id text not null,
    severity text not null,
    description text not null,
    failed bigint not null,
    checked bigint not null,
    primary key (load_id, source, table_name, rule_id)
);
create table if not exists ops.load_facts (
    load_id text not null,
    source text not null,
    table_name text not null,
    mode text not null check (mode in ('first', 'full', 'increment')),
    outcome text not null check (outcome in ('promoted', 'unchanged', 'held', 'released', 'discarded')),
    read_at timestamp not null,
    through timestamp not null,
    days double not null,
    counted bigint not null,
    expected_low double,
    expected_high double,
    primary key (load_id, source, table_name)
);
create table if not exists ops.load_columns (
    load_id text not null,
    source text not null,
    table_name text not null,
    entity text not null,
    column_name text not null,
    row_count bigint not null,
    null_count bigint not null,
    bins map(text, bigint) not null,
    reference_count bigint,
    orphan_count bigint
);
create table if not exists ops.source_state (
    source text not null,
    table_name text not null,
    kind text not null,
    name text not null,
    value text not null,
    updated_at timestamp not null,
    primary key (source, table_name, kind, name)
);
create table if not exists ops.builds (
    stage text not null,
    fingerprint text not null,
    built_at timestamp not null,
    primary key (stage)
);
alter table ops.builds add column if not exists basis text;
alter table ops.builds add column if not exists as_of_at timestamp;
create table if not exists ops.findings (
    name text not null,
    basis text not null,
    value json not null,
    primary key (name)
);
create table if not exists ops.built_loads (
    load_id text not null,
    source text not null,
    table_name text not null
);
alter table ops.built_loads add column if not exists stage text default 'unify';
create table if not exists ops.removed_records (
    entity text not null,
    record_key text not null
);
alter table ops.removed_records add column if not exists person_key text;
create table if not exists ops.built_references (
    entity text not null,
    record_key text not null,
    content ubigint not null
);
create table if not exists ops.decisions (
    decided_at timestamp not null,
    kind text not null check (kind in ('release', 'discard', 'replay')),
    source text not null,
    table_name text not null,
    load_id text not null,
    decided_by text not null,
    reason text not null,
    row_count bigint not null
);
create table if not exists ops.publications (
    version bigint primary key,
    run_id text not null,
    published_at timestamp not null,
    row_count bigint not null
);
create table if not exists ops.published_file (
    fingerprint text not null,
    basis text not null,
    whole_version bigint not null,
    whole_bytes bigint not null,
    tables json not null
);
create table if not exists ops.published_owners (
    mart text not null,
    owner ubigint not null,
    content ubigint not null
);
create table if not exists quarantine.rows (
    load_id text not null,
    source text not null,
    table_name text not null,
    key text not null,
    row_hash ubigint not null,
    reasons text[] not null,
    "row" json not null,
    quarantined_at timestamp not null,
    released_at timestamp,
    released_by text
);
"""


class WarehouseBusyError(RuntimeError):
    """Another run holds the warehouse."""


class WarehouseBrokenError(RuntimeError):
    """The warehouse file cannot be read."""


class MemoryLimitError(RuntimeError):
    """The work does not fit into the memory that the settings allow."""


def utc_now() -> datetime:
    """The present moment as the warehouse stores it: UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def new_load_id() -> str:
    """An id for the loads of one run; ids sort by time."""
    return utc_now().strftime("%Y%m%dT%H%M%S%f")


def install_extensions(folder: Path) -> None:
    """Put the pinned extension wheels where DuckDB loads extensions from. Needs no network.

    Args:
        folder: DuckDB's `extension_directory`.
    """
    from duckdb_extensions import import_extension

    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(config={"extension_directory": str(folder)}) as con:
        present = {
            row[0] for row in con.sql("select extension_name from duckdb_extensions() where installed").fetchall()
        }
        for extension in EXTENSIONS:
            if extension not in present:
                import_extension(extension, con=con)


def connect(warehouse: Path, extensions: Path, memory_limit: str, threads: int) -> duckdb.DuckDBPyConnection:
    """Open the warehouse for writing, creating it with its bookkeeping tables when new.

    What does not fit in memory is spilled to `<warehouse>.tmp`, which may take half of what the disk has free.

    Args:
        warehouse: The DuckDB file.
        extensions: Folder of the installed extensions.
        memory_limit: DuckDB's memory limit, such as `4GB`.
        threads: Number of threads.

    Raises:
        WarehouseBusyError: Another process has the file open.
        WarehouseBrokenError: The file is damaged.
        SpaceError: The disk is full.
    """
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "threads": threads,
        "extension_directory": str(extensions),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": True,
    }
    try:
        if not warehouse.exists():
            _create(warehouse)
        con = duckdb.connect(str(warehouse), config=config)
        con.execute("set timezone = 'UTC'")
        con.execute(f"set max_temp_directory_size = '{spill_limit(warehouse)}'")
        con.execute(BOOKKEEPING)
    except duckdb.Error as error:
        if "Could not set lock" in str(error):
            raise WarehouseBusyError(
                f"{warehouse} is open in another process; wait for that run, or close the program that reads it "
                "(readers should open the published marts instead)"
            ) from error
        if known := explained(warehouse, error):
            raise known from error
        raise
    return con


def columns_of(con: duckdb.DuckDBPyConnection, schema: str, name: str) -> dict[str, str]:
    """Types by name of the columns of a table of the warehouse, in order; empty when there is no such table.

    `duckdb_columns()` would list the columns of everything there is first, which takes twenty times as long.
    """
    place = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name))
    database = """'"' || replace(current_database(), '"', '""') || '".'"""
    try:
        rows = con.execute(f"select name, type from pragma_table_info({database} || ?)", [place]).fetchall()
    except duckdb.CatalogException:
        return {}
    return dict(rows)


def _create(warehouse: Path) -> None:
    """An empty warehouse, under its name only when it is whole: half a file could not be opened again.

    Nothing but the pinned DuckDB opens it, so it has that one's storage format, in which texts are written with a
    quarter less work than in the format that every DuckDB reads. A file keeps the format it was made in.

    A log without its file is put aside: whoever moved the file away may want it, and no other file opens with it.
    """
    log = Path(f"{warehouse}.wal")
    if log.exists():
        log.replace(f"{log}.left")
    draft = warehouse.with_name(f"{warehouse.name}.new")
    draft.unlink(missing_ok=True)
    with duckdb.connect(str(draft), config={"storage_compatibility_version": "latest"}) as con:
        con.execute("checkpoint")
    draft.rename(warehouse)


def spill_limit(warehouse: Path) -> str:
    """How much DuckDB may spill beside the warehouse: up to half of what is free, for the file itself grows too.

    A power of two: dbt parses the whole project again whenever a word of its profile changes.
    """
    half = max(1, shutil.disk_usage(warehouse.parent).free // 2**21)
    return f"{2 ** (half.bit_length() - 1)}MiB"


HELD_SHARE = 0.25
"""Share of `engine.memory_limit` that an open database may hold on to before it had better be opened anew."""


def is_memory_held(con: duckdb.DuckDBPyConnection, memory_limit: str) -> bool:
    """Whether more than `HELD_SHARE` of the memory is in use and cannot be evicted.

    DuckDB marks deleted rows with 8 bytes for each row of a vector that has one, and keeps the marks of every table it
    has read while the database is open. After some nights that is each row of most tables: at ten million customers
    4 GB, which the models that come late in a run lack. Closing the database is what frees them.

    Args:
        con: A connection without an open result.
        memory_limit: The limit that is in force, as configured.
    """
    number, unit = con.execute("select current_setting('memory_limit')").fetchall()[0][0].split()
    try:
        con.execute(f"set memory_limit = '{float(number) * HELD_SHARE}{unit}'")
    except duckdb.OutOfMemoryException:
        return True
    finally:
        con.execute(f"set memory_limit = '{memory_limit}'")
    return False


def explained(warehouse: Path, error: BaseException | str) -> RuntimeError | None:
    """What an error of the engine means for an operator, and what to do; None when it is of another kind.

    Args:
        warehouse: The DuckDB file.
        error: The error, or the text that is left of it.
    """
    text = str(error)
    if is_disk_full(error):
        return SpaceError(
            f"{warehouse.parent}: the disk is full ({shutil.disk_usage(warehouse.parent).free:,} bytes are free). "
            "What was published stays, and nothing is half done: free some space there, or point CEM_HOME to a "
            "larger disk, and run again"
        )
    if any(sign in text for sign in _TOO_LITTLE_MEMORY):
        return MemoryLimitError(
            "the work does not fit into engine.memory_limit, even with spilling to the disk. What was published "
            "stays: raise engine.memory_limit in cem.yml, or lower engine.threads, and run again"
        )
    is_damage = any(sign in text for sign in _DAMAGE)
    if "Corrupt database file" in text or (is_damage and str(warehouse) in text):
        return WarehouseBrokenError(
            f"{warehouse} is damaged and cannot be read. What was published stays up. `cem restore` puts the last "
            f"good snapshot back; the next run reads again what came since. DuckDB says: {text.splitlines()[0]}"
        )
    return None


_TOO_LITTLE_MEMORY = ("Out of Memory Error", "failed to pin block")
"""How the engine says so; the second where a checkpoint does not fit, which it calls fatal."""

_DAMAGE = ("not a valid DuckDB database file", "Could not read enough bytes", "deserialize", "Failed to load metadata")


def reclaim(warehouse: Path) -> int:
    """Give back what a write that failed left at the end of the file; nobody may have it open.

    DuckDB writes big tables into the file ahead of the commit. When that fails the file stays as long as it
    got, and the disk full; but only the blocks that its header counts are ever read.

    Returns:
        Bytes given back.
    """
    with duckdb.connect(str(warehouse)) as con:
        con.execute("checkpoint")
        row = con.execute("select block_size, total_blocks from pragma_database_size()").fetchone()
    if row is None or Path(f"{warehouse}.wal").exists():
        return 0
    end = _HEADERS_BYTES + int(row[0]) * int(row[1])
    tail = warehouse.stat().st_size - end
    if tail <= 0:
        return 0
    os.truncate(warehouse, end)
    return tail


_HEADERS_BYTES = 3 * 4096
"""What a DuckDB file begins with; blocks follow."""


_held: dict[Path, int] = {}
"""State folders this process holds the lock of, with the depth of nesting."""


@contextmanager
def run_lock(home: Path, patience_seconds: float = 0) -> Iterator[None]:
    """Hold the one-run-at-a-time lock of a state folder; the system frees it when the process dies.

    The process that holds it may enter again: a run holds it as a whole, each of its steps once more.

    Args:
        home: The state folder.
        patience_seconds: How long to wait for a run that is under way.

    Raises:
        WarehouseBusyError: Another run of this state folder is under way.
    """
    home = home.resolve()
    if home in _held:
        _held[home] += 1
        try:
            yield
        finally:
            _held[home] -= 1
        return
    home.mkdir(parents=True, exist_ok=True)
    with (home / "run.lock").open("a+") as handle:
        try:
            _lock(handle, patience_seconds)
        except BlockingIOError as error:
            handle.seek(0)
            raise WarehouseBusyError(
                f"another run (process {handle.read().strip() or 'unknown'}) is working in {home}; "
                "one run at a time: wait for it to end"
            ) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        _held[home] = 1
        _remove_leftovers(home)
        try:
            yield
        finally:
            del _held[home]


def _lock(handle: IO[str], patience_seconds: float) -> None:
    """Lock a file, or raise BlockingIOError when somebody else has it for that long."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(1)
        else:
            return


def _remove_leftovers(home: Path) -> None:
    """Remove what killed processes spilled or unpacked; nobody else works here now, but `cem check` may unpack."""
    shutil.rmtree(home / "warehouse.duckdb.tmp", ignore_errors=True)
    for folder in (home / "unpacked").glob("*-*"):
        process = folder.name.split("-")[0]
        if process.isdecimal() and not is_alive(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def is_alive(process: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def writing(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse of a configuration, open for writing and locked against other runs until the block ends.

    What the block wrote is in the file itself, not in its log, when the block has ended.

    Raises:
        WarehouseBusyError: Another run, or a program that has the file open, is in the way.
        WarehouseBrokenError: The file is damaged.
        SpaceError: The disk is full; the reserve was given up, so that the rest of the run can end cleanly.
        MemoryLimitError: The work does not fit in memory.
    """
    with run_lock(settings.home):
        install_extensions(settings.extensions)
        con = connect(settings.warehouse, settings.extensions, settings.engine.memory_limit, settings.engine.threads)
        try:
            with values_hidden():
                yield con
            con.execute("checkpoint")
        except Exception as error:
            con.close()
            if is_disk_full(error):
                make_room(settings)
            if known := explained(settings.warehouse, _engine_error(error)):
                raise known from error
            raise
        finally:
            con.close()


def make_room(settings: Settings) -> None:
    """After a write that did not fit: give up the reserve, and what the write left in the warehouse."""
    release_reserve(settings.home)
    with suppress(duckdb.Error, OSError):
        reclaim(settings.warehouse)


def _engine_error(error: BaseException) -> BaseException:
    """The engine's own error that an error was raised from, where there is one."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, duckdb.Error):
            return link
        link = link.__cause__ or link.__context__
    return error
