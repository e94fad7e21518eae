"""GUARD: from suites to verdicts. Every load is audited as a candidate, and promoted or held.

A load lands in `candidate_<source>` and is audited against the Great Expectations suites in
`expectations/`. Then one transaction promotes it (good rows to `raw_<source>`, bad rows with all their
reasons to `quarantine.rows`), or it is held (nothing moves, everything downstream stops). The same guard
stands before publication of the marts.

    suites.py → compiler.py (gx.py) → batches.py → audit.py → verdict.py → promotion.py
    rules as data   SQL, cached       what is audited   one scan   what follows   one transaction

What people see of it are sentences (`wording.py`), in checks and on pages (`pages.py`); what they decide is in
`operators.py` and `replay.py`, each decision booked in `ops.decisions`.

Belongs here: everything between a candidate and a raw table, and what operators do about it. Does not belong
here: rules (`expectations/`), reading sources (`sources/`), anything of Dagster.
"""

from orchestration.guard.batches import mart_rules, prepare
from orchestration.guard.marts import guard_marts
from orchestration.guard.operators import (
    describe_loads,
    describe_quarantine,
    discard,
    held_loads,
    is_blocked,
    list_quarantine,
    release,
)
from orchestration.guard.replay import replay
from orchestration.guard.results import GuardError, HeldLoad, QuarantinedRow, RuleResult, Verdict, check_name
from orchestration.guard.verdict import CountPair, guard_table, rules_of, validate_with_gx

__all__ = [
    "CountPair",
    "GuardError",
    "HeldLoad",
    "QuarantinedRow",
    "RuleResult",
    "Verdict",
    "check_name",
    "describe_loads",
    "describe_quarantine",
    "discard",
    "guard_marts",
    "guard_table",
    "held_loads",
    "is_blocked",
    "list_quarantine",
    "mart_rules",
    "prepare",
    "release",
    "replay",
    "rules_of",
    "validate_with_gx",
]
