with ticket_events as (
    select * from {{ ref('int_ticket_event__ordered') }}
),

status_steps as (
    select
        ticket_key,
        event_number,
        occurred_at,
        status,
        status in ('resolved', 'closed') as is_done,
        lag(status in ('resolved', 'closed')) over (
            partition by ticket_key
            order by event_number
        ) as was_done
    from ticket_events
    where status is not null
),

status_moves as (
    select
        ticket_key,
        arg_max(status, event_number) as last_status,
        count(*) filter (where was_done and not is_done) as reopen_count,
        -- From resolved to closed is no new resolution.
        max(occurred_at) filter (where is_done and not coalesce(was_done, false)) as last_resolved_at
    from status_steps
    group by ticket_key
),

assignee_steps as (
    select
        ticket_key,
        assignee_key,
        lag(assignee_key) over (
            partition by ticket_key
            order by event_number
        ) as previous_assignee_key
    from ticket_events
    where assignee_key is not null
),

assignee_moves as (
    select
        ticket_key,
        count(*) filter (where assignee_key <> previous_assignee_key) as handoff_count
    from assignee_steps
    group by ticket_key
),

group_steps as (
    select
        ticket_key,
        group_name,
        lag(group_name) over (
            partition by ticket_key
            order by event_number
        ) as previous_group_name
    from ticket_events
    where group_name is not null
),

group_moves as (
    select
        ticket_key,
        count(*) filter (where group_name <> previous_group_name) as handoff_count
    from group_steps
    group by ticket_key
),

moving_tickets as (
    select distinct ticket_key
    from ticket_events
),

moved as (
    select
        moving_tickets.ticket_key,
        status_moves.last_status,
        status_moves.last_resolved_at,
        coalesce(status_moves.reopen_count, 0) as reopen_count,
        -- Teams stand in only for tickets that no person was ever assigned to.
        coalesce(assignee_moves.handoff_count, group_moves.handoff_count, 0) as handoff_count
    from moving_tickets
    left join status_moves
        on moving_tickets.ticket_key = status_moves.ticket_key
    left join assignee_moves
        on moving_tickets.ticket_key = assignee_moves.ticket_key
    left join group_moves
        on moving_tickets.ticket_key = group_moves.ticket_key
)

select * from moved
