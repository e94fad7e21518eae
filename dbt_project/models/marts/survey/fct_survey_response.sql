{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'entity': 'response', 'column': 'response_key'}, 'owner': 'coalesce(customer_id, response_key)'}
) }}

with responses as (
    select *
    from {{ ref('int_response__unioned') }}
    where {{ is_touched('response_key') }}
),

invitations as (
    select * from {{ ref('int_invitation__unioned') }}
),

scores as (
    select *
    from {{ ref('int_response__scored') }}
    where {{ is_touched('response_key') }}
),

feelings as (
    select *
    from {{ ref('int_text__felt') }}
    where entity = 'response' and {{ is_touched('record_key') }}
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

linked as (
    select
        responses.response_key,
        responses.source,
        responses.response_id,
        responses.question_key,
        responses.invitation_key,
        -- An answer belongs to whoever was asked, or to whom its ticket or order belongs, when it names nobody itself.
        coalesce(responses.person_key, invitations.person_key) as asked_person_key,
        coalesce(responses.ticket_key, invitations.ticket_key) as ticket_key,
        coalesce(responses.order_key, invitations.order_key) as order_key,
        coalesce(responses.channel, invitations.channel) as channel,
        responses.answered_at,
        responses.score,
        coalesce(responses.weight, 1) as weight,
        responses.comment,
        responses.language
    from responses
    left join invitations
        on responses.invitation_key = invitations.invitation_key
),

identified as (
    select
        linked.*,
        coalesce(linked.asked_person_key, tickets.person_key, orders.person_key) as person_key
    from linked
    left join tickets
        on linked.ticket_key = tickets.ticket_key
    left join orders
        on linked.order_key = orders.order_key
),

final as (
    select
        identified.response_key,
        identified.source,
        identified.response_id,
        scores.survey_key,
        scores.survey_name,
        scores.survey_kind,
        identified.question_key,
        identified.invitation_key,
        scores.metric,
        persons.customer_id,
        identified.person_key,
        identified.ticket_key,
        identified.order_key,
        coalesce(identified.channel, scores.survey_channel) as channel,
        identified.answered_at,
        {{ reporting_date('identified.answered_at') }} as answered_date,
        identified.score,
        scores.scale_min,
        scores.scale_max,
        scores.polarity,
        scores.top_box_min,
        scores.is_valid,
        scores.directed_score,
        scores.score_100,
        scores.band,
        scores.is_top_box,
        identified.weight,
        identified.comment,
        identified.language,
        feelings.sentiment,
        feelings.sentiment_score,
        feelings.sentiment_by
    from identified
    inner join scores
        on identified.response_key = scores.response_key
    left join feelings
        on identified.response_key = feelings.record_key
    left join persons
        on identified.person_key = persons.person_key
)

select * from final
