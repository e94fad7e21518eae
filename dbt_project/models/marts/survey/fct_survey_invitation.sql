{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'entity': 'invitation', 'column': 'invitation_key'}, 'owner': 'coalesce(customer_id, invitation_key)'}
) }}

with invitations as (
    select *
    from {{ ref('int_invitation__unioned') }}
    where {{ is_touched('invitation_key') }}
),

surveys as (
    select * from {{ ref('int_survey__unioned') }}
),

responses as (
    select * from {{ ref('int_response__unioned') }}
),

tickets as (
    select * from {{ ref('int_ticket__unioned') }}
),

orders as (
    select * from {{ ref('int_order__unioned') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

-- A survey that came back empty was dismissed.
first_answers as (
    select
        invitation_key,
        min(answered_at) as answered_at
    from responses
    where invitation_key is not null and (score is not null or comment is not null)
    group by invitation_key
),

identified as (
    select
        invitations.*,
        coalesce(invitations.person_key, tickets.person_key, orders.person_key) as asked_person_key
    from invitations
    left join tickets
        on invitations.ticket_key = tickets.ticket_key
    left join orders
        on invitations.order_key = orders.order_key
),

final as (
    select
        identified.invitation_key,
        identified.source,
        identified.invitation_id,
        identified.survey_key,
        surveys.name as survey_name,
        surveys.kind as survey_kind,
        persons.customer_id,
        identified.asked_person_key as person_key,
        identified.ticket_key,
        identified.order_key,
        coalesce(identified.channel, surveys.channel) as channel,
        identified.status,
        identified.sent_at,
        {{ reporting_date('identified.sent_at') }} as sent_date,
        identified.status is null or identified.status <> 'bounced' as is_delivered,
        first_answers.answered_at is not null or coalesce(identified.status = 'answered', false) as is_answered,
        first_answers.answered_at
    from identified
    left join surveys
        on identified.survey_key = surveys.survey_key
    left join first_answers
        on identified.invitation_key = first_answers.invitation_key
    left join persons
        on identified.asked_person_key = persons.person_key
)

select * from final
