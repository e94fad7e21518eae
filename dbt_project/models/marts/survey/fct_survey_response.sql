with responses as (
    select * from {{ ref('int_response__unioned') }}
),

invitations as (
    select * from {{ ref('int_invitation__unioned') }}
),

questions as (
    select * from {{ ref('int_question__scaled') }}
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

validated as (
    select
        identified.*,
        questions.survey_key,
        questions.survey_name,
        questions.survey_kind,
        questions.survey_channel,
        questions.metric,
        questions.scale_min,
        questions.scale_max,
        questions.polarity,
        questions.top_box_min,
        -- An answer off its scale is a code ("11 = blank"), not an opinion. Only NPS is defined on whole numbers.
        coalesce(
            identified.score between questions.scale_min and questions.scale_max
            and (questions.metric <> 'nps' or identified.score = floor(identified.score)),
            questions.metric = 'other' and identified.score is not null,
            false
        ) as is_valid
    from identified
    left join questions
        on identified.question_key = questions.question_key
),

directed as (
    select
        *,
        case
            when not is_valid then null
            when polarity = 'negative' then scale_min + scale_max - score
            else score
        end as directed_score
    from validated
),

final as (
    select
        directed.response_key,
        directed.source,
        directed.response_id,
        directed.survey_key,
        directed.survey_name,
        directed.survey_kind,
        directed.question_key,
        directed.invitation_key,
        directed.metric,
        persons.customer_id,
        directed.person_key,
        directed.ticket_key,
        directed.order_key,
        coalesce(directed.channel, directed.survey_channel) as channel,
        directed.answered_at,
        {{ reporting_date('directed.answered_at') }} as answered_date,
        directed.score,
        directed.scale_min,
        directed.scale_max,
        directed.is_valid,
        directed.directed_score,
        100.0 * (directed.directed_score - directed.scale_min)
        / nullif(directed.scale_max - directed.scale_min, 0) as score_100,
        case
            when directed.metric <> 'nps' or directed.directed_score is null then null
            when directed.directed_score >= 9 then 'promoter'
            when directed.directed_score >= 7 then 'passive'
            else 'detractor'
        end as band,
        directed.directed_score >= directed.top_box_min as is_top_box,
        directed.weight,
        directed.comment,
        directed.language
    from directed
    left join persons
        on directed.person_key = persons.person_key
)

select * from final
