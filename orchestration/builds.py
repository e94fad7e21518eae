"""What a stage was last built from, so that a run with nothing new does nothing and can say so.

A stage is up to date when its fingerprint (code, models, configuration, loads, identities) is the one it
was last built with. Models that follow the loads are built anew from the first row when their basis (code, models,
configuration, shape of the raw tables) is another one; else they take in the loads that `ops.built_loads` does not
name. All of it lives in the warehouse it describes.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import duckdb

from orchestration.settings import Settings
from orchestration.stages import MODEL, UNIFY
from orchestration.transform import project_fingerprint
from orchestration.warehouse import utc_now


@cache
def _code_fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def fingerprint(con: duckdb.DuckDBPyConnection, settings: Settings, stage: str) -> str:
    """A hash of everything the rows of a stage depend on.

    Args:
        con: The warehouse.
        settings: The configuration.
        stage: One of `orchestration.stages.STAGES`; part of the hash.
    """
    # Only the marts tell of loads that brought no row; nothing before them needs to be built anew for those.
    counted = "true" if stage == MODEL else "status in ('promoted', 'released')"
    loads = con.execute(f"select count(*), max(finished_at) from ops.loads where {counted}").fetchone()
    moving_day = utc_now().date() if settings.reporting.as_of == "now" else ""
    return hashlib.sha256(repr((stage, _basis(con, settings), loads, moving_day)).encode()).hexdigest()


def _basis(con: duckdb.DuckDBPyConnection, settings: Settings) -> str:
    """A hash of everything but the loads; a raw column that became wider reads otherwise in old rows too."""
    shape = con.execute(
        "select schema_name, table_name, column_name, data_type from duckdb_columns() "
        "where database_name = current_database() and starts_with(schema_name, 'raw_') order by all"
    ).fetchall()
    parts = (_code_fingerprint(), project_fingerprint(settings), settings.model_dump_json(), shape)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def is_up_to_date(con: duckdb.DuckDBPyConnection, settings: Settings, stage: str) -> bool:
    """Whether the stage was last built from exactly what is there now."""
    row = con.execute("select fingerprint from ops.builds where stage = ?", [stage]).fetchone()
    return row is not None and row[0] == fingerprint(con, settings, stage)


def begin(con: duckdb.DuckDBPyConnection, settings: Settings, stage: str) -> bool:
    """Find out whether a stage can follow the loads since it was last built.

    Returns:
        False when it must be built anew. That is remembered until it has been: what a build that did not end has
        left may stand on one basis or the other.
    """
    row = con.execute("select basis from ops.builds where stage = ?", [stage]).fetchone()
    if row is not None and row[0] == _basis(con, settings):
        return True
    con.execute("delete from ops.builds where stage = ?", [stage])
    return False


def record(con: duckdb.DuckDBPyConnection, settings: Settings, stage: str) -> None:
    """Book that the stage now stands on what is there."""
    con.execute(
        "insert or replace into ops.builds (stage, fingerprint, built_at, basis) values (?, ?, ?, ?)",
        [stage, fingerprint(con, settings, stage), utc_now(), _basis(con, settings)],
    )
    if stage == UNIFY:
        con.execute(
            "insert into ops.built_loads select load_id, source, table_name from ops.loads "
            "where status in ('promoted', 'released') except select * from ops.built_loads"
        )


def forget(con: duckdb.DuckDBPyConnection) -> None:
    """Let the next run build every stage anew: something changed that the fingerprints do not cover."""
    con.execute("delete from ops.builds")
