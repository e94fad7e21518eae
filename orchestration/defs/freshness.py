"""How old published figures may grow before someone should look."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

FRESHNESS = dg.FreshnessPolicy.time_window(
    # A daily warehouse is late when a night was missed, and stale when a second one was.
    warn_window=timedelta(hours=26),
    fail_window=timedelta(hours=50),
)
