{#- A table: the waits and the facts read it. -#}
{{ config(materialized='table') }}

with tickets as (
    select * from {{ ref('int_ticket__unioned') }}
),

ticket_events as (
    select * from {{ ref('int_ticket_event__ordered') }}
),

messages as (
    select * from ticket_events
    where type = 'message'
),

-- An audit log of updates says nothing about replies: without it, no ticket of the source is "unanswered".
message_sources as (
    select distinct source
    from messages
    where is_public_message and actor_type = 'agent'
),

first_customer_messages as (
    select
        ticket_key,
        min(event_number) as event_number,
        min(occurred_at) as occurred_at
    from messages
    where actor_type = 'customer'
    group by ticket_key
),

waits as (
    select
        tickets.ticket_key,
        message_sources.source is not null as has_message_log,
        -- Nobody waits for an answer to a ticket an agent opened, until the customer writes.
        case
            when tickets.created_by = 'agent' then first_customer_messages.occurred_at
            else tickets.created_at
        end as wait_started_at,
        case
            when tickets.created_by = 'agent' then first_customer_messages.event_number
            else 0
        end as wait_event_number
    from tickets
    left join first_customer_messages
        on tickets.ticket_key = first_customer_messages.ticket_key
    left join message_sources
        on tickets.source = message_sources.source
),

replied as (
    select
        waits.ticket_key,
        waits.has_message_log,
        waits.wait_started_at,
        min(messages.occurred_at) filter (
            where messages.actor_type = 'agent'
            and messages.event_number > waits.wait_event_number
            and messages.occurred_at >= waits.wait_started_at
        ) as first_human_reply_at,
        min(messages.occurred_at) filter (
            where messages.actor_type = 'bot'
            and messages.event_number > waits.wait_event_number
            and messages.occurred_at >= waits.wait_started_at
        ) as first_bot_reply_at,
        count(*) filter (where messages.actor_type = 'agent') as public_human_reply_count
    from waits
    left join messages
        on
            waits.ticket_key = messages.ticket_key
            and messages.is_public_message
    group by
        waits.ticket_key,
        waits.has_message_log,
        waits.wait_started_at
)

select * from replied
