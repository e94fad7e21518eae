{#- A table: every mart reads this row, and as a view each of them would scan all facts again. -#}
{{ config(materialized='table') }}

{%- set as_of = reporting_as_of() | string %}

with orders as (
    select * from {{ ref('int_order__unioned') }}
),

tickets as (
    select * from {{ ref('int_ticket__unioned') }}
),

ticket_events as (
    select * from {{ ref('int_ticket_event__unioned') }}
),

responses as (
    select * from {{ ref('int_response__unioned') }}
),

mentions as (
    select * from {{ ref('int_mention__unioned') }}
),

web_sessions as (
    select * from {{ ref('int_web_session__unioned') }}
),

subscriptions as (
    select * from {{ ref('int_subscription__unioned') }}
),

fact_times as (
    select ordered_at as fact_at
    from orders
    union all
    select created_at as fact_at
    from tickets
    union all
    select resolved_at as fact_at
    from tickets
    union all
    select closed_at as fact_at
    from tickets
    union all
    select occurred_at as fact_at
    from ticket_events
    union all
    select answered_at as fact_at
    from responses
    union all
    select published_at as fact_at
    from mentions
    union all
    select started_at as fact_at
    from web_sessions
    union all
    select started_at as fact_at
    from subscriptions
    union all
    select ended_at as fact_at
    from subscriptions
),

latest_fact as (
    select max(fact_at) as fact_at
    from fact_times
    -- What is dated ahead, such as the end of a contract, has not happened.
    where fact_at <= {{ utc_now() }}
),

moment as (
    select
        case '{{ as_of }}'
            when 'now' then {{ utc_now() }}
            -- Without any fact there is nothing to be as of but the present.
            when 'latest' then coalesce(fact_at, {{ utc_now() }})
            -- A date means the whole of it: its last moment on the reporting clock.
            else
                {{ to_utc(
                    "try_cast('" ~ as_of ~ "' as timestamp) + interval 1 day", "'" ~ reporting_time_zone() ~ "'"
                ) }} - interval 1 microsecond
        end as as_of_at
    from latest_fact
),

resolved as (
    select
        as_of_at,
        {{ reporting_date('as_of_at') }} as as_of_date
    from moment
)

select * from resolved
