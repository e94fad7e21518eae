-- The survey tool's exports: invitations (as they stood at the end of each period) and answers, one row
-- for each answer. Times are local to Tehran, day first.

create table survey_ask as
with
wave as (
    select
        w as wave_no,
        date_trunc('quarter', getvariable('starts')) + to_months((3 * w + 1)::int) + interval 9 day as asked_at
    from range(0, 4 * (3 + getvariable('blocks'))) as r (w)
),

-- How the desk felt lately colours what people say about the relationship.
recent as (
    select
        ticket.i,
        wave.wave_no,
        avg(ticket.experience) as experience,
        count(*) as tickets
    from ticket
    inner join wave
        on ticket.created_at < wave.asked_at and ticket.created_at >= wave.asked_at - interval 120 day
    group by all
),

relational as (
    select
        (customer.i * 128 + wave.wave_no) * 4 as ask_no,
        'REL' as survey_id,
        customer.i,
        null::bigint as ticket_no,
        null::bigint as order_no,
        0.9 * customer.satisfaction + 0.55 * coalesce(recent.experience, 0.2) + 0.1 as experience,
        floor(u(customer.i * 128 + wave.wave_no, 'talks of') * 7)::int as category_no,
        date_trunc('second', wave.asked_at + days(3 * u(customer.i * 128 + wave.wave_no, 'sent'))) as sent_at
    from customer
    cross join wave
    left join recent on customer.i = recent.i and wave.wave_no = recent.wave_no
    where
        u(customer.i * 128 + wave.wave_no, 'sampled') < 0.33
        and wave.asked_at >= getvariable('starts') and wave.asked_at < getvariable('clock')
        and is_active(wave.asked_at, customer.joined_at, customer.left_at, customer.returned_at, customer.left_again_at)
),

after_ticket as (
    select
        ticket_no * 4 + 1,
        'TKT',
        i,
        ticket_no,
        null::bigint,
        experience,
        category_no,
        date_trunc('second', last_resolved_at + days(0.2 + u(ticket_no, 'survey sent')))
    from ticket
    where last_resolved_at is not null and not is_merged and u(ticket_no, 'surveyed') < 0.75
),

after_order as (
    select
        order_no * 4 + 2,
        'ORD',
        i,
        null::bigint,
        order_no,
        experience,
        case when is_late then 0 when is_returned then 1 else 3 end,
        date_trunc('second', delivered_at + days(1 + u(order_no, 'survey sent')))
    from purchase
    where not is_cancelled and u(order_no, 'surveyed') < 0.20
),

asked as (
    select * from relational
    union all
    select * from after_ticket
    union all
    select * from after_order
)

select
    asked.*,
    customer.language,
    -- The very glad and the very angry answer most.
    case
        when u(asked.ask_no, 'outcome') < 0.03 then 'bounced'
        when
            u(asked.ask_no, 'outcome')
            < 0.28 + 0.06 * abs(asked.experience) + case asked.survey_id when 'TKT' then 0.16 else 0 end
            then 'answered'
        when u(asked.ask_no, 'outcome') < 0.58 then 'opened'
        when u(asked.ask_no, 'outcome') < 0.64 then 'dismissed'
        else 'sent'
    end as outcome,
    date_trunc(
        'second',
        asked.sent_at + days(case when outcome = 'bounced' then 0.001 else 0.01 + wait(asked.ask_no, 'takes', 1.4) end)
    ) as outcome_at,
    pick(['email', 'email', 'sms', 'in_app'], asked.ask_no, 'survey channel') as channel
from asked
inner join customer on asked.i = customer.i
where asked.sent_at < getvariable('clock');

create table survey_invitations as
select
    period.name as period,
    long_code('I', survey_ask.ask_no, 65539) as invitation_id,
    survey_ask.survey_id,
    respondent_code(survey_ask.i) as respondent_id,
    case when survey_ask.ticket_no is not null then long_code('T', survey_ask.ticket_no, 524287) end as ticket_ref,
    case when survey_ask.order_no is not null then long_code('O', survey_ask.order_no, 524287) end as order_ref,
    survey_ask.channel,
    case when survey_ask.outcome_at < period.ends_at then survey_ask.outcome else 'sent' end as status,
    local_day_first(survey_ask.sent_at) as sent_at,
    local_text(
        case when survey_ask.outcome_at < period.ends_at then survey_ask.outcome_at else survey_ask.sent_at end
    ) as changed_at,
    survey_ask.ask_no
from survey_ask
inner join period
    on
        (survey_ask.sent_at >= period.starts_at and survey_ask.sent_at < period.ends_at)
        or (
            survey_ask.outcome != 'sent'
            and survey_ask.outcome_at >= period.starts_at
            and survey_ask.outcome_at < period.ends_at
        );

-- The respondent as the survey tool knows him, from its own address list.
create table survey_respondent as
with
spelt as (
    select
        *,
        is_persian and u(i, 'survey script') < 0.35 as in_persian,
        case when in_persian then given_fa else respelt(given_latin, u(i, 'survey respelt')) end as given,
        case when in_persian then family_fa else respelt(family_latin, u(i, 'survey respelt')) end as family
    from customer
)

select
    i,
    respondent_code(i) as respondent_id,
    case
        when u(i, 'survey name') < 0.45 then null else
            written(written_full(given, family, gender, in_persian, i, 'survey'), i, 'survey name form')
    end as respondent_name,
    case
        when u(i, 'survey mail') < 0.10 then null else
            written_mail(
                case when other_mail is not null and u(i, 'survey which') < 0.3 then other_mail else mail end,
                i,
                'survey mail form'
            )
    end as respondent_email,
    case
        when u(i, 'survey phone') < 0.70 then null else written_phone(calling_code, mobile, i, 'survey phone form')
    end as respondent_phone,
    case when u(i, 'survey crm id') < 0.30 then crm_code(i, 0) end as crm_id
from spelt;

create table survey_answer as
with
answered as (
    select * from survey_ask where outcome = 'answered' and outcome_at < getvariable('clock')
),

answer as (
    select
        *,
        'REL-NPS' as question_id,
        0 as question_no,
        least(10, greatest(0, round(8.1 + 2.0 * experience + 0.9 * gauss(ask_no, 'nps'))))::int as score,
        true as is_commented
    from answered where survey_id = 'REL'
    union all
    select
        *,
        'TKT-CSAT',
        1,
        least(5, greatest(1, round(4.0 + 1.1 * experience + 0.4 * gauss(ask_no, 'csat'))))::int,
        true
    from answered where survey_id = 'TKT'
    union all
    -- The effort question changed in the second year: from effort, 1 to 5, low is good, to agreement, 1 to 7.
    select
        *,
        'TKT-CES1',
        2,
        least(5, greatest(1, round(2.1 - 0.9 * experience + 0.5 * gauss(ask_no, 'effort'))))::int,
        false
    from answered
    where
        survey_id = 'TKT' and sent_at < getvariable('starts') + interval 12 month and u(ask_no, 'second question') < 0.8
    union all
    select
        *,
        'TKT-CES2',
        3,
        least(7, greatest(1, round(5.4 + 1.4 * experience + 0.7 * gauss(ask_no, 'effort'))))::int,
        false
    from answered
    where
        survey_id = 'TKT'
        and sent_at >= getvariable('starts') + interval 12 month
        and u(ask_no, 'second question') < 0.8
    union all
    select
        *,
        'ORD-NPS',
        4,
        least(10, greatest(0, round(8.2 + 1.8 * experience + 0.9 * gauss(ask_no, 'nps'))))::int,
        true
    from answered where survey_id = 'ORD'
    union all
    select
        *,
        'ORD-CSAT',
        5,
        least(5, greatest(1, round(4.1 + 1.0 * experience + 0.5 * gauss(ask_no, 'csat'))))::int,
        false
    from answered where survey_id = 'ORD' and u(ask_no, 'second question') < 0.75
)

select
    *,
    ask_no * 8 + question_no as answer_no,
    -- Answers on paper and by text message are typed in later, some of them weeks later.
    date_trunc(
        'second',
        outcome_at
        + case when u(ask_no, 'late') < 0.05 then days(1 + wait(ask_no, 'late by', 8)) else interval 0 second end
    ) as delivered_at
from answer;

create table survey_responses as
select
    period.name as period,
    case when bad(answer_no, 'response id', 0.0008) then null else long_code('B', answer_no, 65539) end as response_id,
    question_id,
    long_code('I', ask_no, 65539) as invitation_id,
    case when u(ask_no, 'anonymous') < 0.08 then null else survey_respondent.respondent_id end as respondent_id,
    case when u(ask_no, 'anonymous') < 0.08 then null else survey_respondent.respondent_name end as respondent_name,
    case when u(ask_no, 'anonymous') < 0.08 then null else survey_respondent.respondent_email end as respondent_email,
    case when u(ask_no, 'anonymous') < 0.08 then null else survey_respondent.respondent_phone end as respondent_phone,
    case when u(ask_no, 'anonymous') < 0.08 then null else survey_respondent.crm_id end as crm_id,
    case when ticket_no is not null then long_code('T', ticket_no, 524287) end as ticket_ref,
    case when order_no is not null then long_code('O', order_no, 524287) end as order_ref,
    case
        when question_id in ('REL-NPS', 'ORD-NPS') and bad(answer_no, 'score', 0.008) then '11'
        when u(answer_no, 'skipped') < 0.012 then null
        when language = 'fa' and u(answer_no, 'digits') < 0.25 then persian_digits(score::varchar)
        when u(answer_no, 'digits') > 0.97 then ' ' || score || ' '
        else score::varchar
    end as score,
    case
        when not is_commented or u(answer_no, 'comment') >= 0.30 + 0.08 * abs(experience) then null
        when u(answer_no, 'odd comment') < 0.004 then '=1+1'
        when
            u(answer_no, 'odd comment') < 0.008
            then '<b>' || opinion(language, mood(experience), category_no, answer_no) || '</b>'
        when
            u(answer_no, 'odd comment') < 0.03
            then replace(opinion(language, mood(experience), category_no, answer_no), '. ', chr(10))
        when
            u(answer_no, 'odd comment') < 0.06
            then '"' || opinion(language, mood(experience), category_no, answer_no) || '"; ok'
        when
            language = 'fa' and u(answer_no, 'odd comment') < 0.2
            then translate(opinion(language, mood(experience), category_no, answer_no), 'یک', 'يك')
        else opinion(language, mood(experience), category_no, answer_no)
    end as comment,
    channel,
    language,
    case when bad(answer_no, 'answered', 0.0008) then '99/99/9999' else local_day_first(outcome_at) end as answered_at,
    local_text(delivered_at) as delivered_at,
    answer_no
from survey_answer
inner join survey_respondent on survey_answer.i = survey_respondent.i
inner join period on survey_answer.delivered_at >= period.starts_at and survey_answer.delivered_at < period.ends_at;
