with answers as (
    select * from {{ ref('int_kpi_answer__sliced') }}
),

relational as (
    select
        *,
        band is not null as is_counted,
        case band when 'promoter' then 1 when 'passive' then 0 when 'detractor' then -1 end as value
    from answers
    where
        question_metric = 'nps'
        and survey_kind = 'relational'
),

by_metric as (
    select
        *,
        'nps' as metric,
        cast(null as decimal(18, 9)) as metric_weight
    from relational
    union all
    select
        *,
        'nps_weighted' as metric,
        weight as metric_weight
    from relational
    where is_weighted_survey
),

replaced as (
    select
        *,
        -- Invalid answers neither replace a valid one nor are replaced: each is counted while it is in the window.
        case
            when is_counted then lead(answered_date) over (
                partition by metric, is_counted, respondent_key
                order by answered_at, record_key
            )
        end as next_answer_date
    from by_metric
),

observed as (
    select
        metric,
        record_key,
        customer_id,
        answered_date as observed_date,
        least(next_answer_date, answered_date + {{ nps_window_days() }}) as counted_until_date,
        channel,
        region,
        segment,
        product_line,
        survey,
        is_counted,
        cast(value as decimal(18, 4)) as value,
        metric_weight as weight
    from replaced
)

select * from observed
