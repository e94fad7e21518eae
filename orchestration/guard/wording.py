"""What a broken rule means, in one sentence: what happened, to which rows, and what to do.

Belongs here: the sentences that checks, pages and notifications share. Does not belong here: what a rule demands
(`expectations/`), and layouts.
"""

from __future__ import annotations

from orchestration.guard.results import RuleResult, Verdict

LOAD_SUITES = frozenset({"load", "load_column", "load_profile"})
"""Suites whose rules are about a load as a whole."""


def is_about_the_load(rule: RuleResult) -> bool:
    """Whether a rule judges a load as a whole, and not its rows."""
    return rule.rule_id.partition(".")[0] in LOAD_SUITES


def consequence(rule: RuleResult) -> str:
    """What follows when the rule is broken."""
    if rule.severity != "critical":
        return "counted only"
    if is_about_the_load(rule):
        return "the load is held"
    return "the load is held when too many rows break it" if rule.tolerance else "rows that break it are quarantined"


def rows_text(rule: RuleResult) -> str:
    """Which rows broke a rule: `12 of 4,000 rows (0.3 %), for example o2, o7`."""
    share = f" ({share_text(rule.failed, rule.checked)})" if rule.checked else ""
    samples = f", for example {', '.join(rule.sample_keys)}" if rule.sample_keys else ""
    return f"{rule.failed:,} of {rule.checked:,} rows{share}{samples}"


def share_text(failed: int, checked: int) -> str:
    """A share in per cent."""
    percent = 100 * failed / checked if checked else 0.0
    return f"{percent:.3g} %" if percent >= 10 else f"{percent:.2g} %"


def decisions_text(source: str, table: str, load_id: str) -> str:
    """The commands by which people decide on a held load."""
    place = f"{load_id} {source} {table} --by NAME --reason WHY"
    return (
        "mend the source and run again, or decide: "
        f"`cem load release {place}` to let its good rows through, `cem load discard {place}` to drop it"
    )


def load_finding(source: str, table: str, load_id: str, verdict: Verdict, rule: RuleResult) -> str:
    """What a rule found in a load of a source table, and what to do about it."""
    if not rule.failed:
        return "kept" if is_about_the_load(rule) else f"all {rule.checked:,} rows it applies to keep it"
    if is_about_the_load(rule):
        what = f"load {load_id} of {source}.{table} breaks it: {rule.found or rule.description}"
        is_held = verdict.status == "held" and rule.severity == "critical"
        return f"{what}; {decisions_text(source, table, load_id)}" if is_held else what
    what = f"{rows_text(rule)} break it"
    if verdict.status == "held":
        return f"{what}; load {load_id} is held, nothing of it is promoted: {decisions_text(source, table, load_id)}"
    if rule.severity != "critical" or rule.tolerance:
        return f"{what}; they passed and are only counted: mend them in the source, or change the rule if it is wrong"
    return (
        f"{what}; they are in quarantine: mend them in the source, or see `cem quarantine list {source} {table}` and, "
        f"once rule or row is mended, `cem quarantine replay {source} {table} --rule {rule.rule_id} --by NAME`"
    )


def mart_finding(rule: RuleResult) -> str:
    """What a rule found in a mart, and what to do about it."""
    if not rule.failed:
        return f"all {rule.checked:,} rows keep it"
    mart = rule.rule_id.partition(".")[0]
    what = f"{rows_text(rule)} of marts.{mart} break it"
    if rule.severity != "critical":
        return f"{what}; it is published all the same: look at what the mart is built from, or change the rule"
    return (
        f"{what}; nothing is published and the last version stays up: mend the model or the rows it is built from, "
        f"see the result with `cem dbt build -s {mart}`, and run again"
    )


def held_text(source: str, table: str, load_id: str, reason: str) -> str:
    """Why a load is held and what to do, in one sentence."""
    return f"load {load_id} of {source}.{table} is held: {reason}; {decisions_text(source, table, load_id)}"
