{#- A table: the ASOF joins of business minutes probe it. -#}
{{ config(materialized='table') }}

with schedules as (
    select * from {{ ref('int_business_schedule__unioned') }}
),

tickets as (
    select * from {{ ref('int_ticket__unioned') }}
),

ticket_events as (
    select * from {{ ref('int_ticket_event__unioned') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

first_ticket as (
    select min(created_at) as created_at
    from tickets
),

last_event as (
    select max(occurred_at) as occurred_at
    from ticket_events
),

-- Two days of margin hold every time zone and a shift over midnight.
bounds as (
    select
        cast(first_ticket.created_at as date) - 2 as first_date,
        cast(greatest(as_of.as_of_at, last_event.occurred_at) as date) + 2 as last_date
    from first_ticket
    cross join last_event
    cross join as_of
),

calendar as (
    select cast(unnest(generate_series(first_date, last_date, interval 1 day)) as date) as local_date
    from bounds
),

-- Local clock times as minutes after midnight, so that 24:00 is one.
weekday_hours as (
    select
        schedule_key,
        time_zone,
        weekday,
        coalesce(valid_from, date '0001-01-01') as valid_from,
        coalesce(valid_until, date '9999-12-31') as valid_until,
        cast(split_part(opens, ':', 1) as integer) * 60 + cast(split_part(opens, ':', 2) as integer)
            as opens_minute,
        cast(split_part(closes, ':', 1) as integer) * 60 + cast(split_part(closes, ':', 2) as integer)
            as closes_minute
    from schedules
    where
        weekday is not null
        and opens is not null
        and closes is not null
),

holidays as (
    select distinct
        schedule_key,
        holiday_date
    from schedules
    where holiday_date is not null
),

local_hours as (
    select
        weekday_hours.schedule_key,
        weekday_hours.time_zone,
        cast(calendar.local_date as timestamp) + to_minutes(weekday_hours.opens_minute) as local_opened_at,
        cast(calendar.local_date as timestamp) + to_minutes(
            -- A shift that ends at or before it begins ends on the next day.
            weekday_hours.closes_minute
            + case when weekday_hours.closes_minute <= weekday_hours.opens_minute then 1440 else 0 end
        ) as local_closed_at
    from weekday_hours
    inner join calendar
        on
            weekday_hours.weekday = isodow(calendar.local_date)
            and calendar.local_date between weekday_hours.valid_from and weekday_hours.valid_until
    left join holidays
        on
            weekday_hours.schedule_key = holidays.schedule_key
            and calendar.local_date = holidays.holiday_date
    where holidays.holiday_date is null
),

utc_hours as (
    select
        schedule_key,
        {{ to_utc('local_opened_at', 'time_zone') }} as opened_at,
        {{ to_utc('local_closed_at', 'time_zone') }} as closed_at
    from local_hours
),

-- Overlapping intervals count once.
reached as (
    select
        *,
        max(closed_at) over (
            partition by schedule_key
            order by opened_at, closed_at
            rows between unbounded preceding and 1 preceding
        ) as reached_at
    from utc_hours
    where closed_at > opened_at
),

islands as (
    select
        *,
        count(*) filter (where reached_at is null or opened_at > reached_at) over (
            partition by schedule_key
            order by opened_at, closed_at
            rows between unbounded preceding and current row
        ) as island_number
    from reached
),

opened as (
    select
        schedule_key,
        min(opened_at) as opened_at,
        max(closed_at) as closed_at
    from islands
    group by schedule_key, island_number
),

lasting as (
    select
        *,
        {{ minutes_between('opened_at', 'closed_at') }} as open_minutes
    from opened
),

expanded as (
    select
        schedule_key,
        opened_at,
        closed_at,
        coalesce(
            sum(open_minutes) over (
                partition by schedule_key
                order by opened_at
                rows between unbounded preceding and 1 preceding
            ),
            0
        ) as minutes_before
    from lasting
)

select * from expanded
