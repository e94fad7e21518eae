with stays as (
    select * from {{ ref('int_kpi_stay__merged') }}
),

customers as (
    select * from {{ ref('int_kpi_customer__sliced') }}
),

days as (
    select *
    from {{ ref('int_kpi_day__mapped') }}
    -- Nobody was active before the first day, so the whole of time has no customers at its start.
    where period_grain <> 'all'
),

-- A customer is active at the beginning of a day when they started before it and had not ended before it. A stay is
-- first seen at the beginning of the period after the one it starts in, and last seen at that of the one it ends in.
starts as (
    select
        stays.metric,
        stays.is_counted,
        stays.is_only_stay,
        stays.customer_id,
        days.calendar,
        days.period_grain,
        days.period_number + 1 as boundary_number,
        1 as stay_change,
        stays.amount as amount_change
    from stays
    inner join days
        on stays.started_date = days.date_day
),

ends as (
    select
        stays.metric,
        stays.is_counted,
        stays.is_only_stay,
        stays.customer_id,
        days.calendar,
        days.period_grain,
        days.period_number + 1 as boundary_number,
        -1 as stay_change,
        -stays.amount as amount_change
    from stays
    inner join days
        on stays.ended_date = days.date_day
),

changes as (
    select * from starts
    union all
    select * from ends
),

-- What starts and ends in one period is never seen at a boundary, and a return in the period of the end is no gap.
net_changes as (
    select
        metric,
        is_counted,
        is_only_stay,
        customer_id,
        calendar,
        period_grain,
        boundary_number,
        sum(stay_change) as stay_change,
        sum(amount_change) as amount_change
    from changes
    group by metric, is_counted, is_only_stay, customer_id, calendar, period_grain, boundary_number
),

running as (
    select
        *,
        sum(stay_change) over so_far as stays,
        sum(amount_change) over so_far as amount
    from net_changes
    window so_far as (
        partition by metric, is_counted, is_only_stay, customer_id, calendar, period_grain
        order by boundary_number
    )
),

levels as (
    select
        *,
        case
            when metric = 'revenue_churn_rate' and is_counted then cast(amount as decimal(18, 4))
            else cast(least(stays, 1) as decimal(18, 4))
        end as level
    from running
),

observed as (
    select
        levels.metric,
        levels.customer_id as record_key,
        levels.customer_id,
        levels.calendar,
        levels.period_grain,
        levels.boundary_number,
        lead(levels.boundary_number) over steps as next_boundary_number,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        levels.is_counted,
        levels.is_only_stay,
        levels.level,
        coalesce(lag(levels.level) over steps, 0) as previous_level
    from levels
    left join customers
        on levels.customer_id = customers.customer_id
    window steps as (
        partition by
            levels.metric,
            levels.is_counted,
            levels.is_only_stay,
            levels.customer_id,
            levels.calendar,
            levels.period_grain
        order by levels.boundary_number
    )
)

select * from observed
