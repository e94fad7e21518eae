"""What a run says at its end, in the words that are true of what readers have."""

from datetime import datetime

import pytest

from orchestration.publication import Published, Staleness
from orchestration.report import failure_line

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
