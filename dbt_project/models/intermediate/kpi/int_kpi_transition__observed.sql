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

steps as (
    select * from {{ steps_of_changes('changes') }}
),

observed as (
    select
        steps.metric,
        steps.customer_id as record_key,
        steps.customer_id,
        steps.calendar,
        steps.period_grain,
        steps.boundary_number,
        steps.next_boundary_number,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        steps.is_counted,
        steps.level,
        steps.previous_level
    from steps
    left join customers
        on steps.customer_id = customers.customer_id
)

select * from observed
