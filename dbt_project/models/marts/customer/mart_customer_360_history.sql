{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'column': 'customer_id'}, 'owner': 'customer_id'}
) }}

with customers as (
    select *
    from {{ ref('dim_customer') }}
    where {{ is_touched('customer_id') }}
),

orders as (
    select *
    from {{ ref('fct_order') }}
    where {{ is_touched('customer_id') }}
),

tickets as (
    select *
    from {{ ref('fct_ticket') }}
    where {{ is_touched('customer_id') }}
),

open_spans as (
    select *
    from {{ ref('int_ticket_activity__spanned') }}
    where {{ is_touched('customer_id') }}
),

responses as (
    select *
    from {{ ref('fct_survey_response') }}
    where {{ is_touched('customer_id') }}
),

mentions as (
    select *
    from {{ ref('fct_mention') }}
    where {{ is_touched('customer_id') }}
),

subscriptions as (
    select *
    from {{ ref('fct_subscription') }}
    where {{ is_touched('customer_id') }}
),

spans as (
    select *
    from {{ ref('int_customer_activity__spanned') }}
    where {{ is_touched('customer_id') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

answers as (
    select
        *,
        case metric when 'nps' then directed_score else score_100 end as points
    from responses
    where is_valid and (metric in ('csat', 'ces') or (band is not null and survey_kind = 'relational'))
),

-- What changed, as steps up and down; what is answered is looked up by its day. Each says when it could first be known.
changes as (
    select
        customer_id,
        first_seen_at as changed_at,
        null as order_step,
        null as revenue_step,
        null as margin_step,
        null as ordered_at,
        null as ticket_step,
        null as open_ticket_step,
        null as complaint_step,
        null as mention_step,
        null as negative_mention_step,
        null as subscription_step,
        null as contract_step,
        null as purchase_step
    from customers
    union all by name
    select
        customer_id,
        ordered_at as changed_at,
        1 as order_step,
        case when currency = '{{ reporting_currency() }}' then amount end as revenue_step,
        case when currency = '{{ reporting_currency() }}' then margin_amount end as margin_step,
        ordered_at
    from orders
    where is_revenue
    union all by name
    select
        customer_id,
        created_at as changed_at,
        1 as ticket_step,
        cast(is_complaint as integer) as complaint_step
    from tickets
    where not is_merged
    union all by name
    select
        customer_id,
        started_at as changed_at,
        1 as open_ticket_step
    from open_spans
    union all by name
    select
        customer_id,
        ended_at as changed_at,
        -1 as open_ticket_step
    from open_spans
    union all by name
    select
        customer_id,
        answered_at as changed_at,
        1 as complaint_step
    from responses
    where {{ is_complaint_text('comment', 'responses') }}
    union all by name
    select
        customer_id,
        published_at as changed_at,
        1 as mention_step,
        cast({{ is_complaint_text('mention', 'mentions') }} as integer) as complaint_step,
        cast(sentiment = 'negative' as integer) as negative_mention_step
    from mentions
    where not is_repost
    union all by name
    select
        customer_id,
        started_at as changed_at,
        1 as subscription_step
    from subscriptions
    union all by name
    select
        customer_id,
        ended_at as changed_at,
        -1 as subscription_step
    from subscriptions
    union all by name
    select
        customer_id,
        cast(started_date as timestamp) as changed_at,
        case when kind = 'contractual' then 1 end as contract_step,
        case when kind = 'noncontractual' then 1 end as purchase_step
    from spans
    union all by name
    select
        customer_id,
        cast(ended_date as timestamp) as changed_at,
        case when kind = 'contractual' then -1 end as contract_step,
        case when kind = 'noncontractual' then -1 end as purchase_step
    from spans
    union all by name
    select
        customer_id,
        answered_at as changed_at
    from answers
),

told as (
    select
        *,
        coalesce(contract_step, purchase_step) is not null as is_day
    from changes
),

dated as (
    select
        told.*,
        case
            -- Spans of activity are dates already.
            when told.is_day then cast(told.changed_at as date)
            else {{ reporting_date('told.changed_at') }}
        end as changed_date
    from told
    cross join as_of
    where
        told.customer_id is not null
        and told.changed_at <= case when told.is_day then as_of.as_of_date else as_of.as_of_at end
),

daily as (
    select
        customer_id,
        changed_date,
        count(order_step) as order_step,
        sum(revenue_step) as revenue_step,
        sum(margin_step) as margin_step,
        case when count(order_step) > 0 then changed_date end as ordered_date,
        count(ticket_step) as ticket_step,
        count(mention_step) as mention_step,
        -- Counted, not summed: there is a group for each day of each customer, and it keeps 8 bytes a count, 32 a sum.
        {%- for step in ('complaint_step', 'negative_mention_step') %}
        count(nullif({{ step }}, 0)) as {{ step }},
        {%- endfor %}
        {%- for step in ('open_ticket_step', 'subscription_step', 'contract_step', 'purchase_step') %}
        count(case when {{ step }} = 1 then 1 end) - count(case when {{ step }} = -1 then 1 end) as {{ step }},
        {%- endfor %}
        count(contract_step) as contract_change_count,
        count(purchase_step) as purchase_change_count
    from dated
    group by customer_id, changed_date
),

-- Apart from the steps, as few days have an answer: what such an aggregate keeps of each day cannot be spilled.
daily_answers as (
    select
        answers.customer_id,
        {{ reporting_date('answers.answered_at') }} as changed_date,
        arg_max(answers.points, row(answers.answered_at, answers.response_key)) filter (where answers.metric = 'nps')
            as nps_score,
        arg_max(answers.band, row(answers.answered_at, answers.response_key)) filter (where answers.metric = 'nps')
            as nps_band,
        arg_max(answers.points, row(answers.answered_at, answers.response_key)) filter (where answers.metric = 'csat')
            as csat_score_100,
        arg_max(answers.points, row(answers.answered_at, answers.response_key)) filter (where answers.metric = 'ces')
            as ces_score_100
    from answers
    cross join as_of
    where answers.customer_id is not null and answers.answered_at <= as_of.as_of_at
    group by answers.customer_id, changed_date
),

days as (
    select
        daily.*,
        daily_answers.nps_score,
        daily_answers.nps_band,
        daily_answers.csat_score_100,
        daily_answers.ces_score_100
    from daily
    left join daily_answers
        on
            daily.customer_id = daily_answers.customer_id
            and daily.changed_date = daily_answers.changed_date
),

final as (
    select
        customer_id,
        changed_date as valid_from_date,
        lead(changed_date) over customer_days - 1 as valid_to_date,
        lead(changed_date) over customer_days is null as is_current,
        cast(changed_date - min(changed_date) over so_far as integer) as tenure_days,
        cast(sum(order_step) over so_far as bigint) as order_count,
        -- Before the first order there is none; of orders in other currencies, or without costs, it is unknown.
        {%- for amount in ('revenue', 'margin') %}
        cast(
            case when sum(order_step) over so_far > 0 then sum({{ amount }}_step) over so_far else 0 end
            as decimal(18, 4)
        ) as {{ amount }}_amount,
        {%- endfor %}
        max(ordered_date) over so_far as last_order_date,
        cast(sum(ticket_step) over so_far as bigint) as ticket_count,
        cast(sum(open_ticket_step) over so_far as bigint) as open_ticket_count,
        cast(sum(complaint_step) over so_far as bigint) as complaint_count,
        cast(sum(mention_step) over so_far as bigint) as mention_count,
        cast(sum(negative_mention_step) over so_far as bigint) as negative_mention_count,
        cast(sum(subscription_step) over so_far as bigint) as active_subscription_count,
        last_value(nps_score ignore nulls) over so_far as latest_nps_score,
        last_value(nps_band ignore nulls) over so_far as latest_nps_band,
        last_value(csat_score_100 ignore nulls) over so_far as latest_csat_score_100,
        last_value(ces_score_100 ignore nulls) over so_far as latest_ces_score_100,
        -- A contract says more than the pace of orders: who ever had one is judged by it from then on.
        case
            when sum(contract_change_count) over so_far > 0 then sum(contract_step) over so_far > 0
            when sum(purchase_change_count) over so_far > 0 then sum(purchase_step) over so_far > 0
        end as is_active
    from days
    window
        customer_days as (
            partition by customer_id
            order by changed_date
        ),
        so_far as (
            partition by customer_id
            order by changed_date
            rows between unbounded preceding and current row
        )
)

select * from final
