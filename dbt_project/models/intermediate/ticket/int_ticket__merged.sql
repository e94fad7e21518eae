with recursive tickets as (
    select
        ticket_key,
        -- A merge into itself is none.
        nullif(merged_into_ticket_key, ticket_key) as merged_into_ticket_key
    from {{ ref('int_ticket__unioned') }}
),

-- Follows merges of merged tickets to the end; the path stops a circle.
followed as (
    select
        ticket_key,
        merged_into_ticket_key as reached_ticket_key,
        [ticket_key, merged_into_ticket_key] as path
    from tickets
    where merged_into_ticket_key is not null
    union all
    select
        followed.ticket_key,
        tickets.merged_into_ticket_key as reached_ticket_key,
        list_append(followed.path, tickets.merged_into_ticket_key) as path
    from followed
    inner join tickets
        on followed.reached_ticket_key = tickets.ticket_key
    where
        tickets.merged_into_ticket_key is not null
        and not list_contains(followed.path, tickets.merged_into_ticket_key)
),

survivors as (
    select
        ticket_key,
        arg_max(reached_ticket_key, len(path)) as surviving_ticket_key
    from followed
    group by ticket_key
),

-- In a circle every ticket would be merged away and none survive: the one with the smallest key does.
in_circles as (
    select
        followed.ticket_key,
        min(followed.reached_ticket_key) as smallest_ticket_key
    from followed
    inner join followed as back
        on
            followed.ticket_key = back.reached_ticket_key
            and followed.reached_ticket_key = back.ticket_key
    group by followed.ticket_key
),

ends as (
    select
        tickets.ticket_key,
        case
            when own_circle.ticket_key is not null
                then least(own_circle.smallest_ticket_key, tickets.ticket_key)
            when survivor_circle.ticket_key is not null
                then least(survivor_circle.smallest_ticket_key, survivors.surviving_ticket_key)
            else coalesce(survivors.surviving_ticket_key, tickets.ticket_key)
        end as surviving_ticket_key
    from tickets
    left join survivors
        on tickets.ticket_key = survivors.ticket_key
    left join in_circles as own_circle
        on tickets.ticket_key = own_circle.ticket_key
    left join in_circles as survivor_circle
        on survivors.surviving_ticket_key = survivor_circle.ticket_key
),

merged as (
    select
        ticket_key,
        surviving_ticket_key,
        surviving_ticket_key <> ticket_key as is_merged
    from ends
)

select * from merged
