-- What happened on the days of a month happened in the month, in either calendar.
with parts as (
    select parts.*
    from {{ ref('mart_kpi_parts') }} as parts
    inner join {{ ref('dim_metric') }} as metrics
        on parts.metric = metrics.metric
    where
        metrics.period_kind = 'flow'
        -- Its denominator is an average over days.
        and parts.metric <> 'complaint_rate'
),

months as (
    select *
    from parts
    where period_grain = 'month'
),

days as (
    select
        parts.metric,
        parts.slice,
        parts.slice_value,
        day_months.calendar,
        day_months.period_start,
        sum(parts.n) as n,
        sum(parts.n_invalid) as n_invalid,
        sum(parts.numerator) as numerator
    from parts
    inner join {{ ref('int_kpi_day__mapped') }} as day_months
        on
            parts.period_start = day_months.date_day
            and day_months.period_grain = 'month'
    where parts.period_grain = 'day'
    group by parts.metric, parts.slice, parts.slice_value, day_months.calendar, day_months.period_start
)

select
    months.metric,
    months.calendar,
    months.period_start,
    months.slice,
    months.slice_value,
    months.n as month_n,
    days.n as days_n
from months
full outer join days
    on
        months.metric = days.metric
        and months.calendar = days.calendar
        and months.period_start = days.period_start
        and months.slice = days.slice
        and months.slice_value = days.slice_value
where
    months.n is distinct from days.n
    or months.n_invalid is distinct from days.n_invalid
    or abs(months.numerator - days.numerator) > 1e-6 * greatest(1, abs(months.numerator))
