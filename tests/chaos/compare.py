"""Whether two warehouses, or two publications, hold the same: every row of every table, but for clocks and load ids."""

from __future__ import annotations

from pathlib import Path

import duckdb

CLOCKS = {
    "raw": {"_loaded_at", "_deleted_at"},
    "intermediate": {"_loaded_at"},
    "identity": {"created_at", "ended_at", "valid_from", "valid_to", "occurred_at"},
    "quarantine": {"quarantined_at", "released_at"},
    "ops": {
        "started_at",
        "finished_at",
        "updated_at",
        "last_load_at",
        "last_promoted_at",
        # Of ops.load_facts: a table that is read whole is dated by the moment of reading.
        "read_at",
        "through",
        "days",
    },
    "marts": {
        "restated_at",
        "published_at",
        "last_load_at",
        "last_promoted_at",
        "unpromoted_hours",
        "load_date",
        "load_day_key",
        "load_rule_key",
    },
}
"""Columns that tell when something was done here; only whether they are empty must be equal."""

SOURCE_TIMES = {("identity", "record", "created_at"), ("marts", "fct_mention", "published_at")}
"""Columns of such a name that the source sent."""

LEFT_OUT = {
    "ops.builds",  # hashes over the clocks above
    "ops.publications",  # how often, not what; `problems_of` looks at it
    "marts._publication",
}

LOAD_ID = r"\d{8}T\d{12}"


def differences(ours: Path, theirs: Path, *, views: bool = False) -> list[str]:
    """One line for each table that differs; empty when both files hold the same.

    Args:
        ours: A DuckDB file.
        theirs: The file of the undisturbed run.
        views: Whether views are compared as well (in publications they can be read anywhere).
    """
    with duckdb.connect(config={"threads": 2}) as con:
        con.execute(f"attach '{ours}' as ours (read_only)")
        con.execute(f"attach '{theirs}' as theirs (read_only)")
        tables = {name: _tables(con, name, views) for name in ("ours", "theirs")}
        found = [f"{name}: only here" for name in sorted(tables["ours"].keys() - tables["theirs"].keys())]
        found += [f"{name}: missing" for name in sorted(tables["theirs"].keys() - tables["ours"].keys())]
        for name in sorted(tables["ours"].keys() & tables["theirs"].keys()):
            found += _table_difference(con, name, tables)
    return found


def _tables(con: duckdb.DuckDBPyConnection, database: str, views: bool) -> dict[str, dict[str, str]]:
    """Columns and their types of each table."""
    kinds = "('BASE TABLE', 'VIEW')" if views else "('BASE TABLE')"
    rows = con.execute(
        f"select table_schema, table_name, column_name, data_type from information_schema.columns "
        f"inner join information_schema.tables using (table_catalog, table_schema, table_name) "
        f"where table_catalog = ? and table_type in {kinds} order by ordinal_position",
        [database],
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for schema, table, column, kind in rows:
        if f"{schema}.{table}" not in LEFT_OUT:
            found.setdefault(f"{schema}.{table}", {})[column] = kind
    return found


def _table_difference(
    con: duckdb.DuckDBPyConnection, name: str, tables: dict[str, dict[str, dict[str, str]]]
) -> list[str]:
    ours, theirs = tables["ours"][name], tables["theirs"][name]
    if ours != theirs:
        return [f"{name}: other columns"]
    schema, table = name.split(".", 1)
    select = ", ".join(_value(schema, table, column, kind) for column, kind in ours.items())
    place = f'"{schema}"."{table}"'
    sides = {side: f"select {select} from {side}.{place}" for side in ("ours", "theirs")}
    counts = [
        con.execute(f"select count(*) from ({sides[a]} except all {sides[b]})").fetchone()[0]
        for a, b in (("ours", "theirs"), ("theirs", "ours"))
    ]
    if counts == [0, 0]:
        return []
    columns = [
        column
        for column, kind in ours.items()
        if con.execute(
            f"select count(*) from (select {_value(schema, table, column, kind)} from ours.{place} "
            f"except all select {_value(schema, table, column, kind)} from theirs.{place})"
        ).fetchone()[0]
    ]
    return [f"{name}: {counts[0]} rows only here, {counts[1]} missing; columns that differ: {', '.join(columns)}"]


def _value(schema: str, table: str, column: str, kind: str) -> str:
    area = "raw" if schema.startswith("raw_") else schema
    if column in CLOCKS.get(area, set()) and (schema, table, column) not in SOURCE_TIMES:
        return f'"{column}" is null'
    if column in {"load_id", "_load_id", "run_id"}:
        return f'"{column}" is null'
    if kind == "VARCHAR":
        return f"regexp_replace(\"{column}\", '{LOAD_ID}', 'a load', 'g')"
    return f'"{column}"'
