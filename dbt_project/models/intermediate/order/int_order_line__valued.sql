with order_lines as (
    select * from {{ ref('int_order_line__unioned') }}
),

products as (
    select * from {{ ref('int_product__unioned') }}
),

valued as (
    select
        order_lines.order_line_key,
        order_lines.source,
        order_lines.order_line_id,
        order_lines.order_key,
        order_lines.product_key,
        products.product_line,
        order_lines.quantity,
        order_lines.amount,
        order_lines.discount_amount,
        -- The catalogue's unit cost stands in only where it is in the money of the line.
        coalesce(
            order_lines.cost_amount,
            case
                when
                    coalesce(products.currency, '{{ reporting_currency() }}')
                    = coalesce(order_lines.currency, '{{ reporting_currency() }}')
                    then cast(order_lines.quantity * products.unit_cost as decimal(18, 4))
            end
        ) as cost_amount,
        coalesce(order_lines.currency, '{{ reporting_currency() }}') as currency
    from order_lines
    left join products
        on order_lines.product_key = products.product_key
)

select * from valued
