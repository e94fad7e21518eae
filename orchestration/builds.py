"""What a stage was last built from, so that a run with nothing new does nothing and can say so.

A stage is up to date when its fingerprint (code, models, configuration, loads, identities) is the one it
was last built with. Fingerprints live in `ops.builds`, in the warehouse they describe.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import duckdb

from orchestration.settings import Settings
from orchestration.stages import MODEL
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
    parts = (stage, _code_fingerprint(), project_fingerprint(settings), settings.model_dump_json(), loads, moving_day)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def is_up_to_date(con: duckdb.DuckDBPyConnection, settings: Settings, stage: str) -> bool:
    """Whether the stage was last built from exactly what is there now."""
    row = con.execute("select fingerprint from ops.builds where stage = ?", [stage]).fetchone()
    return row is not None and row[0] == fingerprint(con, settings, stage)


def record(con: duckdb.DuckDBPyConnection, settings: Settings, stage: str) -> None:
    """Book that the stage now stands on what is there."""
    con.execute(
        "insert or replace into ops.builds values (?, ?, ?)",
        [stage, fingerprint(con, settings, stage), utc_now()],
    )


def forget(con: duckdb.DuckDBPyConnection) -> None:
    """Let the next run build every stage anew: something changed that the fingerprints do not cover."""
    con.execute("delete from ops.builds")
