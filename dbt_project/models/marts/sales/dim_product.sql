with products as (
    select * from {{ ref('int_product__unioned') }}
),

final as (
    select
        product_key,
        source,
        product_id,
        name,
        category,
        product_line,
        unit_price,
        unit_cost,
        coalesce(currency, '{{ reporting_currency() }}') as currency
    from products
)

select * from final
