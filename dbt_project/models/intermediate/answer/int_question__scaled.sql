with questions as (
    select * from {{ ref('int_question__unioned') }}
),

surveys as (
    select * from {{ ref('int_survey__unioned') }}
),

-- What a question does not say is read as its metric is usually asked; "other" has no usual scale.
scales as (
    select
        questions.question_key,
        questions.survey_key,
        surveys.name as survey_name,
        surveys.kind as survey_kind,
        surveys.channel as survey_channel,
        questions.metric,
        coalesce(
            questions.scale_min,
            case questions.metric when 'nps' then 0 when 'csat' then 1 when 'ces' then 1 end
        ) as scale_min,
        coalesce(
            questions.scale_max,
            case questions.metric when 'nps' then 10 when 'csat' then 5 when 'ces' then 7 end
        ) as scale_max,
        coalesce(questions.polarity, 'positive') as polarity,
        questions.top_box_min
    from questions
    left join surveys
        on questions.survey_key = surveys.survey_key
),

scaled as (
    select
        question_key,
        survey_key,
        survey_name,
        survey_kind,
        survey_channel,
        metric,
        scale_min,
        scale_max,
        polarity,
        coalesce(
            top_box_min,
            case
                -- "It was easy" on 1 to 7 is 5 to 7.
                when metric = 'ces' and scale_min = 1 and scale_max = 7 then 5
                -- Two boxes of a scale of two or three points would take in the middle, or everything.
                when scale_max - scale_min <= 2 then scale_max
                -- 4 and 5 of 1 to 5, 9 and 10 of 0 to 10.
                else scale_max - 1
            end
        ) as top_box_min
    from scales
)

select * from scaled
