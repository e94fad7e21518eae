"""Suites as data: reading the files of `expectations/` without Great Expectations.

Belongs here: where suites are found, what a rule is called and says. Does not belong here: turning a
rule into SQL (`compiler.py`) or knowing any rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

from orchestration.guard.results import GuardError, Severity

SUITES = Path(__file__).resolve().parents[2] / "expectations"
"""The folder of the suites."""

SENT = "sent"
"""Name of the suite that every source table is audited against as sent."""

LOAD_SUITES = ("load", "load_column", "load_profile")
"""Names of the suites on a load as a whole; the ids of all their rules begin with `load`."""

_LONG_PREFIX = re.compile(r"^expect_(column_values_to_|column_pair_values_|compound_columns_to_|table_)?")


@dataclass(frozen=True)
class Rule:
    """One expectation of a suite, as people see it.

    Attributes:
        rule_id: `<suite>.<rule>`.
        expectation_type: Great Expectations' type.
        columns: Columns it is about; empty for rules about the table.
        severity: critical, warning or info.
        description: What must hold, completing "<column> …".
        tolerance: Share of rows that may break it (`1 - mostly`).
        detail: Column whose value is added to the reason, or None.
        sentence: What to tell about a row that breaks the rule, with its columns in braces; of rules about loads.
    """

    rule_id: str
    expectation_type: str
    columns: tuple[str, ...]
    severity: Severity
    description: str
    tolerance: float = 0.0
    detail: str | None = None
    sentence: str | None = None

    @property
    def column(self) -> str | None:
        """The columns as text, without those the guard adds; None for rules about the whole row or table."""
        return ", ".join(self._named()) or None

    @property
    def quarantines(self) -> bool:
        """Whether a row that breaks the rule goes to quarantine."""
        return self.severity == "critical" and self.tolerance == 0.0

    @property
    def complaint(self) -> str:
        """What is wrong with a row that breaks the rule: `order.amount: must not be negative`."""
        suite = self.rule_id.partition(".")[0]
        named = self._named()
        if self.expectation_type.startswith("expect_column_pair_"):
            named = named[:1]  # The description says what it is compared with.
        subject = f"{suite}.{', '.join(named)}" if named else suite
        return f"{subject}: {self.description}"

    def _named(self) -> list[str]:
        return [column for column in self.columns if not column.startswith("_")]


@dataclass(frozen=True)
class Suite:
    """One suite file.

    Attributes:
        name: Name of the suite, which begins the ids of its rules.
        path: The file.
        expectations: Expectation configurations, in Great Expectations' own format.
        rules: The same expectations as people see them, in the same order.
        key: Columns that name a row to people (`meta.key`); empty when the audited relation has its own key.
    """

    name: str
    path: Path
    expectations: tuple[dict[str, Any], ...]
    rules: tuple[Rule, ...]
    key: tuple[str, ...] = ()


def entity_suite(entity: str) -> Suite:
    """The suite of a contract entity."""
    return _read(SUITES / f"{entity}.json")


def sent_suite() -> Suite:
    """The suite that every source table is audited against as sent."""
    return _read(SUITES / f"{SENT}.json")


def record_suite() -> Suite:
    """The suite on mapped records beside the records that are promoted already."""
    return _read(SUITES / "record.json")


def load_suites() -> list[Suite]:
    """The suites on a load as a whole: itself, its columns as sent, its mapped columns."""
    return [_read(SUITES / f"{name}.json") for name in LOAD_SUITES]


def mart_suites() -> list[Suite]:
    """The suites of the marts, by name."""
    return [_read(path) for path in sorted((SUITES / "marts").glob("*.json"))]


def custom_suite(config_folder: Path, source: str, table: str) -> Suite | None:
    """The user's own suite of a source table, if there is one.

    Args:
        config_folder: Folder of cem.yml; its `expectations/custom` wins over the project's.
        source: Source name.
        table: Table of the source.
    """
    for folder in (config_folder / "expectations", SUITES):
        path = folder / "custom" / f"{source}__{table}.json"
        if path.exists():
            return _read(path)
    return None


def stray_custom_suites(config_folder: Path, tables: Iterable[tuple[str, str]]) -> list[Path]:
    """Suites of the user beside cem.yml that belong to no table, so that nothing is judged by them.

    Args:
        config_folder: Folder of cem.yml.
        tables: Source and name of each table there is.
    """
    known = {f"{source}__{table}" for source, table in tables}
    suites = sorted((config_folder / "expectations" / "custom").glob("*.json"))
    return [path for path in suites if path.stem not in known]


def _read(path: Path) -> Suite:
    return _parse(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _parse(path: Path, _modified: int) -> Suite:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        name, expectations = document["name"], document["expectations"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise GuardError(
            f"{path}: not a suite ({error!r}); it needs `name` and `expectations`, see expectations/README.md"
        ) from error
    rules = tuple(_rule(path, name, index, given) for index, given in enumerate(expectations))
    twice = {rule.rule_id for rule in rules if [other.rule_id for other in rules].count(rule.rule_id) > 1}
    if twice:
        raise GuardError(f"{path}: two rules share the name {sorted(twice)}; give each its own `meta.rule`")
    key = tuple((document.get("meta") or {}).get("key", ()))
    return Suite(name=name, path=path, expectations=tuple(expectations), rules=rules, key=key)


def _rule(path: Path, suite: str, index: int, given: dict[str, Any]) -> Rule:
    try:
        kind, kwargs = given["type"], given.get("kwargs", {})
    except (KeyError, TypeError, AttributeError) as error:
        raise GuardError(f"{path}: expectation {index} has no `type`") from error
    severity = given.get("severity", "critical")
    if severity not in get_args(Severity):
        raise GuardError(
            f"{path}: expectation {index} ({kind}): severity {severity!r}; allowed: {', '.join(get_args(Severity))}"
        )
    meta = given.get("meta") or {}
    detail = meta.get("detail")
    if detail is not None and not detail.startswith("_"):
        # A reason ends in reports; only bookkeeping columns are sure to hold no personal data.
        raise GuardError(f"{path}: expectation {index} ({kind}): meta.detail must name a `_` column")
    columns = _columns(kwargs)
    short = _LONG_PREFIX.sub("", kind)
    name = meta.get("rule") or "_".join([*columns, short])
    return Rule(
        rule_id=f"{suite}.{name}",
        expectation_type=kind,
        columns=columns,
        severity=cast(Severity, severity),
        description=given.get("description") or short.replace("_", " "),
        tolerance=round(1.0 - float(kwargs.get("mostly", 1.0)), 12),
        detail=detail,
        sentence=meta.get("sentence"),
    )


def _columns(kwargs: dict[str, Any]) -> tuple[str, ...]:
    if "column_list" in kwargs:
        return tuple(kwargs["column_list"])
    return tuple(str(kwargs[name]) for name in ("column", "column_A", "column_B") if name in kwargs)
