"""What a run says at its end, in the words that are true of what readers have."""

from datetime import datetime

import duckdb
import pytest

from orchestration.publication import Published, Staleness
from orchestration.report import failure_line, summary
from orchestration.settings import Kpis, Settings

FRESH = Staleness(is_stale=False, since=None, reason=None, held_loads=0)
HELD = Staleness(True, datetime(2024, 5, 2, 1), "loads are held: crm.people", 1)


def version(standing):
    return Published(7, "the last good run", datetime(2024, 5, 1, 3), 10, "hash", standing)


@pytest.mark.parametrize(
    ("published", "run", "told"),
    [
        (None, "this run", "Nothing is published."),
        (version(FRESH), "this run", "version 7 of 2024-05-01 03:00 UTC) stay up; they do not follow what was loaded"),
        (version(HELD), "this run", "STALE since 2024-05-02 01:00 UTC: loads are held: crm.people."),
        (version(FRESH), "the last good run", "What this run published (version 7"),
    ],
)
def test_after_a_failed_run_nobody_is_told_that_the_marts_follow_the_sources(published, run, told):
    line = failure_line(published, run)
    assert told in line
    assert "marts follow the sources" not in line


@pytest.fixture
def settings(home):
    """A publication of one month, in a folder whose file system has no second name for it."""
    (home / "published").mkdir()
    with duckdb.connect() as con:
        con.execute(f"attach '{home / 'published' / 'marts.duckdb'}' as cem")
        con.execute("""
            use cem;
            create schema marts;
            create schema ops;
            create table ops.load_summary as
                select 'crm' as source, 9 as row_count, 9 as promoted, 0 as quarantined, 0 as quarantine_open;
            create table marts.dim_customer as select 2 as record_count;
            create table marts.dim_period as
                select 'gregorian' as calendar, true as is_complete, 'month' as period_grain,
                    date '2024-05-01' as period_start, '2024-05' as label;
            create table marts.mart_kpi as
                select metric, 'month' as period_grain, date '2024-05-01' as period_start, value,
                    value - 0.01 as ci_low, value + 0.01 as ci_high, 40 as n, 'ok' as reliability,
                    true as is_complete, 'gregorian' as calendar, 'all' as slice
                from (values ('fcr_7d', 0.7), ('fcr_14d', 0.6), ('fcr_30d', 0.5)) as figures (metric, value);
            create table marts._publication as
                select 3 as version, false as is_stale, null::timestamp as stale_since, null as stale_reason,
                    0 as held_loads;
        """)
    return Settings(config_path=home / "cem.yml", home=home, sources=())


def test_a_run_is_summed_up_where_the_file_has_no_second_name(settings):
    text = summary(settings)
    assert "2 person records → 1 customers" in text
    assert "Version 3. The published marts follow the sources." in text
    assert "marts.duckdb" in text and "cem.duckdb" not in text


@pytest.mark.parametrize(("days", "value"), [(7, "70.0 %"), (14, "60.0 %"), (30, "50.0 %")])
def test_the_summary_shows_first_contact_resolution_in_the_window_of_the_settings(settings, days, value):
    text = summary(settings.model_copy(update={"kpis": Kpis(fcr_headline_days=days)}))
    [line] = [line for line in text.splitlines() if line.startswith("First contact resolution")]
    assert line.startswith(f"First contact resolution, {days} d ") and value in line
    assert line.rstrip().endswith("40")
