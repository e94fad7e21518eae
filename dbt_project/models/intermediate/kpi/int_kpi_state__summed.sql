{#- A table: the published parts read it. -#}
{{ config(materialized='table') }}

{%- set dimensions = kpi_dimensions() %}

with nps_records as (
    select * from {{ ref('int_kpi_nps__observed') }}
),

clv_records as (
    select * from {{ ref('int_kpi_clv__observed') }}
),

days as (
    select * from {{ ref('int_kpi_day__mapped') }}
),

records as (
    select * from nps_records
    union all
    select * from clv_records
),

-- Records that count for the same days, read once: of many customers they do not fit in memory.
alike as (
    select
        metric,
        observed_date,
        counted_until_date,
        {{ dimensions | join(', ') }},
        {{ select_moments_of_records() }}
    from records
    where counted_until_date is null or counted_until_date > observed_date
    group by all
),

-- A record comes in on one day and goes out on another; what counts on a day is all that came in so far less all that
-- went out. The work grows with the records, not with the records times the days they count.
changes as (
    select
        metric,
        observed_date as date_day,
        {{ dimensions | join(', ') }},
        {{ select_moments() }}
    from alike
    union all
    select
        metric,
        counted_until_date as date_day,
        {{ dimensions | join(', ') }},
        {{ select_moments('-') }}
    from alike
    where counted_until_date is not null
),

sliced_changes as (
    select
        metric,
        date_day,
        {{ select_slice(dimensions) }},
        {{ select_moments_of_groups() }}
    from changes
    group by {{ kpi_grouping_sets('metric, date_day', dimensions) }} -- noqa: PRS
),

declared_changes as (
    select *
    from sliced_changes
    where {{ is_declared_slice() }}
),

period_ends as (
    select
        calendar,
        period_grain,
        period_start,
        date_day
    from days
    where date_day = measured_until_date
),

calendar_days as (
    select distinct date_day
    from days
),

cells as (
    select
        metric,
        slice,
        slice_value,
        min(date_day) as first_date
    from declared_changes
    group by metric, slice, slice_value
),

dense as (
    select
        cells.metric,
        cells.slice,
        cells.slice_value,
        calendar_days.date_day
    from cells
    inner join calendar_days
        on cells.first_date <= calendar_days.date_day
),

states as (
    select
        dense.metric,
        dense.slice,
        dense.slice_value,
        dense.date_day,
        {{ select_moments_of_groups(' over so_far') }}
    from dense
    left join declared_changes
        on
            dense.metric = declared_changes.metric
            and dense.slice = declared_changes.slice
            and dense.slice_value = declared_changes.slice_value
            and dense.date_day = declared_changes.date_day
    window so_far as (
        partition by dense.metric, dense.slice, dense.slice_value
        order by dense.date_day
    )
),

summed as (
    select
        states.metric,
        period_ends.calendar,
        period_ends.period_grain,
        period_ends.period_start,
        states.slice,
        states.slice_value,
        {{ select_moments('states.') }}
    from states
    inner join period_ends
        on states.date_day = period_ends.date_day
    where states.n > 0 or states.n_invalid > 0
)

select * from summed
