-- The ticketing system's export: every file holds the tickets that changed in its period, as they stood
-- at its end, and the events of the period. Times are UTC.

create table support_agents as
select
    'G' || lpad(n::varchar, 3, '0') as agent_id,
    case
        when n > 24 then pick(['Helper bot', 'Yar bot'], n, 'bot')
        when
            n % 2 = 0
            then
                pick(getvariable('given_f_fa'), n, 'agent given')
                || ' '
                || pick(getvariable('family_fa'), n, 'agent family')
        else
            pick(getvariable('given_m_en'), n, 'agent given')
            || ' '
            || pick(getvariable('family_en'), n, 'agent family')
    end as name,
    case
        when n > 24 then 'bots' else
            list_extract(['first line', 'first line', 'orders', 'billing', 'technical'], (1 + n % 5)::int)
    end as team,
    n > 24 as is_bot
from range(1, 27) as r (n);

create table support_business_schedules as
with
weekday as (
    select
        'ir' as schedule_id,
        'Asia/Tehran' as time_zone,
        unnest([1, 2, 3, 6, 7, 4]) as weekday,
        '08:00' as opens,
        unnest(['18:00', '18:00', '18:00', '18:00', '18:00', '13:00']) as closes
    union all
    select
        'en',
        'Europe/London',
        unnest([1, 2, 3, 4, 5]),
        '09:00',
        '17:30'
),

-- Ten years ahead, so that the file stays as it is however far the company advances.
calendar_year as (
    select unnest(range(year(getvariable('starts')), year(getvariable('starts')) + 11)) as year
),

holiday as (
    select
        'ir' as schedule_id,
        'Asia/Tehran' as time_zone,
        make_date(year, d[1], d[2]) as holiday_date
    from calendar_year
    cross join
        (select unnest([[2, 11], [3, 20], [3, 21], [3, 22], [3, 23], [4, 1], [4, 2], [6, 4], [6, 5]]) as d) as fixed
    union all
    select
        'en',
        'Europe/London',
        make_date(year, d[1], d[2])
    from calendar_year
    cross join (select unnest([[1, 1], [12, 25], [12, 26]]) as d) as fixed
    union all
    -- The first and last Monday of May and the last one of August.
    select
        'en',
        'Europe/London',
        (make_date(year, 5, 1) + ((8 - isodow(make_date(year, 5, 1))) % 7)::int)::date
    from calendar_year
    union all
    select
        'en',
        'Europe/London',
        (make_date(year, 5, 31) - (isodow(make_date(year, 5, 31)) - 1)::int)::date
    from calendar_year
    union all
    select
        'en',
        'Europe/London',
        (make_date(year, 8, 31) - (isodow(make_date(year, 8, 31)) - 1)::int)::date
    from calendar_year
)

select
    schedule_id || '-w' || weekday as interval_id,
    schedule_id,
    time_zone,
    weekday,
    opens,
    closes,
    null::varchar as holiday
from weekday
union all
select
    schedule_id || '-' || strftime(holiday_date, '%Y%m%d'),
    schedule_id,
    time_zone,
    null,
    null,
    null,
    strftime(holiday_date, '%Y-%m-%d')
from holiday
order by interval_id;

-- The requester as the desk knows him: some write from a second address and become a second requester.
create table support_requester as
with
person_copy as (
    select
        *,
        0 as copy
    from customer
    union all
    select
        *,
        1 as copy
    from customer where u(i, 'second requester') < 0.12
),

spelt as (
    select
        *,
        i * 2 + copy as requester_no,
        is_persian and u(requester_no, 'desk script') < 0.45 as in_persian,
        case when in_persian then given_fa else respelt(given_latin, u(requester_no, 'desk respelt')) end as given,
        case when in_persian then family_fa else respelt(family_latin, u(requester_no, 'desk respelt')) end as family
    from person_copy
)

select
    i,
    copy,
    requester_no,
    requester_code(i, copy) as requester_id,
    case
        when u(requester_no, 'desk no name') < 0.06 then null
        else written(written_full(given, family, gender, in_persian, requester_no, 'desk'), requester_no, 'desk name')
    end as requester_name,
    case
        when u(requester_no, 'desk no mail') < 0.12 then null
        when copy = 1 then written_mail(coalesce(other_mail, mail), requester_no, 'desk mail')
        else written_mail(mail, requester_no, 'desk mail')
    end as requester_email,
    case
        when u(requester_no, 'desk phone') < 0.35 then null
        when u(requester_no, 'desk phone') < 0.36 then '0000000000'
        else written_phone(calling_code, mobile, requester_no, 'desk phone form')
    end as requester_phone
from spelt;

create table support_ticket as
with
owner as (
    select
        i,
        bool_or(copy = 1) as has_second
    from support_requester group by i
),

-- Some tickets name the order that made a customer of their requester.
first_purchase as (
    select
        i,
        order_no,
        ordered_at
    from purchase where order_no = i * 4096 + 63
)

select
    ticket.*,
    long_code('T', ticket.ticket_no, 524287) as ticket_id,
    case when owner.has_second and u(ticket.ticket_no, 'writes as') < 0.4 then 1 else 0 end as copy,
    list_extract(getvariable('category'), (1 + ticket.category_no)::int) as category,
    case
        when ticket.is_complaint and u(ticket.ticket_no, 'tagged') < 0.8 then 'complaint'
        else pick(['question', 'question', 'request', 'incident', 'problem'], ticket.ticket_no, 'type')
    end as type,
    case
        when ticket.is_complaint then pick(['high', 'urgent', 'normal'], ticket.ticket_no, 'priority') else
            pick(['low', 'normal', 'normal', 'normal', 'high'], ticket.ticket_no, 'priority')
    end as priority,
    'G' || lpad((1 + floor(u(ticket.ticket_no, 'agent') * 24))::int::varchar, 3, '0') as first_agent_id,
    'G' || lpad((1 + floor(u(ticket.ticket_no, 'second agent') * 24))::int::varchar, 3, '0') as second_agent_id,
    'G' || lpad((25 + floor(u(ticket.ticket_no, 'bot') * 2))::int::varchar, 3, '0') as bot_id,
    ticket.is_auto_solved or (ticket.channel in ('chat', 'web') and u(ticket.ticket_no, 'has bot') < 0.4) as has_bot,
    ticket.parent_no is null and u(ticket.ticket_no, 'by') < 0.06 as is_by_agent,
    case
        when
            ticket.category_no in (0, 1, 3) and first_purchase.ordered_at < ticket.created_at
            then first_purchase.order_no
    end as order_no
from ticket
inner join owner on ticket.i = owner.i
left join first_purchase on ticket.i = first_purchase.i;

create table support_tickets as
with
changed as (
    select
        support_ticket.*,
        period.name as period,
        period.ends_at as seen_at
    from support_ticket
    inner join period
        on
            (support_ticket.created_at >= period.starts_at and support_ticket.created_at < period.ends_at)
            or (support_ticket.replied_at >= period.starts_at and support_ticket.replied_at < period.ends_at)
            or (
                support_ticket.first_resolved_at >= period.starts_at
                and support_ticket.first_resolved_at < period.ends_at
            )
            or (support_ticket.reopened_at >= period.starts_at and support_ticket.reopened_at < period.ends_at)
            or (
                support_ticket.resolved_again_at >= period.starts_at
                and support_ticket.resolved_again_at < period.ends_at
            )
            or (support_ticket.closed_at >= period.starts_at and support_ticket.closed_at < period.ends_at)
),

seen as (
    select
        *,
        case when replied_at < seen_at then replied_at end as seen_replied_at,
        case
            when resolved_again_at < seen_at then resolved_again_at when
                first_resolved_at < seen_at
                then first_resolved_at
        end as seen_resolved_at,
        coalesce(reopened_at < seen_at, false) as seen_reopened,
        case when closed_at < seen_at then closed_at end as seen_closed_at,
        case
            when closed_at < seen_at then 'closed'
            when resolved_again_at < seen_at then 'resolved'
            when reopened_at < seen_at then 'open'
            when first_resolved_at < seen_at then 'resolved'
            when replied_at < seen_at then case when u(ticket_no, 'pending') < 0.3 then 'pending' else 'open' end
            else 'new'
        end as status
    from changed
),

written_down as (
    select
        period,
        case when bad(ticket_no, 'ticket id', 0.0004) then null else ticket_id end as ticket_id,
        requester_code(i, copy) as requester_id,
        case when is_by_agent then 'agent' when u(ticket_no, 'by') > 0.985 then 'system' else 'customer' end
            as created_by,
        list_extract(
            case when language = 'fa' then getvariable('subject_fa') else getvariable('subject_en') end,
            (1 + category_no * 2 + floor(u(ticket_no, 'subject') * 2))::int
        ) as subject,
        category,
        type,
        priority,
        status,
        channel,
        case
            when
                is_complaint
                then case when u(ticket_no, 'tagged') < 0.8 then 'vip,complaint' else 'complaint' end
            when u(ticket_no, 'tags') < 0.2 then 'app'
        end as tags,
        case when country = 'IR' then 'ir' else 'en' end as schedule_id,
        case
            when is_auto_solved then bot_id when is_handed_off then second_agent_id when
                seen_replied_at is not null
                then first_agent_id
        end as assignee_id,
        pick(['first line', 'orders', 'billing', 'technical'], ticket_no, 'team') as team,
        case when order_no is not null and u(ticket_no, 'names order') < 0.6 then long_code('O', order_no, 524287) end
            as order_ref,
        case when is_merged then long_code('T', parent_no, 524287) end as merged_into,
        seen_reopened::int as reopens,
        coalesce((is_handed_off and seen_replied_at is not null)::int, 0) as reassignments,
        round(epoch(seen_replied_at - created_at) / 60, 1) as first_reply_minutes,
        case
            when
                seen_replied_at is not null
                then waited_hours <= case priority when 'urgent' then 2 when 'high' then 4 else 12 end
        end as sla_met,
        case
            when
                bad(ticket_no, 'created', 0.0008)
                then pick(['not a date', '2025-02-31T25:61:00Z', '1404/07/12'], ticket_no, 'nonsense')
            else utc_text(created_at)
        end as created_at,
        utc_text(greatest(
            created_at, coalesce(seen_replied_at, created_at), coalesce(seen_resolved_at, created_at),
            case when seen_reopened then reopened_at else created_at end, coalesce(seen_closed_at, created_at)
        )) as updated_at,
        utc_text(seen_resolved_at) as resolved_at,
        case
            when
                seen_closed_at is not null and bad(ticket_no, 'closed', 0.004)
                then utc_text(created_at - interval 3 day)
            else utc_text(seen_closed_at)
        end as closed_at,
        i,
        copy,
        ticket_no
    from seen
)

select
    written_down.* exclude (i, copy),
    support_requester.requester_name,
    support_requester.requester_email,
    support_requester.requester_phone
from written_down
inner join support_requester
    on written_down.i * 2 + written_down.copy = support_requester.requester_no;

create table support_ticket_events as
with
event as (
    select
        ticket_no,
        0 as step,
        'created' as type,
        null as visibility,
        case when is_by_agent then 'agent' else 'customer' end as actor_type,
        case when is_by_agent then first_agent_id else requester_code(i, copy) end as actor_id,
        'new' as status,
        null as assignee_id,
        null as body,
        created_at as occurred_at
    from support_ticket
    union all
    select
        ticket_no,
        1,
        'message',
        'public',
        'bot',
        bot_id,
        null,
        null,
        case
            when language = 'fa' then pick(getvariable('message_bot_fa'), ticket_no, 'bot says') else
                pick(getvariable('message_bot_en'), ticket_no, 'bot says')
        end,
        created_at + interval 20 second
    from support_ticket where has_bot
    union all
    -- The first contact's own words; of a ticket that an agent opened the customer writes later.
    select
        ticket_no,
        2,
        'message',
        'public',
        'customer',
        requester_code(i, copy),
        null,
        null,
        case
            when language = 'fa' then pick(getvariable('message_customer_fa'), ticket_no, 'asks') else
                pick(getvariable('message_customer_en'), ticket_no, 'asks')
        end,
        case
            when
                is_by_agent
                then
                    least(
                        created_at + interval 25 minute,
                        coalesce(replied_at, first_resolved_at, created_at + interval 25 minute) - interval 1 second
                    )
            else created_at + interval 1 second
        end
    from support_ticket
    union all
    select
        ticket_no,
        3,
        'assignment',
        null,
        'system',
        null,
        'open',
        first_agent_id,
        null,
        created_at + (replied_at - created_at) * 0.5
    from support_ticket where replied_at is not null
    union all
    select
        ticket_no,
        4,
        'message',
        'private',
        'agent',
        first_agent_id,
        null,
        null,
        pick(getvariable('message_private'), ticket_no, 'note'),
        created_at + (replied_at - created_at) * 0.7
    from support_ticket where replied_at is not null and u(ticket_no, 'note?') < 0.3
    union all
    select
        ticket_no,
        5,
        'message',
        'public',
        'agent',
        first_agent_id,
        null,
        null,
        case
            when language = 'fa' then pick(getvariable('message_agent_fa'), ticket_no, 'answers') else
                pick(getvariable('message_agent_en'), ticket_no, 'answers')
        end,
        replied_at
    from support_ticket where replied_at is not null
    union all
    select
        ticket_no,
        6,
        'assignment',
        null,
        'agent',
        first_agent_id,
        null,
        second_agent_id,
        null,
        replied_at + (first_resolved_at - replied_at) * 0.3
    from support_ticket where replied_at is not null and is_handed_off and first_resolved_at is not null
    union all
    select
        ticket_no,
        7,
        'message',
        'public',
        'customer',
        requester_code(i, copy),
        null,
        null,
        case
            when language = 'fa' then pick(getvariable('message_customer_fa'), ticket_no, 'asks again') else
                pick(getvariable('message_customer_en'), ticket_no, 'asks again')
        end,
        replied_at + (first_resolved_at - replied_at) * 0.5
    from support_ticket
    where replied_at is not null and first_resolved_at is not null and u(ticket_no, 'asks again?') < 0.45
    union all
    select
        ticket_no,
        8,
        'message',
        'public',
        'agent',
        case when is_handed_off then second_agent_id else first_agent_id end,
        null,
        null,
        case
            when language = 'fa' then pick(getvariable('message_agent_fa'), ticket_no, 'ends') else
                pick(getvariable('message_agent_en'), ticket_no, 'ends')
        end,
        replied_at + (first_resolved_at - replied_at) * 0.9
    from support_ticket where replied_at is not null and first_resolved_at is not null and u(ticket_no, 'ends?') < 0.6
    union all
    select
        ticket_no,
        9,
        'status',
        null,
        case when is_auto_solved then 'bot' else 'agent' end,
        case when is_auto_solved then bot_id when is_handed_off then second_agent_id else first_agent_id end,
        'resolved',
        null,
        null,
        first_resolved_at
    from support_ticket where first_resolved_at is not null
    union all
    select
        ticket_no,
        10,
        'status',
        null,
        'customer',
        requester_code(i, copy),
        'open',
        null,
        null,
        reopened_at
    from support_ticket where reopened_at is not null
    union all
    select
        ticket_no,
        11,
        'message',
        'public',
        'agent',
        first_agent_id,
        null,
        null,
        case
            when language = 'fa' then pick(getvariable('message_agent_fa'), ticket_no, 'again') else
                pick(getvariable('message_agent_en'), ticket_no, 'again')
        end,
        reopened_at + (resolved_again_at - reopened_at) * 0.8
    from support_ticket where resolved_again_at is not null
    union all
    select
        ticket_no,
        12,
        'status',
        null,
        'agent',
        first_agent_id,
        'resolved',
        null,
        null,
        resolved_again_at
    from support_ticket where resolved_again_at is not null
    union all
    select
        ticket_no,
        13,
        'status',
        null,
        'system',
        null,
        'closed',
        null,
        null,
        closed_at
    from support_ticket where closed_at is not null
)

select
    period.name as period,
    case
        when bad(event.ticket_no * 16 + event.step, 'event id', 0.0004) then null else
            long_code('T', event.ticket_no, 524287) || '-' || event.step
    end as event_id,
    long_code('T', event.ticket_no, 524287) as ticket_id,
    event.type,
    event.visibility,
    event.actor_type,
    event.actor_id,
    event.status,
    event.assignee_id,
    event.body,
    utc_text(event.occurred_at) as occurred_at,
    event.ticket_no * 16 + event.step as event_no
from event
inner join period on event.occurred_at >= period.starts_at and event.occurred_at < period.ends_at;
