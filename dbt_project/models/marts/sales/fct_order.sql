{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'entity': 'order', 'column': 'order_key'}, 'owner': 'coalesce(customer_id, order_key)'}
) }}

with orders as (
    select *
    from {{ ref('int_order__valued') }}
    where {{ is_touched('order_key') }}
),

customers as (
    select * from {{ ref('int_customer__golden') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

final as (
    select
        orders.order_key,
        orders.source,
        orders.order_id,
        orders.customer_id,
        orders.person_key,
        orders.ordered_at,
        orders.ordered_date,
        orders.status,
        orders.channel,
        coalesce(orders.region, customers.region) as region,
        orders.product_line,
        orders.amount,
        orders.discount_amount,
        orders.cost_amount,
        orders.margin_amount,
        orders.currency,
        orders.is_revenue,
        orders.promised_at,
        orders.delivered_at,
        case
            when orders.promised_at is null then null
            when orders.delivered_at is not null then orders.delivered_at > orders.promised_at
            -- On its way and overdue is late already; on its way in time may still become either.
            when
                orders.status in ('placed', 'paid', 'shipped')
                and orders.promised_at <= as_of.as_of_at
                then true
        end as is_late
    from orders
    left join customers
        on orders.customer_id = customers.customer_id
    cross join as_of
)

select * from final
