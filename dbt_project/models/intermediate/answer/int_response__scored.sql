with responses as (
    select * from {{ ref('int_response__unioned') }}
),

questions as (
    select * from {{ ref('int_question__scaled') }}
),

validated as (
    select
        responses.response_key,
        responses.score,
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
            responses.score between questions.scale_min and questions.scale_max
            and (questions.metric <> 'nps' or responses.score = floor(responses.score)),
            questions.metric = 'other' and responses.score is not null,
            false
        ) as is_valid
    from responses
    left join questions
        on responses.question_key = questions.question_key
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

scored as (
    select
        response_key,
        survey_key,
        survey_name,
        survey_kind,
        survey_channel,
        metric,
        scale_min,
        scale_max,
        polarity,
        top_box_min,
        is_valid,
        directed_score,
        100.0 * (directed_score - scale_min) / nullif(scale_max - scale_min, 0) as score_100,
        -- The bands are those of 0 to 10: on another scale nobody is a promoter, and nobody a detractor.
        case
            when metric <> 'nps' or scale_min <> 0 or scale_max <> 10 or directed_score is null then null
            when directed_score >= 9 then 'promoter'
            when directed_score >= 7 then 'passive'
            else 'detractor'
        end as band,
        directed_score >= top_box_min as is_top_box
    from directed
)

select * from scored
