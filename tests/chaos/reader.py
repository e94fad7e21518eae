"""Reads the published marts all the time, as a BI tool would: any error, half publication or older version ends it.

python reader.py <published folder> <stop file>
"""

import sys
import time
from pathlib import Path

import duckdb

PAUSE_SECONDS = 1.0


def main(folder, stop):
    last, opens, versions = 0, 0, set()
    while not stop.exists():
        if (folder / "cem.duckdb").exists() or opens:
            version = read(folder)
            assert version >= last, f"version {version} after {last}"
            last = version
            versions.add(version)
            opens += 1
        time.sleep(PAUSE_SECONDS)
    sys.stdout.write(f"{opens} {len(versions)}\n")


def read(folder):
    """The version of the file that is published; all of its rows must be there."""
    with duckdb.connect(str(folder / "cem.duckdb"), read_only=True, config={"threads": 1}) as con:
        version, promised = con.execute("select version, row_count from marts._publication").fetchone()
        found = count(con, [f"marts.{name}" for (name,) in con.execute(TABLES).fetchall()])
        assert found == promised, f"version {version} has {found} rows, promised are {promised}"
    return version


def read_parquet(folder):
    """The version of the published Parquet copy; all of its rows must be there."""
    current = (folder / "parquet").resolve()
    with duckdb.connect(str(folder / "cem.duckdb"), read_only=True, config={"threads": 1}) as con:
        paths = [str(current / f"{name}.parquet") for (name,) in con.execute(TABLES).fetchall()]
        about = con.read_parquet(str(current / "_publication.parquet"))
        version, promised = about.project("version, row_count").fetchone()
        found = con.execute("select sum(num_rows) from parquet_file_metadata($1)", [paths]).fetchone()[0]
        assert found == promised, f"Parquet version {version} has {found} rows, promised are {promised}"
    return version


TABLES = "select table_name from duckdb_tables() where schema_name = 'marts' and table_name <> '_publication'"


def count(con, relations):
    return con.execute(
        "select sum(n) from (" + " union all ".join(f"select count(*) as n from {name}" for name in relations) + ")"
    ).fetchone()[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
