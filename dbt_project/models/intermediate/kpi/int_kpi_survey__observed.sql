with answers as (
    select * from {{ ref('int_kpi_answer__sliced') }}
),

by_metric as (
    {%- for metric, kind in [('nps_per_response', 'relational'), ('nps_transactional', 'transactional')] %}
    select
        *,
        '{{ metric }}' as metric,
        band is not null as is_counted,
        case band when 'promoter' then 1 when 'passive' then 0 when 'detractor' then -1 end as value,
        cast(null as decimal(18, 9)) as metric_weight
    from answers
    where
        question_metric = 'nps'
        and survey_kind = '{{ kind }}'
    union all
    {%- endfor %}
    select
        *,
        'csat' as metric,
        is_valid and is_top_box is not null as is_counted,
        cast(is_top_box as integer) as value,
        cast(null as decimal(18, 9)) as metric_weight
    from answers
    where question_metric = 'csat'
    union all
    select
        *,
        'csat_weighted' as metric,
        is_valid and is_top_box is not null as is_counted,
        cast(is_top_box as integer) as value,
        weight as metric_weight
    from answers
    where
        question_metric = 'csat'
        and is_weighted_survey
    union all
    select
        *,
        'csat_mean' as metric,
        is_valid and score_100 is not null as is_counted,
        score_100 as value,
        cast(null as decimal(18, 9)) as metric_weight
    from answers
    where question_metric = 'csat'
    union all
    select
        *,
        'ces' as metric,
        -- Means of different scales do not mix; the 1-7 scale is the one the metric is defined on.
        is_valid and coalesce(scale_min = 1 and scale_max = 7, false) as is_counted,
        directed_score as value,
        cast(null as decimal(18, 9)) as metric_weight
    from answers
    where question_metric = 'ces'
    union all
    select
        *,
        'ces_easy_share' as metric,
        is_valid and coalesce(scale_min = 1 and scale_max = 7, false) as is_counted,
        cast(directed_score >= 5 as integer) as value,
        cast(null as decimal(18, 9)) as metric_weight
    from answers
    where question_metric = 'ces'
),

observed as (
    select
        metric,
        record_key,
        customer_id,
        answered_date as observed_date,
        channel,
        region,
        segment,
        product_line,
        survey,
        is_counted,
        cast(value as decimal(18, 4)) as value,
        metric_weight as weight
    from by_metric
)

select * from observed
