{#- Beyond so many products an order is a stocktake, not a basket, and its pairs would outnumber all others. -#}
{%- set largest_basket = 50 %}

with order_lines as (
    select * from {{ ref('fct_order_line') }}
),

products as (
    select * from {{ ref('dim_product') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

basket_products as (
    select distinct
        order_lines.order_key,
        order_lines.product_key
    from order_lines
    cross join as_of
    where
        order_lines.is_revenue
        and order_lines.product_key is not null
        and order_lines.ordered_at <= as_of.as_of_at
),

basket_sizes as (
    select
        order_key,
        count(*) as product_count
    from basket_products
    group by order_key
),

-- Orders of one product are baskets too: they say what is bought alone.
baskets as (
    select basket_products.*
    from basket_products
    inner join basket_sizes
        on basket_products.order_key = basket_sizes.order_key
    where basket_sizes.product_count <= {{ largest_basket }}
),

basket_total as (
    select count(distinct order_key) as order_count from baskets
),

product_counts as (
    select
        product_key,
        count(*) as order_count
    from baskets
    group by product_key
),

pairs as (
    select
        firsts.product_key as first_product_key,
        seconds.product_key as second_product_key,
        count(*) as pair_order_count
    from baskets as firsts
    inner join baskets as seconds
        on
            firsts.order_key = seconds.order_key
            and firsts.product_key < seconds.product_key
    group by firsts.product_key, seconds.product_key
    -- What a handful of orders share is chance, and might name their customers.
    having count(*) >= {{ suppressed_below() }}
),

counted as (
    select
        pairs.first_product_key,
        pairs.second_product_key,
        pairs.pair_order_count,
        firsts.order_count as first_order_count,
        seconds.order_count as second_order_count,
        basket_total.order_count
    from pairs
    inner join product_counts as firsts
        on pairs.first_product_key = firsts.product_key
    inner join product_counts as seconds
        on pairs.second_product_key = seconds.product_key
    cross join basket_total
),

final as (
    select
        counted.first_product_key,
        firsts.name as first_product,
        counted.second_product_key,
        seconds.name as second_product,
        counted.order_count,
        counted.first_order_count,
        counted.second_order_count,
        counted.pair_order_count,
        {{ shown_share('counted.pair_order_count', 'counted.order_count', 'support') }},
        {{ shown_share('counted.pair_order_count', 'counted.first_order_count', 'first_confidence') }},
        {{ shown_share('counted.pair_order_count', 'counted.second_order_count', 'second_confidence') }},
        counted.pair_order_count * cast(counted.order_count as double)
        / counted.first_order_count / counted.second_order_count as lift,
        {{ reliability('counted.pair_order_count') }} as reliability
    from counted
    left join products as firsts
        on counted.first_product_key = firsts.product_key
    left join products as seconds
        on counted.second_product_key = seconds.product_key
)

select * from final
