with tickets as (
    select * from {{ ref('int_ticket__unioned') }}
),

replies as (
    select * from {{ ref('int_ticket__replied') }}
),

business_hours as (
    select * from {{ ref('int_business_hours__expanded') }}
),

-- A schedule without a single opening interval is as unknown as none.
known_schedules as (
    select distinct schedule_key
    from business_hours
),

waits as (
    select
        replies.ticket_key,
        known_schedules.schedule_key,
        replies.wait_started_at,
        replies.first_human_reply_at
    from replies
    inner join tickets
        on replies.ticket_key = tickets.ticket_key
    left join known_schedules
        on tickets.schedule_key = known_schedules.schedule_key
    where replies.first_human_reply_at is not null
),

-- The open minutes from the start of the calendar up to a moment: those before its interval, and of its interval
-- those that have passed. Their difference is exact for any length of wait.
started as (
    select
        waits.*,
        coalesce(
            business_hours.minutes_before
            + {{ minutes_between(
                'business_hours.opened_at', 'least(waits.wait_started_at, business_hours.closed_at)'
            ) }},
            0
        ) as open_minutes_at_start
    from waits
    asof left join business_hours
        on
            waits.schedule_key = business_hours.schedule_key
            and waits.wait_started_at >= business_hours.opened_at
),

ended as (
    select
        started.*,
        coalesce(
            business_hours.minutes_before
            + {{ minutes_between(
                'business_hours.opened_at', 'least(started.first_human_reply_at, business_hours.closed_at)'
            ) }},
            0
        ) as open_minutes_at_reply
    from started
    asof left join business_hours
        on
            started.schedule_key = business_hours.schedule_key
            and started.first_human_reply_at >= business_hours.opened_at
),

measured as (
    select
        ticket_key,
        {{ minutes_between('wait_started_at', 'first_human_reply_at') }} as first_response_minutes,
        case
            when schedule_key is not null then open_minutes_at_reply - open_minutes_at_start
        end as first_response_business_minutes
    from ended
)

select * from measured
