with orders as (
    select * from {{ ref('fct_order') }}
),

customers as (
    select * from {{ ref('int_kpi_customer__sliced') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

revenue_orders as (
    select
        orders.order_key,
        orders.customer_id,
        orders.ordered_date,
        orders.margin_amount,
        orders.customer_id is not null
        and orders.margin_amount is not null
        and coalesce(orders.currency, '{{ reporting_currency() }}') = '{{ reporting_currency() }}' as is_counted
    from orders
    inner join as_of
        on orders.ordered_date <= as_of.as_of_date
    where orders.is_revenue
),

order_days as (
    select
        customer_id,
        ordered_date,
        cast(sum(margin_amount) as decimal(18, 4)) as margin_amount
    from revenue_orders
    where is_counted
    group by customer_id, ordered_date
),

-- The margin to date of a customer stands from one day with orders to the next.
running as (
    select
        customer_id as record_key,
        customer_id,
        ordered_date as observed_date,
        lead(ordered_date) over customer_days as counted_until_date,
        true as is_counted,
        cast(sum(margin_amount) over customer_days as decimal(18, 4)) as value
    from order_days
    window customer_days as (
        partition by customer_id
        order by ordered_date
    )
),

left_out as (
    select
        order_key as record_key,
        customer_id,
        ordered_date as observed_date,
        cast(null as date) as counted_until_date,
        false as is_counted,
        cast(null as decimal(18, 4)) as value
    from revenue_orders
    where not is_counted
),

together as (
    select * from running
    union all
    select * from left_out
),

observed as (
    select
        'clv_to_date' as metric,
        together.record_key,
        together.customer_id,
        together.observed_date,
        together.counted_until_date,
        'unknown' as channel,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        'unknown' as product_line,
        'unknown' as survey,
        together.is_counted,
        together.value,
        cast(null as decimal(18, 9)) as weight
    from together
    left join customers
        on together.customer_id = customers.customer_id
)

select * from observed
