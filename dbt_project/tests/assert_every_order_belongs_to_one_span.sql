-- Every day with a revenue order of a known customer lies in exactly one non-contractual span, on its first day or
-- before its end: the spans neither lose nor double an order.
with as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

spans as (
    select * from {{ ref('int_customer_activity__spanned') }}
    where kind = 'noncontractual' and {{ is_made_by_last_build(ref('int_customer_activity__spanned')) }}
),

order_days as (
    select distinct
        orders.customer_id,
        orders.ordered_date
    from {{ ref('int_order__valued') }} as orders
    cross join as_of
    where
        orders.is_revenue
        and orders.customer_id is not null
        and orders.ordered_at <= as_of.as_of_at
        and {{ is_made_by_last_build(ref('int_customer_activity__spanned')) }}
),

counted as (
    select
        order_days.customer_id,
        order_days.ordered_date,
        count(spans.customer_id) as span_count
    from order_days
    left join spans
        on
            order_days.customer_id = spans.customer_id
            and order_days.ordered_date >= spans.started_date
            and order_days.ordered_date < coalesce(spans.ended_date, date '9999-12-31')
    group by order_days.customer_id, order_days.ordered_date
)

select * from counted
where span_count <> 1
