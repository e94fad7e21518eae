"""Whether two warehouses, or two publications, hold the same: every row of every table and every column of it.

Clocks differ between two installations, so of a moment its place among the others is compared: the first load of a
table, the second one, and so on. What is left out altogether is listed here, each with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

MOMENTS = {
    "raw": ("_load_id", "_loaded_at", "_deleted_at"),
    "identity.customer": ("created_at", "ended_at"),
    "identity.customer_xref": ("valid_from", "valid_to"),
    "identity.event": ("run_id", "occurred_at"),
    "sentiment.model": ("trained_at",),
    "quarantine.rows": ("load_id", "quarantined_at", "released_at"),
    "ops.loads": ("load_id", "started_at", "finished_at"),
    "ops.load_rules": ("load_id",),
    "ops.load_facts": ("load_id", "read_at", "through"),  # a table that is read whole is dated by the reading
    "ops.load_columns": ("load_id",),
    "ops.built_loads": ("load_id",),
    "ops.publications": ("published_at",),
    "ops.load_summary": ("last_load_at", "last_promoted_at"),
    "marts.mart_kpi": ("restated_at",),
    "marts.mart_kpi_parts": ("restated_at",),
    "marts.mart_load_quality": ("load_date", "last_load_at", "last_promoted_at"),
    "marts.mart_load_rule": ("load_date",),
}
"""Columns that hold the clock here, or an id that begins with it. In tables about loads they are compared in the loads
of one source table, for whether two tables are brought by one run depends on when it is killed."""

DATED_KEYS = {"marts.mart_load_quality": ("load_day_key",), "marts.mart_load_rule": ("load_rule_key",)}
"""Texts that end in a date of the clock; the rest of them is compared."""

ONLY_WHETHER_EMPTY = {
    "intermediate": ("_load_id", "_loaded_at"),  # of several raw tables: compared there
    "ops.source_state": ("updated_at",),  # a clock, of which each state has one only
    "ops.findings": ("basis", "value"),  # of those builds; marts tell of loads and their clocks
    "ops.builds": ("built_at", "fingerprint", "basis"),  # a clock; hashes over the clocks above, and over the folder
    # Hashes over the clocks in marts; the version written whole depends on what was killed.
    "ops.published_file": ("fingerprint", "basis", "whole_version", "whole_bytes", "tables"),
    "ops.published_owners": ("content",),
    "ops.load_facts": ("days",),  # the time between two moments of the clock
    "ops.publications": ("run_id",),  # Dagster's random id of the run
    "marts.mart_load_quality": ("unpromoted_hours",),  # the time since a moment of the clock
    "marts._publication": ("run_id", "published_at", "fingerprint"),  # as above, of a single row
}

NOT_COMPARED = {
    "intermediate.int_person__unseen",
    "intermediate.int_record__touched",
    "intermediate.int_customer__touched",
    "intermediate.int_kpi_wait_cell__touched",
}
"""What the last run has found changed; one that takes over from a killed run begins with more."""

LOAD_ID = r"\d{8}T\d{12}"
"""Load ids within texts, which are compared without them."""


VIEWS = """
select distinct schema_name || '.' || view_name
from (
    select *, count(*) over (partition by schema_name, view_name, sql) as sides
    from duckdb_views() where database_name in ('ours', 'theirs') and not internal
)
where sides <> 2
order by all
"""
"""Views that two files define differently."""


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
        found += [f"{name}: only one side has this view, or another one" for (name,) in con.execute(VIEWS).fetchall()]
        for name in sorted((tables["ours"].keys() & tables["theirs"].keys()) - NOT_COMPARED):
            found += _table_difference(con, name, tables)
    return found


def parquet_differences(published: Path) -> list[str]:
    """One line for each mart whose Parquet copy holds other rows than the file it is a copy of."""
    found = []
    with duckdb.connect(str(published / "cem.duckdb"), read_only=True, config={"threads": 2}) as con:
        for (name,) in con.execute(
            "select table_name from information_schema.tables where table_schema = 'marts' order by all"
        ).fetchall():
            file = published / "parquet" / f"{name}.parquet"
            if not file.exists():
                found.append(f"{name}: missing")
                continue
            mart, copy = f'select * from marts."{name}"', f"select * from read_parquet('{file}')"
            for here, there, where in ((mart, copy, "missing"), (copy, mart, "only here")):
                rows = con.execute(f"select count(*) from ({here} except all {there})").fetchone()[0]
                found += [f"{name}: {rows} rows {where}"] if rows else []
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
        found.setdefault(f"{schema}.{table}", {})[column] = kind
    return found


def _table_difference(
    con: duckdb.DuckDBPyConnection, name: str, tables: dict[str, dict[str, dict[str, str]]]
) -> list[str]:
    ours, theirs = tables["ours"][name], tables["theirs"][name]
    if ours != theirs:
        return [f"{name}: other columns"]
    schema, table = name.split(".", 1)
    values = {column: _value(name, column, ours) for column in ours}
    place = f'"{schema}"."{table}"'
    rows = [con.execute(f"select count(*) from {side}.{place}").fetchone()[0] for side in ("ours", "theirs")]
    here = _only_here(con, values.values(), place)
    if here == 0 and rows[0] == rows[1]:
        return []
    missing = here + rows[1] - rows[0]
    columns = [column for column, value in values.items() if _only_here(con, [value], place)]
    return [f"{name}: {here} rows only here, {missing} missing; columns that differ: {', '.join(columns)}"]


def _only_here(con: duckdb.DuckDBPyConnection, values: Iterable[str], place: str) -> int:
    """Rows of ours that theirs has not, or has less often."""
    select = f"select {', '.join(values)} from"
    return con.execute(f"select count(*) from ({select} ours.{place} except all {select} theirs.{place})").fetchone()[0]


def _value(name: str, column: str, columns: dict[str, str]) -> str:
    """What of a column is compared, as SQL."""
    area = "raw" if name.startswith("raw_") else "intermediate" if name.startswith("intermediate.") else name
    if column in MOMENTS.get(area, ()):
        parts = "partition by source, table_name" if {"source", "table_name"} <= columns.keys() else ""
        return f'if("{column}" is null, null, dense_rank() over ({parts} order by "{column}"))'
    if column in DATED_KEYS.get(name, ()):
        return f"regexp_replace(\"{column}\", '\\d{{4}}-\\d\\d-\\d\\d', 'a day')"
    if column in ONLY_WHETHER_EMPTY.get(area, ()):
        return f'"{column}" is null'
    if columns[column] == "VARCHAR":
        return f"regexp_replace(\"{column}\", '{LOAD_ID}', 'a load', 'g')"
    return f'"{column}"'
