"""From a suite to SQL, once: the compiled form is cached by what it depends on.

Belongs here: the compiled form, its cache and its hash. Does not belong here: Great Expectations itself
(`gx.py`, imported only when something changed) and running the SQL (`audit.py`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestration.guard.suites import Rule, Suite
from orchestration.whole_files import write_whole

logger = logging.getLogger(__name__)

FORMAT = 4
"""Raise it when the compiled form changes, so that caches written before are not read."""

UNIQUE_TYPES = frozenset({"expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique"})
"""Types that look at other rows too: found by one hash aggregation instead of GX's window over the batch."""


@dataclass(frozen=True)
class CompiledRule:
    """A rule and its SQL.

    Attributes:
        rule: The rule as people see it.
        failing: SQL that is true for rows that break it; None for unique keys and rules about the batch.
        scope: SQL that is true for the rows its row condition asks for; None when it has none.
        given: SQL that is true for the rows that have the values it needs; None when it needs none.
        broken: SQL over all rows that is true when the batch as a whole breaks it; None for rules about rows.
    """

    rule: Rule
    failing: str | None
    scope: str | None
    given: str | None
    broken: str | None = None

    @property
    def is_unique(self) -> bool:
        """Whether it asks for a unique key."""
        return self.rule.expectation_type in UNIQUE_TYPES

    @property
    def is_about_batch(self) -> bool:
        """Whether it is about the batch as a whole: a number of rows, a mean, a set of distinct values."""
        return self.broken is not None


@dataclass(frozen=True)
class CompiledSuite:
    """A suite and its SQL.

    Attributes:
        suite: The suite.
        rules: Its rules, in its order.
        cache: The file the compiled form is kept in.
        needs_proof: Whether the suite changed and no batch has yet shown that its counts equal GX's own.
    """

    suite: Suite
    rules: tuple[CompiledRule, ...]
    cache: Path
    needs_proof: bool

    def proven(self) -> None:
        """Remember that its counts equalled GX's own on a batch."""
        self.cache.with_suffix(".proven").touch()


def compile_suite(folder: Path, suite: Suite, columns: Mapping[str, str], *, trusted: bool) -> CompiledSuite:
    """A suite's SQL for a relation, from the cache or from Great Expectations.

    Args:
        folder: Where compiled suites are kept (`$CEM_HOME/guard`).
        suite: The suite.
        columns: Types by name of the columns of the relation.
        trusted: Whether the suite ships with the project, whose tests have shown that its counts equal
            GX's. It needs no proof on data unless an earlier version of it was compiled here: then somebody
            changed it.

    Raises:
        GuardError: The suite cannot be compiled.
    """
    used = {column for rule in suite.rules for column in rule.columns} | condition_columns(suite)
    relevant = {name: columns[name] for name in used if name in columns}
    content = json.dumps(
        [FORMAT, version("great-expectations"), suite.name, suite.expectations, relevant], sort_keys=True
    )
    digest = hashlib.sha256(content.encode()).hexdigest()[:24]
    stem = _stem(suite)
    cache = folder / f"{stem}.{digest}.json"
    conditions = _cached(cache)
    if conditions is None:
        doubtful = not trusted or any(path != cache for path in folder.glob(f"{stem}.*.json"))
        conditions = {"rules": _compile(suite, columns), "doubtful": doubtful}
        write_whole(cache, json.dumps(conditions, indent=1, ensure_ascii=False))
    return CompiledSuite(
        suite=suite,
        rules=tuple(_compiled(rule, given) for rule, given in zip(suite.rules, conditions["rules"], strict=True)),
        cache=cache,
        needs_proof=conditions["doubtful"] and not cache.with_suffix(".proven").exists(),
    )


def last_proven(folder: Path, suite: Suite) -> datetime | None:
    """When the counts of a suite last equalled Great Expectations' own on a batch, UTC.

    Args:
        folder: Where compiled suites are kept.
        suite: The suite.

    Returns:
        None when no batch was needed for it: the suite is as the project ships it.
    """
    moments = [path.stat().st_mtime for path in folder.glob(f"{_stem(suite)}.*.proven")]
    return datetime.fromtimestamp(max(moments), UTC).replace(tzinfo=None) if moments else None


def _stem(suite: Suite) -> str:
    """The beginning of the names of a suite's files."""
    kind = "" if suite.path.parent.name not in ("custom", "marts") else f"{suite.path.parent.name}."
    return f"{kind}{suite.path.stem}"


def condition_columns(suite: Suite) -> set[str]:
    """Columns named in row conditions, wherever they are in them."""
    found: set[str] = set()

    def walk(node: object) -> None:
        if isinstance(node, dict):
            column = node.get("column")
            if isinstance(column, dict) and "name" in column:
                found.add(str(column["name"]))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    for expectation in suite.expectations:
        walk(expectation.get("kwargs", {}).get("row_condition"))
    return found


def _cached(cache: Path) -> dict[str, Any] | None:
    """What is in a cache; None where there is none, or a damaged one."""
    if not cache.exists():
        return None
    try:
        conditions: dict[str, Any] = json.loads(cache.read_text(encoding="utf-8"))
    except ValueError:
        logger.warning("%s is damaged; it is made anew", cache)
        return None
    return conditions


def _compile(suite: Suite, columns: Mapping[str, str]) -> list[dict[str, object]]:
    from orchestration.guard import gx

    return [asdict(condition) for condition in gx.conditions(suite, columns, UNIQUE_TYPES)]


def _compiled(rule: Rule, given: dict[str, object]) -> CompiledRule:
    return CompiledRule(rule=rule, **given)  # type: ignore[arg-type]
