"""What the guard hands back: verdicts, results of rules, held loads, and its one error.

Belongs here: plain records that others (Dagster assets, the command line, tests) read. Does not belong
here: anything that computes them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Severity = Literal["critical", "warning", "info"]
Status = Literal["promoted", "held", "unchanged"]
DecisionKind = Literal["release", "discard", "replay"]

SAMPLE_KEYS = 5
"""Keys shown for a broken rule: enough to find the rows, few enough to read."""


class GuardError(RuntimeError):
    """The guard cannot do what it was asked; the text says why and what to do, without values of rows."""


@dataclass(frozen=True)
class RuleResult:
    """How one rule fared on one load or mart.

    Attributes:
        rule_id: `<suite>.<rule>`, unique within the table.
        expectation_type: Great Expectations' type, or `load` for rules about the load as a whole.
        column: Column or columns the rule is about, None for rules about the table.
        severity: critical, warning or info.
        description: What must hold, completing "<column> …".
        failed: Rows that break it (1 for a broken rule about the table).
        checked: Rows it applied to.
        sample_keys: Some of the failing rows: their key when it holds no personal data, else `row <n>`.
        tolerance: Share of the rows that may break it.
        found: What a broken rule about the load found, in words.
    """

    rule_id: str
    expectation_type: str
    column: str | None
    severity: Severity
    description: str
    failed: int = 0
    checked: int = 0
    sample_keys: list[str] = field(default_factory=list)
    tolerance: float = 0.0
    found: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of a load of one table.

    `extracted = promoted + quarantined + deduplicated` holds for promoted loads; of a held load nothing is
    promoted or quarantined yet.

    Attributes:
        status: promoted, held or unchanged (the load brought nothing new).
        extracted: Rows read.
        promoted: Rows that are now in the raw table.
        quarantined: Rows that went to quarantine.
        deduplicated: Rows left out because they were known, repeated or older than what is known.
        reason: Why it is held; warnings about the load otherwise; None when there is nothing to say.
        rules: Results of all rules; empty when nothing was audited.
    """

    status: Status
    extracted: int
    promoted: int
    quarantined: int
    deduplicated: int
    reason: str | None
    rules: list[RuleResult]


@dataclass(frozen=True)
class HeldLoad:
    """A load that waits for a decision and blocks everything downstream.

    Attributes:
        load_id: The load.
        source: Source name.
        table_name: Table of the source.
        reason: Why it is held, and what to do.
        started_at: When the load was audited, UTC.
    """

    load_id: str
    source: str
    table_name: str
    reason: str
    started_at: datetime


@dataclass(frozen=True)
class Decision:
    """What a person decided about a load; one row of `ops.decisions`.

    Attributes:
        kind: release, discard or replay.
        by: Who decided.
        reason: Why.
    """

    kind: DecisionKind
    by: str
    reason: str

    def __post_init__(self) -> None:
        """Refuse a decision without a name or a reason: nobody could answer for it later."""
        if not self.by.strip() or not self.reason.strip():
            raise GuardError(f"a {self.kind} needs the name of who decides and a reason, for the record")


@dataclass(frozen=True)
class QuarantinedRow:
    """A row that waits in quarantine.

    Attributes:
        load_id: The load that brought it.
        source: Source name.
        table_name: Table of the source.
        key: Key of the record (may be personal data where the key is).
        key_looks_personal: Whether the key has the look of a mail or a phone number.
        reasons: Every rule it breaks.
        quarantined_at: When, UTC.
        row: The row as it came, every value as text, when asked for.
    """

    load_id: str
    source: str
    table_name: str
    key: str
    key_looks_personal: bool
    reasons: list[str]
    quarantined_at: datetime
    row: dict[str, str | None] | None = None


@dataclass(frozen=True)
class QuarantineKind:
    """The rows of a table that wait in quarantine for one reason.

    Attributes:
        source: Source name.
        table_name: Table of the source.
        reason: The rule they broke, in words and by id.
        count: Number of rows.
        sample_keys: Some of their keys, the newest first; none where keys may be personal.
    """

    source: str
    table_name: str
    reason: str
    count: int
    sample_keys: tuple[str, ...]


def check_name(rule_id: str) -> str:
    """The name of the asset check of a rule: letters, digits and underscores only.

    A rule of your own may be named after a column in any script; what such a name loses is
    replaced by a short hash, so that two rules never share a check.
    """
    name = re.sub(r"\W", "_", rule_id, flags=re.ASCII)
    if rule_id.isascii():
        return name
    return f"{name}_{hashlib.sha256(rule_id.encode()).hexdigest()[:8]}"
