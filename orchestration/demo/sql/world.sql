-- The humans behind the records and what happens to them: traits, tickets as lived, and when they leave.
-- Sources are later written from these tables; nothing here is delivered as it stands.

create table person as
with
numbered as (
    select
        i,
        (i + 1) // 2 as pair,
        u((i + 1) // 2, 'household') < 0.14 as in_household,
        -- Members of a household share language, family name and address: one key draws them for both.
        case when u((i + 1) // 2, 'household') < 0.14 then -((i + 1) // 2) else i end as home
    from range(1, getvariable('population') + 1) as r (i)
),

placed as (
    select
        *,
        case when u(home, 'market') < 0.60 then 'IR' when u(home, 'market') < 0.84 then 'GB' else 'US' end as country,
        country = 'IR' or u(home, 'abroad') < 0.10 as is_persian,
        case when u(i, 'gender') < 0.52 then 'f' else 'm' end as gender,
        u(home, 'place') as place,
        u(i, 'business') < 0.15 as is_business
    from numbered
),

named as (
    select
        *,
        case
            when not is_persian then null
            when gender = 'f' then pick(getvariable('given_f_fa'), i, 'given')
            else pick(getvariable('given_m_fa'), i, 'given')
        end as given_fa,
        case
            when is_persian and gender = 'f' then pick(getvariable('given_f_fa_latin'), i, 'given')
            when is_persian then pick(getvariable('given_m_fa_latin'), i, 'given')
            when gender = 'f' then pick(getvariable('given_f_en'), i, 'given')
            else pick(getvariable('given_m_en'), i, 'given')
        end as given_latin,
        -- A hundred family names would make namesakes of everybody; endings multiply them.
        case
            when is_persian then
                pick(getvariable('family_fa'), home, 'family')
                || case
                    when u(home, 'ending?') < 0.45 then pick(getvariable('family_ending_fa'), home, 'ending') else ''
                end
        end as family_fa,
        case
            when is_persian
                then
                    pick(getvariable('family_fa_latin'), home, 'family')
                    || case
                        when
                            u(home, 'ending?') < 0.45
                            then pick(getvariable('family_ending_latin'), home, 'ending')
                        else ''
                    end
            else
                pick(getvariable('family_en'), home, 'family')
                || case
                    when
                        u(home, 'ending?') < 0.06
                        then '-' || pick(getvariable('family_en'), home, 'second family')
                    else ''
                end
        end as family_latin
    from placed
),

located as (
    select
        *,
        case country
            when 'IR' then nth(getvariable('region_ir'), place)
            when 'GB' then nth(getvariable('region_gb'), place)
            else nth(getvariable('region_us'), place)
        end as region,
        case country
            when 'IR' then nth(getvariable('city_ir'), place)
            when 'GB' then nth(getvariable('city_gb'), place)
            else nth(getvariable('city_us'), place)
        end as city,
        case
            when
                country = 'IR'
                then
                    pick(getvariable('street_ir'), home, 'street')
                    || '، پلاک '
                    || 1
                    + floor(u(home, 'number') * 180)::int
            else 1 + floor(u(home, 'number') * 180)::int || ' ' || pick(getvariable('street_latin'), home, 'street')
        end as street,
        case country
            when 'IR' then lpad(floor(u(home, 'post') * 9e9 + 1e9)::bigint::varchar, 10, '0')
            when
                'GB'
                then
                    pick(['N', 'E', 'B', 'LS', 'G'], home, 'post')
                    || 1
                    + floor(u(home, 'post2') * 20)::int
                    || ' '
                    || floor(u(home, 'post3') * 10)::int
                    || pick(['AB', 'JD', 'QP', 'XY'], home, 'post4')
            else lpad(floor(u(home, 'post') * 99000)::int::varchar, 5, '0')
        end as postal_code,
        case country when 'IR' then '98' when 'GB' then '44' else '1' end as calling_code,
        (i * 61803399 + getvariable('seed') % 1000) % 100000000 as subscriber
    from named
),

reachable as (
    select
        *,
        case country
            when
                'IR'
                then
                    getvariable('phone_prefix_ir')[(1 + subscriber // 10000000)::int]
                    || lpad((subscriber % 10000000)::varchar, 7, '0')
            when 'GB' then '77' || lpad(subscriber::varchar, 8, '0')
            else
                list_extract(getvariable('area_code_us'), (1 + subscriber // 5000000)::int)
                || (2000000 + subscriber % 5000000)::varchar
        end as mobile,
        regexp_replace(lower(given_latin), '[^a-z]', '', 'g') as mail_given,
        regexp_replace(lower(family_latin), '[^a-z]', '', 'g') as mail_family,
        lower(to_base(i * 11 + 5, 36)) as mail_mark,
        case when is_business then 1 + floor(u(i, 'account') * getvariable('accounts'))::bigint end as account_no
    from located
),

trait as (
    select
        *,
        case
            when
                in_household and u(pair, 'family mail') < 0.55
                then 'family.' || mail_family || lower(to_base(pair, 36)) || '@example.org'
            when
                account_no is not null and u(i, 'role mail') < 0.10
                then pick(['info', 'sales', 'office'], i, 'role') || '@company' || account_no || '.example.com'
            else
                case
                    when u(i, 'mail form') < 0.45 then mail_given || '.' || mail_family || mail_mark
                    when u(i, 'mail form') < 0.70 then left(mail_given, 1) || mail_family || mail_mark
                    when u(i, 'mail form') < 0.85 then mail_family || '_' || mail_given || mail_mark
                    else mail_given || mail_mark
                end || '@' || pick(getvariable('mail_domain'), i, 'mail domain')
        end as mail,
        case
            when
                account_no is not null
                then mail_given || '.' || mail_family || mail_mark || '@company' || account_no || '.example.com'
            when u(i, 'second mail') < 0.20 then mail_given || mail_mark || '@post.example.net'
        end as other_mail,
        case when in_household and country = 'IR' then '21' || lpad((22000000 + pair % 70000000)::varchar, 8, '0') end
            as home_phone,
        case country when 'IR' then '98' when 'GB' then '44' else '1' end || mobile as true_phone,
        case
            when i <= getvariable('customers') and u(i, 'old') < 0.40
                then getvariable('starts') - days(1000 * pow(u(i, 'joined'), 1.3))
            -- Joins inside the history double in pace from its start to its end.
            when i <= getvariable('customers')
                then
                    getvariable('starts')
                    + days(
                        date_diff('day', getvariable('starts'), getvariable('ends'))
                        * (sqrt(1 + 3 * u(i, 'joined')) - 1)
                    )
            else
                getvariable('ends')
                + days((i - getvariable('customers') - u(i, 'joined')) / getvariable('joins_per_day'))
        end as joined_at,
        exp(0.6 * gauss(i, 'value')) as value,
        0.85 * gauss(i, 'satisfaction')
        + case region
            when 'Azerbaijan' then -0.45 when 'North' then -0.25 when 'Fars' then 0.2 when 'London' then 0.1 else 0
        end as satisfaction,
        date '1950-01-01' + floor(u(i, 'age') * 20000)::int as birth_date,
        u(i, 'plan') < 0.58 as has_plan,
        pick(['basic', 'basic', 'basic', 'plus', 'plus', 'premium'], i, 'plan kind') as plan
    from reachable
)

select
    i,
    home,
    pair,
    in_household,
    country,
    region,
    city,
    street,
    postal_code,
    is_persian,
    gender,
    case when is_persian then 'fa' else 'en' end as language,
    given_fa,
    family_fa,
    given_latin,
    family_latin,
    mail,
    other_mail,
    calling_code,
    mobile,
    home_phone,
    true_phone,
    account_no,
    date_trunc('second', joined_at) as joined_at,
    birth_date,
    value,
    satisfaction,
    has_plan,
    plan,
    case when is_business then 'business' when value > 1.8 then 'vip' else 'consumer' end as segment,
    -- Monthly hazard of leaving for no reason that a record would show.
    0.0145 * exp(-0.8 * satisfaction) * case when has_plan and plan = 'premium' then 0.7 else 1 end as hazard
from trait
where joined_at < getvariable('clock');

-- Tickets as they would be lived if nobody ever left.
create table ticket_potential as
with
counted as (
    select
        person.i,
        person.country,
        person.language,
        person.region,
        person.satisfaction,
        person.joined_at,
        block.block,
        unnest(range(
            poisson(0.062 * exp(-0.35 * person.satisfaction) * block.months, person.i * 64 + block.block, 'tickets')
        )) as k
    from person
    cross join block
),

drawn as (
    select
        (i * 4096 + block * 64 + k) * 2 as ticket_no,
        i,
        country,
        language,
        region,
        satisfaction,
        joined_at,
        interval 210 minute * (country = 'IR')::int as from_utc,
        case
            when u(ticket_no, 'channel') < 0.34 then 'email'
            when u(ticket_no, 'channel') < 0.56 then 'chat'
            when u(ticket_no, 'channel') < 0.76 then 'phone'
            when u(ticket_no, 'channel') < 0.93 then 'web'
            else 'social'
        end as channel,
        moment(block, 1, ticket_no, 'ticket') as wanted_at
    from counted
),

-- Each step below is a query of its own because macros repeat their arguments: given an expression
-- instead of a column, desk_time would compute it many times over.
localised as (
    select
        *,
        wanted_at + from_utc as wanted_at_local
    from drawn
),

-- Calls, and most chats, are taken while the desk is open.
opened as (
    select
        *,
        case
            when channel = 'phone' or (channel = 'chat' and u(ticket_no, 'waits for desk') < 0.8)
                then date_trunc('second', desk_time(wanted_at_local, country, ticket_no) - from_utc)
            else wanted_at
        end as created_at
    from localised
),

kinds as (
    select
        *,
        list_extract([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 6], 1 + floor(u(ticket_no, 'category') * 12)::int)
            as category_no,
        u(ticket_no, 'complaint') < 0.09 + case when satisfaction < -0.8 then 0.09 else 0 end as is_complaint,
        u(ticket_no, 'neglected') < 0.11 as is_neglected
    from opened
    where created_at >= joined_at
),

reached as (
    select
        *,
        channel in ('chat', 'web') and u(ticket_no, 'auto') < 0.08 as is_auto_solved,
        not is_auto_solved and u(ticket_no, 'silence') < 0.035 as is_unanswered,
        created_at + from_utc + minutes(
            least(
                case channel
                    when 'chat' then 6 when 'phone' then 3 when 'email' then 190 when 'web' then 150 else 100
                end
                * exp(0.9 * gauss(ticket_no, 'reply'))
                * case when is_neglected then 16 else 1 end
                * case when region = 'Azerbaijan' then 1.5 else 1 end
                * case when month(created_at) in (3, 12) then 1.6 else 1 end,
                20000
            )
        ) as reached_at_local
    from kinds
),

answered as (
    select
        * exclude (reached_at_local),
        desk_time(reached_at_local, country, ticket_no) - from_utc as replied_at
    from reached
),

felt as (
    select
        * replace (
            case when not is_auto_solved and not is_unanswered then date_trunc('second', replied_at) end as replied_at
        ),
        case when is_auto_solved then 0.05 when is_unanswered then 96 else epoch(replied_at - created_at) / 3600 end
            as waited_hours,
        u(ticket_no, 'reopen') < 0.07 + case when is_neglected then 0.06 else 0 end
        and not is_auto_solved as is_reopened,
        u(ticket_no, 'handoff') < 0.16 and not is_auto_solved as is_handed_off,
        u(ticket_no, 'never') < 0.02 or is_unanswered as is_unresolved
    from answered
),

solved as (
    select
        *,
        1.15 + 0.55 * satisfaction - 0.45 * ln(1 + waited_hours)
        - 0.6 * is_complaint::int
        - 0.6 * is_reopened::int
        - 0.25 * is_handed_off::int
        + 0.8 * gauss(ticket_no, 'noise') as experience,
        case
            when is_auto_solved then created_at + minutes(2 + 20 * u(ticket_no, 'bot solves'))
            when
                not is_unresolved
                then
                    replied_at
                    + minutes(
                        least(
                            case when channel in ('chat', 'phone') then 25 else 420 end
                            * exp(1.0 * gauss(ticket_no, 'solve')),
                            30000
                        )
                    )
        end as first_resolved_at
    from felt
),

first_contact as (
    select
        *,
        case when is_reopened then first_resolved_at + days(0.2 + wait(ticket_no, 'reopens', 1.5)) end as reopened_at,
        case when is_reopened then reopened_at + days(0.1 + wait(ticket_no, 'solves again', 1.2)) end
            as resolved_again_at,
        null::bigint as parent_no
    from solved
),

-- Some come back on the same issue within days; a few of those contacts are merged into the first.
repeat_contact as (
    select
        * replace (
            ticket_no + 1 as ticket_no,
            first_resolved_at + days(0.3 + wait(ticket_no, 'comes back', 4)) as created_at,
            false as is_auto_solved,
            false as is_unanswered,
            false as is_reopened,
            false as is_handed_off,
            false as is_unresolved,
            experience - 0.5 as experience,
            ticket_no as parent_no
        )
    from first_contact
    where first_resolved_at is not null and u(ticket_no, 'again') < 0.12
),

repeated as (
    select * replace (desk_time(reached_at_local, country, ticket_no) - from_utc as replied_at)
    from (
        select
            *,
            created_at + from_utc + minutes(120 * exp(0.9 * gauss(ticket_no, 'reply'))) as reached_at_local
        from repeat_contact
    )
),

together as (
    select * from first_contact
    union all
    select
        * exclude (reached_at_local) replace (
            date_trunc('second', replied_at) as replied_at,
            epoch(replied_at - created_at) / 3600 as waited_hours,
            replied_at + minutes(300 * exp(gauss(ticket_no, 'solve'))) as first_resolved_at,
            null as reopened_at,
            null as resolved_again_at
        )
    from repeated
)

select
    ticket_no,
    i,
    country,
    language,
    region,
    category_no,
    channel,
    is_complaint,
    is_auto_solved,
    is_handed_off,
    is_reopened,
    waited_hours,
    experience,
    parent_no,
    parent_no is not null and u(ticket_no, 'merged') < 0.2 as is_merged,
    date_trunc('second', created_at) as created_at,
    replied_at,
    date_trunc('second', first_resolved_at) as first_resolved_at,
    date_trunc('second', reopened_at) as reopened_at,
    date_trunc('second', resolved_again_at) as resolved_again_at,
    date_trunc('second', coalesce(resolved_again_at, first_resolved_at)) as last_resolved_at,
    date_trunc('second', coalesce(resolved_again_at, first_resolved_at) + days(4)) as closed_at,
    -- The chance that this ticket alone makes the customer leave, within a month or so.
    logistic(-3.0 - 1.15 * experience + 0.7 * is_complaint::int) as leave_probability
from together;

-- When customers leave: for no visible reason, or driven out by a ticket; the earliest counts.
create table life as
with
base as (
    select
        i,
        joined_at + days(30.44 * -ln(1 - u(i, 'leaves')) / hazard) as fades_at
    from person
),

driven as (
    select
        i,
        min(coalesce(replied_at, created_at) + days(wait(ticket_no, 'leaves after', 25))) as driven_at
    from ticket_potential
    where u(ticket_no, 'drives out') < leave_probability
    group by i
),

left_once as (
    select
        base.i,
        least(base.fades_at, coalesce(driven.driven_at, base.fades_at)) as left_at,
        coalesce(driven.driven_at < base.fades_at, false) as is_driven_out
    from base
    left join driven on base.i = driven.i
)

select
    left_once.i,
    date_trunc('second', left_once.left_at) as left_at,
    left_once.is_driven_out,
    case
        when
            u(left_once.i, 'returns') < 0.10
            then date_trunc('second', left_once.left_at + days(40 + wait(left_once.i, 'returns in', 90)))
    end as returned_at,
    case
        when u(left_once.i, 'returns') < 0.10
            then
                date_trunc(
                    'second',
                    left_once.left_at
                    + days(41 + wait(left_once.i, 'returns in', 90) + 30.44 * wait(left_once.i, 'leaves again', 30))
                )
    end as left_again_at
from left_once;

create macro is_active(t, joined_at, left_at, returned_at, left_again_at) as
t >= joined_at and (t < left_at or (returned_at is not null and t >= returned_at and t < left_again_at));

-- A person with her dates of leaving and returning: what every stream of events starts from.
create table customer as
select
    person.*,
    life.left_at,
    life.is_driven_out,
    life.returned_at,
    life.left_again_at
from person
inner join life on person.i = life.i;

create table ticket as
select ticket_potential.*
from ticket_potential
inner join customer on ticket_potential.i = customer.i
where
    ticket_potential.created_at < getvariable('clock')
    and is_active(
        ticket_potential.created_at,
        customer.joined_at,
        customer.left_at,
        customer.returned_at,
        customer.left_again_at
    );

drop table ticket_potential;
