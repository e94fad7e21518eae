"""The warehouse file: extensions without network, one writer, one run at a time."""

import os
import shutil
import subprocess
import sys
import threading

import duckdb
import pytest

from orchestration.warehouse import (
    EXTENSIONS,
    MemoryLimitError,
    WarehouseBusyError,
    connect,
    explained,
    install_extensions,
    is_memory_held,
    new_load_id,
    run_lock,
    spill_limit,
)

HOLDER = """
import sys, time
from pathlib import Path
from orchestration.warehouse import connect, install_extensions, run_lock
home = Path(sys.argv[1])
with run_lock(home):
    con = connect(home / "w.duckdb", home / "ext", "1GB", 1)
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other_process(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "ready"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_extensions_come_from_their_wheels_and_load(tmp_path):
    install_extensions(tmp_path / "ext")
    con = connect(tmp_path / "w.duckdb", tmp_path / "ext", "1GB", 1)
    for extension in EXTENSIONS:
        con.execute(f"load {extension}")
    con.close()


def test_an_extension_that_is_not_installed_is_never_fetched(tmp_path):
    con = connect(tmp_path / "w.duckdb", tmp_path / "empty", "1GB", 1)
    with pytest.raises(duckdb.Error):
        con.execute("select st_point(1, 2)")
    con.close()


def test_a_second_run_is_told_which_process_is_at_work(tmp_path, other_process):
    with pytest.raises(WarehouseBusyError, match=str(other_process.pid)), run_lock(tmp_path):
        pass


def test_a_warehouse_open_elsewhere_says_what_to_do(tmp_path, other_process):
    with pytest.raises(WarehouseBusyError, match="published marts"):
        connect(tmp_path / "w.duckdb", tmp_path / "ext", "1GB", 1)


def test_the_lock_is_free_when_its_process_was_killed(tmp_path, other_process):
    other_process.kill()
    other_process.wait()
    with run_lock(tmp_path), run_lock(tmp_path):
        pass
    with run_lock(tmp_path):
        pass


def test_who_has_patience_gets_the_lock_when_it_is_free(tmp_path, other_process):
    threading.Timer(0.5, other_process.kill).start()
    with run_lock(tmp_path, patience_seconds=30):
        other_process.wait()


def test_bookkeeping_survives_a_second_opening(tmp_path):
    for _ in range(2):
        con = connect(tmp_path / "w.duckdb", tmp_path / "ext", "1GB", 1)
        assert con.execute("select count(*) from ops.loads").fetchone() == (0,)
        con.close()


def test_load_ids_sort_by_time():
    ids = [new_load_id() for _ in range(50)]
    assert ids == sorted(ids)


def test_what_a_killed_process_unpacked_goes_and_that_of_a_live_one_stays(tmp_path, other_process):
    other_process.kill()
    other_process.wait()
    lost, used = (tmp_path / "unpacked" / f"{process}-x" for process in (other_process.pid, os.getpid()))
    for folder in (lost, used):
        folder.mkdir(parents=True)
    with run_lock(tmp_path):
        assert not lost.exists()
        assert used.exists()


def test_a_warehouse_is_never_there_half_made(tmp_path):
    (tmp_path / "w.duckdb.new").write_bytes(b"what a process killed while creating it left")
    connect(tmp_path / "w.duckdb", tmp_path / "ext", "1GB", 1).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.duckdb"]


def test_a_warehouse_that_was_moved_away_leaves_no_log_that_the_next_one_stumbles_over(tmp_path):
    moved = tmp_path / "w.duckdb"
    with connect(moved, tmp_path / "ext", "1GB", 1) as con:
        con.execute("checkpoint; set wal_autocheckpoint = '1TB'; create table t as select 1 as a")
        shutil.copy(f"{moved}.wal", tmp_path / "new.duckdb.wal")
    connect(tmp_path / "new.duckdb", tmp_path / "ext", "1GB", 1).close()
    assert (tmp_path / "new.duckdb.wal.left").exists()


def test_a_checkpoint_that_does_not_fit_in_memory_is_told_as_such(tmp_path):
    said = explained(
        tmp_path / "warehouse.duckdb",
        "FATAL Error: Failed to create checkpoint because of error: failed to pin block of size 256.0 KiB",
    )
    assert isinstance(said, MemoryLimitError)
    assert "engine.memory_limit" in str(said)


def test_marks_of_deleted_rows_are_held_until_the_database_is_opened_anew(tmp_path):
    config = {"memory_limit": "100MB", "threads": 1}
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), config=config) as con:
        con.execute("create table orders as select i from range(4_000_000) rows(i)")
        assert not is_memory_held(con, "100MB")
        con.execute("delete from orders where i % 1000 = 0")
        before = con.execute("select current_setting('memory_limit')").fetchone()
        assert is_memory_held(con, "100MB")
        assert con.execute("select current_setting('memory_limit')").fetchone() == before

    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), config=config) as con:
        assert not is_memory_held(con, "100MB")
        con.execute("select sum(i) from orders").fetchall()
        assert is_memory_held(con, "100MB")


def test_the_spill_limit_is_at_most_half_of_what_is_free_and_stays_when_that_moves_a_little(home, monkeypatch):
    def limit(free_mebibytes):
        usage = type(shutil.disk_usage(home))(2**45, 0, free_mebibytes * 2**20)
        monkeypatch.setattr("orchestration.warehouse.shutil.disk_usage", lambda _: usage)
        return spill_limit(home / "warehouse.duckdb")

    assert limit(100_000) == limit(90_000) == "32768MiB"
    assert limit(65_536) == "32768MiB"
    assert limit(1) == "1MiB"
