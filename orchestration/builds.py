"""What a stage was last built from, so that a run with nothing new does nothing and can say so.

A stage is up to date when its fingerprint (code, models, settings of its rows, loads, identities) is the one it
was last built with. Its models are built anew from the first row when their basis (code, models, settings of its rows,
shape of the raw tables, how texts are judged) is another one; else they follow the loads that
`ops.built_loads` does not name for the stage, entities by the loads themselves and what is made of entities by the
records and customers that these touch. All of it lives in the warehouse it describes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import duckdb

from orchestration.settings import Settings
from orchestration.stages import MODEL, UNIFY
from orchestration.transform import project_fingerprint
from orchestration.warehouse import utc_now

Finding = TypeVar("Finding")


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
    return hashlib.sha256(repr((stage, _basis(con, settings, UNIFY), loads, moving_day)).encode()).hexdigest()


SETTINGS = {"reporting", "kpis", "identity", "clv"}
"""Parts of the configuration that rows depend on, beside what the models written from it say. Of others they do not:
where the state folder is, when and with how much memory runs are made, and how their marts are published."""


def _basis(con: duckdb.DuckDBPyConnection, settings: Settings, stage: str) -> str:
    """A hash of everything but the loads; a raw column that became wider reads otherwise in old rows too."""
    shape = con.execute(
        "select schema_name, table_name, column_name, data_type from duckdb_columns() "
        "where database_name = current_database() and starts_with(schema_name, 'raw_') order by all"
    ).fetchall()
    told = settings.model_dump_json(include=SETTINGS)
    parts: list[object] = [_code_fingerprint(), project_fingerprint(settings), told, shape]
    if stage == MODEL:
        parts.append(_content(con, "sentiment.model", "language, scorer"))  # which may judge any text otherwise
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _content(con: duckdb.DuckDBPyConnection, relation: str, columns: str) -> tuple[object, ...] | None:
    """Rows of a relation, whatever their order, as their number and a sum of hashes; None where it is missing."""
    schema, name = relation.split(".")
    known = con.execute(
        "select 1 from duckdb_tables() where schema_name = $schema and table_name = $name union all "
        "select 1 from duckdb_views() where schema_name = $schema and view_name = $name",
        {"schema": schema, "name": name},
    ).fetchone()
    return con.execute(f"select count(*), sum(hash({columns})) from {relation}").fetchone() if known else None


def is_up_to_date(con: duckdb.DuckDBPyConnection, settings: Settings, stage: str) -> bool:
    """Whether the stage was last built from exactly what is there now."""
    row = con.execute("select fingerprint from ops.builds where stage = ?", [stage]).fetchone()
    return row is not None and row[0] == fingerprint(con, settings, stage)


def begin(con: duckdb.DuckDBPyConnection, settings: Settings, stage: str) -> bool:
    """Find out whether a stage can follow what changed since it was last built.

    Returns:
        False when it must be built anew. That is remembered until it has been: what a build that did not end has
        left may stand on one basis or the other.
    """
    forget_findings(con)  # a build that does not end, or of some models only, changes marts as well
    row = con.execute("select basis from ops.builds where stage = ?", [stage]).fetchone()
    if row is not None and row[0] == _basis(con, settings, stage):
        return True
    con.execute("delete from ops.builds where stage = ?", [stage])
    return False


def record(con: duckdb.DuckDBPyConnection, settings: Settings, stage: str) -> None:
    """Book that the stage now stands on what is there."""
    if stage == MODEL:
        # What it stands on is what UNIFY has made of the loads.
        seen = "select load_id, source, table_name from ops.built_loads where stage = 'unify'"
        as_of = con.execute("select as_of_at from intermediate.int_as_of__resolved").fetchone()
        # UNIFY may have begun on loads that it is not through with: then what it removed is still to be told.
        loads = "select load_id, source, table_name from ops.loads where status in ('promoted', 'released')"
        con.execute(f"delete from ops.removed_records where not exists ({loads} except {seen})")
        con.execute("delete from ops.built_references")
        con.execute("insert into ops.built_references from intermediate.int_reference__hashed")
    else:
        seen = "select load_id, source, table_name from ops.loads where status in ('promoted', 'released')"
        as_of = None
    con.execute(
        "insert or replace into ops.builds (stage, fingerprint, built_at, basis, as_of_at) values (?, ?, ?, ?, ?)",
        [
            stage,
            fingerprint(con, settings, stage),
            utc_now(),
            _basis(con, settings, stage),
            as_of[0] if as_of else None,
        ],
    )
    if stage in (UNIFY, MODEL):
        con.execute(
            f"insert into ops.built_loads (load_id, source, table_name, stage) select *, $stage from ({seen}) "
            "except select load_id, source, table_name, stage from ops.built_loads",
            {"stage": stage},
        )


def forget(con: duckdb.DuckDBPyConnection) -> None:
    """Let the next run look at every stage again: something changed that the fingerprints do not cover."""
    con.execute("update ops.builds set fingerprint = ''")


def forget_models(con: duckdb.DuckDBPyConnection) -> None:
    """Let the next run build the marts anew: some of them, and not all, are about to be built."""
    forget_findings(con)
    con.execute("delete from ops.builds where stage = ?", [MODEL])


def find(con: duckdb.DuckDBPyConnection, name: str, depends_on: object, work_out: Callable[[], Finding]) -> Finding:
    """What is found in the marts as they were built last: read from them once, and kept until a stage is built again.

    Args:
        con: The warehouse.
        name: Name of the finding.
        depends_on: What else it depends on.
        work_out: Reads the marts; gives what JSON can hold.
    """
    built = con.execute("select stage, fingerprint, built_at from ops.builds order by stage").fetchall()
    if not built:
        return work_out()  # whatever made these marts, it was no run
    basis = hashlib.sha256(repr((built, depends_on)).encode()).hexdigest()
    row = con.execute("select value from ops.findings where name = ? and basis = ?", [name, basis]).fetchone()
    if row is not None:
        known: Finding = json.loads(row[0])
        return known
    found = work_out()
    con.execute("insert or replace into ops.findings values (?, ?, ?)", [name, basis, json.dumps(found)])
    return found


def forget_findings(con: duckdb.DuckDBPyConnection) -> None:
    """Let the next run read the marts again: they are about to be changed, by a stage or by hand."""
    con.execute("delete from ops.findings")
