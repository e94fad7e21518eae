with flows as (
    select *
    from {{ ref('int_kpi_flow__summed') }}
    where metric <> 'complaint_rate'
),

states as (
    select * from {{ ref('int_kpi_state__summed') }}
),

transitions as (
    select
        *,
        case when metric = 'retention_rate' then level - lost_in_period else lost_in_period end as numerator
    from {{ ref('int_kpi_transition__summed') }}
    -- Somebody must have been there at the start.
    where n > 0 or n_invalid > 0
),

complaints as (
    select * from {{ ref('int_kpi_complaint__summed') }}
),

waits as (
    select * from {{ ref('int_kpi_wait__summed') }}
),

periods as (
    select * from {{ ref('dim_period') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

parts as (
    {%- for family in ('flows', 'states') %}
    select
        metric,
        calendar,
        period_grain,
        period_start,
        slice,
        slice_value,
        {{ select_parts_of_moments() }},
        cast(null as double) as quantile,
        cast(null as double) as quantile_low,
        cast(null as double) as quantile_high
    from {{ family }}
    union all
    {%- endfor %}
    select
        metric,
        calendar,
        period_grain,
        period_start,
        slice,
        slice_value,
        cast(numerator as double) as numerator,
        cast(level as double) as denominator,
        n,
        n_invalid,
        cast(numerator as double) as sum,
        case when metric <> 'revenue_churn_rate' then cast(numerator as double) end as sum_sq,
        case when metric = 'revenue_churn_rate' then cast(level_sq as double) end as sum_weight_sq,
        null as quantile,
        null as quantile_low,
        null as quantile_high
    from transitions
    union all
    select
        metric,
        calendar,
        period_grain,
        period_start,
        slice,
        slice_value,
        cast(complaints as double) as numerator,
        cast(average_customers as double) as denominator,
        cast(round(average_customers) as bigint) as n,
        0 as n_invalid,
        cast(complaints as double) as sum,
        cast(null as double) as sum_sq,
        cast(null as double) as sum_weight_sq,
        null as quantile,
        null as quantile_low,
        null as quantile_high
    from complaints
    union all
    select
        metric,
        calendar,
        period_grain,
        period_start,
        slice,
        slice_value,
        null as numerator,
        null as denominator,
        n,
        n_invalid,
        null as sum,
        null as sum_sq,
        null as sum_weight_sq,
        quantile,
        quantile_low,
        quantile_high
    from waits
),

combined as (
    select
        parts.metric,
        parts.calendar,
        parts.period_grain,
        parts.period_start,
        periods.period_end,
        parts.slice,
        parts.slice_value,
        parts.numerator,
        parts.denominator,
        parts.n,
        parts.n_invalid,
        parts.sum,
        parts.sum_sq,
        parts.sum_weight_sq,
        parts.quantile,
        parts.quantile_low,
        parts.quantile_high,
        -- What may still be answered otherwise is not counted yet.
        periods.is_complete
        and (
            parts.period_grain = 'all'
            or periods.period_end + case parts.metric
                {%- for metric in kpi_metrics() if metric.settled_after_days %}
                when '{{ metric.metric }}' then {{ metric.settled_after_days }}
                {%- endfor %}
                else 0
            end < as_of.as_of_date
        ) as is_complete
    from parts
    inner join periods
        on
            parts.calendar = periods.calendar
            and parts.period_grain = periods.period_grain
            and parts.period_start = periods.period_start
    cross join as_of
)

select * from combined
