{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'column': 'customer_id'}}
) }}

with subscriptions as (
    select * from {{ ref('int_subscription__unioned') }}
),

orders as (
    select * from {{ ref('int_order__valued') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

-- Contractual: subscriptions tell when a customer was one.
subscription_days as (
    select
        persons.customer_id,
        {{ reporting_date('subscriptions.started_at') }} as started_date,
        -- An end that still lies ahead has not happened: the subscription runs at as_of.
        case
            when subscriptions.ended_at <= as_of.as_of_at
                then {{ reporting_date('greatest(subscriptions.ended_at, subscriptions.started_at)') }}
        end as ended_date
    from subscriptions
    inner join persons
        on subscriptions.person_key = persons.person_key
    cross join as_of
    where
        subscriptions.started_at <= as_of.as_of_at
        and {{ is_touched('persons.customer_id') }}
),

subscription_reach as (
    select
        *,
        max(coalesce(ended_date, date '9999-12-31')) over (
            partition by customer_id
            order by started_date, coalesce(ended_date, date '9999-12-31')
            rows between unbounded preceding and 1 preceding
        ) as reached_date
    from subscription_days
),

subscription_numbered as (
    select
        *,
        -- A renewal dated the day after the end continues: many systems write the last day, not the day after it.
        count(*) filter (where reached_date is null or started_date - reached_date > 1) over (
            partition by customer_id
            order by started_date, coalesce(ended_date, date '9999-12-31')
            rows between unbounded preceding and current row
        ) as span_number
    from subscription_reach
),

contractual as (
    select
        customer_id,
        'contractual' as kind,
        min(started_date) as started_date,
        case when count(*) = count(ended_date) then max(ended_date) end as ended_date,
        cast(null as date) as silence_limit_date
    from subscription_numbered
    group by customer_id, span_number
),

-- Non-contractual: nobody gives notice, so a span ends when the silence passes the customer's own limit. The limit
-- after an order uses only the orders up to it: what is known on that day never depends on later orders.
order_days as (
    select
        orders.customer_id,
        orders.ordered_date,
        min(orders.ordered_date) over customer_so_far as first_date,
        row_number() over customer_so_far as order_day_number,
        lead(orders.ordered_date) over (
            partition by orders.customer_id
            order by orders.ordered_date
        ) as next_date
    from (
        select distinct
            revenue_orders.customer_id,
            revenue_orders.ordered_date
        from orders as revenue_orders
        cross join as_of
        where
            revenue_orders.is_revenue
            and revenue_orders.customer_id is not null
            and revenue_orders.ordered_at <= as_of.as_of_at
            and {{ is_touched('revenue_orders.customer_id') }}
    ) as orders
    window customer_so_far as (
        partition by orders.customer_id
        order by orders.ordered_date
        rows between unbounded preceding and current row
    )
),

order_limits as (
    select
        customer_id,
        ordered_date,
        next_date,
        ordered_date + cast(
            greatest(
                {{ inactive_after_days() }},
                -- NULL after the first order, which has no gap yet; greatest() passes over NULL.
                ceil(
                    {{ inactive_gap_factor() }} * (ordered_date - first_date) / nullif(order_day_number - 1, 0)
                )
            ) as integer
        ) as silence_limit_date
    from order_days
),

order_breaks as (
    select
        *,
        count(*) filter (where next_date > silence_limit_date) over (
            partition by customer_id
            order by ordered_date
            rows between unbounded preceding and 1 preceding
        ) as span_number
    from order_limits
),

order_spans as (
    select
        customer_id,
        min(ordered_date) as started_date,
        arg_max(silence_limit_date, ordered_date) as silence_limit_date
    from order_breaks
    group by customer_id, span_number
),

noncontractual as (
    select
        order_spans.customer_id,
        'noncontractual' as kind,
        order_spans.started_date,
        case
            when order_spans.silence_limit_date <= as_of.as_of_date then order_spans.silence_limit_date
        end as ended_date,
        order_spans.silence_limit_date
    from order_spans
    cross join as_of
),

spans as (
    select * from contractual
    union all
    select * from noncontractual
),

spanned as (
    select
        customer_id || ':' || kind || ':' || started_date as customer_activity_span_key,
        customer_id,
        kind,
        started_date,
        ended_date,
        silence_limit_date
    from spans
)

select * from spanned
