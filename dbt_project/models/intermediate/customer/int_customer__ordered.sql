with orders as (
    select * from {{ ref('fct_order') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

-- Money of several currencies is never summed: amounts are of the orders in the reporting currency.
totals as (
    select
        orders.customer_id,
        count(*) as order_count,
        count(*) filter (where orders.currency <> '{{ reporting_currency() }}') as other_currency_order_count,
        sum(orders.amount) filter (where orders.currency = '{{ reporting_currency() }}') as revenue_amount,
        sum(orders.margin_amount) filter (where orders.currency = '{{ reporting_currency() }}') as margin_amount,
        min(orders.ordered_at) as first_order_at,
        max(orders.ordered_at) as last_order_at,
        max(orders.ordered_date) as last_order_date
    from orders
    cross join as_of
    where
        orders.is_revenue
        and orders.customer_id is not null
        and orders.ordered_at <= as_of.as_of_at
    group by orders.customer_id
),

-- Equal customers share a quintile, which ntile() would not grant them; 5 is best.
scored as (
    select
        *,
        least(5, 1 + cast(floor(5 * percent_rank() over (order by last_order_date)) as integer))
            as recency_quintile,
        least(5, 1 + cast(floor(5 * percent_rank() over (order by order_count)) as integer))
            as frequency_quintile,
        least(5, 1 + cast(floor(5 * percent_rank() over (order by coalesce(revenue_amount, 0))) as integer))
            as monetary_quintile
    from totals
)

select * from scored
