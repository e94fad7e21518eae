{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'entity': 'order', 'column': 'order_key'}, 'owner': 'coalesce(customer_id, order_key)'}
) }}

with order_lines as (
    select *
    from {{ ref('int_order_line__valued') }}
    where {{ is_touched('order_key') }}
),

orders as (
    select *
    from {{ ref('int_order__valued') }}
    where {{ is_touched('order_key') }}
),

final as (
    select
        order_lines.order_line_key,
        order_lines.source,
        order_lines.order_line_id,
        order_lines.order_key,
        orders.customer_id,
        orders.ordered_at,
        orders.ordered_date,
        order_lines.product_key,
        order_lines.product_line,
        order_lines.quantity,
        order_lines.amount,
        order_lines.discount_amount,
        order_lines.cost_amount,
        cast(order_lines.amount - order_lines.cost_amount as decimal(18, 4)) as margin_amount,
        order_lines.currency,
        coalesce(orders.is_revenue, false) as is_revenue
    from order_lines
    -- A line may arrive before its order: it is kept, and counts as revenue once the order says so.
    left join orders
        on order_lines.order_key = orders.order_key
)

select * from final
