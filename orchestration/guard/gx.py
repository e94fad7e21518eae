"""Great Expectations on DuckDB: the only module that imports it.

Belongs here: taking the failing-row condition of an expectation from GX's own metric, and GX's own
validation of a batch. Does not belong here: what is done with either. Importing GX costs seconds, so
this module is imported only when a suite changed or someone asks for GX's own validation.

Measured needs of GX over DuckDB (`duckdb-sqlalchemy`): `isolation_level="AUTOCOMMIT"`,
`pool_reset_on_return=None` and `skip_autocommit_rollback=True` together, else it ends transactions that
are not its own; a pool with one connection, ours, so that GX sees the rows of the writer's open
transaction; and regular expressions as `regexp_matches`, because DuckDB's `~` matches the whole text.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
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

from orchestration.guard.results import GuardError
from orchestration.guard.sql import identifier
from orchestration.guard.suites import Suite

RESULT_FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": 0}
"""Counts without values: nothing personal leaves the engine."""

_BATCH = "guard_batch"

_SHAPE_METRICS = frozenset({"table.columns", "table.column_types", "table.row_count"})
"""Metrics that every condition of GX asks for, whether it needs them or not."""

_ROW_FUNCTIONS = (MetricPartialFunctionTypes.MAP_CONDITION_FN, MetricPartialFunctionTypes.MAP_FN)
"""Kinds of metrics that are an expression over one row."""

_LOGGERS = ("core.expectation_suite", "validator.metrics_calculator")

_MISSING = {
    # What each value of `ignore_row_if` leaves out of the rows a rule applies to.
    "both_values_are_missing": all,
    "all_values_are_missing": all,
    "either_value_is_missing": any,
    "any_value_is_missing": any,
}


@dataclass(frozen=True)
class RowCondition:
    """The SQL of a row expectation.

    Attributes:
        failing: True for the rows that break it; NULL and false for the others.
        scope: True for the rows its row condition asks for; None when it has none.
        given: True for the rows that have the values it needs; None when it needs none.
    """

    failing: str | None
    scope: str | None
    given: str | None


class _Borrowed(ConnectionWrapper):
    """The writer's connection, lent: a pool that is collected must not close it."""

    def close(self) -> None:
        """Leave the connection to its owner."""


class _QuotingPreparer(sa.sql.compiler.IdentifierPreparer):
    """Quotes every name: columns of sources may be named like any keyword of any dialect."""

    def _requires_quotes(self, value: str) -> bool:
        return True


def row_conditions(suite: Suite, columns: Mapping[str, str], unique_types: frozenset[str]) -> list[RowCondition]:
    """The SQL of each expectation of a suite, in its order, taken from GX's own metrics.

    Args:
        suite: The suite.
        columns: DuckDB types of the columns of the audited relation, by name.
        unique_types: Expectation types whose failing rows the caller finds itself; only their
            scope is compiled.

    Raises:
        GuardError: An expectation is invalid, names an unknown column or has no condition for single rows.
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
            is_unique = rule.expectation_type in unique_types
            typed = ", ".join(f"{column} ({columns[column]})" for column in rule.columns)
            failing = None if is_unique else _failing(suite, engine, expectation, typed)
            compiled.append(RowCondition(failing=failing, scope=scope, given=given))
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
        count = result.result.get("unexpected_count")
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


def _failing(suite: Suite, engine: SqlAlchemyExecutionEngine, expectation: Expectation, applied_to: str) -> str | None:
    metric = getattr(expectation, "map_metric", None)
    if metric is None:
        if expectation.expectation_type == "expect_table_row_count_to_be_between":
            return None
        raise _unsupported(suite, expectation)
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
        return _sql(engine, condition)
    except Exception as error:
        # GX's own error only holds ids of metrics.
        raise GuardError(f"{suite.path}: {expectation.expectation_type} cannot be applied to {applied_to}") from error


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
        f"{suite.path}: {expectation.expectation_type} does not judge single rows by one SQL "
        "condition, so it cannot "
        "be used here; see expectations/README.md for what can"
    )


def _scope(suite: Suite, engine: SqlAlchemyExecutionEngine, expectation: Expectation) -> str | None:
    condition = getattr(expectation, "row_condition", None)
    if condition is None:
        return None
    try:
        parsed = cast(Condition, deserialize_row_condition(condition))
        return _sql(engine, engine.condition_to_filter_clause(parsed))
    except Exception as error:
        raise GuardError(
            f"{suite.path}: {expectation.expectation_type}: row_condition must be in GX's structured form: {error}"
        ) from error


def _given(engine: SqlAlchemyExecutionEngine, expectation: Expectation, columns: Sequence[str]) -> str | None:
    missing = _MISSING.get(str(getattr(expectation, "ignore_row_if", "neither")))
    if missing is None:
        return None
    are_null = [sa.column(column).is_(None) for column in columns]
    return _sql(engine, sa.not_(sa.and_(*are_null) if missing is all else sa.or_(*are_null)))


def _sql(engine: SqlAlchemyExecutionEngine, clause: sa.ColumnElement[Any]) -> str:
    return str(
        sa.type_coerce(clause, sa.Boolean).compile(
            dialect=engine.engine.dialect, compile_kwargs={"literal_binds": True}
        )
    )
