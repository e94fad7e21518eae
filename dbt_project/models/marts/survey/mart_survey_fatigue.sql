{#- From so many earlier invitations on, customers are counted together. -#}
{%- set most_told_apart = 5 %}

with invitations as (
    select * from {{ ref('fct_survey_invitation') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

-- An invitation of the last days may still be answered: most answers come within a week.
delivered as (
    select
        invitations.customer_id,
        invitations.survey_kind,
        invitations.is_answered,
        count(*) over (
            partition by invitations.customer_id
            order by invitations.sent_at
            range between interval {{ survey_fatigue_days() }} day preceding and current row exclude group
        ) as earlier_count,
        invitations.sent_date <= as_of.as_of_date - 7 as is_settled
    from invitations
    cross join as_of
    where
        invitations.is_delivered
        and invitations.customer_id is not null
        and invitations.sent_at <= as_of.as_of_at
),

sliced as (
    select
        coalesce(survey_kind, 'unknown') as survey_kind,
        least(earlier_count, {{ most_told_apart }}) as earlier_count,
        is_answered
    from delivered
    where is_settled
    union all
    select
        'all' as survey_kind,
        least(earlier_count, {{ most_told_apart }}) as earlier_count,
        is_answered
    from delivered
    where is_settled
),

counted as (
    select
        survey_kind,
        earlier_count,
        count(*) as invitation_count,
        count(*) filter (where is_answered) as answered_count
    from sliced
    group by survey_kind, earlier_count
),

final as (
    select
        survey_kind,
        cast(earlier_count as integer) as earlier_invitation_count,
        invitation_count,
        answered_count,
        {{ shown_share('answered_count', 'invitation_count', 'response_rate') }},
        {{ reliability('invitation_count') }} as reliability
    from counted
)

select * from final
