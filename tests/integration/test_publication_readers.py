"""Publications under the eyes of readers in other processes, and under the axe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import duckdb
import pytest

from orchestration.publication import MartColumn, MartSpec, Publication, publish
from orchestration.settings import Publish, Settings
from orchestration.warehouse import BOOKKEEPING

PUBLICATIONS = 10
ROWS = 20_000
KEPT = 3

READER = textwrap.dedent(
    """
    # Opens, reads and checks the published marts until told to stop; any error ends it with a traceback.
    import os, sys
    from pathlib import Path
    import duckdb

    folder, stop = Path(sys.argv[1]), Path(sys.argv[2])
    last, seen, opens = 0, set(), 0
    while not stop.exists():
        with duckdb.connect(str(folder / "cem.duckdb"), read_only=True) as con:
            version = con.execute("select version from marts._publication").fetchone()[0]
            found = con.execute("select min(round), max(round), count(*) from marts.mart_rounds").fetchone()
            view = con.execute("select round from marts.mart_round").fetchone()[0]
            again = con.execute("select version from marts._publication").fetchone()[0]
        assert (version, version) == found[:2] and found[2] == ROWS, (version, found)
        assert view == version == again, (version, view, again)
        assert version >= last, (version, last)
        parquet = Path(os.path.realpath(folder / "parquet"))
        rounds = duckdb.sql(f"from '{parquet}/mart_rounds.parquet' select min(round), max(round), count(*)")
        rounds = rounds.fetchone()
        copied = duckdb.sql(f"select version from '{parquet}/_publication.parquet'").fetchone()[0]
        assert rounds == (copied, copied, ROWS), (copied, rounds)
        last = version
        seen.add(version)
        opens += 1
        if opens == 1:
            (folder.parent / "reading").touch()
    print(opens, len(seen))
    """
).replace("ROWS", str(ROWS))

WRITER = textwrap.dedent(
    """
    # Publishes once, and is killed by the system in the middle: SIGKILL leaves no handler a chance.
    import os, signal, sys
    from pathlib import Path
    from orchestration.publication import writer
    sys.path.insert(0, sys.argv[3])
    from test_publication_readers import open_warehouse, publish_round

    def axe(*arguments, **keywords):
        os.kill(os.getpid(), signal.SIGKILL)

    {cut}
    home, number = Path(sys.argv[1]), int(sys.argv[2])
    publish_round(open_warehouse(home), home, number)
    """
)

CUTS = {
    "while the tables are written": "writer._write_about = axe",
    "while Parquet is written": "writer._write_parquet = axe",
    "before the Parquet folder has its name": "writer.finish_folder = axe",
    "before the file is switched": "writer.switch_file = axe",
    "between the file and the link": "writer.switch_link = axe",
    "before the publication is booked": "writer._book = axe",
}

MARTS = [
    MartSpec("mart_rounds", (MartColumn("round"), MartColumn("number")), "One row per number."),
    MartSpec("mart_round", (MartColumn("round"),), "One row: the latest round.", "view"),
]


def settings_of(home: Path) -> Settings:
    return Settings(config_path=home / "cem.yml", home=home, publish=Publish(keep_versions=KEPT), sources=())


def open_warehouse(home: Path) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(str(home / "warehouse.duckdb"))
    con.execute(BOOKKEEPING)
    con.execute("create schema if not exists marts")
    return con


def publish_round(con: duckdb.DuckDBPyConnection, home: Path, number: int) -> Publication:
    """Publish marts whose every row carries the number of the round."""
    con.execute(
        f"create or replace table marts.mart_rounds as select {number} as round, * from range({ROWS}) as t (number)"
    )
    con.execute("create or replace view marts.mart_round as select max(round) as round from marts.mart_rounds")
    return publish(con, settings_of(home), f"run-{number}", MARTS)


def published_version(home: Path) -> tuple[int, int]:
    """Version of the file and of the Parquet folder, as a reader that opens them now sees them."""
    with duckdb.connect(str(home / "published" / "cem.duckdb"), read_only=True) as con:
        version, rows, least, most = con.execute(
            "select any_value(version), count(*), min(round), max(round) "
            "from marts._publication cross join marts.mart_rounds"
        ).fetchone()
        copied = con.execute(
            f"select version from '{home / 'published' / 'parquet' / '_publication.parquet'}'"
        ).fetchone()[0]
    assert rows == ROWS and least == most
    return version, copied


def test_a_reader_never_sees_an_error_or_a_mixed_version(tmp_path):
    stop = tmp_path / "stop"
    with open_warehouse(tmp_path) as con:
        publish_round(con, tmp_path, 1)
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(tmp_path / "published"), str(stop)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            while not (tmp_path / "reading").exists() and reader.poll() is None:
                pass
            for number in range(2, PUBLICATIONS + 2):
                assert publish_round(con, tmp_path, number).version == number
        finally:
            stop.touch()
            out, err = reader.communicate(timeout=60)
    assert reader.returncode == 0, err
    opens, versions = map(int, out.split())
    assert opens >= PUBLICATIONS and versions > 2, f"{opens} opens saw {versions} versions: too few to mean anything"


def test_an_open_reader_keeps_its_version(tmp_path):
    with open_warehouse(tmp_path) as con:
        publish_round(con, tmp_path, 1)
        code = (
            "import duckdb, sys\n"
            "con = duckdb.connect(); path = sys.argv[1]\n"
            "con.execute(f\"attach '{path}' as cem (read_only)\")\n"
            "ask = lambda: con.execute('select version from cem.marts._publication').fetchone()[0]\n"
            "print(ask(), flush=True); sys.stdin.readline(); print(ask())\n"
            "con.execute(f\"detach cem; attach '{path}' as cem (read_only)\"); print(ask())\n"
        )
        reader = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "published" / "marts.duckdb")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert reader.stdout.readline() == "1\n"
        publish_round(con, tmp_path, 2)
        out, _ = reader.communicate("\n", timeout=60)
    assert out.split() == ["1", "2"]


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
def test_a_killed_publication_leaves_a_whole_version_and_the_next_heals(tmp_path, cut):
    with open_warehouse(tmp_path) as con:
        publish_round(con, tmp_path, 1)

    killed = subprocess.run(
        [sys.executable, "-c", WRITER.format(cut=cut), str(tmp_path), "2", str(Path(__file__).parent)],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    file_version, parquet_version = published_version(tmp_path)
    assert file_version in (1, 2) and parquet_version in (1, 2)
    with open_warehouse(tmp_path) as con:
        healed = publish_round(con, tmp_path, 2)
        booked = con.execute("select max(version), count(*) from ops.publications").fetchone()
    assert published_version(tmp_path) == (healed.version, healed.version)
    assert healed.version >= file_version and booked[0] == healed.version
    folder = tmp_path / "published"
    assert not [path for path in folder.iterdir() if ".tmp" in path.name]
    assert len(list(folder.glob("parquet-*"))) <= 1 + KEPT
    assert (folder / "cem.duckdb").samefile(folder / "marts.duckdb")
