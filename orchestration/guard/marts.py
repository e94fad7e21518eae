"""The second boundary: the marts, before they are published.

Belongs here: judging the marts as built. Does not belong here: publishing them, or rules
(`expectations/marts/`).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import duckdb

from orchestration.builds import find
from orchestration.guard.audit import BROKEN, audit
from orchestration.guard.batches import mart_batches
from orchestration.guard.results import GuardError, RuleResult
from orchestration.guard.suites import mart_suites

if TYPE_CHECKING:
    from orchestration.settings import Settings


def guard_marts(con: duckdb.DuckDBPyConnection, settings: Settings) -> list[RuleResult]:
    """Judge every mart that has a suite. A critical rule with failures means: do not publish.

    A rule with `mostly` whose failures are tolerated is handed back as a warning.

    Raises:
        GuardError: A mart that has a suite is missing.
    """
    suites = mart_suites()
    built = {
        name
        for (name,) in con.execute(
            "select table_name from information_schema.tables "
            "where table_catalog = current_database() and table_schema = 'marts'"
        ).fetchall()
    }
    missing = [suite.name for suite in suites if suite.name not in built]
    if missing:
        raise GuardError(f"not built: {', '.join(f'marts.{name}' for name in missing)}; run dbt build first")

    def judge() -> list[dict[str, Any]]:
        with mart_batches(con, settings, suites) as batches:
            results = audit(con, batches)
            rules = [rule.rule for batch in batches for rule in batch.rules]
        con.execute(f"drop table if exists {BROKEN}")
        return [
            asdict(
                replace(result, severity="warning") if 0 < result.failed <= rule.tolerance * result.checked else result
            )
            for result, rule in zip(results, rules, strict=True)
        ]

    rules = [suite.expectations for suite in suites]
    return [RuleResult(**result) for result in find(con, "audit of the marts", rules, judge)]
