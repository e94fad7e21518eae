-- The CRM database as it stands at the clock: one table of `crm_*` rows for each of its tables, of which
-- only rows that changed since the last delivery are kept (`modified_at`), and the ids that were deleted.
-- Times are local text, as the database stores them.

create table price as
select
    product_no,
    round(4 + 250 * pow(u(product_no, 'price'), 2.2), 2) as unit_price,
    round((4 + 250 * pow(u(product_no, 'price'), 2.2)) * (0.45 + 0.3 * u(product_no, 'cost')), 2) as unit_cost
from range(1, getvariable('products') + 1) as r (product_no);

set variable price = (select list(unit_price order by product_no) from price);
set variable cost = (select list(unit_cost order by product_no) from price);

create table crm_products as
select
    'SKU-' || lpad(product_no::varchar, 4, '0') as product_id,
    pick(getvariable('product_style'), product_no, 'style')
    || ' '
    || pick(getvariable('product_kind'), product_no, 'kind')
    || ' '
    || product_no as product_name,
    pick(getvariable('product_kind'), product_no, 'kind') as category,
    pick(getvariable('product_line'), product_no, 'line') as product_line,
    unit_price,
    unit_cost,
    'USD' as currency,
    local_text(getvariable('starts')) as modified_at
from price
where getvariable('starts') >= getvariable('since');

create table crm_accounts as
select
    'ACC-' || lpad(account_no::varchar, 6, '0') as account_id,
    pick(getvariable('account_word'), account_no, 'word')
    || ' '
    || pick(['Trading', 'Group', 'Ltd', 'Industries'], account_no, 'form')
    || ' '
    || account_no as account_name,
    'company' || account_no || '.example.com' as domain,
    pick(getvariable('industry'), account_no, 'industry') as industry,
    pick(['Tehran', 'Isfahan', 'London', 'Midlands', 'Texas'], account_no, 'region') as region,
    pick(['IR', 'IR', 'GB', 'GB', 'US'], account_no, 'region') as country,
    (5 * exp(2.2 * u(account_no, 'size') + abs(gauss(account_no, 'size'))))::int as employees,
    local_text(getvariable('starts') - days(400 * u(account_no, 'age'))) as created_at,
    local_text(getvariable('starts')) as modified_at
from range(1, getvariable('accounts') + 1) as r (account_no)
where getvariable('starts') >= getvariable('since');

-- One in twenty-five humans is in the CRM twice; clerks clean up a fifth of the copies in time.
create table crm_record as
with
copied as (
    select
        *,
        0 as copy,
        joined_at as record_at
    from customer
    union all
    select
        *,
        1 as copy,
        date_trunc('second', joined_at + days(5 + 300 * u(i, 'copied'))) as record_at
    from customer
    where u(i, 'is copied') < 0.04
)

select
    *,
    i * 2 + copy as record_no,
    crm_code(i, copy) as person_id,
    case
        when
            copy = 1 and u(i, 'cleaned') < 0.30
            then date_trunc('second', record_at + days(20 + wait(i, 'cleaned in', 200)))
        -- The right to be forgotten.
        when
            copy = 0 and u(i, 'forgotten') < 0.012
            then date_trunc('second', left_at + days(wait(i, 'forgotten in', 120)))
    end as deleted_at,
    case
        when
            u(record_no, 'changes') < 0.22
            then date_trunc('second', record_at + days(15 + wait(record_no, 'changes in', 260)))
    end as changed_at
from copied
where record_at < getvariable('clock');

create table crm_people as
with
seen as (
    select
        *,
        coalesce(changed_at < getvariable('clock'), false) as has_changed,
        -- A Persian-speaking customer is mostly kept in Persian script; copies are often the other way.
        is_persian and u(record_no, 'script') < case when copy = 0 then 0.8 else 0.4 end as in_persian,
        case when has_changed then changed_at else record_at end as modified
    from crm_record
    where deleted_at is null or deleted_at >= getvariable('clock')
),

spelt as (
    select
        *,
        case when in_persian then given_fa else respelt(given_latin, u(record_no, 'respelt')) end as given,
        case when in_persian then family_fa else respelt(family_latin, u(record_no, 'respelt')) end as family
    from seen
)

select
    person_id,
    case
        when u(record_no, 'no name') < 0.02 then null when
            u(record_no, 'swapped') < 0.02
            then written(family, record_no, 'family')
        else written(given, record_no, 'given')
    end as first_name,
    case
        when u(record_no, 'swapped') < 0.02 then written(given, record_no, 'given') else
            written(family, record_no, 'family')
    end as last_name,
    case
        when bad(record_no, 'mail', 0.001) then replace(mail, 'a', chr(1072))
        when u(record_no, 'no mail') < 0.13 then null
        when u(record_no, 'no mail') < 0.15 then ''
        when
            has_changed and other_mail is not null and u(record_no, 'what') < 0.3
            then written_mail(other_mail, record_no, 'mail')
        else written_mail(mail, record_no, 'mail')
    end as email,
    case
        when bad(record_no, 'phone', 0.001) then '9.12E+11'
        when u(record_no, 'no phone') < 0.14 then null
        when u(record_no, 'no phone') < 0.155 then '0000000000'
        when u(record_no, 'no phone') < 0.17 then case when country = 'IR' then '09120000000' else '-' end
        when
            home_phone is not null and u(record_no, 'home phone') < 0.5
            then written_phone(calling_code, home_phone, record_no, 'phone')
        else written_phone(calling_code, mobile, record_no, 'phone')
    end as phone,
    case
        when u(record_no, 'no gender') < 0.2 then null else
            pick(case gender when 'f' then ['F', 'female', 'زن'] else ['M', 'male', 'مرد'] end, record_no, 'gender')
    end as gender,
    case
        when u(record_no, 'birth date') < 0.45 then null
        when u(record_no, 'birth date') < 0.46 then '1900-01-01'
        else strftime(birth_date, '%Y-%m-%d')
    end as birth_date,
    street,
    case
        when
            has_changed and u(record_no, 'what') >= 0.3
            then
                case country
                    when 'IR' then pick(getvariable('city_ir'), record_no, 'moves') when
                        'GB'
                        then pick(getvariable('city_gb'), record_no, 'moves')
                    else pick(getvariable('city_us'), record_no, 'moves')
                end
        else city
    end as city,
    region,
    case
        when country = 'IR' and u(record_no, 'post digits') < 0.2 then persian_digits(postal_code) else postal_code
    end as postal_code,
    country,
    case when account_no is not null then 'ACC-' || lpad(account_no::varchar, 6, '0') end as account_id,
    segment,
    language,
    local_text(record_at) as created_at,
    local_text(modified) as modified_at
from spelt
where modified >= getvariable('since');

create table crm_deleted_people as
select person_id from crm_record where deleted_at >= getvariable('since') and deleted_at < getvariable('clock');

-- Orders as placed: a stream at the customer's own pace, and the purchase with which she became one.
create table purchase as
with
streamed as (
    select
        customer.i,
        customer.joined_at,
        customer.left_at,
        customer.returned_at,
        customer.left_again_at,
        customer.satisfaction,
        customer.country,
        customer.region,
        customer.language,
        block.block,
        unnest(
            range(
                poisson(
                    0.155 * customer.value * exp(0.28 * customer.satisfaction) * block.months,
                    customer.i * 64 + block.block,
                    'orders'
                )
            )
        ) as k
    from customer
    cross join block
),

placed as (
    select
        * exclude (k, block),
        i * 4096 + block * 64 + least(k, 62) as order_no,
        k <= 62 as is_kept,
        moment(block, 0, order_no, 'order') as ordered_at
    from streamed
    union all
    select
        i,
        joined_at,
        left_at,
        returned_at,
        left_again_at,
        satisfaction,
        country,
        region,
        language,
        i * 4096 + 63 as order_no,
        true as is_kept,
        joined_at as ordered_at
    from customer
    where joined_at >= getvariable('starts')
),

kept as (
    select *
    from placed
    where
        is_kept
        and ordered_at < getvariable('clock')
        and is_active(ordered_at, joined_at, left_at, returned_at, left_again_at)
),

priced as (
    select
        *,
        case
            when u(i, 'buys at') < 0.6 and u(order_no, 'channel') < 0.7
                then pick(['web', 'web', 'app'], i, 'home channel')
            else pick(['web', 'app', 'store', 'store', 'phone', 'marketplace'], order_no, 'any channel')
        end as channel,
        1 + floor(3.4 * pow(u(order_no, 'lines'), 2))::int as line_count,
        round(case when u(order_no, 'discounted') < 0.25 then 0.05 + 0.2 * u(order_no, 'discount') else 0 end, 2)
            as discount_rate,
        u(order_no, 'fate') < 0.035 as is_cancelled,
        u(order_no, 'fate') >= 0.035
        and u(order_no, 'fate') < 0.075 + case when satisfaction < -0.8 then 0.03 else 0 end as is_returned,
        u(order_no, 'late')
        < 0.09
        + case when region = 'Azerbaijan' then 0.1 else 0 end
        + case when month(ordered_at) in (3, 12) then 0.07 else 0 end as is_late
    from kept
)

select
    order_no,
    i,
    joined_at,
    satisfaction,
    country,
    region,
    language,
    ordered_at,
    channel,
    line_count,
    discount_rate,
    is_cancelled,
    is_returned,
    is_late,
    ordered_at + days(3) as promised_at,
    date_trunc('second', ordered_at + days(0.5 + u(order_no, 'ships'))) as shipped_at,
    date_trunc(
        'second',
        ordered_at
        + days(case when is_late then 3.2 + wait(order_no, 'late by', 3) else 1.6 + 1.3 * u(order_no, 'arrives') end)
    ) as delivered_at,
    date_trunc('second', delivered_at + days(1 + wait(order_no, 'returns', 4))) as came_back_at,
    coalesce(
        0.55 + 0.6 * satisfaction - 1.1 * is_late::int - 0.5 * is_returned::int + 0.6 * gauss(order_no, 'delight'), 0
    ) as experience
from priced;

create table crm_order_line as
with
numbered as (
    select
        order_no,
        ordered_at,
        discount_rate,
        unnest(range(line_count)) as k
    from purchase
),

line as (
    select
        *,
        1 + floor(getvariable('products') * pow(u(order_no * 8 + k, 'product'), 1.7))::int as product_no,
        1 + floor(2.2 * pow(u(order_no * 8 + k, 'quantity'), 3))::int as quantity
    from numbered
),

priced as (
    select
        order_no,
        ordered_at,
        k,
        product_no,
        quantity,
        round(quantity * list_extract(getvariable('price'), product_no), 2) as list_amount,
        round(list_amount * discount_rate, 2) as discount_amount,
        round(quantity * list_extract(getvariable('cost'), product_no), 2) as cost_amount
    from line
)

select
    long_code('L', order_no * 8 + k, 65539) as line_id,
    order_no,
    long_code('O', order_no, 524287) as order_id,
    'SKU-' || lpad(product_no::varchar, 4, '0') as product_id,
    quantity,
    list_amount - discount_amount as amount,
    discount_amount,
    cost_amount,
    ordered_at
from priced;

create table crm_order_lines as
select
    line_id,
    order_id,
    product_id,
    quantity,
    round(amount, 2) as amount,
    discount_amount,
    cost_amount,
    'USD' as currency,
    local_text(ordered_at) as modified_at
from crm_order_line
where ordered_at >= getvariable('since');

create table crm_orders as
with
total as (
    select
        order_no,
        sum(amount::decimal(18, 2)) as amount,
        sum(discount_amount::decimal(18, 2)) as discount_amount,
        sum(cost_amount::decimal(18, 2)) as cost_amount
    from crm_order_line
    group by order_no
),

copy as (
    select
        i,
        record_at,
        deleted_at
    from crm_record where copy = 1
),

seen as (
    select
        purchase.*,
        total.amount,
        total.discount_amount,
        total.cost_amount,
        -- Part of the orders hang on the copy, until it is cleaned up and they move to the first record.
        coalesce(copy.record_at <= purchase.ordered_at and u(purchase.order_no, 'on copy') < 0.5, false) as was_on_copy,
        coalesce(was_on_copy and copy.deleted_at < getvariable('clock'), false) as was_moved,
        copy.deleted_at as moved_at,
        case
            when
                purchase.is_cancelled
                then case when purchase.shipped_at < getvariable('clock') then 'cancelled' else 'placed' end
            when purchase.is_returned and purchase.came_back_at < getvariable('clock') then 'returned'
            when purchase.delivered_at < getvariable('clock') then 'delivered'
            when purchase.shipped_at < getvariable('clock') then 'shipped'
            when purchase.ordered_at + interval 1 hour < getvariable('clock') then 'paid'
            else 'placed'
        end as status
    from purchase
    inner join total on purchase.order_no = total.order_no
    left join copy on purchase.i = copy.i
),

dated as (
    select
        *,
        greatest(
            case status
                when 'cancelled' then shipped_at when 'returned' then came_back_at when 'delivered' then delivered_at
                when 'shipped' then shipped_at when 'paid' then ordered_at + interval 1 hour else ordered_at
            end,
            case when was_moved then moved_at else ordered_at end
        ) as modified
    from seen
)

select
    long_code('O', order_no, 524287) as order_id,
    crm_code(i, (was_on_copy and not was_moved)::int) as person_id,
    case
        when
            bad(order_no, 'order date', 0.0006)
            then pick(['31/31/2025', 'tomorrow', '1404-13-41 10:00:00'], order_no, 'nonsense')
        else local_text(ordered_at)
    end as ordered_at,
    status,
    channel,
    region,
    case when bad(order_no, 'amount', 0.002) and status = 'delivered' then -amount else amount end::double as amount,
    discount_amount::double as discount_amount,
    cost_amount::double as cost_amount,
    'USD' as currency,
    local_text(promised_at) as promised_at,
    case when status in ('delivered', 'returned') then local_text(delivered_at) end as delivered_at,
    local_text(modified) as modified_at
from dated
where modified >= getvariable('since');

create table crm_subscriptions as
with
life as (
    select
        i,
        0 as life,
        value,
        plan,
        date_trunc('second', joined_at + days(25 * pow(u(i, 'subscribes'), 2))) as started_at,
        left_at as ends_at,
        is_driven_out
    from customer
    where has_plan
    union all
    select
        i,
        1 as life,
        value,
        plan,
        returned_at as started_at,
        left_again_at as ends_at,
        false as is_driven_out
    from customer
    where has_plan and returned_at is not null and u(i, 'subscribes again') < 0.7
),

seen as (
    select
        *,
        ends_at < getvariable('clock') as has_ended,
        case when has_ended then ends_at else started_at end as modified
    from life
    where started_at < getvariable('clock') and started_at < ends_at
)

select
    code('SUB', i * 2 + life, 9973) as subscription_id,
    crm_code(i, 0) as person_id,
    plan,
    local_text(started_at) as started_at,
    case when has_ended then local_text(ends_at) end as ended_at,
    case
        when not has_ended then null
        when is_driven_out and u(i, 'says why') < 0.7 then 'service'
        else pick(['price', 'competitor', 'moved', 'no need', 'payment failed'], i * 2 + life, 'reason')
    end as end_reason,
    case plan when 'basic' then 4.99 when 'plus' then 9.99 else 19.99 end as monthly_amount,
    'USD' as currency,
    local_text(modified) as modified_at
from seen
where modified >= getvariable('since');

create table deal as
with
opened as (
    select
        customer.i,
        customer.account_no,
        customer.joined_at,
        customer.satisfaction,
        block.block,
        unnest(range(poisson(0.09 * block.months, customer.i * 64 + block.block, 'deals'))) as k
    from customer
    cross join block
    where customer.account_no is not null
),

dated as (
    select
        *,
        i * 4096 + block * 64 + k as deal_no,
        moment(block, 1, deal_no, 'deal') as lead_at,
        lead_at + days(1 + wait(deal_no, 'qualified', 5)) as qualified_at,
        qualified_at + days(1 + wait(deal_no, 'proposal', 9)) as proposal_at,
        proposal_at + days(1 + wait(deal_no, 'negotiation', 8)) as negotiation_at,
        negotiation_at + days(1 + wait(deal_no, 'closed', 10)) as signed_at,
        u(deal_no, 'reach') as reach
    from opened
)

select
    deal_no,
    i,
    account_no,
    date_trunc('second', lead_at) as lead_at,
    case when reach > 0.30 then date_trunc('second', qualified_at) end as qualified_at,
    case when reach > 0.50 then date_trunc('second', proposal_at) end as proposal_at,
    case when reach > 0.62 then date_trunc('second', negotiation_at) end as negotiation_at,
    reach > 0.72 - 0.05 * satisfaction and reach > 0.62 as is_won,
    date_trunc('second', case
        when reach > 0.62 then signed_at when reach > 0.50 then proposal_at + days(9) when
            reach > 0.30
            then qualified_at + days(9)
        else lead_at + days(9)
    end) as closed_at
from dated
where lead_at >= joined_at and lead_at < getvariable('clock');

create table crm_stage as
with
entered as (
    select
        deal_no,
        1 as stage_no,
        'lead' as stage,
        lead_at as entered_at
    from deal
    union all
    select
        deal_no,
        2,
        'qualified',
        qualified_at
    from deal
    union all
    select
        deal_no,
        3,
        'proposal',
        proposal_at
    from deal
    union all
    select
        deal_no,
        4,
        'negotiation',
        negotiation_at
    from deal
    union all
    select
        deal_no,
        5,
        case when is_won then 'won' else 'lost' end,
        closed_at
    from deal
)

select * from entered where entered_at < getvariable('clock');

create table crm_opportunity_stages as
select
    long_code('G', deal_no * 8 + stage_no, 65539) as stage_event_id,
    long_code('D', deal_no, 524287) as opportunity_id,
    stage,
    local_text(entered_at) as entered_at,
    local_text(entered_at) as modified_at
from crm_stage
where entered_at >= getvariable('since');

create table crm_opportunities as
with
current_stage as (
    select
        deal_no,
        max(entered_at) as modified,
        arg_max(stage, stage_no) as stage
    from crm_stage group by deal_no
)

select
    long_code('D', deal.deal_no, 524287) as opportunity_id,
    crm_code(deal.i, 0) as person_id,
    'ACC-' || lpad(deal.account_no::varchar, 6, '0') as account_id,
    'Supply of ' || lower(pick(getvariable('product_kind'), deal.deal_no, 'what')) || 's' as title,
    current_stage.stage,
    round(600 * exp(0.9 * gauss(deal.deal_no, 'amount')), 2) as amount,
    'USD' as currency,
    pick(['web', 'referral', 'fair', 'call', 'campaign'], deal.deal_no, 'source') as lead_source,
    'E' || lpad((1 + floor(u(deal.deal_no, 'owner') * 12))::int::varchar, 3, '0') as owner_id,
    case current_stage.stage when 'won' then 1 when 'lost' then 0 end as is_won,
    local_text(deal.lead_at) as created_at,
    case
        when current_stage.stage not in ('won', 'lost') then null
        when bad(deal.deal_no, 'closed', 0.004) then local_text(deal.lead_at - interval 20 day)
        else local_text(deal.closed_at)
    end as closed_at,
    local_text(current_stage.modified) as modified_at
from deal
inner join current_stage on deal.deal_no = current_stage.deal_no
where current_stage.modified >= getvariable('since');

-- Some activities are logged weeks after they happened; a few are removed again.
create table activity as
with
drawn as (
    select
        i,
        joined_at,
        left_at,
        returned_at,
        left_again_at,
        block.block,
        unnest(range(poisson(0.055 * block.months, i * 64 + block.block, 'activities'))) as k
    from customer
    cross join block
),

dated as (
    select
        *,
        i * 4096 + block * 64 + k as activity_no,
        moment(block, 1, activity_no, 'activity') as occurred_at
    from drawn
)

select
    activity_no,
    i,
    occurred_at,
    date_trunc(
        'second',
        occurred_at
        + case
            when u(activity_no, 'logged') < 0.06 then days(2 + wait(activity_no, 'logged in', 9)) else minutes(10)
        end
    ) as modified,
    case
        when
            u(activity_no, 'removed') < 0.02
            then date_trunc('second', modified + days(wait(activity_no, 'removed in', 150)))
    end as deleted_at
from dated
where is_active(occurred_at, joined_at, left_at, returned_at, left_again_at) and modified < getvariable('clock');

create table crm_activities as
select
    case when not bad(activity_no, 'activity id', 0.001) then long_code('N', activity_no, 524287) end as activity_id,
    crm_code(i, 0) as person_id,
    pick(['email', 'email', 'call', 'call', 'meeting', 'message', 'note'], activity_no, 'type') as type,
    pick(['inbound', 'outbound', 'outbound'], activity_no, 'direction') as direction,
    pick(['follow-up', 'offer', 'thank you', 'question', 'پیگیری', 'پیشنهاد'], activity_no, 'subject') as subject,
    case when u(activity_no, 'minutes') < 0.6 then (1 + floor(30 * u(activity_no, 'length')))::int end as minutes,
    'E' || lpad((1 + floor(u(activity_no, 'owner') * 12))::int::varchar, 3, '0') as owner_id,
    local_text(occurred_at) as occurred_at,
    local_text(modified) as modified_at
from activity
where modified >= getvariable('since') and (deleted_at is null or deleted_at >= getvariable('clock'));

create table crm_deleted_activities as
select long_code('N', activity_no, 524287) as activity_id
from activity
where deleted_at >= getvariable('since') and deleted_at < getvariable('clock');

create table crm_loyalty_events as
with
event as (
    select
        i * 8192 * 4 as event_no,
        i,
        'join' as type,
        0 as points,
        date_trunc('second', joined_at + interval 10 minute) as occurred_at
    from customer
    where u(i, 'loyal') < 0.45
    union all
    select
        order_no * 4 + 1,
        i,
        'earn',
        10 * line_count,
        delivered_at
    from purchase
    where u(i, 'loyal') < 0.45 and not is_cancelled
    union all
    select
        order_no * 4 + 2,
        i,
        'redeem',
        -50,
        ordered_at + interval 5 second
    from purchase
    where u(i, 'loyal') < 0.45 and u(order_no, 'redeems') < 0.12
)

select
    long_code('Y', event_no, 65539) as event_id,
    crm_code(i, 0) as person_id,
    type,
    points,
    case when u(i, 'tier') < 0.7 then 'blue' when u(i, 'tier') < 0.93 then 'silver' else 'gold' end as tier,
    local_text(occurred_at) as occurred_at,
    local_text(occurred_at) as modified_at
from event
where occurred_at >= getvariable('since') and occurred_at < getvariable('clock');

create table crm_consents as
with
event as (
    select
        i,
        purpose_no,
        0 as step,
        u(i * 4 + purpose_no, 'grants') < 0.7 as is_granted,
        joined_at as occurred_at
    from customer
    cross join range(3) as p (purpose_no)
    where purpose_no = 0 or u(i * 4 + purpose_no, 'asked') < 0.4
    union all
    select
        i,
        purpose_no,
        1,
        false,
        date_trunc('second', joined_at + days(20 + wait(i * 4 + purpose_no, 'withdraws in', 300)))
    from customer
    cross join range(3) as p (purpose_no)
    where purpose_no = 0 and u(i * 4 + purpose_no, 'grants') < 0.7 and u(i, 'withdraws') < 0.09
)

select
    long_code('K', (i * 4 + purpose_no) * 2 + step, 65539) as consent_id,
    crm_code(i, 0) as person_id,
    list_extract(['marketing', 'analytics', 'profiling'], (1 + purpose_no)::int) as purpose,
    pick(['web', 'store', 'phone'], i, 'consent channel') as channel,
    is_granted::int as is_granted,
    local_text(occurred_at) as occurred_at,
    local_text(occurred_at) as modified_at
from event
where occurred_at >= getvariable('since') and occurred_at < getvariable('clock');
