with responses as (
    select * from {{ ref('fct_survey_response') }}
),

orders as (
    select * from {{ ref('fct_order') }}
),

customers as (
    select * from {{ ref('int_kpi_customer__sliced') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

sliced as (
    select
        responses.response_key as record_key,
        responses.customer_id,
        -- Nobody knows whether two anonymous answers are of one customer; each stands for itself.
        coalesce(responses.customer_id, responses.person_key, responses.response_key) as respondent_key,
        responses.metric as question_metric,
        responses.survey_kind,
        responses.answered_at,
        responses.answered_date,
        coalesce(responses.is_valid, false) as is_valid,
        responses.scale_min,
        responses.scale_max,
        responses.directed_score,
        responses.score_100,
        responses.band,
        responses.is_top_box,
        cast(coalesce(responses.weight, 1) as decimal(18, 9)) as weight,
        coalesce(bool_or(responses.weight <> 1) over (partition by responses.survey_key), false) as is_weighted_survey,
        coalesce(responses.channel, 'unknown') as channel,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        coalesce(orders.product_line, 'unknown') as product_line,
        coalesce(responses.survey_name, responses.survey_key, 'unknown') as survey
    from responses
    inner join as_of
        on responses.answered_date <= as_of.as_of_date
    left join customers
        on responses.customer_id = customers.customer_id
    left join orders
        on responses.order_key = orders.order_key
    -- An unanswered or dismissed question is no answer: it is in neither part and not invalid.
    where responses.score is not null
)

select * from sliced
