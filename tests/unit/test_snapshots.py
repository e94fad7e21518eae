"""Snapshots: the way back from a damaged warehouse, and never a half one."""

import os

import duckdb
import pytest

from orchestration import snapshots
from orchestration.cli import main
from orchestration.settings import Engine, Settings
from orchestration.warehouse import WarehouseBrokenError, WarehouseBusyError, run_lock, writing

KINDS_OF_DAMAGE = {
    "emptied": lambda file, size: file.truncate(0),
    "cut off": lambda file, size: file.truncate(size // 2),
    "another file": lambda file, size: file.write(b"x" * 200),
    "overwritten": lambda file, size: (file.seek(4096), file.write(os.urandom(size - 4096))),
}


@pytest.fixture
def settings(home):
    return Settings(config_path=home / "cem.yml", home=home, engine=Engine(disk_reserve="0MB"), sources=())


def write(settings, *values):
    with writing(settings) as con:
        con.execute("create table if not exists known (i int)")
        con.executemany("insert into known values (?)", [[value] for value in values])


def known(settings):
    with writing(settings) as con:
        return [row[0] for row in con.execute("from known order by i").fetchall()]


def damage(settings, kind):
    with settings.warehouse.open("r+b") as file:
        KINDS_OF_DAMAGE[kind](file, settings.warehouse.stat().st_size)


@pytest.mark.parametrize("kind", KINDS_OF_DAMAGE)
def test_a_damaged_warehouse_says_how_to_go_on_and_comes_back(settings, kind):
    write(settings, 1)
    assert snapshots.take(settings) is not None
    write(settings, 2)
    damage(settings, kind)
    with pytest.raises(WarehouseBrokenError, match="cem restore"), writing(settings):
        pass
    _, replaced = snapshots.restore(settings)
    assert replaced.exists()
    assert known(settings) == [1]


def test_damage_that_shows_only_while_reading_says_how_to_go_on(settings):
    with writing(settings) as con:
        con.execute("create table big as select range as i, hash(range) as h from range(500000)")
    with settings.warehouse.open("r+b") as file:
        file.seek(settings.warehouse.stat().st_size // 2)
        file.write(os.urandom(262144))
    with pytest.raises(WarehouseBrokenError, match="cem restore"), writing(settings) as con:
        con.execute("select sum(h), max(i) from big")


def test_the_log_of_a_damaged_warehouse_is_not_played_on_the_restored_one(settings):
    write(settings, 1)
    snapshots.take(settings)
    log = settings.warehouse.with_name("warehouse.duckdb.wal")
    log.write_bytes(b"the log of another file")
    snapshots.restore(settings)
    assert known(settings) == [1]


def test_only_a_changed_warehouse_is_copied_and_only_so_many_copies_stay(settings):
    settings = settings.model_copy(update={"engine": Engine(disk_reserve="0MB", snapshots=2)})
    taken = []
    for value in range(4):
        write(settings, value)
        taken.append(snapshots.take(settings).path)
        assert known(settings) == list(range(value + 1))  # reading changes nothing
        assert snapshots.take(settings) is None
    assert [each.path for each in snapshots.snapshots(settings)] == [taken[3], taken[2]]
    assert sorted(settings.snapshots.iterdir()) == taken[2:]


def test_without_snapshots_old_ones_go_and_none_is_made(settings):
    write(settings, 1)
    snapshots.take(settings)
    off = settings.model_copy(update={"engine": Engine(disk_reserve="0MB", snapshots=0)})
    assert snapshots.take(off) is None
    assert list(settings.snapshots.iterdir()) == []


def test_a_snapshot_that_was_not_finished_is_not_restored_and_goes(settings):
    write(settings, 1)
    taken = snapshots.take(settings).path
    draft = taken.with_name("29990101T000000000000.duckdb.tmp")
    draft.write_bytes(taken.read_bytes()[:5000])
    broken = taken.with_name("29990101T000000000000.duckdb")
    broken.write_bytes(b"not a database")
    assert snapshots.restore(settings)[0].path == taken
    write(settings, 2)
    snapshots.take(settings)
    assert not draft.exists()


def test_no_restore_under_a_run(settings):
    import subprocess
    import sys

    write(settings, 1)
    snapshots.take(settings)
    code = (
        "import sys; from pathlib import Path; from orchestration.warehouse import run_lock\n"
        "with run_lock(Path(sys.argv[1])): print('ready', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.home)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(WarehouseBusyError, match=str(other.pid)):
            snapshots.restore(settings)
    finally:
        other.communicate()
    with run_lock(settings.home):
        snapshots.restore(settings)


def test_the_command_lists_and_restores(settings, monkeypatch, capsys, tmp_path):
    config = tmp_path / "cem.yml"
    config.write_text(
        "engine: {disk_reserve: 0MB}\n"
        "sources:\n  - {name: a, kind: files, folder: ., tables: [{name: t, files: t.csv, entity: person, "
        "columns: {person_id: id}}]}\n"
    )
    monkeypatch.setenv("CEM_CONFIG", str(config))
    monkeypatch.setenv("CEM_HOME", str(settings.home))
    assert main(["restore"]) == 1
    refusal = capsys.readouterr().err
    assert "no snapshot" in refusal and "forced together or apart" in refusal and "links judged" in refusal
    assert main(["restore", "--list"]) == 0
    assert "engine.snapshots" in capsys.readouterr().out
    write(settings, 1)
    taken = snapshots.take(settings).path
    write(settings, 2)
    assert main(["restore", "--list"]) == 0
    assert str(taken) in capsys.readouterr().out
    assert main(["restore"]) == 0
    told = capsys.readouterr().out
    assert "What is published stays" in told
    assert "forced together or apart" in told and "links judged" in told and "decided again" in told
    assert known(settings) == [1]
    with duckdb.connect(str(settings.home / "warehouse.replaced.duckdb"), read_only=True) as con:
        assert con.execute("select count(*) from known").fetchone() == (2,)
