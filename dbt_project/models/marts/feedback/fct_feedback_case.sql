{#- Answers on 0 to 100 below this are bad: 1 and 2 of five. -#}
{%- set bad_below = 50 %}

with responses as (
    select * from {{ ref('fct_survey_response') }}
),

tickets as (
    select * from {{ ref('fct_ticket') }}
),

mentions as (
    select * from {{ ref('fct_mention') }}
),

ticket_events as (
    select * from {{ ref('int_ticket_event__ordered') }}
),

activities as (
    select * from {{ ref('int_activity__unioned') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

-- Every record is of one reason at most: what is written in a bad answer is part of its case.
candidates as (
    select
        'response' as entity,
        responses.response_key as record_key,
        case
            when responses.band = 'detractor' or (responses.metric = 'csat' and responses.score_100 < {{ bad_below }})
                then case responses.metric when 'nps' then 'detractor' else 'bad_csat' end
            when {{ is_complaint_text('comment', 'responses') }} then 'complaint'
        end as reason,
        responses.customer_id,
        responses.person_key,
        responses.ticket_key,
        responses.metric,
        responses.score_100,
        responses.answered_at as opened_at
    from responses
    union all
    select
        'mention' as entity,
        mentions.mention_key as record_key,
        case
            when {{ is_complaint_text('mention', 'mentions') }} and not coalesce(mentions.is_repost, false)
                then 'complaint'
        end as reason,
        mentions.customer_id,
        mentions.person_key,
        null as ticket_key,
        'csat' as metric,
        null as score_100,
        mentions.published_at as opened_at
    from mentions
    union all
    select
        'ticket' as entity,
        tickets.ticket_key as record_key,
        case when tickets.is_complaint and not tickets.is_merged then 'complaint' end as reason,
        tickets.customer_id,
        tickets.person_key,
        tickets.ticket_key,
        'csat' as metric,
        null as score_100,
        tickets.created_at as opened_at
    from tickets
),

opened as (
    select
        candidates.*,
        candidates.reason || ':' || candidates.entity || ':' || candidates.record_key as feedback_case_key
    from candidates
    cross join as_of
    where
        candidates.reason is not null
        and candidates.customer_id is not null
        and candidates.opened_at <= as_of.as_of_at
),

-- A contact is a human's: a public message of an agent, or what the company logged as one. A call or meeting is one
-- whoever began it; what the customer has only written waits for an answer.
contacts as (
    select
        tickets.customer_id,
        ticket_events.occurred_at as contacted_at
    from ticket_events
    inner join tickets
        on ticket_events.ticket_key = tickets.ticket_key
    where ticket_events.is_public_message and ticket_events.actor_type = 'agent'
    union all
    select
        persons.customer_id,
        activities.occurred_at as contacted_at
    from activities
    inner join persons
        on activities.person_key = persons.person_key
    where
        activities.type is distinct from 'note'
        and not (
            coalesce(activities.direction, 'outbound') = 'inbound'
            and coalesce(activities.type, '') in ('email', 'message')
        )
),

first_contacts as (
    select
        opened.feedback_case_key,
        min(contacts.contacted_at) as first_contact_at
    from opened
    inner join contacts
        on
            opened.customer_id = contacts.customer_id
            and opened.opened_at < contacts.contacted_at
    cross join as_of
    where
        contacts.contacted_at <= as_of.as_of_at
        -- A talk long after a bad answer is about something else.
        and (
            opened.entity = 'ticket'
            or contacts.contacted_at <= opened.opened_at + interval {{ feedback_close_days() }} day
        )
    group by opened.feedback_case_key
),

-- The ticket that works on a bad answer: the first the customer has opened since.
follow_ups as (
    select
        opened.feedback_case_key,
        arg_min(tickets.ticket_key, (tickets.created_at, tickets.ticket_key)) as ticket_key
    from opened
    inner join tickets
        on
            opened.customer_id = tickets.customer_id
            and opened.opened_at <= tickets.created_at
            and opened.opened_at + interval {{ feedback_close_days() }} day >= tickets.created_at
    where opened.entity <> 'ticket' and not tickets.is_merged
    group by opened.feedback_case_key
),

-- Who dealt with the customer, and when: the agent of a ticket, the employee of a logged contact.
dealings as (
    select
        customer_id,
        assignee_key as agent_key,
        created_at as dealt_at
    from tickets
    where customer_id is not null and assignee_key is not null
    union all
    select
        persons.customer_id,
        activities.source || ':' || activities.owner_id as agent_key,
        activities.occurred_at as dealt_at
    from activities
    inner join persons
        on activities.person_key = persons.person_key
    where activities.owner_id is not null
),

last_agents as (
    select
        opened.feedback_case_key,
        arg_max(dealings.agent_key, (dealings.dealt_at, dealings.agent_key)) as agent_key
    from opened
    inner join dealings
        on
            opened.customer_id = dealings.customer_id
            and opened.opened_at > dealings.dealt_at
    group by opened.feedback_case_key
),

worked as (
    select
        opened.*,
        first_contacts.first_contact_at,
        working.ticket_key as working_ticket_key,
        coalesce(working.assignee_key, asked.assignee_key, last_agents.agent_key) as owner_key,
        case
            -- A bad answer without a ticket is closed by the talk about it.
            when working.ticket_key is null then first_contacts.first_contact_at
            when working.is_resolved and working.resolved_at <= as_of.as_of_at
                then greatest(working.resolved_at, first_contacts.first_contact_at)
        end as closed_at
    from opened
    cross join as_of
    left join first_contacts
        on opened.feedback_case_key = first_contacts.feedback_case_key
    left join follow_ups
        on opened.feedback_case_key = follow_ups.feedback_case_key
    left join last_agents
        on opened.feedback_case_key = last_agents.feedback_case_key
    left join tickets as working
        on case opened.entity when 'ticket' then opened.ticket_key else follow_ups.ticket_key end = working.ticket_key
    left join tickets as asked
        on opened.ticket_key = asked.ticket_key
),

scores_before as (
    select
        worked.feedback_case_key,
        arg_max(responses.score_100, (responses.answered_at, responses.response_key)) as score_100
    from worked
    inner join responses
        on
            worked.customer_id = responses.customer_id
            and worked.metric = responses.metric
            and worked.opened_at > responses.answered_at
    where worked.entity <> 'response' and responses.is_valid
    group by worked.feedback_case_key
),

scores_after as (
    select
        worked.feedback_case_key,
        arg_min(responses.score_100, (responses.answered_at, responses.response_key)) as score_100,
        min(responses.answered_at) as answered_at
    from worked
    inner join responses
        on
            worked.customer_id = responses.customer_id
            and worked.metric = responses.metric
            and worked.closed_at < responses.answered_at
    cross join as_of
    where responses.is_valid and responses.answered_at <= as_of.as_of_at
    group by worked.feedback_case_key
),

final as (
    select
        worked.feedback_case_key,
        worked.reason,
        worked.entity,
        worked.record_key,
        worked.customer_id,
        worked.person_key,
        worked.owner_key,
        worked.working_ticket_key,
        worked.opened_at,
        {{ reporting_date('worked.opened_at') }} as opened_date,
        worked.opened_at + interval {{ feedback_contact_hours() }} hour as contact_due_at,
        worked.opened_at + interval {{ feedback_close_days() }} day as close_due_at,
        worked.first_contact_at,
        {{ minutes_between('worked.opened_at', 'worked.first_contact_at') }} / 60 as hours_to_contact,
        worked.closed_at,
        {{ minutes_between('worked.opened_at', 'worked.closed_at') }} / 1440 as days_to_close,
        case
            when worked.closed_at is not null then 'closed'
            when worked.first_contact_at is not null then 'contacted'
            else 'open'
        end as status,
        -- Before the deadline only what was done could count, and the rate of new cases would be 100 %.
        case
            when as_of.as_of_at > worked.opened_at + interval {{ feedback_contact_hours() }} hour
                then coalesce(
                    worked.first_contact_at <= worked.opened_at + interval {{ feedback_contact_hours() }} hour, false
                )
        end as is_contacted_in_time,
        case
            when as_of.as_of_at > worked.opened_at + interval {{ feedback_close_days() }} day
                then coalesce(worked.closed_at <= worked.opened_at + interval {{ feedback_close_days() }} day, false)
        end as is_closed_in_time,
        case
            when worked.closed_at is null
                then {{ minutes_between('worked.opened_at', 'as_of.as_of_at') }} / 1440
        end as open_days,
        worked.metric as compared_metric,
        coalesce(worked.score_100, scores_before.score_100) as score_before,
        scores_after.score_100 as score_after,
        scores_after.score_100 - coalesce(worked.score_100, scores_before.score_100) as score_change,
        scores_after.answered_at as resurveyed_at
    from worked
    cross join as_of
    left join scores_before
        on worked.feedback_case_key = scores_before.feedback_case_key
    left join scores_after
        on worked.feedback_case_key = scores_after.feedback_case_key
)

select * from final
