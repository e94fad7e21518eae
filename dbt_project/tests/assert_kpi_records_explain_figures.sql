-- The records one finds behind the figures are as many as the figures say: each metric over the whole of time; after a
-- build that followed the change in the months from the one before the last build (before as_of where time went back).
{%- set metrics = kpi_metrics() | rejectattr('period_kind', 'equalto', 'transition') | list %}
{%- set is_of_change = flags.WHICH == 'build' and follows_change() %}
{%- set grain = 'month' if is_of_change else 'all' %}
{%- set as_of = ref('int_as_of__resolved') %}
{#- Written out, because only a literal is taken down to the scans of the facts. A day's grace, as clocks differ. -#}
{%- set since = "date '0001-01-01'" %}
{%- if is_of_change %}
    {%- set months_before %}
        select date_trunc('month', least(timestamp '{{ last_build()[1] }}', as_of_at) - interval 1 day) - interval 1 month
        from {{ as_of }}
    {%- endset %}
    {%- set since = "date '" ~ (run_query(months_before).rows[0][0] | string)[:10] ~ "'" %}
{%- endif %}

with periods as (
    select *
    from {{ ref('dim_period') }}
    where
        calendar = 'gregorian'
        and period_grain = '{{ grain }}'
        and period_start >= {{ since }}
),

figures as (
    select
        parts.metric,
        parts.period_start,
        case metrics.records_part when 'n' then parts.n else parts.numerator end as published_count
    from {{ ref('mart_kpi_parts') }} as parts
    inner join {{ ref('dim_metric') }} as metrics
        on parts.metric = metrics.metric
    where
        parts.calendar = 'gregorian'
        and parts.period_grain = '{{ grain }}'
        and parts.period_start >= {{ since }}
        and parts.slice = 'all'
        and metrics.period_kind <> 'transition'
),

-- What kpi_records gives for each metric, counted for all metrics of a model at once.
records as (
    {%- for model, of_model in metrics | groupby('records_model') %}
    select
        records.metric as records_metric,
        periods.period_start,
        count(*) as record_count
    from {{ ref(model) }} as records
    inner join periods
        on
            {{ is_record_in_period(of_model[0].period_kind) }}
    where
        records.is_counted
        {%- if of_model[0].period_kind == 'flow' %}
        and records.observed_date >= {{ since }}
        {%- endif %}
    group by records.metric, periods.period_start
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

metric_records as (
    {%- for metric in metrics %}
    select
        '{{ metric.metric }}' as metric,
        records.period_start,
        records.record_count
    from records
    where records.records_metric = '{{ metric.records_metric or metric.metric }}'
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
)

select
    coalesce(figures.metric, metric_records.metric) as metric,
    coalesce(figures.period_start, metric_records.period_start) as period_start,
    figures.published_count,
    metric_records.record_count
from metric_records
full outer join figures
    on
        metric_records.metric = figures.metric
        and metric_records.period_start = figures.period_start
where coalesce(figures.published_count, 0) <> coalesce(metric_records.record_count, 0)
