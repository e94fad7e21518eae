"""The warehouse file: how to open it, the tables every stage books into, and the lock that keeps runs apart.

Belongs here: connecting, extensions, the DDL of the bookkeeping schemas. Does not belong here: anything
that knows a source, a rule or a model.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

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

    Args:
        warehouse: The DuckDB file.
        extensions: Folder of the installed extensions.
        memory_limit: DuckDB's memory limit, such as `4GB`.
        threads: Number of threads.

    Raises:
        WarehouseBusyError: Another process has the file open.
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
        con = duckdb.connect(str(warehouse), config=config)
    except duckdb.IOException as error:
        if "lock" not in str(error):
            raise
        raise WarehouseBusyError(
            f"{warehouse} is open in another process; wait for that run, or close the program that reads it "
            "(readers should open the published marts instead)"
        ) from error
    con.execute("set timezone = 'UTC'")
    con.execute(BOOKKEEPING)
    return con


_held: dict[Path, int] = {}
"""State folders this process holds the lock of, with the depth of nesting."""


@contextmanager
def run_lock(home: Path) -> Iterator[None]:
    """Hold the one-run-at-a-time lock of a state folder; the system frees it when the process dies.

    The process that holds it may enter again: a run holds it as a whole, each of its steps once more.

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
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        try:
            yield
        finally:
            del _held[home]


@contextmanager
def writing(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse of a configuration, open for writing and locked against other runs until the block ends.

    Raises:
        WarehouseBusyError: Another run, or a program that has the file open, is in the way.
    """
    with run_lock(settings.home):
        install_extensions(settings.extensions)
        con = connect(settings.warehouse, settings.extensions, settings.engine.memory_limit, settings.engine.threads)
        try:
            yield con
        finally:
            con.close()
