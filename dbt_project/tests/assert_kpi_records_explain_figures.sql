-- The records one finds behind the figures are as many as the figures say: each metric over the whole of time.
{%- set metrics = kpi_metrics() | rejectattr('period_kind', 'equalto', 'transition') | list %}

with figures as (
    select
        parts.metric,
        case metrics.records_part when 'n' then parts.n else parts.numerator end as published_count
    from {{ ref('mart_kpi_parts') }} as parts
    inner join {{ ref('dim_metric') }} as metrics
        on parts.metric = metrics.metric
    where
        parts.period_grain = 'all'
        and parts.slice = 'all'
),

-- What kpi_records gives for each metric, counted for all metrics of a model at once.
records as (
    {%- for model, of_model in metrics | groupby('records_model') %}
    select
        records.metric as records_metric,
        count(*) as record_count
    from {{ ref(model) }} as records
    inner join {{ ref('dim_period') }} as periods
        on
            {{ is_record_in_period(of_model[0].period_kind) }}
    where
        periods.calendar = 'gregorian'
        and periods.period_grain = 'all'
        and records.is_counted
    group by records.metric
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

metric_records as (
    {%- for metric in metrics %}
    select
        '{{ metric.metric }}' as metric,
        '{{ metric.records_metric or metric.metric }}' as records_metric
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
)

select
    metric_records.metric,
    figures.published_count,
    records.record_count
from metric_records
left join records
    on metric_records.records_metric = records.records_metric
left join figures
    on metric_records.metric = figures.metric
where coalesce(figures.published_count, 0) <> coalesce(records.record_count, 0)
