{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'entity': 'ticket', 'column': 'ticket_key'}, 'owner': 'coalesce(customer_id, ticket_key)'}
) }}

with ticket_events as (
    select *
    from {{ ref('int_ticket_event__ordered') }}
    where {{ is_touched('ticket_key') }}
),

tickets as (
    select *
    from {{ ref('int_ticket__unioned') }}
    where {{ is_touched('ticket_key') }}
),

resolutions as (
    select * from {{ ref('int_ticket__resolved') }}
),

status_events as (
    select
        ticket_key,
        event_number,
        occurred_at,
        status
    from ticket_events
    where status is not null
),

first_events as (
    select
        ticket_key,
        min(occurred_at) as first_occurred_at
    from status_events
    group by ticket_key
),

-- A log that starts after the ticket was opened leaves out its first state, which is new by definition.
opening_states as (
    select
        tickets.ticket_key,
        0 as event_number,
        tickets.created_at as occurred_at,
        'new' as status
    from tickets
    inner join first_events
        on tickets.ticket_key = first_events.ticket_key
    where tickets.created_at < first_events.first_occurred_at
),

steps as (
    select * from opening_states
    union all
    select * from status_events
),

changes as (
    select
        *,
        lag(status) over (
            partition by ticket_key
            order by event_number
        ) as previous_status
    from steps
),

stays as (
    select
        ticket_key,
        row_number() over (
            partition by ticket_key
            order by event_number
        ) as interval_number,
        status,
        occurred_at as started_at,
        lead(occurred_at) over (
            partition by ticket_key
            order by event_number
        ) as ended_at
    from changes
    where previous_status is null or previous_status <> status
),

final as (
    select
        stays.ticket_key || ':' || stays.interval_number as ticket_status_interval_key,
        stays.ticket_key,
        resolutions.customer_id,
        stays.interval_number,
        stays.status,
        stays.started_at,
        stays.ended_at,
        {{ minutes_between('stays.started_at', 'stays.ended_at') }} as duration_minutes,
        stays.ended_at is null as is_current
    from stays
    -- Events of tickets that have not arrived (yet) wait for them.
    inner join resolutions
        on stays.ticket_key = resolutions.ticket_key
)

select * from final
