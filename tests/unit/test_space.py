"""A full disk: refused beforehand, survived otherwise, and given back."""

import os
import shutil

import duckdb
import pytest

from orchestration import space
from orchestration.settings import Engine, Settings
from orchestration.space import (
    SpaceError,
    bytes_of,
    is_disk_full,
    is_given_up,
    lay_reserve,
    release_reserve,
    require_space,
)
from orchestration.warehouse import MemoryLimitError, writing

DISK = 48 * 2**20
RESERVE = 8 * 2**20
BIG = "create table big as select range as i, hash(range) as h, hash(range + 1) as k from range(3000000)"


@pytest.fixture
def settings(small_disk, extensions):
    home = small_disk(DISK)
    (home / "extensions").symlink_to(extensions)
    engine = Engine(memory_limit="100MB", threads=1, disk_reserve="8MiB")
    return Settings(config_path=home / "cem.yml", home=home, engine=engine, sources=())


def free(settings):
    return shutil.disk_usage(settings.home).free


@pytest.mark.parametrize(
    ("text", "size"), [("0MB", 0), ("256MB", 256_000_000), ("1.5 GiB", 3 * 2**29), ("7B", 7), ("64KiB", 65536)]
)
def test_sizes(text, size):
    assert bytes_of(text) == size


def test_work_that_does_not_fit_is_refused_with_its_size_and_place(tmp_path):
    require_space(tmp_path, 1, "a trifle")
    with pytest.raises(SpaceError, match=rf"{tmp_path}: the moon may need 1,152,921,504,606,846,976 bytes and [\d,]+"):
        require_space(tmp_path, 2**60, "the moon")


def test_the_reserve_takes_real_room_and_follows_its_setting(small_disk):
    home = small_disk(DISK)
    before = shutil.disk_usage(home).free
    assert lay_reserve(home, RESERVE)
    assert before - shutil.disk_usage(home).free >= RESERVE
    assert lay_reserve(home, RESERVE // 2)
    assert (home / space.RESERVE).stat().st_size == RESERVE // 2
    assert not lay_reserve(home, 0)
    assert shutil.disk_usage(home).free == before


def test_no_reserve_where_it_would_be_what_fills_the_disk(small_disk):
    home = small_disk(DISK)
    assert not lay_reserve(home, DISK)
    assert list(home.iterdir()) == []


def test_a_write_that_fills_the_disk_changes_nothing_and_the_disk_is_free_again(settings):
    with writing(settings) as con:
        con.execute("create table small as select range as i from range(1000)")
    lay_reserve(settings.home, RESERVE)
    before = free(settings)
    with pytest.raises(SpaceError, match="disk is full"), writing(settings) as con:
        con.execute("insert into small values (-1)")
        con.execute(BIG)
    assert not (settings.home / space.RESERVE).exists()
    assert free(settings) >= before + RESERVE - 2**20  # the reserve, and what the write had taken
    with writing(settings) as con:
        assert con.execute("select count(*), min(i) from small").fetchone() == (1001, -1)
        con.execute(BIG.replace("3000000", "300000"))
    assert lay_reserve(settings.home, RESERVE)
    assert not is_given_up(settings.home)
    assert release_reserve(settings.home)
    assert is_given_up(settings.home)
    assert not release_reserve(settings.home)


def test_a_transaction_that_does_not_fit_is_rolled_back_whole(settings):
    with writing(settings) as con:
        con.execute("create table small as select range as i from range(1000)")
    lay_reserve(settings.home, RESERVE)
    with pytest.raises(SpaceError), writing(settings) as con:
        con.begin()
        con.execute("insert into small values (-1)")
        con.execute(BIG)
        con.commit()
    with writing(settings) as con:
        assert con.execute("select count(*), min(i) from small").fetchone() == (1000, 0)


def test_spilling_is_bounded_and_leaves_nothing(settings):
    with pytest.raises((SpaceError, MemoryLimitError)), writing(settings) as con:
        limit = con.execute("select current_setting('max_temp_directory_size')").fetchone()[0]
        assert float(limit.split()[0]) * 2**20 <= free(settings) / 2
        con.execute("set memory_limit = '20MB'")
        con.execute("select i, count(*) from (select range as i from range(20000000)) group by i order by hash(i)")
    assert not list(settings.home.glob("*.tmp"))


def test_what_a_killed_process_spilled_is_removed(settings):
    with writing(settings):
        pass
    spilled = settings.home / "warehouse.duckdb.tmp"
    spilled.mkdir()
    (spilled / "duckdb_temp_storage_DEFAULT-0.tmp").write_bytes(b"x" * 2**20)
    with writing(settings):
        assert not spilled.exists()


def test_too_little_memory_says_which_setting(home):
    engine = Engine(memory_limit="20MB", threads=1, disk_reserve="0MB")
    settings = Settings(config_path=home / "cem.yml", home=home, engine=engine, sources=())
    with pytest.raises(MemoryLimitError, match=r"engine\.memory_limit"), writing(settings) as con:
        con.execute("set max_temp_directory_size = '0B'")
        con.execute("select list(i) from (select range as i from range(20000000))")


def test_a_full_disk_is_seen_behind_the_error_it_was_told_as():
    try:
        try:
            raise OSError(28, os.strerror(28))
        except OSError:
            raise ValueError("cannot be read") from None
    except ValueError as error:
        assert is_disk_full(error)
    assert is_disk_full(duckdb.IOException("Could not write file: No space left on device"))
    assert not is_disk_full(ValueError("cannot be read"))
