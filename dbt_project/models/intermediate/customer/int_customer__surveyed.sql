with responses as (
    select * from {{ ref('fct_survey_response') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

answers as (
    select
        responses.customer_id,
        responses.response_key,
        responses.metric,
        responses.survey_kind,
        responses.answered_at,
        responses.directed_score,
        responses.score_100,
        responses.band,
        -- The window of N days ends with, and includes, the day of as_of.
        responses.answered_date > as_of.as_of_date - {{ nps_window_days() }} as is_recent
    from responses
    cross join as_of
    where
        responses.is_valid
        and responses.customer_id is not null
        and responses.answered_at <= as_of.as_of_at
),

-- NPS of a customer is relational: what they say about the company, not about one touchpoint.
ranked as (
    select
        *,
        row_number() over (
            partition by customer_id, metric
            order by answered_at desc, response_key desc
        ) as recency
    from answers
    where
        metric in ('csat', 'ces')
        or (band is not null and survey_kind = 'relational')
),

surveyed as (
    select
        customer_id,
        max(directed_score) filter (where metric = 'nps' and recency = 1) as latest_nps_score,
        max(band) filter (where metric = 'nps' and recency = 1) as latest_nps_band,
        max(answered_at) filter (where metric = 'nps' and recency = 1) as latest_nps_at,
        max(directed_score) filter (where metric = 'nps' and recency = 1 and is_recent) as recent_nps_score,
        max(score_100) filter (where metric = 'csat' and recency = 1) as latest_csat_score_100,
        avg(score_100) filter (where metric = 'csat' and is_recent) as recent_csat_score_100,
        max(score_100) filter (where metric = 'ces' and recency = 1) as latest_ces_score_100,
        avg(score_100) filter (where metric = 'ces' and is_recent) as recent_ces_score_100,
        count(*) as answer_count
    from ranked
    group by customer_id
)

select * from surveyed
