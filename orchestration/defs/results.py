"""What steps tell Dagster of their work."""

import dagster as dg

from orchestration import guard

StepResult = dg.MaterializeResult[None] | dg.AssetCheckResult | dg.AssetCheckEvaluation
"""A step yields one of these for each asset and each check.

A check that blocks is an `AssetCheckResult`, an output that other steps wait for. The others, some two thousand a run,
are `AssetCheckEvaluation`: one event instead of two, and nothing is looked for among all checks of the step. They name
no materialisation; Dagster finds that of the same run.
"""


def keep_quiet_about_checks(context: dg.AssetExecutionContext) -> None:
    """Keep Dagster from remarking at the end of a step that checks are not among its outputs."""
    context.log.addFilter(lambda record: "did not yield or return expected outputs" not in record.getMessage())


def rule_metadata(rule: guard.RuleResult) -> dict[str, dg.MetadataValue]:
    """Counts of a rule, and some of the rows that broke it, by keys without personal data."""
    return {
        "failed": dg.MetadataValue.int(rule.failed),
        "checked": dg.MetadataValue.int(rule.checked),
        "share": dg.MetadataValue.float(rule.failed / rule.checked if rule.checked else 0.0),
        "severity": dg.MetadataValue.text(rule.severity),
        **({"sample_keys": dg.MetadataValue.json(rule.sample_keys)} if rule.sample_keys else {}),
    }
