"""Great Expectations on DuckDB: the only module that imports it.

Belongs here: taking the failing-row condition or the aggregate of an expectation from GX's own metric, and GX's
own validation of a batch. Does not belong here: what is done with either. Importing GX costs seconds, so
this module is imported only when a suite changed or someone asks for GX's own validation.

Measured needs of GX over DuckDB (`duckdb-sqlalchemy`): `isolation_level="AUTOCOMMIT"`,
`pool_reset_on_return=None` and `skip_autocommit_rollback=True` together, else it ends transactions that
are not its own; a pool with one connection, ours, so that GX sees the rows of the writer's open
transaction; and regular expressions as `regexp_matches`, because DuckDB's `~` matches the whole text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import sqlalchemy as sa
from duckdb_sqlalchemy import ConnectionWrapper
from great_expectations.core.batch import Batch
from great_expectations.core.expectation_suite import ExpectationSuite
from great_expectations.core.metric_function_types import MetricPartialFunctionTypes
from great_expectations.exceptions.exceptions import MetricProviderError
from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
from great_expectations.execution_engine.sqlalchemy_execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations import core as _core_expectations  # noqa: F401  (registers them)
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.registry import get_metric_provider
from great_expectations.expectations.row_conditions import Condition, deserialize_row_condition
from great_expectations.validator.metric_configuration import MetricConfiguration
from great_expectations.validator.metrics_calculator import MetricsCalculator
from great_expectations.validator.validator import Validator
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql.visitors import replacement_traverse

from orchestration.guard.results import GuardError
from orchestration.guard.sql import identifier
from orchestration.guard.suites import Rule, Suite

RESULT_FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": 0}
"""Counts without values: nothing personal leaves the engine."""

_BATCH = "guard_batch"

_SHAPE_METRICS = frozenset({"table.columns", "table.column_types", "table.row_count"})
"""Metrics that every condition of GX asks for, whether it needs them or not."""

_ROW_FUNCTIONS = (MetricPartialFunctionTypes.MAP_CONDITION_FN, MetricPartialFunctionTypes.MAP_FN)
"""Kinds of metrics that are an expression over one row."""

_Sql = sa.ColumnElement[Any]

_Condition = sa.ColumnElement[bool]

_Over = Callable[[Any], _Sql]
"""Narrows an aggregate to the rows in scope."""

_Aggregate = Callable[[_Over], _Sql]

_FLOATS = frozenset({"DOUBLE", "FLOAT"})

_INTEGERS = frozenset(
    f"{sign}{name}" for sign in ("", "U") for name in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
)

QUANTILE_TOLERANCE = 1e-4
"""GX takes a quantile for within its range when it is that close to a limit, relative to the limit."""

_LOGGERS = ("core.expectation_suite", "validator.metrics_calculator")

_MISSING = {
    # What each value of `ignore_row_if` leaves out of the rows a rule applies to.
    "both_values_are_missing": all,
    "all_values_are_missing": all,
    "either_value_is_missing": any,
    "any_value_is_missing": any,
}


@dataclass(frozen=True)
class Conditions:
    """The SQL of an expectation.

    Attributes:
        failing: True for the rows that break it; NULL and false for the others. None where only other rows or the
            whole batch tell.
        scope: True for the rows its row condition asks for; None when it has none.
        given: True for the rows that have the values it needs; None when it needs none.
        broken: Over all rows, true when the batch as a whole breaks it and else false; None for rules about rows.
    """

    failing: str | None
    scope: str | None
    given: str | None
    broken: str | None


class _Borrowed(ConnectionWrapper):
    """The writer's connection, lent: a pool that is collected must not close it."""

    def close(self) -> None:
        """Leave the connection to its owner."""


class _QuotingPreparer(sa.sql.compiler.IdentifierPreparer):
    """Quotes every name: columns of sources may be named like any keyword of any dialect."""

    def _requires_quotes(self, value: str) -> bool:
        return True


def conditions(suite: Suite, columns: Mapping[str, str], unique_types: frozenset[str]) -> list[Conditions]:
    """The SQL of each expectation of a suite, in its order, taken from GX's own metrics.

    Args:
        suite: The suite.
        columns: DuckDB types of the columns of the audited relation, by name.
        unique_types: Expectation types whose failing rows the caller finds itself; only their
            scope is compiled.

    Raises:
        GuardError: An expectation is invalid, names an unknown column or is no condition that one scan can judge.
    """
    with duckdb.connect() as con:
        con.execute(
            f"create table {_BATCH} ({', '.join(f'{identifier(name)} {kind}' for name, kind in columns.items())})"
        )
        engine, _ = _engine(con, _BATCH)
        compiled = []
        for expectation, rule in zip(_expectations(suite), suite.rules, strict=True):
            unknown = [column for column in rule.columns if column not in columns]
            if unknown:
                raise GuardError(f"{suite.path}: rule {rule.rule_id}: there is no column {', '.join(unknown)}")
            # The row condition first: its errors say more than those of a condition that includes it.
            scope = _scope(suite, engine, expectation)
            given = _given(engine, expectation, rule.columns)
            failing, broken = None, None
            if _is_about_batch(expectation):
                is_float = any(columns[column] in _FLOATS for column in rule.columns)
                broken = _broken(suite, engine, expectation, scope, is_float=is_float)
            elif rule.expectation_type not in unique_types:
                typed = ", ".join(f"{column} ({columns[column]})" for column in rule.columns)
                is_whole = all(columns[column] in _INTEGERS for column in rule.columns)
                failing = _failing(suite, engine, expectation, typed, is_whole=is_whole)
            in_scope = None if scope is None else _sql(engine, scope)
            compiled.append(Conditions(failing=failing, scope=in_scope, given=given, broken=broken))
            _check(con, suite, rule, compiled[-1], columns)
        return compiled


def unexpected_counts(con: duckdb.DuckDBPyConnection, suite: Suite, relation: str) -> dict[str, int]:
    """GX's own count of failing rows per rule (0 or 1 for rules about the table).

    Args:
        con: The connection that sees the batch, inside its transaction if there is one.
        suite: The suite.
        relation: Unqualified name of a table or view.

    Raises:
        GuardError: GX itself fails on an expectation.
    """
    engine, data = _engine(con, relation)
    validator = Validator(execution_engine=engine, batches=[Batch(data=cast(Any, data))])
    validator.metrics_calculator.show_progress_bars = False
    results = validator.graph_validate(
        configurations=[expectation.configuration for expectation in _expectations(suite)],
        runtime_configuration={"result_format": RESULT_FORMAT, "catch_exceptions": True},
    )
    by_configuration = {
        _identity(result.expectation_config.to_json_dict()): result
        for result in results
        if result.expectation_config is not None
    }
    counts = {}
    for expectation, rule in zip(_expectations(suite), suite.rules, strict=True):
        result = by_configuration[_identity(expectation.configuration.to_json_dict())]
        if _raised(result.exception_info):
            raise GuardError(f"{suite.path}: rule {rule.rule_id}: Great Expectations cannot validate it")
        # A rule about the batch is broken or not; what GX counts there, if it counts, are distinct values.
        count = None if _is_about_batch(expectation) else result.result.get("unexpected_count")
        counts[rule.rule_id] = int(count) if count is not None else int(not result.success)
    return counts


def _identity(configuration: dict[str, Any]) -> str:
    return repr((configuration["type"], sorted(configuration["kwargs"].items(), key=lambda item: item[0])))


def _raised(exception_info: dict[str, Any]) -> bool:
    # GX gives one record, or one record per failed metric.
    if "raised_exception" in exception_info:
        return bool(exception_info["raised_exception"])
    return any(info.get("raised_exception") for info in exception_info.values())


def _expectations(suite: Suite) -> list[Expectation]:
    loaded = []
    for given, rule in zip(suite.expectations, suite.rules, strict=True):
        try:
            with _quiet():
                part = ExpectationSuite(name=suite.name, expectations=[given]).expectations
        except Exception as error:
            raise GuardError(f"{suite.path}: rule {rule.rule_id}: {error}") from error
        if not part:
            raise GuardError(f"{suite.path}: rule {rule.rule_id}: not a valid {rule.expectation_type}")
        loaded += part
    return loaded


@contextmanager
def _quiet() -> Iterator[None]:
    """Without GX's own log: what it logs and goes on with is an error here, and is raised."""
    loggers = [logging.getLogger(f"great_expectations.{name}") for name in _LOGGERS]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def _engine(con: duckdb.DuckDBPyConnection, relation: str) -> tuple[SqlAlchemyExecutionEngine, SqlAlchemyBatchData]:
    sql_engine = sa.create_engine(
        "duckdb:///:memory:",
        creator=lambda: _Borrowed(con),
        poolclass=StaticPool,
        isolation_level="AUTOCOMMIT",
        pool_reset_on_return=None,
        skip_autocommit_rollback=True,
    )
    sql_engine.dialect.identifier_preparer = _QuotingPreparer(sql_engine.dialect)
    engine = SqlAlchemyExecutionEngine(engine=sql_engine)
    # GX picks the regular-expression operator by the dialect's module and knows none for DuckDB. Dremio's,
    # REGEXP_MATCHES, is DuckDB's too.
    engine.dialect_module = SimpleNamespace(  # type: ignore[assignment]
        dialect=type(sql_engine.dialect), DremioDialect=True
    )
    data = SqlAlchemyBatchData(execution_engine=engine, table_name=relation, create_temp_table=False)
    engine.load_batch_data(relation, data)
    return engine, data


def _failing(
    suite: Suite, engine: SqlAlchemyExecutionEngine, expectation: Expectation, applied_to: str, *, is_whole: bool
) -> str:
    metric = expectation.map_metric  # type: ignore[attr-defined]
    condition_name = f"{metric}.condition"
    if not _judges_single_rows(engine, condition_name):
        raise _unsupported(suite, expectation)
    try:
        needed = expectation.get_validation_dependencies(
            execution_engine=engine, runtime_configuration={"result_format": RESULT_FORMAT}
        ).metric_configurations[f"{metric}.unexpected_count"]
        with _quiet():
            condition, _, _ = MetricsCalculator(execution_engine=engine, show_progress_bars=False).get_metric(
                MetricConfiguration(
                    condition_name,
                    metric_domain_kwargs=needed.metric_domain_kwargs,
                    metric_value_kwargs=needed.metric_value_kwargs,
                )
            )
        return _sql(engine, _with_integers(condition) if is_whole else condition)
    except Exception as error:
        # GX's own error only holds ids of metrics.
        raise GuardError(f"{suite.path}: {expectation.expectation_type} cannot be applied to {applied_to}") from error


def _with_integers(condition: _Condition) -> _Condition:
    """The condition with 1 for 1.0, as GX makes of every limit: it costs integers a cast to 128-bit decimals."""

    def whole(element: object, **_: object) -> sa.BindParameter[int] | None:
        if isinstance(element, sa.BindParameter) and isinstance(element.value, float) and element.value.is_integer():
            return sa.literal(int(element.value))
        return None

    return replacement_traverse(condition, {}, whole)


def _judges_single_rows(engine: SqlAlchemyExecutionEngine, metric: str) -> bool:
    """Whether a metric is one SQL expression over the row alone: no window, no mean of the batch."""
    try:
        provider, function = get_metric_provider(metric, engine)
    except MetricProviderError:
        return False
    if getattr(function, "metric_fn_type", None) not in _ROW_FUNCTIONS:
        return False
    needed = provider.get_evaluation_dependencies(
        metric=MetricConfiguration(metric, metric_domain_kwargs={}, metric_value_kwargs={}),
        execution_engine=engine,
    )
    return all(_judges_single_rows(engine, name) for name in set(needed) - _SHAPE_METRICS)


def _unsupported(suite: Suite, expectation: Expectation) -> GuardError:
    return GuardError(
        f"{suite.path}: {expectation.expectation_type} judges neither single rows by one SQL condition nor the batch "
        "by one aggregate, so it cannot be used here; see expectations/README.md for what can"
    )


def _is_about_batch(expectation: Expectation) -> bool:
    return getattr(expectation, "map_metric", None) is None


def _broken(
    suite: Suite,
    engine: SqlAlchemyExecutionEngine,
    expectation: Expectation,
    scope: _Condition | None,
    *,
    is_float: bool,
) -> str:
    """SQL over a batch that is true when it breaks a rule about the whole of it.

    What GX cannot compare (no value, not a number) breaks the rule, as it does there.
    """
    judge = _JUDGES.get(expectation.expectation_type)
    metrics: tuple[str, ...] = getattr(expectation, "metric_dependencies", ())
    asked = expectation.configuration.kwargs
    if judge is not None:
        holds = judge(asked, scope)
    elif len(metrics) == 1 and hasattr(expectation, "min_value") and hasattr(expectation, "max_value"):
        aggregate = _aggregate(engine, metrics[0], expectation)
        if aggregate is None:
            raise _unsupported(suite, expectation)
        holds = _is_between(_over(aggregate, scope), asked, is_float=is_float and metrics[0] in _OF_VALUES)
    else:
        raise _unsupported(suite, expectation)
    return _sql(engine, sa.not_(sa.func.coalesce(holds, sa.false())))


def _aggregate(engine: SqlAlchemyExecutionEngine, metric: str, expectation: Expectation) -> _Aggregate | None:
    """The SQL of a metric that is one aggregate: GX's own, or where GX asks several queries the same in one."""
    column: str | None = getattr(expectation, "column", None)
    own = _AGGREGATES.get(metric)
    if own is not None:
        return lambda over: own(sa.column(column or ""), over)
    name = f"{metric}.aggregate_fn"
    try:
        get_metric_provider(name, engine)
    except MetricProviderError:
        return None
    domain = {} if column is None else {"column": column}
    with _quiet():
        function, _, _ = MetricsCalculator(execution_engine=engine, show_progress_bars=False).get_metric(
            MetricConfiguration(name, metric_domain_kwargs=domain, metric_value_kwargs={})
        )
    return lambda over: over(function)


def _over(aggregate: _Aggregate, scope: _Condition | None) -> _Sql:
    """An aggregate over the rows in scope."""
    return aggregate(lambda function: function if scope is None else function.filter(scope))


def _is_between(value: _Sql, asked: Mapping[str, Any], *, is_float: bool) -> _Condition:
    limits: list[_Condition] = [value.is_not(None)]
    if asked.get("min_value") is not None:
        least = sa.literal(asked["min_value"])
        limits.append(value > least if asked.get("strict_min") else value >= least)
    if asked.get("max_value") is not None:
        most = sa.literal(asked["max_value"])
        limits.append(value < most if asked.get("strict_max") else value <= most)
    if is_float:
        limits.append(sa.not_(sa.func.isnan(value)))
    return sa.and_(*limits)


def _is_row_count(asked: Mapping[str, Any], scope: _Condition | None) -> _Condition:
    return _over(lambda over: over(sa.func.count()), scope) == sa.literal(asked["value"])


def _has_values(asked: Mapping[str, Any], scope: _Condition | None) -> _Condition:
    found = _distinct(asked, scope, sa.column(asked["column"]).in_(asked["value_set"]))
    return found == sa.literal(len(asked["value_set"]))


def _has_no_others(asked: Mapping[str, Any], scope: _Condition | None) -> _Condition:
    return _distinct(asked, scope, sa.column(asked["column"]).not_in(asked["value_set"])) == sa.literal(0)


def _distinct(asked: Mapping[str, Any], scope: _Condition | None, condition: _Condition) -> _Sql:
    """How many distinct values of a column meet a condition."""
    counted = sa.func.count(sa.distinct(sa.column(asked["column"])))
    return counted.filter(condition if scope is None else sa.and_(condition, scope))


def _has_quantiles(asked: Mapping[str, Any], scope: _Condition | None) -> _Condition:
    column: _Sql = sa.column(asked["column"])
    ranges = asked["quantile_ranges"]
    limits: list[_Condition] = []
    for quantile, (least, most) in zip(ranges["quantiles"], ranges["value_ranges"], strict=True):
        disc = sa.func.quantile_disc(column, sa.literal(quantile))
        value: _Sql = disc if scope is None else disc.filter(scope)
        limits.append(value.is_not(None))
        if least is not None:
            limits.append(value >= sa.literal(least - QUANTILE_TOLERANCE * abs(least)))
        if most is not None:
            limits.append(value <= sa.literal(most + QUANTILE_TOLERANCE * abs(most)))
    return sa.and_(*limits)


def _finite_deviation(value: _Sql, over: _Over) -> _Sql:
    # The engine stops at a deviation that is no number; here it is none, which breaks the rule.
    finite = sa.func.isfinite(value)
    deviation = over(sa.func.stddev_samp(sa.case((finite, value))))
    return sa.case((over(sa.func.bool_and(finite)), deviation))


def _share(part: _Sql, whole: _Sql) -> _Sql:
    # Nothing of nothing is 0 to GX.
    return sa.func.coalesce(sa.cast(part, sa.Double) / sa.func.nullif(whole, 0), sa.literal(0))


_AGGREGATES: Mapping[str, Callable[[_Sql, _Over], _Sql]] = {
    "table.row_count": lambda _column, over: over(sa.func.count()),
    "column.median": lambda column, over: over(sa.func.median(column)),
    "column.standard_deviation": lambda column, over: _finite_deviation(sa.cast(column, sa.Double), over),
    "column.unique_proportion": lambda column, over: _share(
        over(sa.func.count(sa.distinct(column))), over(sa.func.count(column))
    ),
    "column.non_null_proportion": lambda column, over: _share(over(sa.func.count(column)), over(sa.func.count())),
}
"""Metrics that GX has no aggregate for that always answers, and theirs."""

_OF_VALUES = frozenset({f"column.{name}" for name in ("max", "mean", "median", "min", "standard_deviation", "sum")})
"""Metrics that may be no number when a value is none."""

_JUDGES: Mapping[str, Callable[[Mapping[str, Any], _Condition | None], _Condition]] = {
    "expect_table_row_count_to_equal": _is_row_count,
    "expect_column_distinct_values_to_be_in_set": _has_no_others,
    "expect_column_distinct_values_to_contain_set": _has_values,
    "expect_column_distinct_values_to_equal_set": lambda asked, scope: sa.and_(
        _has_values(asked, scope), _has_no_others(asked, scope)
    ),
    "expect_column_quantile_values_to_be_between": _has_quantiles,
}
"""How rules about the batch that are no range of one metric are judged."""


def _check(
    con: duckdb.DuckDBPyConnection, suite: Suite, rule: Rule, compiled: Conditions, columns: Mapping[str, str]
) -> None:
    """Let the engine read a rule about the batch: GX compiles a mean of texts without a word."""
    if compiled.broken is None:
        return
    try:
        con.execute(f"select {compiled.broken} from {_BATCH}")
    except duckdb.Error as error:
        typed = ", ".join(f"{column} ({columns[column]})" for column in rule.columns)
        raise GuardError(f"{suite.path}: {rule.expectation_type} cannot be applied to {typed}") from error


def _scope(suite: Suite, engine: SqlAlchemyExecutionEngine, expectation: Expectation) -> _Condition | None:
    condition = getattr(expectation, "row_condition", None)
    if condition is None:
        return None
    try:
        parsed = cast(Condition, deserialize_row_condition(condition))
        clause = engine.condition_to_filter_clause(parsed)
        _sql(engine, clause)
    except Exception as error:
        raise GuardError(
            f"{suite.path}: {expectation.expectation_type}: row_condition must be in GX's structured form: {error}"
        ) from error
    return cast("_Condition", clause)


def _given(engine: SqlAlchemyExecutionEngine, expectation: Expectation, columns: Sequence[str]) -> str | None:
    missing = _MISSING.get(str(getattr(expectation, "ignore_row_if", "neither")))
    if missing is None:
        return None
    are_null = [sa.column(column).is_(None) for column in columns]
    return _sql(engine, sa.not_(sa.and_(*are_null) if missing is all else sa.or_(*are_null)))


def _sql(engine: SqlAlchemyExecutionEngine, clause: _Sql) -> str:
    return str(
        sa.type_coerce(clause, sa.Boolean).compile(
            dialect=engine.engine.dialect, compile_kwargs={"literal_binds": True}
        )
    )
