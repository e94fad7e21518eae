"""Customer lifetime value: how many purchases are to come, and what they are worth.

Purchases follow the BG/NBD model (Fader, Hardie, Lee 2005, "Counting Your Customers the Easy Way", Marketing Science
24(2)), the value of a purchase the Gamma-Gamma model (Fader, Hardie 2013, "The Gamma-Gamma Model of Monetary
Value"), both by maximum likelihood. Purchases of one day are one transaction; the first one is not a repeat; time is in
weeks; values are the means of repeat transactions. Lifetime value is

    share of margin · E[value] · Σ over months E[transactions in the month] / (1 + yearly rate) ^ (month / 12)

with the margin's share of revenue taken over all orders that know both, or 1 where none does.

Belongs here: the two models on arrays (x repeat transactions, t_x week of the last one, age the weeks since the
first), `build_clv`, and the description of its marts. Does not belong here: historical value, which is a KPI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import duckdb
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MIN_REPEAT_BUYERS = 100
"""Below, four parameters are mostly noise: no model is fitted."""

MAX_FREQUENCY_SPEND_CORRELATION = 0.3
"""Gamma-Gamma takes value and frequency for independent. Beyond a weak correlation it is said not to hold."""

WEEKS_A_MONTH = 365.25 / 12 / 7

FEW_HISTORIES = 5_000
"""About so many histories show where the maximum is; from there it is climbed with all of them."""

_LOG_BOUNDS = (-12.0, 12.0)
"""Bounds of the logarithm of a parameter."""

_LOG_DROPOUT_BOUNDS = (-12.0, 5.0)
"""Bounds for a and b. Customers who all drop out alike drive both to infinity; at 150 they are as good as alike."""


class ClvSettings(Protocol):
    """The `clv` section of the settings."""

    @property
    def observation_end(self) -> date | None:
        """Last day of the purchases the models see; None: the day the warehouse is as of."""

    @property
    def horizon_months(self) -> int:
        """Months ahead."""

    @property
    def annual_discount_rate(self) -> float:
        """0.10: money in a year is worth a tenth less."""


class ReportingSettings(Protocol):
    """The `reporting` section of the settings, as far as it is read here."""

    @property
    def currency(self) -> str:
        """Currency of the values; orders in another count as purchases of unknown value."""


class Settings(Protocol):
    """The settings `build_clv` reads."""

    @property
    def clv(self) -> ClvSettings:
        """Horizon, discount and end of observation."""

    @property
    def reporting(self) -> ReportingSettings:
        """Currency."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a mart."""

    name: str
    data_type: str
    description: str


@dataclass(frozen=True, slots=True)
class Mart:
    """A mart made here: what dbt would say in a model's yml."""

    name: str
    description: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Fit:
    """Outcome of a maximum-likelihood fit.

    `values` are the parameters in the order of `BG_NBD_PARAMETERS` or `GAMMA_GAMMA_PARAMETERS`; `problem` says why
    there are none.
    """

    values: tuple[float, ...] | None
    log_likelihood: float | None
    n_customers: int
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ClvResult:
    """What `build_clv` did: customers with a purchase, how many of them got a prediction, and the two fits."""

    customers: int
    predicted: int
    bg_nbd: Fit
    gamma_gamma: Fit


BG_NBD_PARAMETERS = ("r", "alpha", "a", "b")
GAMMA_GAMMA_PARAMETERS = ("p", "q", "v")

MARTS: tuple[Mart, ...] = (
    Mart(
        "mart_clv",
        "One row per customer with a purchase: purchase history, and the value to expect of it (BG/NBD, Gamma-Gamma).",
        (
            Column("customer_id", "varchar", "Customer."),
            Column("frequency", "bigint", "Repeat transactions: days with a purchase after the first."),
            Column("recency_weeks", "double", "Weeks from the first to the last transaction; 0 without a repeat."),
            Column("age_weeks", "double", "Weeks from the first transaction to the end of observation."),
            Column(
                "mean_repeat_amount",
                "decimal(18,4)",
                "Mean amount of the repeat transactions whose amount is known. NULL without one.",
            ),
            Column(
                "probability_alive",
                "double",
                "Probability that the customer has not dropped out (BG/NBD), which is not that of buying again: by "
                "assumption it is 1 without a repeat transaction. Rank by expected_transactions. NULL without a model.",
            ),
            Column("expected_transactions", "double", "Transactions expected over the horizon. NULL without a model."),
            Column(
                "expected_amount",
                "decimal(18,4)",
                "Amount expected of a transaction: the customer's own mean drawn to that of all. NULL without a model.",
            ),
            Column(
                "predicted_clv",
                "decimal(18,4)",
                "Discounted value expected over the horizon, on the basis of value_basis. NULL without a model.",
            ),
            Column("value_basis", "varchar", "What predicted_clv counts: margin, or spend where no cost is known."),
            Column("horizon_months", "integer", "Months the prediction looks ahead."),
            Column("currency", "varchar", "Currency of the amounts, ISO 4217."),
            Column("observation_end", "date", "Last day of the purchases that were counted."),
        ),
    ),
    Mart(
        "mart_clv_parameters",
        "One row per parameter of the two lifetime value models: the fit behind mart_clv, and how far to trust it.",
        (
            Column("model", "varchar", "bg_nbd (purchases) or gamma_gamma (value of a purchase)."),
            Column("parameter", "varchar", "Parameter: r, alpha, a, b of bg_nbd; p, q, v of gamma_gamma."),
            Column(
                "value", "double", "Maximum-likelihood estimate; time in weeks. NULL when the model was not fitted."
            ),
            Column("log_likelihood", "double", "Logarithm of the likelihood of the whole model at the estimate."),
            Column("n_customers", "bigint", "Customers the model saw; for gamma_gamma those with a repeat of value."),
            Column("n_repeat_buyers", "bigint", "Customers with a repeat transaction."),
            Column(
                "frequency_spend_correlation",
                "double",
                "Pearson correlation of frequency and mean repeat amount, which the value model takes for 0.",
            ),
            Column(
                "is_spend_model_valid",
                "boolean",
                f"Whether that correlation is within ±{MAX_FREQUENCY_SPEND_CORRELATION}. NULL when unknown.",
            ),
            Column("problem", "varchar", "Why the model was not fitted. NULL when it was."),
            Column(
                "margin_share", "double", "Margin's share of revenue in predicted_clv. NULL where no cost is known."
            ),
            Column("horizon_months", "integer", "Months the prediction looks ahead."),
            Column("annual_discount_rate", "double", "Yearly rate that later money is discounted by."),
            Column("observation_end", "date", "Last day of the purchases that were counted. NULL without any."),
        ),
    ),
)
"""The marts this module writes. Publication and the orchestrator take names and descriptions from here."""


LogLikelihood = Callable[[Array], tuple[float, Array]]
"""A log-likelihood and its gradient by the logarithms of a model's parameters, for certain customers."""


def bg_nbd_log_likelihood(x: Array, t_x: Array, age: Array, count: Array) -> LogLikelihood:
    """Log-likelihood of BG/NBD and its gradient, both by the logarithms of (r, alpha, a, b).

    Formula: Fader, Hardie, Lee (2005), equation 6, as ln(A1) + ln(A2) + ln(A3 + A4), summed over customers. What
    depends on x alone is worked out once for each number of transactions that there is. Times are taken relative to
    alpha, so that sums over a million customers are not differences of huge numbers.

    Args:
        x: Repeat transactions.
        t_x: Weeks to the last of them.
        age: Weeks observed.
        count: Customers that share the row.
    """
    from scipy.special import betaln, expit, gammaln, psi

    n, customers = _by_number(x, count)
    # For x = 0 the customer cannot have left: the second way to the same history has no weight.
    has_repeat, safe_x = x > 0, np.maximum(x, 1.0)

    def log_likelihood(log_values: Array) -> tuple[float, Array]:
        r, alpha, a, b = np.exp(log_values)
        log_grown_age, log_grown_t_x = np.log1p(age / alpha), np.log1p(t_x / alpha)
        log_odds_left = np.log(a) - np.log(b + safe_x - 1.0) + (r + x) * (log_grown_age - log_grown_t_x)
        log_odds_left = np.where(has_repeat, log_odds_left, -np.inf)
        left = expit(log_odds_left)
        by_number = gammaln(r + n) - gammaln(r) - n * np.log(alpha) + betaln(a, b + n) - betaln(a, b)
        value = customers @ by_number + count @ (np.logaddexp(0.0, log_odds_left) - (r + x) * log_grown_age)
        by_r = customers @ (psi(r + n) - psi(r))
        by_r -= count @ (log_grown_age - left * (log_grown_age - log_grown_t_x))
        # Of alpha and the time a customer was one, the share of the time.
        time_share = (1.0 - left) * age / (alpha + age) + left * t_x / (alpha + t_x)
        by_log_alpha = count @ ((r + x) * time_share - x)
        by_a = customers @ (psi(a + b) - psi(a + b + n)) + count @ left / a
        by_b = customers @ (psi(a + b) - psi(a + b + n) + psi(b + n) - psi(b)) - count @ (left / (b + safe_x - 1.0))
        return float(value), np.array([by_r * r, by_log_alpha, by_a * a, by_b * b])

    return log_likelihood


def gamma_gamma_log_likelihood(x: Array, mean: Array, count: Array) -> LogLikelihood:
    """Log-likelihood of Gamma-Gamma and its gradient, both by the logarithms of (p, q, v).

    Formula: Fader, Hardie (2013), equation 1a, summed over customers. What does not depend on the parameters is worked
    out once.

    Args:
        x: Repeat transactions of known value, at least 1.
        mean: Mean value of them, above 0.
        count: Customers that share the row.
    """
    from scipy.special import betaln, psi

    n, customers = _by_number(x, count)
    amount, purchases = x * mean, count * x
    sum_log_mean, sum_log_amount = count @ np.log(mean), purchases @ np.log(amount)

    def log_likelihood(log_values: Array) -> tuple[float, Array]:
        p, q, v = np.exp(log_values)
        log_grown_amount = np.log1p(amount / v)
        sum_log_ratio = sum_log_amount - purchases.sum() * np.log(v)
        value = p * sum_log_ratio - sum_log_mean - customers @ betaln(p * n, q)
        value -= count @ ((p * x + q) * log_grown_amount)
        by_p = customers @ (n * (psi(p * n + q) - psi(p * n))) + sum_log_ratio - purchases @ log_grown_amount
        by_q = customers @ (psi(p * n + q) - psi(q)) - count @ log_grown_amount
        by_log_v = count @ ((q * amount - p * x * v) / (v + amount))
        return float(value), np.array([by_p * p, by_q * q, by_log_v])

    return log_likelihood


def _by_number(x: Array, count: Array) -> tuple[Array, Array]:
    """Each number of transactions that there is, and how many customers have it."""
    customers = np.bincount(x.astype(np.intp), count).astype(float)
    numbers = np.flatnonzero(customers)
    return numbers.astype(float), customers[numbers]


def _maximise(
    model: Callable[..., LogLikelihood],
    histories: Sequence[Array],
    starts: Sequence[tuple[float, ...]],
    bounds: Sequence[tuple[float, float]],
) -> Fit:
    """The highest point found from any of the starts; the likelihood per customer is what is climbed.

    Where there are many histories, some of them, evenly spread, are climbed first: most steps cost little then,
    and only the last ones are taken with all.
    """
    logs = [np.log(np.array(start)) for start in starts]
    n_customers, stride = int(histories[-1].sum()), len(histories[0]) // FEW_HISTORIES
    best = None
    if stride > 1:
        shown = _highest(model, [column[::stride] for column in histories], logs, bounds)
        best = None if shown is None else _highest(model, histories, [shown.x], bounds)
    # With few histories; where some of them have no maximum; or from so near to the top of a flat ridge that SciPy
    # finds no step up.
    if best is None:
        best = _highest(model, histories, logs, bounds)
    if best is None:
        return Fit(None, None, n_customers, "the likelihood has no maximum that could be found")
    values = tuple(float(value) for value in np.exp(best.x))
    return Fit(values, float(-best.fun * n_customers), n_customers)


def _highest(
    model: Callable[..., LogLikelihood],
    histories: Sequence[Array],
    starts: Sequence[Array],
    bounds: Sequence[tuple[float, float]],
) -> Any:  # noqa: ANN401 - SciPy's own kind of result
    """SciPy's result for the best of the starts, logarithms of parameters; None when none led to a maximum."""
    from scipy.optimize import minimize

    n_customers, log_likelihood = int(histories[-1].sum()), model(*histories)

    def descend(log_values: Array) -> tuple[float, Array]:
        value, gradient = log_likelihood(log_values)
        return -value / n_customers, -gradient / n_customers

    options = {"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-8}
    found = [minimize(descend, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options) for start in starts]
    return min(
        (each for each in found if each.success and np.isfinite(each.fun)), key=lambda each: each.fun, default=None
    )


def fit_bg_nbd(x: Array, t_x: Array, age: Array, count: Array) -> Fit:
    """Fit BG/NBD to grouped histories: one row per distinct (x, t_x, age), `count` customers each.

    Too few repeat buyers give a `Fit` without values that says so.
    """
    n_customers, repeat_buyers = int(count.sum()), int(count[x > 0].sum())
    if repeat_buyers < MIN_REPEAT_BUYERS:
        return Fit(None, None, n_customers, f"{repeat_buyers} repeat buyers; {MIN_REPEAT_BUYERS} are needed")
    scale = float(count @ age) / n_customers
    starts = [(0.5, scale / 2, 1.0, 2.5), (1.0, scale, 0.1, 1.0)]
    bounds = [_LOG_BOUNDS, _LOG_BOUNDS, _LOG_DROPOUT_BOUNDS, _LOG_DROPOUT_BOUNDS]
    return _maximise(bg_nbd_log_likelihood, (x, t_x, age, count), starts, bounds)


def fit_gamma_gamma(x: Array, mean: Array, count: Array | None = None) -> Fit:
    """Fit Gamma-Gamma to customers with repeat transactions of known value above 0.

    Values are scaled by their mean while fitting, so that the currency does not matter.
    """
    count = np.ones_like(mean) if count is None else count
    n_customers = int(count.sum())
    if n_customers < MIN_REPEAT_BUYERS:
        return Fit(None, None, n_customers, f"{n_customers} repeat buyers of value; {MIN_REPEAT_BUYERS} are needed")
    unit = float(count @ mean) / n_customers
    starts = [(2.0, 3.0, 1.0), (6.0, 4.0, 0.5)]
    fit = _maximise(
        gamma_gamma_log_likelihood,
        (x, mean / unit, count),
        starts,
        [_LOG_BOUNDS] * len(GAMMA_GAMMA_PARAMETERS),
    )
    if fit.values is None or fit.log_likelihood is None:
        return fit
    p, q, v = fit.values
    if q <= 1.0:
        return Fit(None, None, n_customers, "customers differ so much that their mean value has no limit (q <= 1)")
    return Fit((p, q, v * unit), fit.log_likelihood - n_customers * float(np.log(unit)), n_customers)


def probability_alive(values: tuple[float, ...], x: Array, t_x: Array, age: Array) -> Array:
    """Probability that a customer with this history is still one (Fader, Hardie, Lee 2008, a note on P(alive))."""
    r, alpha, a, b = values
    odds_left = a / (b + np.maximum(x, 1.0) - 1.0) * ((alpha + age) / (alpha + t_x)) ** (r + x)
    return np.where(x > 0, 1.0 / (1.0 + odds_left), 1.0)


def expected_transactions(values: tuple[float, ...], x: Array, t_x: Array, age: Array, weeks: float) -> Array:
    """Transactions expected within `weeks` after the end of observation, given the history.

    Formula: Fader, Hardie, Lee (2005), equation 10. t_x does not enter but by the probability that the customer is
    still one.
    """
    pair_x, pair_age, place = _distinct_pairs(x, age)
    return _expected_if_alive(values, pair_x, pair_age, weeks)[place] * probability_alive(values, x, t_x, age)


def _distinct_pairs(x: Array, age: Array) -> tuple[Array, Array, npt.NDArray[np.intp]]:
    """Each pair that there is, and the place of each customer's among them: many have bought as often in as long."""
    pairs, place = np.unique(np.column_stack([x, age]), axis=0, return_inverse=True)
    return pairs[:, 0], pairs[:, 1], place.ravel()


def _expected_if_alive(values: tuple[float, ...], x: Array, age: Array, weeks: float) -> Array:
    """Transactions expected of who is still a customer.

    The 2F1 of the formula is taken as printed or after Euler's transformation, whichever keeps the smaller exponent:
    either runs over for some customers.
    """
    from scipy.special import hyp2f1

    r, alpha, a, b = values
    # At a = 1 the formula is 0/0; its neighbourhood is smooth.
    a = 1.0 + 1e-6 if abs(a - 1.0) < 1e-6 else a
    z = weeks / (alpha + age + weeks)
    is_printed = r + x < a - 1.0
    exponent = np.where(is_printed, r + x, a - 1.0)
    series = hyp2f1(
        np.where(is_printed, r + x, a + b - 1.0 - r), np.where(is_printed, b + x, a - 1.0), a + b + x - 1.0, z
    )
    expected: Array = (a + b + x - 1.0) / (a - 1.0) * (1.0 - (1.0 - z) ** exponent * series)
    return expected


def expected_value(values: tuple[float, ...], x: Array, mean: Array) -> Array:
    """Value expected of a customer's next transaction; `x` is 0 where no repeat of known value exists.

    Formula: Fader, Hardie (2013), equation 5. With q of 1 or less the population has no mean: NaN where x is too small.
    """
    p, q, v = values
    weight = p * x + q - 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weight > 0, p * (v + x * np.where(x > 0, mean, 0.0)) / weight, np.nan)


def discounted_transactions(
    values: tuple[float, ...], x: Array, t_x: Array, age: Array, months: int, annual_rate: float
) -> Array:
    """Transactions expected over the months ahead, those of later months discounted."""
    pair_x, pair_age, place = _distinct_pairs(x, age)
    total, before = np.zeros_like(pair_x), np.zeros_like(pair_x)
    for month in range(1, months + 1):
        until = _expected_if_alive(values, pair_x, pair_age, month * WEEKS_A_MONTH)
        total += (until - before) / (1.0 + annual_rate) ** (month / 12)
        before = until
    return total[place] * probability_alive(values, x, t_x, age)


def build_clv(con: duckdb.DuckDBPyConnection, settings: Settings) -> ClvResult:
    """Fit both models on `marts.fct_order` and write `marts.mart_clv` and `marts.mart_clv_parameters`.

    Where a model cannot be fitted, its predictions are NULL and the parameters say why.

    Args:
        con: The warehouse, outside of a transaction.
        settings: Currency, horizon, discount and end of observation are read.
    """
    end = _observation_end(con, settings.clv)
    try:
        _collect_histories(con, settings.reporting.currency, end)
        result = _fit_and_write(con, settings, end)
    finally:
        con.execute("drop table if exists temp.clv_day")
        con.execute("drop table if exists temp.clv_history")
    return result


def _observation_end(con: duckdb.DuckDBPyConnection, settings: ClvSettings) -> date | None:
    if settings.observation_end is not None:
        return settings.observation_end
    row = con.execute("select max(as_of_date) from intermediate.int_as_of__resolved").fetchone()
    return None if row is None else row[0]


def _collect_histories(con: duckdb.DuckDBPyConnection, currency: str, end: date | None) -> None:
    """One row per customer and day with a purchase (`clv_day`), one per customer, with its place (`clv_history`)."""
    con.execute(
        """
        create or replace temp table clv_day as
        select
            customer_id,
            ordered_date,
            sum(amount) filter (where currency = $currency) as amount,
            min(ordered_date) over (partition by customer_id) as first_date,
        from marts.fct_order
        where is_revenue and customer_id is not null and ordered_date <= $end
        group by customer_id, ordered_date
        """,
        {"currency": currency, "end": end},
    )
    con.execute(
        """
        create or replace temp table clv_history as
        select
            customer_id,
            row_number() over (order by customer_id) - 1 as place,
            (count(*) - 1)::double as x,
            date_diff('day', first_date, max(ordered_date)) / 7.0::double as t_x,
            date_diff('day', first_date, $end::date) / 7.0::double as age,
            count(amount) filter (where ordered_date > first_date)::double as valued,
            -- Of an exact sum, which no order of the rows changes.
            sum(amount) filter (where ordered_date > first_date)::double
            / nullif(count(amount) filter (where ordered_date > first_date), 0) as mean,
        from clv_day
        group by customer_id, first_date
        order by customer_id
        """,
        {"end": end},
    )


def _margin_share(con: duckdb.DuckDBPyConnection, currency: str, end: date | None) -> float | None:
    """Margin's share of the revenue of orders that know both; None where none does."""
    row = con.execute(
        """
        select sum(margin_amount)::double / nullif(sum(amount), 0)::double
        from marts.fct_order
        where
            is_revenue and customer_id is not null and ordered_date <= $end and currency = $currency
            and amount is not null and margin_amount is not null
        """,
        {"currency": currency, "end": end},
    ).fetchone()
    return None if row is None else row[0]


def _fit_histories(con: duckdb.DuckDBPyConnection) -> Fit:
    grouped = con.execute("""
        select x, t_x, age, count(*)::double as customers
        from clv_history
        group by x, t_x, age
        order by x, t_x, age
    """).fetchnumpy()
    return fit_bg_nbd(*(np.asarray(grouped[name], dtype=float) for name in ("x", "t_x", "age", "customers")))


def _fit_and_write(con: duckdb.DuckDBPyConnection, settings: Settings, end: date | None) -> ClvResult:
    # Without their ids, which would be as many objects of Python.
    history = con.execute("select x, t_x, age, valued, mean from clv_history order by place").fetchnumpy()
    x, t_x, age, valued = (np.asarray(history[name], dtype=float) for name in ("x", "t_x", "age", "valued"))
    mean: Array = np.ma.filled(np.ma.asarray(history["mean"], dtype=float), np.nan)
    # Value of 0 or below (gifts, refunds) has no place in a gamma distribution: as good as unknown.
    has_value = (valued > 0) & (np.nan_to_num(mean) > 0)
    bg_nbd = _fit_histories(con)
    gamma_gamma = fit_gamma_gamma(valued[has_value], mean[has_value])
    share = _margin_share(con, settings.reporting.currency, end)

    unknown = np.full(len(x), np.nan)
    alive, coming, amount, clv = unknown, unknown, unknown, unknown
    if bg_nbd.values is not None:
        months, rate = settings.clv.horizon_months, settings.clv.annual_discount_rate
        alive = probability_alive(bg_nbd.values, x, t_x, age)
        coming = expected_transactions(bg_nbd.values, x, t_x, age, months * WEEKS_A_MONTH)
        if gamma_gamma.values is not None:
            amount = expected_value(gamma_gamma.values, np.where(has_value, valued, 0.0), mean)
            worth = discounted_transactions(bg_nbd.values, x, t_x, age, months, rate)
            clv = worth * amount * (1.0 if share is None else share)
    predictions = {"alive": alive, "coming": coming, "amount": amount, "clv": clv}
    correlation = _correlation(x[has_value], mean[has_value])

    con.begin()
    try:
        con.execute("create schema if not exists marts")
        _write_customers(con, settings, end, predictions, share)
        _write_parameters(con, settings, end, (bg_nbd, gamma_gamma), int((x > 0).sum()), correlation, share)
        con.commit()
    except BaseException:
        con.rollback()
        raise
    return ClvResult(len(x), int(np.isfinite(clv).sum()), bg_nbd, gamma_gamma)


def _correlation(x: Array, mean: Array) -> float | None:
    """Pearson correlation; None where one of the two does not vary."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(mean) == 0:
        return None
    return float(np.corrcoef(x, mean)[0, 1])


def _select(columns: tuple[Column, ...], expressions: dict[str, str]) -> str:
    """Select list in the documented order and types."""
    return ", ".join(
        f"({expressions.get(column.name, column.name)})::{column.data_type} as {column.name}" for column in columns
    )


def _write_customers(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    end: date | None,
    predictions: dict[str, Array],
    share: float | None,
) -> None:
    import pyarrow as pa

    arrays = {name: pa.array(values, pa.float64(), mask=~np.isfinite(values)) for name, values in predictions.items()}
    places = pa.array(np.arange(len(predictions["alive"])))
    con.register("clv_prediction", pa.table({"place": places, **arrays}))
    selected = _select(
        MARTS[0].columns,
        {
            "customer_id": "history.customer_id",
            "frequency": "history.x",
            "recency_weeks": "history.t_x",
            "age_weeks": "history.age",
            "mean_repeat_amount": "history.mean",
            "probability_alive": "prediction.alive",
            "expected_transactions": "prediction.coming",
            "expected_amount": "prediction.amount",
            "predicted_clv": "prediction.clv",
            "value_basis": "$value_basis",
            "horizon_months": "$horizon_months",
            "currency": "$currency",
            "observation_end": "$end",
        },
    )
    con.execute(
        f"""
        create or replace table marts.mart_clv as
        select {selected}
        from clv_history as history
        inner join clv_prediction as prediction on history.place = prediction.place
        order by history.customer_id
        """,
        {
            "value_basis": "spend" if share is None else "margin",
            "horizon_months": settings.clv.horizon_months,
            "currency": settings.reporting.currency,
            "end": end,
        },
    )
    con.unregister("clv_prediction")


def _write_parameters(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    end: date | None,
    fits: tuple[Fit, Fit],
    repeat_buyers: int,
    correlation: float | None,
    share: float | None,
) -> None:
    is_valid = None if correlation is None else abs(correlation) <= MAX_FREQUENCY_SPEND_CORRELATION
    rows = [
        (
            model, parameter, None if fit.values is None else fit.values[place], fit.log_likelihood,
            fit.n_customers, repeat_buyers, correlation, is_valid, fit.problem, share,
            settings.clv.horizon_months, settings.clv.annual_discount_rate, end,
        )
        for model, parameters, fit in (
            ("bg_nbd", BG_NBD_PARAMETERS, fits[0]),
            ("gamma_gamma", GAMMA_GAMMA_PARAMETERS, fits[1]),
        )
        for place, parameter in enumerate(parameters)
    ]  # fmt: skip
    columns = ", ".join(f"{column.name} {column.data_type}" for column in MARTS[1].columns)
    con.execute(f"create or replace table marts.mart_clv_parameters ({columns})")
    con.executemany(f"insert into marts.mart_clv_parameters values ({', '.join('?' * len(MARTS[1].columns))})", rows)
