{#- A table: replies, moves and status intervals each read it. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'entity': 'ticket', 'column': 'ticket_key', 'has_customers': false}}
) }}

with ticket_events as (
    select
        *,
        -- A column of its own: a condition on one side only would have every event compared with every agent.
        case when actor_type in ('agent', 'bot') then source || ':' || actor_id end as agent_key
    from {{ ref('int_ticket_event__unioned') }}
    where {{ is_touched('ticket_key') }}
),

agents as (
    select * from {{ ref('int_agent__unioned') }}
),

ordered as (
    select
        ticket_events.ticket_event_key,
        ticket_events.ticket_key,
        ticket_events.source,
        ticket_events.type,
        -- Events of one moment follow their ids, read as numbers where they end in one.
        row_number() over (
            partition by ticket_events.ticket_key
            order by ticket_events.occurred_at, {{ natural_order('ticket_events.ticket_event_id') }}
        ) as event_number,
        ticket_events.occurred_at,
        -- An agent the directory knows as a bot is a bot, whatever the event calls it.
        case
            when actors.is_bot then 'bot'
            else ticket_events.actor_type
        end as actor_type,
        ticket_events.type = 'message' and ticket_events.visibility = 'public' as is_public_message,
        ticket_events.status,
        -- Routing through a bot is no handoff between people.
        case when not coalesce(assignees.is_bot, false) then ticket_events.assignee_key end as assignee_key,
        ticket_events.group_name
    from ticket_events
    left join agents as actors
        on ticket_events.agent_key = actors.agent_key
    left join agents as assignees
        on ticket_events.assignee_key = assignees.agent_key
)

select * from ordered
