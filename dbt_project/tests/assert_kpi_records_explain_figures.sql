-- The records one finds behind the figures are as many as the figures say: each metric over the whole of time.
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

records as (
    {%- for metric in kpi_metrics() if metric.period_kind != 'transition' %}
    select
        '{{ metric.metric }}' as metric,
        count(*) as record_count
    from ({{ kpi_records(metric.metric, 'gregorian', 'all') }}) as found
    where found.is_counted
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
)

select
    records.metric,
    figures.published_count,
    records.record_count
from records
left join figures
    on records.metric = figures.metric
where coalesce(figures.published_count, 0) <> records.record_count
