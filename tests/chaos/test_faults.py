"""Faults of the machine around the job: each is said clearly, the publication stays, and once mended nothing shows.

They befall one installation on one day, one after the other, the short form of `make chaos` among them; then it must
hold the same as one that nothing befell.
"""

import contextlib
import os
import random
import resource
import shutil
import sqlite3
import subprocess

import duckdb
import job
import pytest
from chaos import Score, files_of, killed, plan, problems_of, put_back, reading, succeed

DISK = 900 * 2**20
KILLED_IN = ("guard", "model")
"""Stages before the publication in which runs are killed here; `make chaos` kills in all of them."""


@pytest.fixture(scope="module")
def troubled(references, tmp_path_factory):
    """An installation on a small disk of its own, where the user may mount one."""
    _, later = references
    folder = tmp_path_factory.mktemp("troubled")
    disk = folder / "var"
    disk.mkdir()
    size = ["-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)]
    is_disk = subprocess.run(["mount", *size], capture_output=True).returncode == 0
    put_back(later.found, folder)
    yield folder
    if is_disk:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def published(folder):
    stat = (folder / "var" / "published" / "cem.duckdb").stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def failing(folder, during=None, limits=None):
    """What a run that must fail says; `during` gets the run while it is under way. Readers keep what they had."""
    before = published(folder)
    started = job.start(folder, limits=limits)
    try:
        if during is not None:
            during(started)
        code = started.wait()
    finally:
        started.kill()
    assert code == 1, started.text()
    assert "Traceback" not in started.text()
    assert published(folder) == before
    return started.text()


def test_a_run_that_the_disk_cannot_hold_is_not_begun(troubled):
    if shutil.disk_usage(troubled / "var").total != DISK:
        pytest.skip("needs the right to mount")
    filler = troubled / "var" / "filler"
    fill(filler, leave=20 * 2**20)
    try:
        text = failing(troubled)
    finally:
        filler.unlink()
    assert "this run may need" in text
    assert str(troubled / "var") in text


def test_a_disk_that_fills_up_during_the_run(troubled):
    """Where no disk can be mounted, a warehouse that may not grow."""
    if shutil.disk_usage(troubled / "var").total != DISK:
        size = (troubled / "var" / "warehouse.duckdb").stat().st_size
        assert "disk is full" in failing(troubled, limits={resource.RLIMIT_FSIZE: size + 2**20})
        return
    filler = troubled / "var" / "filler"

    def fill_up(started):
        started.wait_for_lines(1)
        fill(filler, leave=0)

    try:
        text = failing(troubled, fill_up)
    finally:
        filler.unlink()
    assert "disk is full" in text or "bytes and" in text


def fill(path, leave):
    """Write a file that leaves so many bytes of its disk."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while (left := shutil.disk_usage(path.parent).free - leave) > 0:
            file.write(bytes(min(left, 2**20)))


def test_a_warehouse_that_another_program_has_open(troubled):
    with duckdb.connect(str(troubled / "var" / "warehouse.duckdb")):
        text = failing(troubled)
    assert "open in another process" in text
    assert "published marts" in text


def test_a_damaged_warehouse_is_restored(troubled):
    warehouse = troubled / "var" / "warehouse.duckdb"
    with warehouse.open("r+b") as file:
        file.truncate(warehouse.stat().st_size // 2)
    assert "cem restore" in failing(troubled)
    succeed(troubled, "restore")
    (troubled / "var" / "warehouse.replaced.duckdb").unlink()


def test_damaged_storage_of_dagster(troubled):
    runs = troubled / "var" / "dagster" / "history" / "runs.db"
    runs.write_bytes(b"not a database" * 1000)
    try:
        text = failing(troubled)
    finally:
        shutil.rmtree(troubled / "var" / "dagster")
    assert "move the folder away" in text


def test_sources_that_vanish_or_are_cut_off_during_the_run(troubled):
    """All of them: what one source refers to in another one that is not there would be told in the history."""
    demo = troubled / "var" / "demo"
    cut = sorted((demo / "web").glob("*_????-??-??.parquet"))
    kept = troubled / "kept"
    shutil.copytree(demo, kept)

    def spoil(started):
        started.wait_for_lines(1)
        for path in cut:
            os.truncate(path, path.stat().st_size // 2)
        for path in (demo / "crm.db", *(demo / "social").iterdir(), *(demo / "support").iterdir()):
            path.unlink()
        shutil.rmtree(demo / "survey")

    text = failing(troubled, spoil)
    shutil.rmtree(demo)
    shutil.move(kept, demo)
    assert "no SQLite file at" in text
    assert "no file matches mentions_*.jsonl" in text
    assert any(f"{path.name}: not a Parquet file, or cut off" in text for path in cut)


def test_locked_storage_of_dagster(troubled):
    with contextlib.closing(sqlite3.connect(troubled / "var" / "dagster" / "history" / "runs.db")) as con:
        con.execute("begin exclusive")
        text = failing(troubled)
    assert "locked" in text
    assert "make ui" in text


def test_too_little_memory(troubled):
    config = troubled / "cem.yml"
    text = config.read_text()
    config.write_text(text.replace("memory_limit: 2GB", "memory_limit: 20MB"))
    try:
        said = failing(troubled)
    finally:
        config.write_text(text)
    assert "raise engine.memory_limit" in said


def test_runs_that_are_killed(troubled, references):
    """At random, but in the last stage as it begins: there must be something left to publish."""
    first, later = references
    publication = next(number for number, piece in enumerate(later.pieces) if piece.stage == "publish")
    score = Score()
    with reading(troubled, score):
        moments = [*plan(later.pieces, KILLED_IN, random.Random(1)), (publication, 0.0)]
        score.add(killed(troubled, later, first, moments))
    assert score.problems == []
    assert score.kills.total() == len(moments)
    assert score.opens > 0


def test_a_published_folder_that_cannot_be_written(troubled):
    folder = troubled / "var" / "published"
    with read_only(folder):
        text = failing(troubled)
    assert f"{folder} cannot be written" in text


@contextlib.contextmanager
def read_only(folder):
    """Let nobody write there; the administrator is only kept out by a mount."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    if subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_in_the_end_the_installation_is_as_if_nothing_had_been(troubled, references):
    succeed(troubled)
    assert problems_of(troubled, references[1]) == []
    home = troubled / "var"
    for path in (home / "published" / "marts.duckdb.9.tmp", home / "unpacked" / "left" / "rows.csv"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    left = files_of(home) - references[1].files
    assert left == {"published/marts.duckdb.9.tmp", "unpacked/left/rows.csv"}, "what is left behind would not be found"
