{#- A table: first-contact resolution and the facts read it. -#}
{{ config(materialized='table') }}

with tickets as (
    select * from {{ ref('int_ticket__unioned') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

ticket_merges as (
    select * from {{ ref('int_ticket__merged') }}
),

moves as (
    select * from {{ ref('int_ticket__moved') }}
),

states as (
    select
        tickets.ticket_key,
        tickets.category,
        tickets.created_at,
        tickets.closed_at,
        persons.customer_id,
        ticket_merges.surviving_ticket_key,
        ticket_merges.is_merged,
        coalesce(tickets.status, moves.last_status) as status,
        -- A log that ends open, of a ticket that is resolved, lacks its end: the ticket knows better.
        coalesce(
            case when moves.last_status in ('resolved', 'closed') then moves.last_resolved_at end,
            tickets.resolved_at,
            tickets.closed_at,
            moves.last_resolved_at
        ) as last_resolved_at,
        coalesce(moves.reopen_count, 0) as reopen_count,
        coalesce(moves.handoff_count, 0) as handoff_count
    from tickets
    inner join ticket_merges
        on tickets.ticket_key = ticket_merges.ticket_key
    left join persons
        on tickets.person_key = persons.person_key
    left join moves
        on tickets.ticket_key = moves.ticket_key
),

decided as (
    select
        *,
        -- Without any status, a time of resolution is what says that there was one.
        case
            when status is not null then status in ('resolved', 'closed')
            else last_resolved_at is not null
        end as is_resolved
    from states
),

-- The next contact on the same issue: same customer, same category. A ticket that was merged away is part of the one
-- it was merged into and no contact of its own there; without a customer or a category, no issue can be told to be the
-- same.
next_contacts as (
    select
        ticket_key,
        lead(created_at) over (
            partition by customer_id, category
            order by created_at, ticket_key
        ) as next_contact_at
    from decided
    where
        not is_merged
        and customer_id is not null
        and category is not null
),

-- Who writes again after the resolution and is merged into the old ticket has made a new contact on its issue.
late_merges as (
    select
        survivors.ticket_key,
        min(merged_away.created_at) as created_at
    from decided as survivors
    inner join decided as merged_away
        on survivors.ticket_key = merged_away.surviving_ticket_key
    where
        merged_away.is_merged
        and merged_away.created_at > survivors.last_resolved_at
    group by survivors.ticket_key
),

resolved as (
    select
        decided.ticket_key,
        decided.customer_id,
        decided.status,
        decided.is_resolved,
        -- A ticket that was opened again is not resolved until it is resolved again.
        case when decided.is_resolved then decided.last_resolved_at end as resolved_at,
        decided.reopen_count,
        decided.handoff_count,
        decided.is_merged,
        decided.surviving_ticket_key,
        least(next_contacts.next_contact_at, late_merges.created_at) as next_contact_at
    from decided
    left join next_contacts
        on decided.ticket_key = next_contacts.ticket_key
    left join late_merges
        on decided.ticket_key = late_merges.ticket_key
)

select * from resolved
