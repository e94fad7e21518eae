with spans as (
    select *
    from {{ ref('int_ticket_span__measured') }}
    -- Said here, because nobody promised anything is known before the ways of all tickets are measured.
    where {{ 'true' if sla_targets() else 'false' }}
),

tickets as (
    select * from {{ ref('fct_ticket') }}
),

business_hours as (
    select * from {{ ref('int_business_hours__expanded') }}
),

policies as (
    {%- for policy in sla_targets() %}
    select
        '{{ policy.target }}' as target,
        cast({{ policy.minutes }} as double) as target_minutes,
        '{{ policy.clock }}' as clock,
        cast({{ "'" ~ policy.priority ~ "'" if policy.priority else 'null' }} as varchar) as priority
    {{ 'union all' if not loop.last }}
    {%- else %}
    select
        cast(null as varchar) as target,
        cast(null as double) as target_minutes,
        cast(null as varchar) as clock,
        cast(null as varchar) as priority
    where false
    {%- endfor %}
),

-- A target for the ticket's own priority wins over one for all.
applying as (
    select
        tickets.ticket_key,
        tickets.source,
        tickets.customer_id,
        tickets.priority,
        tickets.created_date,
        tickets.is_resolved,
        spans.target,
        policies.clock,
        policies.target_minutes,
        spans.schedule_key,
        spans.started_at,
        spans.ended_at,
        spans.is_done,
        spans.open_minutes_at_start,
        case when policies.clock = 'calendar' then spans.calendar_minutes else spans.business_minutes end
            as taken_minutes,
        row_number() over (
            partition by tickets.ticket_key, spans.target
            order by policies.priority is null, policies.target_minutes, policies.clock
        ) as choice
    from spans
    inner join tickets
        on spans.ticket_key = tickets.ticket_key
    inner join policies
        on
            spans.target = policies.target
            and coalesce(tickets.priority = policies.priority, policies.priority is null)
    where
        not tickets.is_merged
        -- Nobody waits for a reply to it, or none could be seen.
        and (spans.target = 'resolution' or tickets.is_answered is not null)
),

due as (
    select
        applying.*,
        case
            when applying.clock = 'calendar'
                then applying.started_at + to_microseconds(cast(applying.target_minutes * 60000000 as bigint))
            else
                business_hours.opened_at + to_microseconds(cast(
                    (
                        applying.open_minutes_at_start + applying.target_minutes - business_hours.minutes_before
                    ) * 60000000 as bigint
                ))
        end as due_at,
        business_hours.closed_at
    from applying
    asof left join business_hours
        on
            applying.schedule_key = business_hours.schedule_key
            and applying.open_minutes_at_start + applying.target_minutes > business_hours.minutes_before
    where applying.choice = 1
),

judged as (
    select
        *,
        case
            when taken_minutes > target_minutes then 'breached'
            when is_done then 'met'
            else 'pending'
        end as status
    from due
    -- Without a known schedule, business minutes cannot be judged.
    where taken_minutes is not null
),

final as (
    select
        ticket_key || ':' || target as sla_event_key,
        ticket_key,
        source,
        customer_id,
        priority,
        target,
        clock,
        target_minutes,
        started_at,
        created_date,
        -- The hours of a schedule are known two days ahead.
        case when clock = 'calendar' or due_at <= closed_at then due_at end as due_at,
        case when is_done then ended_at end as done_at,
        status,
        taken_minutes,
        greatest(0, taken_minutes - target_minutes) as over_minutes
    from judged
    where
        -- A ticket resolved in time without the reply keeps no promise and breaks none.
        status <> 'pending'
        or target = 'resolution'
        or not is_resolved
)

select * from final
