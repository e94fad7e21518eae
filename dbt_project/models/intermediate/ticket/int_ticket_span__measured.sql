with tickets as (
    select * from {{ ref('int_ticket__unioned') }}
),

replies as (
    select * from {{ ref('int_ticket__replied') }}
),

resolutions as (
    select * from {{ ref('int_ticket__resolved') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

business_hours as (
    select * from {{ ref('int_business_hours__expanded') }}
),

-- A schedule without a single opening interval is as unknown as none.
known_schedules as (
    select distinct schedule_key
    from business_hours
),

spans as (
    select
        replies.ticket_key,
        'first_reply' as target,
        tickets.schedule_key,
        replies.wait_started_at as started_at,
        replies.first_human_reply_at is not null as is_done,
        -- Without a reply the wait ends with the ticket, or has lasted until now.
        coalesce(
            replies.first_human_reply_at,
            greatest(replies.wait_started_at, least(resolutions.resolved_at, as_of.as_of_at))
        ) as ended_at
    from replies
    inner join tickets
        on replies.ticket_key = tickets.ticket_key
    inner join resolutions
        on replies.ticket_key = resolutions.ticket_key
    cross join as_of
    where replies.wait_started_at is not null
    union all
    select
        tickets.ticket_key,
        'resolution' as target,
        tickets.schedule_key,
        tickets.created_at as started_at,
        resolutions.resolved_at is not null as is_done,
        greatest(tickets.created_at, coalesce(resolutions.resolved_at, as_of.as_of_at)) as ended_at
    from tickets
    inner join resolutions
        on tickets.ticket_key = resolutions.ticket_key
    cross join as_of
    -- Resolved at an unknown time is neither.
    where resolutions.resolved_at is not null or not resolutions.is_resolved
),

on_schedule as (
    select
        spans.ticket_key,
        spans.target,
        spans.started_at,
        spans.is_done,
        spans.ended_at,
        known_schedules.schedule_key
    from spans
    left join known_schedules
        on spans.schedule_key = known_schedules.schedule_key
),

-- The open minutes from the start of the calendar up to a moment: those before its interval, and of its interval
-- those that have passed. Their difference is exact for any length of time.
started as (
    select
        on_schedule.*,
        coalesce(
            business_hours.minutes_before
            + {{ minutes_between(
                'business_hours.opened_at', 'least(on_schedule.started_at, business_hours.closed_at)'
            ) }},
            0
        ) as open_minutes_at_start
    from on_schedule
    asof left join business_hours
        on
            on_schedule.schedule_key = business_hours.schedule_key
            and on_schedule.started_at >= business_hours.opened_at
),

ended as (
    select
        started.*,
        coalesce(
            business_hours.minutes_before
            + {{ minutes_between(
                'business_hours.opened_at', 'least(started.ended_at, business_hours.closed_at)'
            ) }},
            0
        ) as open_minutes_at_end
    from started
    asof left join business_hours
        on
            started.schedule_key = business_hours.schedule_key
            and started.ended_at >= business_hours.opened_at
),

measured as (
    select
        ticket_key,
        target,
        schedule_key,
        started_at,
        ended_at,
        is_done,
        {{ minutes_between('started_at', 'ended_at') }} as calendar_minutes,
        case when schedule_key is not null then open_minutes_at_end - open_minutes_at_start end as business_minutes,
        case when schedule_key is not null then open_minutes_at_start end as open_minutes_at_start
    from ended
)

select * from measured
