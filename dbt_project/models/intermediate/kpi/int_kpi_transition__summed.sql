{#- A table: the published parts and the complaint rate read it. -#}
{{ config(materialized='table') }}

{%- set dimensions = ['region', 'segment'] %}

with stays as (
    select * from {{ ref('int_kpi_stay__merged') }}
),

customers as (
    select * from {{ ref('int_kpi_customer__sliced') }}
),

days as (
    select
        *,
        calendar || ' ' || period_grain as length
    from {{ ref('int_kpi_day__mapped') }}
    where period_grain <> 'all'
),

-- Who stayed on the same days counts alike, and is counted before the stays are laid out over the periods.
alike as (
    select
        stays.metric,
        stays.is_counted,
        stays.started_date,
        stays.ended_date,
        stays.amount,
        stays.followed_in,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        count(*) as stay_count
    from stays
    left join customers
        on stays.customer_id = customers.customer_id
    group by all
),

seen as (
    select
        alike.metric,
        alike.is_counted,
        alike.amount,
        alike.region,
        alike.segment,
        alike.stay_count,
        start_days.calendar,
        start_days.period_grain,
        start_days.period_number + 1 as first_boundary_number,
        end_days.period_number + 1 as gone_boundary_number
    from alike
    inner join days as start_days
        on
            alike.started_date = start_days.date_day
            and not list_contains(alike.followed_in, start_days.length)
    left join days as end_days
        on
            alike.ended_date = end_days.date_day
            and start_days.length = end_days.length
    -- Started and ended in one period: never seen.
    where end_days.period_number is distinct from start_days.period_number
),

-- The others are followed by customer.
followed as (
    select
        *,
        unnest(followed_in) as length
    from stays
),

changes_of_customers as (
    {%- for date, sign in [('started_date', ''), ('ended_date', '-')] %}
    select
        followed.metric,
        followed.is_counted,
        followed.customer_id,
        days.calendar,
        days.period_grain,
        days.period_number + 1 as boundary_number,
        {{ sign }}1 as stay_change,
        {{ sign }}followed.amount as amount_change
    from followed
    inner join days
        on
            followed.{{ date }} = days.date_day
            and followed.length = days.length
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

steps as (
    select * from {{ steps_of_changes('changes_of_customers') }}
),

step_groups as (
    select
        metric,
        calendar,
        period_grain,
        first_boundary_number as boundary_number,
        region,
        segment,
        is_counted,
        amount as level,
        cast(0 as decimal(18, 4)) as previous_level,
        stay_count
    from seen
    union all
    select
        metric,
        calendar,
        period_grain,
        gone_boundary_number as boundary_number,
        region,
        segment,
        is_counted,
        cast(0 as decimal(18, 4)) as level,
        amount as previous_level,
        stay_count
    from seen
    where gone_boundary_number is not null
    union all
    select
        steps.metric,
        steps.calendar,
        steps.period_grain,
        steps.boundary_number,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        steps.is_counted,
        steps.level,
        steps.previous_level,
        1 as stay_count
    from steps
    left join customers
        on steps.customer_id = customers.customer_id
),

signed_groups as (
    select
        *,
        cast(level > 0 as integer) - cast(previous_level > 0 as integer) as stay_change
    from step_groups
),

-- The steps are many, the groups they are of are few: slices are made of these.
group_changes as (
    select
        metric,
        calendar,
        period_grain,
        boundary_number,
        region,
        segment,
        sum(stay_count * stay_change) filter (where is_counted) as n,
        sum(stay_count * stay_change) filter (where not is_counted) as n_invalid,
        sum(stay_count * (level - previous_level)) filter (where is_counted) as level,
        sum(stay_count * (level * level - previous_level * previous_level)) filter (where is_counted) as level_sq,
        -- What one customer loses is never made up by what another one gains.
        sum(stay_count * (previous_level - level)) filter (where is_counted and level < previous_level) as lost
    from signed_groups
    group by all
),

changes as (
    select
        metric,
        calendar,
        period_grain,
        boundary_number,
        {{ select_slice(dimensions) }},
        sum(n) as n,
        sum(n_invalid) as n_invalid,
        sum(level) as level,
        sum(level_sq) as level_sq,
        sum(lost) as lost
    from group_changes
    group by {{ kpi_grouping_sets('metric, calendar, period_grain, boundary_number', dimensions) }} -- noqa: PRS
),

periods as (
    select distinct
        calendar,
        period_grain,
        period_number,
        period_start
    from days
),

-- Boundary k is the beginning of period k; one more closes the last period.
boundaries as (
    select
        calendar,
        period_grain,
        period_number as boundary_number
    from periods
    union all
    select
        calendar,
        period_grain,
        max(period_number) + 1 as boundary_number
    from periods
    group by calendar, period_grain
),

cells as (
    select
        metric,
        calendar,
        period_grain,
        slice,
        slice_value,
        min(boundary_number) as first_boundary_number
    from changes
    group by metric, calendar, period_grain, slice, slice_value
),

-- The period before the first boundary has nobody at its start; it is kept for those active at its close.
dense as (
    select
        cells.metric,
        cells.calendar,
        cells.period_grain,
        cells.slice,
        cells.slice_value,
        boundaries.boundary_number
    from cells
    inner join boundaries
        on
            cells.calendar = boundaries.calendar
            and cells.period_grain = boundaries.period_grain
            and boundaries.boundary_number >= cells.first_boundary_number - 1
),

states as (
    select
        dense.*,
        cast(coalesce(sum(changes.n) over so_far, 0) as bigint) as n,
        cast(coalesce(sum(changes.n_invalid) over so_far, 0) as bigint) as n_invalid,
        coalesce(sum(changes.level) over so_far, 0) as level,
        coalesce(sum(changes.level_sq) over so_far, 0) as level_sq,
        coalesce(changes.lost, 0) as lost
    from dense
    left join changes
        on
            dense.metric = changes.metric
            and dense.calendar = changes.calendar
            and dense.period_grain = changes.period_grain
            and dense.slice = changes.slice
            and dense.slice_value = changes.slice_value
            and dense.boundary_number = changes.boundary_number
    window so_far as (
        partition by dense.metric, dense.calendar, dense.period_grain, dense.slice, dense.slice_value
        order by dense.boundary_number
    )
),

closed as (
    select
        *,
        lead(lost) over boundary_order as lost_in_period,
        lead(n) over boundary_order as n_at_close
    from states
    window boundary_order as (
        partition by metric, calendar, period_grain, slice, slice_value
        order by boundary_number
    )
),

summed as (
    select
        closed.metric,
        closed.calendar,
        closed.period_grain,
        periods.period_start,
        closed.slice,
        closed.slice_value,
        closed.n,
        closed.n_invalid,
        closed.level,
        closed.level_sq,
        closed.lost_in_period,
        closed.n_at_close
    from closed
    inner join periods
        on
            closed.calendar = periods.calendar
            and closed.period_grain = periods.period_grain
            and closed.boundary_number = periods.period_number
)

select * from summed
