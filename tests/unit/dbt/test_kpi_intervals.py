"""The interval macros of `macros/intervals.sql` against exact quantiles and published examples."""

from __future__ import annotations

import math
import re
import statistics
from pathlib import Path

import duckdb
import jinja2
import pytest
from scipy import stats

PROJECT = Path(__file__).resolve().parents[3] / "dbt_project"
MACROS = PROJECT / "macros" / "intervals.sql"
Z = float(stats.norm.ppf(0.975))


def evaluate(expression: str) -> float | None:
    """The value of one SQL expression written with the macros."""
    text = jinja2.Environment(autoescape=False).from_string(MACROS.read_text() + expression).render()
    row = duckdb.sql(f"select cast({text} as double)").fetchone()
    assert row is not None
    return row[0]


def bounds(macro: str, *arguments: object) -> tuple[float, float]:
    """Lower and upper bound of a macro."""
    given = ", ".join(f"'{argument}'" for argument in arguments)
    low, high = (evaluate(f"{{{{ {macro}('{side}', {given}) }}}}") for side in "-+")
    assert low is not None
    assert high is not None
    return low, high


def test_t_quantile_is_exact_to_four_digits() -> None:
    """Every degree of freedom up to 1,000, and the normal limit."""
    sql = jinja2.Environment(autoescape=False).from_string(MACROS.read_text() + "{{ t_quantile('df') }}").render()
    rows = duckdb.sql(f"select df, {sql} from range(1, 1001) as r(df)").fetchall()
    worst = max(abs(value - float(stats.t.ppf(0.975, df))) for df, value in rows)
    assert worst < 1e-5
    assert evaluate("{{ t_quantile('1000000') }}") == pytest.approx(Z, abs=1e-5)
    assert evaluate("{{ t_quantile('0') }}") is None


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1, 29), (263, 500), (18_690, 70_430)])
def test_wilson_solves_the_score_equation(successes: int, n: int) -> None:
    """At a bound, the observed share is exactly z standard errors away."""
    p = successes / n
    low, high = bounds("wilson_bound", f"{successes} / {n}", n)
    for bound in {low, high} - {0.0, 1.0}:
        assert abs(p - bound) == pytest.approx(Z * math.sqrt(bound * (1 - bound) / n), abs=1e-9)
    assert 0 <= low <= p <= high <= 1
    library = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((library.low, library.high), abs=1e-9)


def test_adjusted_wald_gives_the_airport_interval() -> None:
    """The published interval of the 2017 San Francisco airport survey: 1,436 promoters, 342 detractors of 2,746."""
    low, high = bounds("adjusted_wald_bound", 1436, 342, 2746)
    assert (round(100 * low, 2), round(100 * high, 2)) == (37.18, 42.41)


@pytest.mark.parametrize(
    ("promoters", "detractors", "n"), [(10, 0, 10), (0, 10, 10), (0, 0, 10), (5, 5, 10), (1, 0, 3)]
)
def test_adjusted_wald_holds_the_estimate(promoters: int, detractors: int, n: int) -> None:
    """Even where all answers agree, and never beyond the scale."""
    low, high = bounds("adjusted_wald_bound", promoters, detractors, n)
    assert -1 <= low <= (promoters - detractors) / n <= high <= 1
    assert high - low > 0.1


def test_t_interval_of_a_sample() -> None:
    """The textbook interval, from sums alone; one value has none."""
    values = [12.5, 3.0, 7.25, 88.0, 41.0, 5.5, 19.0, 27.75, 31.0, 2.5, 64.0]
    expected = stats.t.interval(
        0.95, len(values) - 1, statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    )
    squares = sum(value * value for value in values)
    assert bounds("t_bound", len(values), sum(values), squares) == pytest.approx(expected, abs=1e-4)
    assert evaluate("{{ t_bound('-', '1', '5.0', '25.0') }}") is None
    assert bounds("t_bound", 10, 50, 250) == (5.0, 5.0)


@pytest.mark.parametrize("events", [1, 2, 5, 10, 40, 400])
def test_byar_is_near_the_exact_poisson_interval(events: int) -> None:
    """Within two percent of the exact bounds from five events on, within 0.06 events below."""
    low, high = bounds("byar_bound", events)
    exact = stats.chi2.ppf(0.025, 2 * events) / 2, stats.chi2.ppf(0.975, 2 * events + 2) / 2
    assert (low, high) == pytest.approx(exact, rel=0.02, abs=0.06)
    assert low < events < high


def test_no_event_has_an_upper_bound() -> None:
    """Nothing seen is not nothing possible."""
    low, high = bounds("byar_bound", 0)
    assert low == 0
    assert high == pytest.approx(3.69, abs=0.1)


def test_every_metric_declares_a_known_interval() -> None:
    """The kinds that `interval_bound` chooses from are those that metrics declare."""
    declared = set(re.findall(r"interval_kind: (\w+)", (PROJECT / "macros" / "kpi_metrics.sql").read_text()))
    offered = set(re.findall(r"when '(\w+)' then", MACROS.read_text()))
    assert declared == offered
