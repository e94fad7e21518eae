"""Stale marks: what readers are told while a load is held, and that no figure moves for it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from orchestration.publication import files, mark, publish, staleness

MARKED = "select version, is_stale, stale_since::text, stale_reason, held_loads from cem.marts._publication"
FIGURES = "select hash(list(c order by customer_id)) from cem.marts.dim_customer as c"
FRESH = (1, False, None, None, 0)
HELD = (1, True, "2024-05-02 01:00:00", "loads are held: crm.people", 1)


@pytest.fixture
def published(warehouse, settings, marts):
    """A warehouse whose marts are published, with nothing held."""
    warehouse.execute("delete from ops.loads where status = 'held'")
    publish(warehouse, settings, "run-1", marts)
    return warehouse


def hold(con):
    con.execute(
        "insert into ops.loads values ('2', 'crm', 'people', 'held', 90, 0, 0, 0, 'Zahra sent it', "
        "'2024-05-02 01:00', '2024-05-02 01:01')"
    )


def test_a_hold_marks_what_readers_have_and_moves_no_figure(published, settings, read):
    assert read(MARKED) == [FRESH]
    figures = read(FIGURES)
    parquet = {path.name: path.read_bytes() for path in (settings.published / "parquet").iterdir()}
    hold(published)
    assert mark(published, settings).is_stale
    assert read(MARKED) == [HELD]
    assert read(FIGURES) == figures
    with duckdb.connect(str(settings.published / "cem.duckdb"), read_only=True) as reader:
        assert reader.execute("select is_stale from marts._publication").fetchone() == (True,)
    after = {path.name: path.read_bytes() for path in (settings.published / "parquet").iterdir()}
    assert {name for name in parquet if parquet[name] != after[name]} == {"_publication.parquet"}
    marked = published.execute(f"select stale_reason from '{settings.published}/parquet/_publication.parquet'")
    assert marked.fetchone() == ("loads are held: crm.people",)
    assert after.keys() == parquet.keys() and not list(settings.published.rglob("*.tmp*"))


def test_a_reader_with_the_file_open_keeps_what_it_opened(published, settings):
    with duckdb.connect(str(settings.published / "cem.duckdb"), read_only=True) as reader:
        hold(published)
        mark(published, settings)
        assert reader.execute("select is_stale from marts._publication").fetchone() == (False,)


def test_nothing_is_written_when_readers_know_already(published, settings):
    hold(published)
    mark(published, settings)
    before = (settings.published / "marts.duckdb").stat()
    mark(published, settings)
    after = (settings.published / "marts.duckdb").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(("kind", "status"), [("release", "released"), ("discard", "discarded")])
def test_a_decision_leaves_the_mark_until_the_next_publication(published, settings, read, marts, kind, status):
    hold(published)
    mark(published, settings)
    published.execute("update ops.loads set status = ? where status = 'held'", [status])
    published.execute(
        "insert into ops.decisions values ('2024-05-02 09:00', ?, 'crm', 'people', '2', 'Ada', 'x', 9)",
        [kind],
    )
    mark(published, settings)
    [(version, is_stale, since, reason, held)] = read(MARKED)
    assert (version, is_stale, since, held) == (1, True, "2024-05-02 01:00:00", 0)
    assert reason.endswith("the next run publishes: crm.people")
    publish(published, settings, "run-2", marts)
    assert read(MARKED)[0][1:] == FRESH[1:]


def test_a_hold_that_went_without_a_trace_is_unmarked_by_a_publication_of_the_same(published, settings, read, marts):
    hold(published)
    mark(published, settings)
    published.execute("delete from ops.loads where load_id = '2' and source = 'crm'")
    assert not publish(published, settings, "run-2", marts).changed
    assert read(MARKED) == [FRESH]


def test_nothing_published_nothing_marked(warehouse, settings):
    assert mark(warehouse, settings) is None
    assert not settings.published.exists()


def test_without_parquet_and_without_shared_blocks_it_is_marked_too(
    warehouse, settings_with, read, marts, monkeypatch: pytest.MonkeyPatch
):
    settings = settings_with(parquet=False)
    warehouse.execute("delete from ops.loads where status = 'held'")
    publish(warehouse, settings, "run-1", marts)
    monkeypatch.setattr(files.os, "copy_file_range", refuse)
    hold(warehouse)
    mark(warehouse, settings)
    assert read(MARKED) == [HELD]
    assert read("select count(*) from cem.marts.dim_customer") == [(200,)]


@pytest.mark.parametrize("step", ["copy_file", "switch_file"])
def test_a_crash_while_marking_leaves_the_version_readers_have(published, settings, read, monkeypatch, step):
    hold(published)
    with monkeypatch.context() as patch:
        patch.setattr(staleness, step, refuse)
        with pytest.raises(OSError, match="no"):
            mark(published, settings)
    assert read(MARKED) == [FRESH]
    assert not list(Path(settings.published).glob("*.tmp*"))
    mark(published, settings)
    assert read(MARKED) == [HELD]


def refuse(*_: object) -> None:
    raise OSError("no")
