with flows as (
    select *
    from {{ ref('int_kpi_flow__summed') }}
    where metric = 'complaint_rate'
),

active_days as (
    select *
    from {{ ref('int_kpi_transition__summed') }}
    where
        metric = 'retention_rate'
        and calendar = 'gregorian'
        and period_grain = 'day'
),

days as (
    select * from {{ ref('int_kpi_day__mapped') }}
),

period_lengths as (
    select
        calendar,
        period_grain,
        period_start,
        count(*) as day_count
    from days
    group by calendar, period_grain, period_start
),

customer_days as (
    select
        days.calendar,
        days.period_grain,
        days.period_start,
        active_days.slice,
        active_days.slice_value,
        sum(active_days.n_at_close) as customer_days
    from active_days
    inner join days
        on active_days.period_start = days.date_day
    group by days.calendar, days.period_grain, days.period_start, active_days.slice, active_days.slice_value
),

-- Periods without a complaint have a rate of zero; complaints of a slice without active customers have none.
joined as (
    select
        coalesce(flows.calendar, customer_days.calendar) as calendar,
        coalesce(flows.period_grain, customer_days.period_grain) as period_grain,
        coalesce(flows.period_start, customer_days.period_start) as period_start,
        coalesce(flows.slice, customer_days.slice) as slice,
        coalesce(flows.slice_value, customer_days.slice_value) as slice_value,
        coalesce(flows.n, 0) as complaints,
        coalesce(customer_days.customer_days, 0) as customer_days
    from flows
    full outer join customer_days
        on
            flows.calendar = customer_days.calendar
            and flows.period_grain = customer_days.period_grain
            and flows.period_start = customer_days.period_start
            and flows.slice = customer_days.slice
            and flows.slice_value = customer_days.slice_value
),

summed as (
    select
        'complaint_rate' as metric,
        joined.calendar,
        joined.period_grain,
        joined.period_start,
        joined.slice,
        joined.slice_value,
        joined.complaints,
        joined.customer_days / period_lengths.day_count as average_customers
    from joined
    inner join period_lengths
        on
            joined.calendar = period_lengths.calendar
            and joined.period_grain = period_lengths.period_grain
            and joined.period_start = period_lengths.period_start
    where joined.complaints > 0 or joined.customer_days > 0
)

select * from summed
