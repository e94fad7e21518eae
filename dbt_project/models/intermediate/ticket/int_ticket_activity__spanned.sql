{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'entity': 'ticket', 'column': 'ticket_key'}}
) }}

with tickets as (
    select *
    from {{ ref('fct_ticket') }}
    where not is_merged and {{ is_touched('ticket_key') }}
),

status_intervals as (
    select *
    from {{ ref('fct_ticket_status_interval') }}
    where {{ is_touched('ticket_key') }}
),

logged as (
    select
        tickets.ticket_key,
        tickets.customer_id,
        -- Not before it was created, whatever its log says.
        greatest(status_intervals.started_at, tickets.created_at) as started_at,
        case
            when status_intervals.is_current and tickets.is_resolved
                then greatest(status_intervals.started_at, tickets.created_at, tickets.resolved_at)
            when status_intervals.ended_at is not null then greatest(status_intervals.ended_at, tickets.created_at)
        end as ended_at
    from status_intervals
    inner join tickets
        on status_intervals.ticket_key = tickets.ticket_key
    -- The last word on a ticket is its own status: the end of its log may be late, or in quarantine.
    where
        status_intervals.status not in ('resolved', 'closed')
        or (status_intervals.is_current and not tickets.is_resolved)
),

-- Resolved at a time that nobody knows is as good as never open.
unlogged as (
    select
        tickets.ticket_key,
        tickets.customer_id,
        tickets.created_at as started_at,
        case when tickets.is_resolved then greatest(tickets.created_at, tickets.resolved_at) end as ended_at
    from tickets
    left join status_intervals
        on tickets.ticket_key = status_intervals.ticket_key
    where status_intervals.ticket_key is null
),

spanned as (
    select * from logged
    union all
    select * from unlogged
)

select * from spanned
