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

waits as (
    select
        replies.ticket_key,
        known_schedules.schedule_key,
        replies.wait_started_at,
        replies.first_human_reply_at is not null as is_replied,
        -- Without a reply the wait ends with the ticket, or has lasted until now.
        coalesce(
            replies.first_human_reply_at,
            greatest(replies.wait_started_at, least(resolutions.resolved_at, as_of.as_of_at))
        ) as wait_ended_at
    from replies
    inner join tickets
        on replies.ticket_key = tickets.ticket_key
    inner join resolutions
        on replies.ticket_key = resolutions.ticket_key
    cross join as_of
    left join known_schedules
        on tickets.schedule_key = known_schedules.schedule_key
    where replies.wait_started_at is not null
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
                'business_hours.opened_at', 'least(started.wait_ended_at, business_hours.closed_at)'
            ) }},
            0
        ) as open_minutes_at_end
    from started
    asof left join business_hours
        on
            started.schedule_key = business_hours.schedule_key
            and started.wait_ended_at >= business_hours.opened_at
),

lasting as (
    select
        ticket_key,
        is_replied,
        {{ minutes_between('wait_started_at', 'wait_ended_at') }} as waited_minutes,
        case when schedule_key is not null then open_minutes_at_end - open_minutes_at_start end
            as waited_business_minutes
    from ended
),

measured as (
    select
        ticket_key,
        waited_minutes,
        waited_business_minutes,
        case when is_replied then waited_minutes end as first_response_minutes,
        case when is_replied then waited_business_minutes end as first_response_business_minutes
    from lasting
)

select * from measured
