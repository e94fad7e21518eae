"""Lifetime value: the published figures, the mathematics, and what the marts say when there is no model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import hyp2f1

from orchestration.analytics import clv

PUBLISHED = (0.243, 4.414, 0.793, 2.426)


@dataclass(frozen=True)
class ClvPart:
    observation_end: date | None = None
    horizon_months: int = 12
    annual_discount_rate: float = 0.10


@dataclass(frozen=True)
class ReportingPart:
    currency: str = "USD"


@dataclass(frozen=True)
class Config:
    clv: ClvPart = field(default_factory=ClvPart)
    reporting: ReportingPart = field(default_factory=ReportingPart)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; tests are skipped where it is absent."""
    folder = Path(os.environ.get("CEM_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
    if not (folder / "cdnow" / "CDNOW_sample.txt").exists():
        pytest.skip(f"no cdnow/CDNOW_sample.txt under {folder}; set CEM_REAL_DATA to the folder of real data")
    return folder


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect()
    con.execute("create schema marts")
    con.execute("create schema intermediate")
    con.execute("create table intermediate.int_as_of__resolved (as_of_date date)")
    con.execute("""
        create table marts.fct_order (
            customer_id text, ordered_date date, amount decimal(18, 4), margin_amount decimal(18, 4), currency text,
            is_revenue boolean
        )
    """)
    yield con
    con.close()


def simulate(customers: int, seed: int = 1) -> tuple[clv.Array, clv.Array, clv.Array]:
    """Histories (x, t_x, age) drawn as BG/NBD says, with the published parameters."""
    generator = np.random.default_rng(seed)
    r, alpha, a, b = PUBLISHED
    rates = generator.gamma(r, 1 / alpha, customers)
    leaving = generator.beta(a, b, customers)
    age = generator.uniform(20, 60, customers).round()
    x, t_x, now = np.zeros(customers), np.zeros(customers), np.zeros(customers)
    alive = np.ones(customers, dtype=bool)
    while alive.any():
        now = np.where(alive, now + generator.exponential(1 / rates), np.inf)
        alive &= now <= age
        x[alive] += 1
        t_x[alive] = now[alive]
        alive &= generator.uniform(size=customers) > leaving
    return x, t_x, age


def test_cdnow_gives_the_published_figures(con: duckdb.DuckDBPyConnection, real_data: Path) -> None:
    lines = (real_data / "cdnow" / "CDNOW_sample.txt").read_text().splitlines()
    customers, days, dollars = zip(
        *[(parts[1], parts[2], parts[4]) for parts in map(str.split, lines) if parts], strict=True
    )
    con.execute(
        """
        insert into marts.fct_order
        select customer, strptime(day, '%Y%m%d')::date, dollar::decimal(18, 4), null, 'USD', true
        from (select unnest($1::text[]) as customer, unnest($2::text[]) as day, unnest($3::text[]) as dollar)
        """,
        [list(customers), list(days), list(dollars)],
    )
    result = clv.build_clv(con, Config(ClvPart(observation_end=date(1997, 9, 30))))
    assert (result.customers, result.predicted) == (2357, 2357)
    assert result.bg_nbd.values == pytest.approx(PUBLISHED, abs=0.0006)
    assert result.bg_nbd.log_likelihood == pytest.approx(-9582.4, abs=0.05)
    assert result.gamma_gamma.values == pytest.approx((6.25, 3.74, 15.44), abs=0.006)
    assert result.gamma_gamma.n_customers == 946
    stored = con.execute("select parameter, value, is_spend_model_valid from marts.mart_clv_parameters").fetchall()
    assert {name: value for name, value, _ in stored}["r"] == pytest.approx(0.243, abs=0.0006)
    assert {valid for *_, valid in stored} == {True}


def test_expected_transactions_of_the_published_example() -> None:
    """Fader, Hardie, Lee (2005): x 2, t_x 30.43, T 38.86 expects 1.226 in the next 39 weeks."""
    found = clv.expected_transactions(PUBLISHED, np.array([2.0]), np.array([30.43]), np.array([38.86]), 39.0)
    assert found[0] == pytest.approx(1.226, abs=0.001)


@pytest.mark.parametrize("log_values", [np.log(PUBLISHED), np.array([0.3, -0.5, 0.2, 1.1])])
def test_gradient_of_bg_nbd(log_values: clv.Array) -> None:
    x, t_x, age = simulate(300)
    log_likelihood = clv.bg_nbd_log_likelihood(x, t_x, age, np.arange(1.0, 301.0))

    def value(point: clv.Array) -> float:
        return log_likelihood(point)[0]

    gradient = log_likelihood(log_values)[1]
    assert gradient == pytest.approx(approx_fprime(log_values, value, 1e-7), rel=2e-3, abs=1.0)


def test_gradient_of_gamma_gamma() -> None:
    generator = np.random.default_rng(3)
    x, mean = generator.integers(1, 9, 200).astype(float), generator.gamma(3, 10, 200)
    point = np.log([2.0, 3.0, 20.0])
    log_likelihood = clv.gamma_gamma_log_likelihood(x, mean, np.arange(1.0, 201.0))

    def value(at: clv.Array) -> float:
        return log_likelihood(at)[0]

    gradient = log_likelihood(point)[1]
    assert gradient == pytest.approx(approx_fprime(point, value, 1e-7), rel=2e-3, abs=0.05)


def test_parameters_are_recovered_from_simulated_customers() -> None:
    x, t_x, age = simulate(40_000)
    fit = clv.fit_bg_nbd(x, t_x, age, np.ones_like(x))
    assert fit.values is not None
    assert fit.values[:2] == pytest.approx(PUBLISHED[:2], rel=0.08)
    # Dropout is known by its mean better than by its two parameters.
    assert fit.values[2] / sum(fit.values[2:]) == pytest.approx(0.793 / (0.793 + 2.426), rel=0.1)


def test_grouped_customers_give_the_same_fit_as_single_ones() -> None:
    x, t_x, age = simulate(2000)
    t_x = t_x.round()
    grouped, count = np.unique(np.column_stack([x, t_x, age]), axis=0, return_counts=True)
    single = clv.fit_bg_nbd(x, t_x, age, np.ones_like(x))
    together = clv.fit_bg_nbd(*grouped.T, count.astype(float))
    assert single.values is not None
    assert together.values == pytest.approx(single.values, rel=1e-3)
    assert together.n_customers == single.n_customers == 2000


def test_expected_transactions_agree_with_the_formula_as_printed() -> None:
    r, alpha, a, b = PUBLISHED
    x, t_x, age = np.array([0.0, 1.0, 7.0]), np.array([0.0, 10.0, 30.0]), np.array([30.0, 30.0, 31.0])
    weeks = 52.0
    series = hyp2f1(r + x, b + x, a + b + x - 1, weeks / (alpha + age + weeks))
    share = ((alpha + age) / (alpha + age + weeks)) ** (r + x)
    odds = np.where(x > 0, a / (b + np.maximum(x, 1) - 1) * ((alpha + age) / (alpha + t_x)) ** (r + x), 0)
    expected = (a + b + x - 1) / (a - 1) * (1 - share * series) / (1 + odds)
    assert clv.expected_transactions(PUBLISHED, x, t_x, age, weeks) == pytest.approx(expected, rel=1e-9)


def test_expected_transactions_stay_finite_for_frequent_buyers_and_at_the_pole() -> None:
    x, t_x, age = np.array([500.0, 0.0]), np.array([99.0, 0.0]), np.array([100.0, 0.0])
    for a, b in ((0.999999, 2.5), (1.0, 2.5), (1.000001, 2.5), (2.0, 2.5), (148.0, 148.0), (1e-5, 148.0)):
        found = clv.expected_transactions((0.5, 0.1, a, b), x, t_x, age, 52.0)
        assert np.isfinite(found).all()
        assert (found > 0).all()
        assert found[0] < 500 / 100 * 53


def test_discount_makes_later_transactions_worth_less() -> None:
    x, t_x, age = simulate(50)
    plain = clv.expected_transactions(PUBLISHED, x, t_x, age, 12 * clv.WEEKS_A_MONTH)
    assert clv.discounted_transactions(PUBLISHED, x, t_x, age, 12, 0.0) == pytest.approx(plain)
    discounted = clv.discounted_transactions(PUBLISHED, x, t_x, age, 12, 0.1)
    assert (discounted < plain).all()
    assert (discounted > plain / 1.1).all()


def test_value_of_a_customer_is_drawn_to_that_of_all() -> None:
    values = (6.25, 3.74, 15.44)
    everyone = 6.25 * 15.44 / 2.74
    found = clv.expected_value(values, np.array([0.0, 1.0, 20.0]), np.array([np.nan, 100.0, 100.0]))
    assert found[0] == pytest.approx(everyone)
    assert everyone < found[1] < found[2] < 100
    assert np.isnan(clv.expected_value((1.0, 0.5, 10.0), np.array([0.0]), np.array([np.nan])))[0]


def fill(con: duckdb.DuckDBPyConnection, margin: str = "null") -> None:
    """400 customers with up to five purchases a few weeks apart, and the things that must not count."""
    con.execute(f"""
        insert into marts.fct_order
        select 'C' || c, date '2024-01-01' + (c % 30 + n * (5 + c % 60))::int, 10 + hash(c, n) % 40 + c % 7,
            {margin}, 'USD', true
        from range(400) as customers(c), range(5) as purchases(n)
        where n <= c % 5
    """)
    con.execute("insert into intermediate.int_as_of__resolved values ('2024-12-31')")


def test_histories_count_days_and_leave_out_what_is_no_purchase(con: duckdb.DuckDBPyConnection) -> None:
    fill(con)
    con.execute("""
        insert into marts.fct_order values
            ('X', '2024-01-01', 500, null, 'USD', true), ('X', '2024-01-15', 10, null, 'USD', true),
            ('X', '2024-01-15', 20, null, 'USD', true), ('X', '2024-01-29', 99, null, 'EUR', true),
            ('X', '2024-02-05', 99, null, 'USD', false), ('X', '2025-03-01', 99, null, 'USD', true),
            (null, '2024-01-01', 99, null, 'USD', true)
    """)
    clv.build_clv(con, Config())
    row = con.execute("""
        select frequency, recency_weeks, age_weeks, mean_repeat_amount::double, currency, observation_end
        from marts.mart_clv where customer_id = 'X'
    """).fetchall()
    assert row == [(2, 4.0, 365 / 7, 30.0, "USD", date(2024, 12, 31))]


def test_value_is_margin_where_costs_are_known(con: duckdb.DuckDBPyConnection) -> None:
    fill(con)
    assert clv.build_clv(con, Config()).predicted == 400
    spend = con.execute("select sum(predicted_clv)::double, any_value(value_basis) from marts.mart_clv").fetchall()[0]
    con.execute("update marts.fct_order set margin_amount = amount * 0.25")
    clv.build_clv(con, Config())
    margin = con.execute("select sum(predicted_clv)::double, any_value(value_basis) from marts.mart_clv").fetchall()[0]
    assert (spend[1], margin[1]) == ("spend", "margin")
    assert margin[0] == pytest.approx(spend[0] / 4, rel=1e-3)


def test_value_that_goes_with_frequency_is_said_to_break_the_model(con: duckdb.DuckDBPyConnection) -> None:
    fill(con)
    con.execute("""
        update marts.fct_order set amount = 10 * (
            select count(*) from marts.fct_order as same where same.customer_id = fct_order.customer_id
        ) + hash(customer_id) % 3
    """)
    clv.build_clv(con, Config())
    assert con.execute(
        "select distinct is_spend_model_valid, frequency_spend_correlation > 0.9 from marts.mart_clv_parameters"
    ).fetchall() == [(False, True)]


@pytest.mark.parametrize("orders", [0, 30])
def test_too_few_repeat_buyers_give_no_prediction_and_the_reason(con: duckdb.DuckDBPyConnection, orders: int) -> None:
    con.execute(f"""
        insert into marts.fct_order
        select 'C' || c % 20, date '2024-01-01' + c::int, 10, null, 'USD', true from range({orders}) as orders(c)
    """)
    if orders:
        con.execute("insert into intermediate.int_as_of__resolved values ('2024-12-31')")
    result = clv.build_clv(con, Config())
    assert (result.customers, result.predicted) == (min(orders, 20), 0)
    problems = con.execute("select model, parameter, value, problem from marts.mart_clv_parameters").fetchall()
    assert [(model, parameter) for model, parameter, *_ in problems] == [
        ("bg_nbd", "r"), ("bg_nbd", "alpha"), ("bg_nbd", "a"), ("bg_nbd", "b"),
        ("gamma_gamma", "p"), ("gamma_gamma", "q"), ("gamma_gamma", "v"),
    ]  # fmt: skip
    assert all(value is None and "100 are needed" in problem for *_, value, problem in problems)
    unknown = con.execute("select count(probability_alive), count(predicted_clv) from marts.mart_clv").fetchall()
    assert unknown == [(0, 0)]


def test_marts_have_the_documented_columns_and_a_second_build_the_same_rows(con: duckdb.DuckDBPyConnection) -> None:
    fill(con)
    clv.build_clv(con, Config())
    first = [con.execute(f"select * from marts.{mart.name}").fetchall() for mart in clv.MARTS]
    for mart in clv.MARTS:
        columns = con.execute(f"describe marts.{mart.name}").fetchall()
        assert [(name, kind.lower()) for name, kind, *_ in columns] == [
            (column.name, column.data_type) for column in mart.columns
        ]
        assert all(column.description.endswith(".") for column in mart.columns)
    clv.build_clv(con, Config())
    assert [con.execute(f"select * from marts.{mart.name}").fetchall() for mart in clv.MARTS] == first
    assert not con.execute("select * from duckdb_tables() where temporary").fetchall()


@pytest.mark.parametrize("are_alike", [False, True], ids=["customers who differ", "customers alike, a flat ridge"])
def test_a_maximum_that_few_histories_show_first_is_that_of_all(monkeypatch, are_alike):
    x, t_x, age = simulate(6000)
    generator, one, purchases = np.random.default_rng(2), np.ones_like(x), np.maximum(x, 1.0)
    values = generator.gamma(6 * purchases) / purchases / (1.0 if are_alike else generator.gamma(4, 1 / 15, len(x)))
    direct = clv.fit_bg_nbd(x, t_x, age, one), clv.fit_gamma_gamma(purchases, values)
    monkeypatch.setattr(clv, "FEW_HISTORIES", 1000)
    climbed, highest = [], clv._highest
    monkeypatch.setattr(
        clv, "_highest", lambda model, given, *rest: climbed.append(len(given[0])) or highest(model, given, *rest)
    )
    stepwise = clv.fit_bg_nbd(x, t_x, age, one), clv.fit_gamma_gamma(purchases, values)
    assert climbed[:4] == [1000, 6000, 1000, 6000]
    for found, known in zip(stepwise, direct, strict=True):
        assert found.log_likelihood == pytest.approx(known.log_likelihood, rel=1e-8)
        if not are_alike:
            assert found.values == pytest.approx(known.values, rel=1e-4)
