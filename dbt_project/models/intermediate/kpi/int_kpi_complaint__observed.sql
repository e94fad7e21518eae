with tickets as (
    select * from {{ ref('fct_ticket') }}
),

responses as (
    select * from {{ ref('fct_survey_response') }}
),

mentions as (
    select * from {{ ref('fct_mention') }}
),

customers as (
    select * from {{ ref('int_kpi_customer__sliced') }}
),

complaints as (
    select
        ticket_key as record_key,
        customer_id,
        created_date as observed_date,
        channel
    from tickets
    -- A complaint merged into another ticket is the same complaint.
    where is_complaint and not coalesce(is_merged, false)
    union all
    select
        response_key as record_key,
        customer_id,
        answered_date as observed_date,
        channel
    from responses
    where {{ is_complaint_text('comment', 'responses') }}
    union all
    select
        mention_key as record_key,
        customer_id,
        published_date as observed_date,
        channel
    from mentions
    where {{ is_complaint_text('mention', 'mentions') }} and not coalesce(is_repost, false)
),

observed as (
    select
        'complaint_rate' as metric,
        complaints.record_key,
        complaints.customer_id,
        complaints.observed_date,
        coalesce(complaints.channel, 'unknown') as channel,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        'unknown' as product_line,
        'unknown' as survey,
        true as is_counted,
        cast(1 as decimal(18, 4)) as value,
        cast(null as decimal(18, 9)) as weight
    from complaints
    left join customers
        on complaints.customer_id = customers.customer_id
)

select * from observed
