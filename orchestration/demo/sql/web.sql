-- The web shop's own logs, typed: visitors (cookies), visits, contacts of campaigns, help articles read.
-- Times are UTC.

create table web_visit as
with
browsing as (
    select
        i,
        left_at,
        returned_at,
        left_again_at,
        joined_at,
        block.block,
        unnest(range(poisson(0.085 * value * block.months, i * 64 + block.block, 'visits'))) as k
    from customer
    cross join block
    where u(i, 'online') < 0.8
),

browsed as (
    select
        i,
        i * 4096 + block * 64 + k as visit_no,
        moment(block, 0, i * 4096 + block * 64 + k, 'visit') as started_at,
        joined_at,
        left_at,
        returned_at,
        left_again_at
    from browsing
),

visit as (
    select
        visit_no * 4 as visit_no,
        i,
        i as visitor_base,
        null::bigint as order_no,
        started_at
    from browsed
    where is_active(started_at, joined_at, left_at, returned_at, left_again_at)
    union all
    select
        order_no * 4 + 1,
        i,
        i,
        order_no,
        date_trunc('second', ordered_at - minutes(4 + 20 * u(order_no, 'shops for')))
    from purchase
    where channel in ('web', 'app') and u(order_no, 'is tracked') < 0.7
    union all
    select
        (400000000 + n) * 16384 + block.block * 4 + 2,
        null::bigint,
        400000000 + n,
        null::bigint,
        moment(block.block, 0, (400000000 + n) * 64 + block.block, 'stranger visit')
    from range(0, getvariable('strangers') * 2) as r (n)
    cross join block
)

select
    *,
    -- A second device is a second visitor to the shop.
    case when i is not null and u(i, 'devices') < 0.35 and u(visit_no, 'device') < 0.4 then 1 else 0 end as copy,
    visitor_base * 2 + copy as visitor_no,
    started_at + to_seconds((30 + wait(visit_no, 'stays', 400))::bigint) as ended_at,
    ended_at
    + case when u(visit_no, 'offline') < 0.01 then days(wait(visit_no, 'uploads in', 2)) else interval 1 minute end
        as delivered_at
from visit
where started_at < getvariable('clock');

create table web_sessions as
select
    period.name as period,
    case when bad(visit_no, 'visit id', 0.0004) then null else long_code('W', visit_no, 9973) end as session_id,
    visitor_code(visitor_base, copy) as visitor_id,
    case when order_no is not null then long_code('O', order_no, 524287) end as order_ref,
    pick(['organic', 'organic', 'paid', 'email', 'social', 'direct'], visit_no, 'arrives by') as source_channel,
    case
        when
            u(visit_no, 'arrives by') >= 0.33 and u(visit_no, 'arrives by') < 0.67
            then pick(getvariable('campaign'), visit_no, 'visit campaign')
    end as campaign,
    pick(['phone', 'phone', 'desktop', 'tablet'], visitor_no, 'device kind') as device,
    (1 + floor(wait(visit_no, 'pages', 5)))::int as pages,
    date_trunc('second', started_at) as started_at,
    -- A clock that runs backwards: ends before it began.
    case
        when bad(visit_no, 'ended', 0.0015) then date_trunc('second', started_at - interval 1 hour) else
            date_trunc('second', ended_at)
    end as ended_at,
    visit_no
from web_visit
inner join period on web_visit.delivered_at >= period.starts_at and web_visit.delivered_at < period.ends_at;

-- A visitor is delivered once, with the first visit; who signs in leaves a mail or the customer number.
create table web_visitor as
select
    visitor_no,
    any_value(visitor_base) as visitor_base,
    any_value(i) as i,
    any_value(copy) as copy,
    min(started_at) as first_seen_at,
    min(delivered_at) as delivered_at
from web_visit
group by visitor_no;

create table web_visitors as
select
    period.name as period,
    visitor_code(web_visitor.visitor_base, web_visitor.copy) as visitor_id,
    case
        when
            u(web_visitor.visitor_no, 'signs in') < 0.62
            then written_mail(customer.mail, web_visitor.visitor_no, 'web mail')
    end as login_email,
    case
        when
            u(web_visitor.visitor_no, 'signs in') < 0.25
            or u(web_visitor.visitor_no, 'signs in') > 0.92 and customer.i is not null
            then crm_code(customer.i, 0)
    end as customer_ref,
    coalesce(customer.language, pick(['fa', 'en'], web_visitor.visitor_no, 'browser language')) as language,
    date_trunc('second', web_visitor.first_seen_at) as first_seen_at,
    web_visitor.visitor_no
from web_visitor
inner join period on web_visitor.delivered_at >= period.starts_at and web_visitor.delivered_at < period.ends_at
left join customer on web_visitor.i = customer.i;

create table web_touch as
with
campaign as (
    select
        m as campaign_no,
        date_trunc('month', getvariable('starts')) + to_months(m::int) + interval 12 day as sent_at,
        list_extract(getvariable('campaign'), (1 + (month(sent_at) - 1) % len(getvariable('campaign')))::int)
        || ' '
        || year(sent_at) as campaign
    from range(0, 24 + 3 * getvariable('blocks')) as r (m)
),

sent as (
    select
        customer.i,
        campaign.campaign_no,
        campaign.campaign,
        customer.i * 512 + campaign.campaign_no as send_no,
        date_trunc('second', campaign.sent_at + minutes(300 * u(customer.i * 512 + campaign.campaign_no, 'sent')))
            as sent_at,
        pick(['email', 'email', 'sms', 'push'], customer.i * 512 + campaign.campaign_no, 'campaign channel') as channel,
        customer.satisfaction
    from customer
    cross join campaign
    where
        u(customer.i * 512 + campaign.campaign_no, 'targeted') < 0.07
        and campaign.sent_at >= getvariable('starts') and campaign.sent_at < getvariable('clock')
        and is_active(
            campaign.sent_at, customer.joined_at, customer.left_at, customer.returned_at, customer.left_again_at
        )
)

select
    i,
    send_no * 8 as touch_no,
    campaign,
    channel,
    case when u(send_no, 'fails') < 0.03 then 'bounced' else 'sent' end as type,
    sent_at as occurred_at
from sent
union all
select
    i,
    send_no * 8 + 1,
    campaign,
    channel,
    'opened',
    date_trunc('second', sent_at + days(wait(send_no, 'opens in', 0.6)))
from sent
where u(send_no, 'opens') < 0.30 + 0.05 * satisfaction and u(send_no, 'fails') >= 0.03
union all
select
    i,
    send_no * 8 + 2,
    campaign,
    channel,
    'clicked',
    date_trunc('second', sent_at + days(wait(send_no, 'opens in', 0.6)) + interval 40 second)
from sent
where u(send_no, 'opens') < 0.08 and u(send_no, 'fails') >= 0.03
union all
select
    i,
    send_no * 8 + 3,
    campaign,
    channel,
    'unsubscribed',
    date_trunc('second', sent_at + days(wait(send_no, 'opens in', 0.6)) + interval 60 second)
from sent
where u(send_no, 'opens') < 0.008 - 0.004 * satisfaction and u(send_no, 'fails') >= 0.03;

create table web_campaign_touches as
select
    period.name as period,
    long_code('U', touch_no, 9973) as touch_id,
    crm_code(i, 0) as customer_ref,
    campaign,
    channel,
    type,
    occurred_at,
    touch_no
from web_touch
inner join period on web_touch.occurred_at >= period.starts_at and web_touch.occurred_at < period.ends_at;

create table web_self_service_views as
with
drawn as (
    select
        customer.i,
        customer.satisfaction,
        customer.joined_at,
        customer.left_at,
        customer.returned_at,
        customer.left_again_at,
        block.block,
        unnest(range(poisson(0.035 * block.months, customer.i * 64 + block.block, 'helps'))) as k
    from customer
    cross join block
),

dated as (
    select
        *,
        i * 4096 + block * 64 + k as view_no,
        moment(block, 0, view_no, 'help') as occurred_at,
        list_extract([0, 0, 0, 1, 1, 2, 3, 4, 4, 5, 6, 6], 1 + floor(u(view_no, 'category') * 12)::int) as category_no
    from drawn
)

select
    period.name as period,
    long_code('H', view_no, 9973) as view_id,
    visitor_code(i, 0) as visitor_id,
    list_extract(getvariable('article'), (1 + category_no * 2 + floor(u(view_no, 'article') * 2))::int) as article,
    list_extract(getvariable('category'), (1 + category_no)::int) as category,
    case when u(view_no, 'votes') < 0.35 then u(view_no, 'helps') < logistic(0.8 + 0.6 * satisfaction) end
        as is_helpful,
    occurred_at,
    view_no
from dated
inner join period on dated.occurred_at >= period.starts_at and dated.occurred_at < period.ends_at
where is_active(occurred_at, joined_at, left_at, returned_at, left_again_at);
