"""Facts and figures of real data recomputed in plain Python, row by row and cell by cell."""

from __future__ import annotations

from datetime import date
from typing import Any

import duckdb
import pytest
from fact_recomputation import differences
from kpi_recomputation import Rules, disagreements, facts_of, recompute
from profiles import profiles

from orchestration.settings import load_settings
from orchestration.sources.staging import setting_values


@pytest.mark.parametrize("profile", profiles("olist", "incidents", "sfo", "cdnow", "telco"))
def test_every_row_every_month_and_the_whole_agree_with_a_recomputation(run_profile: Any, profile: str) -> None:
    """Equal facts; in each cell the same parts, figure, interval, reliability and completeness, in both calendars."""
    run = run_profile(profile)
    settings = load_settings(run.config, run.home)
    with duckdb.connect(str(run.home / "warehouse.duckdb"), read_only=True) as con:
        (as_of,) = con.execute("select as_of_date from intermediate.int_as_of__resolved").fetchone()
        found = con.execute("from marts.mart_kpi where period_grain in ('month', 'all') and slice = 'all'")
        names = [column[0] for column in found.description]
        published = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    assert isinstance(as_of, date)
    rules = Rules(setting_values(settings), as_of, frozenset({"month", "all"}), frozenset({"all"}))
    expected = recompute(facts_of(run.home / "warehouse.duckdb"), rules)
    assert expected
    assert differences(run.home / "warehouse.duckdb", setting_values(settings))[:5] == []
    assert disagreements(published, expected)[:5] == []
