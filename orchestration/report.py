"""What a run has to say at its end: loads, customers, the ten KPIs. Read from the published marts only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from orchestration.publication import Published, Staleness, open_published
from orchestration.settings import Settings

FCR = "first contact resolution"
"""Stands for the metric of the window that `kpis.fcr_headline_days` names."""

HEADLINES = {
    "nps": "NPS",
    "csat": "CSAT",
    "ces": "CES (1-7)",
    "retention_rate": "Retention rate",
    "churn_rate": "Churn rate",
    "clv_to_date": "CLV to date",
    FCR: "First contact resolution, {days} d",
    "first_response_minutes": "First response, minutes",
    "complaint_rate": "Complaints per 1,000 active",
    "net_sentiment": "Net sentiment",
}
"""The ten KPIs of the summary, one headline metric each."""

SHARES = {"csat", "retention_rate", "churn_rate", FCR}
"""Metrics that read better as a percentage."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned text; the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in [header, ["-" * width for width in widths], *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)


def summary(settings: Settings) -> str:
    """The end-of-run summary as text."""
    with open_published(settings.published) as con:
        parts = [_loads(con), _customers(con), _kpis(con, settings), _standing(con), _next_steps(settings.published)]
        return "\n\n".join(parts)


def staleness_line(standing: Staleness) -> str:
    """Whether the published figures follow the sources, in one line."""
    if not standing.is_stale:
        return "The published marts follow the sources."
    return f"The published marts are STALE since {standing.since:%Y-%m-%d %H:%M} UTC: {standing.reason}."


def failure_line(published: Published | None, run_id: str) -> str:
    """What readers have after a failed run, in one line.

    Args:
        published: What is published now, if anything.
        run_id: The run that failed.
    """
    if published is None:
        return "Nothing is published."
    if published.staleness.is_stale:
        return staleness_line(published.staleness)
    which = f"version {published.version} of {published.published_at:%Y-%m-%d %H:%M} UTC"
    if published.run_id == run_id:
        return f"What this run published ({which}) is whole; what failed came after it."
    return f"The published marts ({which}) stay up; they do not follow what was loaded since."


def _standing(con: duckdb.DuckDBPyConnection) -> str:
    row = con.execute(
        "select version, is_stale, stale_since, stale_reason, held_loads from marts._publication"
    ).fetchone()
    version, *standing = row or (0, False, None, None, 0)
    return f"Version {version}. {staleness_line(Staleness(*standing))}"


def _loads(con: duckdb.DuckDBPyConnection) -> str:
    rows = con.execute(
        """
        select source, sum(row_count), sum(promoted), sum(quarantined), sum(quarantine_open)
        from ops.load_summary
        group by source
        order by source
        """
    ).fetchall()
    return table(
        ["source", "rows", "last load", "quarantined then", "open quarantine"],
        [[row[0], *(f"{value or 0:,}" for value in row[1:])] for row in rows],
    )


def _customers(con: duckdb.DuckDBPyConnection) -> str:
    row = con.execute("select coalesce(sum(record_count), 0), count(*) from marts.dim_customer").fetchone()
    records, customers = row if row else (0, 0)
    return f"{records:,} person records → {customers:,} customers"


def _kpis(con: duckdb.DuckDBPyConnection, settings: Settings) -> str:
    rows = con.execute(
        """
        with periods as (
            select period_grain, period_start, label
            from marts.dim_period
            where calendar = 'gregorian' and is_complete and period_grain in ('month', 'all')
        ),

        -- The last complete month; history too short for one is summed up as a whole.
        shown as (
            from periods order by period_grain = 'month' desc, period_start desc limit 1
        )

        select kpi.metric, shown.label, kpi.value, kpi.ci_low, kpi.ci_high, kpi.n, kpi.reliability, kpi.is_complete
        from marts.mart_kpi as kpi
        inner join shown using (period_grain, period_start)
        where kpi.calendar = 'gregorian' and kpi.slice = 'all'
        """
    ).fetchall()
    found: dict[str, tuple[object, ...] | None] = {row[0]: row for row in rows}
    period = rows[0][1] if rows else "no complete period yet"
    days = settings.kpis.fcr_headline_days
    found[FCR] = found.get(f"fcr_{days}d")
    lines = [_kpi_line(metric, title.format(days=days), found.get(metric)) for metric, title in HEADLINES.items()]
    return table([f"KPI, {period} ({settings.reporting.currency})", "value", "95 % interval", "n", ""], lines)


def _kpi_line(metric: str, title: str, row: tuple[object, ...] | None) -> list[str]:
    if row is None:
        return [title, "–", "", "0", "no data"]
    _, _, value, low, high, n, reliability, is_settled = row
    if value is None:
        return [title, "–", "", f"{n:,}", str(reliability)]
    shown = [
        "–" if number is None else (f"{100 * float(str(number)):.1f} %" if metric in SHARES else f"{number:,.2f}")
        for number in (value, low, high)
    ]
    remarks = ["" if reliability == "ok" else str(reliability), "" if is_settled else "so far"]
    return [title, shown[0], f"{shown[1]} … {shown[2]}", f"{n:,}", ", ".join(filter(None, remarks))]


def _next_steps(folder: Path) -> str:
    alias = folder / "cem.duckdb"
    second = f"  {alias}    the same file, by the name DuckDB clients prefer (see the README)"
    return "\n".join(
        [
            "What next",
            "  make ui    the Dagster UI: assets, checks, lineage, schedule",
            f"  {folder / 'marts.duckdb'}    the published marts, for any BI tool",
            *([second] if alias.exists() else []),
            '  .venv/bin/cem query "select metric, period_start, value, ci_low, ci_high, n from marts.mart_kpi '
            "where period_grain = 'quarter' and calendar = 'gregorian' and slice = 'all' order by all\"",
        ]
    )
