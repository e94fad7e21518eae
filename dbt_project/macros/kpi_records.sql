{#-
    A query for the records behind a figure, with those that could not be counted (`is_counted` false).

    All arguments but the metric are optional: what is left out is not chosen, and stands beside each record, which
    comes once for every period it counts in. A `slice` without its value gives the records by value.
    For example, in `dbt show --limit -1 --output json --inline` (otherwise it shows five records, not all columns):

        {{ kpi_records('csat', 'jalali', 'month', '2025-05-22', 'channel', 'email') }}
-#}
{% macro kpi_records(metric, calendar=none, period_grain=none, period_start=none, slice='all', slice_value=none) -%}
{%- set declared = kpi_metrics() | selectattr('metric', 'equalto', metric) | list -%}
{%- if not declared -%}
    {{ exceptions.raise_compiler_error(
        "There is no metric '" ~ metric ~ "'; the metrics are " ~ kpi_metrics() | map(attribute='metric') | join(', ')
    ) }}
{%- endif -%}
{%- set kind = declared[0].period_kind -%}
{%- if slice != 'all' and slice not in declared[0].slices -%}
    {{ exceptions.raise_compiler_error(
        "'" ~ metric ~ "' is not cut by '" ~ slice ~ "' but by " ~ declared[0].slices | join(', ')
    ) }}
{%- endif -%}
select
    periods.calendar,
    periods.period_grain,
    periods.period_start,
    {% if slice == 'all' %}'all'{% else %}records.{{ slice }}{% endif %} as slice_value,
    {%- if kind == 'transition' %}
    records.record_key,
    records.customer_id,
    records.is_counted,
    records.level as value,
    records.next_boundary_number = periods.period_number + 1 as is_changed_in_period
    {%- else %}
    records.record_key,
    records.customer_id,
    records.observed_date,
    records.is_counted,
    records.value,
    records.weight
    {%- endif %}
from {{ ref(declared[0].records_model) }} as records
inner join {{ ref('dim_period') }} as periods
    on
        {{ is_record_in_period(kind) }}
where
    records.metric = '{{ declared[0].records_metric or metric }}'
    {%- if calendar is not none %}
    and periods.calendar = '{{ calendar }}'
    {%- endif %}
    {%- if period_grain is not none %}
    and periods.period_grain = '{{ period_grain }}'
    {%- endif %}
    {%- if period_start is not none %}
    and periods.period_start = date '{{ period_start }}'
    {%- endif %}
    {%- if slice != 'all' and slice_value is not none %}
    and records.{{ slice }} = '{{ slice_value | replace("'", "''") }}'
    {%- endif %}
{%- endmacro %}

{#- Condition: a record counts in a period. -#}
{% macro is_record_in_period(period_kind) -%}
{%- if period_kind == 'flow' -%}
records.observed_date between periods.period_start and periods.measured_until_date
{%- elif period_kind == 'state' -%}
records.observed_date <= periods.measured_until_date
        and coalesce(records.counted_until_date > periods.measured_until_date, true)
{%- else -%}
records.calendar = periods.calendar
        and records.period_grain = periods.period_grain
        and records.boundary_number <= periods.period_number
        and coalesce(records.next_boundary_number > periods.period_number, true)
        and records.level > 0
{%- endif -%}
{%- endmacro %}
