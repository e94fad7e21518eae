"""The semantic layer: figures by any dimension their records have, asked for by name.

The names, and how the figures are made of records, stand in `dbt_project/models/semantic` in dbt's own format;
MetricFlow makes the query. Belongs here: from a question to rows. Does not belong here: what a figure means
(`kpi_metrics`), and figures that are no ratio of records of the period (`mart_kpi` has them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import duckdb
from metricflow.engine.metricflow_engine import MetricFlowEngine, MetricFlowQueryRequest
from metricflow.protocols.sql_client import SqlClient, SqlEngine
from metricflow.sql.render.duckdb_renderer import DuckDbSqlPlanRenderer
from metricflow_semantics.errors.error_classes import MetricFlowException
from metricflow_semantics.model.dbt_manifest_parser import parse_manifest_from_dbt_generated_manifest
from metricflow_semantics.model.semantic_manifest_lookup import SemanticManifestLookup
from metricflow_semantics.specs.query_spec import MetricFlowQuerySpec

from orchestration.settings import Settings
from orchestration.transform import prepare, semantic_manifest_path
from orchestration.warehouse import writing

WEEK_START = "monday"
"""When MetricFlow's weeks begin: it truncates dates as DuckDB does."""


class SemanticError(ValueError):
    """A question that the semantic layer cannot answer; the message says why."""


@dataclass(frozen=True)
class Question:
    """What somebody asks for.

    Attributes:
        figures: Names as in `dim_metric`.
        group_by: Dimensions, such as `metric_time__month` or `ticket_record__channel`.
        where: Conditions in MetricFlow's words, such as `{{ Dimension('ticket_record__region') }} = 'north'`.
    """

    figures: Sequence[str]
    group_by: Sequence[str] = ()
    where: Sequence[str] = ()


class SemanticLayer:
    """The figures of a configuration, as dbt's semantic models define them."""

    def __init__(self, settings: Settings) -> None:
        """Read the semantic models; dbt parses the project first if something changed."""
        self._settings = settings
        prepare(settings)
        manifest = semantic_manifest_path(settings).read_text(encoding="utf-8")
        lookup = SemanticManifestLookup(parse_manifest_from_dbt_generated_manifest(manifest_json_string=manifest))
        self._engine = MetricFlowEngine(lookup, cast(SqlClient, _DuckDB()))

    def figures(self) -> dict[str, str]:
        """Every figure one can ask for: its label by its name."""
        names = {metric.name: metric.label for metric in self._engine.list_metrics()}
        return {name: label or name for name, label in sorted(names.items()) if f"{name}_n" in names}

    def dimensions(self, figures: Sequence[str]) -> list[str]:
        """What all of these figures can be grouped by.

        Raises:
            SemanticError: There is no such figure.
        """
        self._check(figures)
        found = self._engine.simple_dimensions_for_metrics(list(figures))
        return sorted({each.granularity_free_dunder_name for each in found})

    def sql(self, question: Question) -> str:
        """DuckDB's SQL over the warehouse: one row per group, with each figure and its `<figure>_n`.

        A figure of fewer records than `kpis.suppressed_below` is NULL, as in `mart_kpi`.

        Raises:
            SemanticError: There is no such figure or dimension, or its weeks are not those of the settings.
        """
        self._check(question.figures)
        counts = [f"{name}_n" for name in question.figures]
        request = MetricFlowQueryRequest.create(
            metric_names=[*question.figures, *counts],
            group_by_names=list(question.group_by) or None,
            where_constraints=list(question.where) or None,
        )
        try:
            explained = self._engine.explain(request)
        except MetricFlowException as error:
            raise SemanticError(str(error)) from error
        made, asked = explained.sql_statement.sql, explained.query_spec
        self._refuse_other_weeks(asked)
        # MetricFlow calls a group not always as it was asked for: metric_time by day is metric_time__day.
        groups = [spec.dunder_name for spec in asked.input_spec_order.group_by_item_specs]
        least = self._settings.kpis.suppressed_below
        shown = [
            f"case when {name}_n >= {least} then {name} end as {name}, {name}_n::bigint as {name}_n"
            for name in question.figures
        ]
        return f"select {', '.join([*groups, *shown])}\nfrom (\n{made}\n) as found\norder by all"

    def answer(self, question: Question) -> duckdb.DuckDBPyRelation:
        """The rows of `sql`, in order of their groups.

        Raises:
            SemanticError: There is no such figure or dimension.
            WarehouseBusyError: A run is under way.
        """
        query = self.sql(question)
        with writing(self._settings) as con:
            rows = con.execute(query).to_arrow_table()
        return duckdb.from_arrow(rows)

    def _refuse_other_weeks(self, asked: MetricFlowQuerySpec) -> None:
        """MetricFlow's weeks begin on Monday, whatever the settings say.

        Raises:
            SemanticError: The question groups by weeks or chooses some, and those of the settings are others.
        """
        begin = self._settings.reporting.week_start
        if begin == WEEK_START:
            return
        grains = {spec.time_granularity_name for spec in asked.time_dimension_specs}
        for found in asked.filter_spec_resolution_lookup.spec_resolutions:
            grains |= {
                spec.time_grain.name for spec in found.resolved_group_by_item_set.annotated_specs if spec.time_grain
            }
        if "week" in grains:
            raise SemanticError(
                f"weeks begin on {begin} (reporting.week_start), and the semantic layer knows only weeks from "
                f"{WEEK_START} on; ask by day, or take the weeks of mart_kpi"
            )

    def _check(self, figures: Sequence[str]) -> None:
        known = self.figures()
        for name in figures:
            if name not in known:
                raise SemanticError(f"there is no figure '{name}'; the figures are {', '.join(known)}")


class _DuckDB:
    """Tells MetricFlow whose SQL to write; it never runs a query itself."""

    sql_engine_type = SqlEngine.DUCKDB
    sql_plan_renderer = DuckDbSqlPlanRenderer()
