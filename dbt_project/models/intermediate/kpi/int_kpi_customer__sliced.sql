with customers as (
    select * from {{ ref('dim_customer') }}
),

sliced as (
    select
        customer_id,
        coalesce(region, 'unknown') as region,
        coalesce(segment, 'unknown') as segment
    from customers
)

select * from sliced
