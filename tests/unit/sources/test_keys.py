"""Cursors of the future count as now, and now is told by the slower of two clocks."""

from __future__ import annotations

from datetime import datetime

import duckdb
import pytest

from orchestration.settings import Table
from orchestration.sources.keys import clamp_cursors, cursor_state

NOON = datetime(2024, 6, 2, 12)


@pytest.mark.parametrize(
    ("zone", "now"),
    [("UTC", "2024-06-02T12"), ("America/New_York", "2024-06-02T08"), ("Asia/Tokyo", "2024-06-02T12")],
)
def test_the_future_counts_as_the_time_of_the_slower_clock(zone: str, now: str) -> None:
    table = Table(source="shop", name="things", cursor="changed", time_zone=zone)
    with duckdb.connect() as con:
        con.execute("create table sent (_cursor varchar)")
        con.execute("insert into sent values ('2099-01-01T00:00:00.000000'), ('2024-06-01T00:00:00.000000'), ('x')")

        assert clamp_cursors(con, table, "sent", NOON) == 1
        cursors = [row[0] for row in con.execute("select _cursor from sent order by all").fetchall()]

    assert cursors == ["2024-06-01T00:00:00.000000", f"{now}:00:00.000000", "x"]
    assert cursor_state(table, "2099-01-01T00:00:00.000000", NOON) == f"{now}:00:00.000000"
    assert cursor_state(table, "2024-06-01T00:00:00.000000", NOON) == "2024-06-01T00:00:00.000000"
