{#- A table: facts and the activity spans read it. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'entity': 'order', 'column': 'order_key'}}
) }}

with orders as (
    select *
    from {{ ref('int_order__unioned') }}
    where {{ is_touched('order_key') }}
),

order_lines as (
    select *
    from {{ ref('int_order_line__valued') }}
    where {{ is_touched('order_key') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

-- A sum with an unknown part is unknown: it would pass for a smaller order, or a larger margin.
line_totals as (
    select
        order_key,
        case when count(amount) = count(*) then sum(amount) end as amount,
        case when count(cost_amount) = count(*) then sum(cost_amount) end as cost_amount,
        case when count(discount_amount) = count(*) then sum(discount_amount) end as discount_amount,
        case when count(distinct currency) = 1 then min(currency) end as currency,
        first(product_line order by amount desc nulls last, order_line_key asc) filter (
            where product_line is not null
        ) as product_line
    from order_lines
    group by order_key
),

completed as (
    select
        orders.order_key,
        orders.source,
        orders.order_id,
        orders.person_key,
        persons.customer_id,
        orders.ordered_at,
        {{ reporting_date('orders.ordered_at') }} as ordered_date,
        orders.status,
        orders.channel,
        orders.region,
        line_totals.product_line,
        -- Lines in several currencies have no sum, and lines in another currency than their order add nothing to it.
        coalesce(orders.currency, line_totals.currency, '{{ reporting_currency() }}') as currency,
        orders.amount,
        orders.discount_amount,
        orders.cost_amount,
        line_totals.amount as lines_amount,
        line_totals.discount_amount as lines_discount_amount,
        line_totals.cost_amount as lines_cost_amount,
        line_totals.currency as lines_currency,
        orders.promised_at,
        orders.delivered_at
    from orders
    left join line_totals
        on orders.order_key = line_totals.order_key
    left join persons
        on orders.person_key = persons.person_key
),

amounts as (
    select
        * exclude (
            amount, discount_amount, cost_amount,
            lines_amount, lines_discount_amount, lines_cost_amount, lines_currency
        ),
        coalesce(amount, case when lines_currency = currency then lines_amount end) as amount,
        coalesce(discount_amount, case when lines_currency = currency then lines_discount_amount end)
            as discount_amount,
        coalesce(cost_amount, case when lines_currency = currency then lines_cost_amount end) as cost_amount
    from completed
),

valued as (
    select
        order_key,
        source,
        order_id,
        customer_id,
        person_key,
        ordered_at,
        ordered_date,
        status,
        channel,
        region,
        product_line,
        cast(amount as decimal(18, 4)) as amount,
        cast(discount_amount as decimal(18, 4)) as discount_amount,
        cast(cost_amount as decimal(18, 4)) as cost_amount,
        cast(amount - cost_amount as decimal(18, 4)) as margin_amount,
        currency,
        coalesce(status not in ('cancelled', 'returned'), true) as is_revenue,
        promised_at,
        delivered_at
    from amounts
)

select * from valued
