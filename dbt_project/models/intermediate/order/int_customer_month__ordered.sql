{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'column': 'customer_id'}}
) }}

with orders as (
    select
        orders.customer_id,
        orders.ordered_date,
        orders.amount,
        orders.currency
    from {{ ref('fct_order') }} as orders
    cross join {{ ref('int_as_of__resolved') }} as as_of
    where
        orders.is_revenue
        and orders.customer_id is not null
        and orders.ordered_at <= as_of.as_of_at
        and {{ is_touched('orders.customer_id') }}
),

{{ dates_in_calendars('orders', 'ordered_date', 'month') }},

-- Money of several currencies is never summed.
ordered as (
    select
        orders.customer_id,
        months.calendar,
        months.month_start,
        sum(orders.amount) filter (where orders.currency = '{{ reporting_currency() }}') as revenue_amount
    from orders
    inner join months
        on orders.ordered_date = months.date_day
    group by orders.customer_id, months.calendar, months.month_start
),

final as (
    select
        customer_id,
        calendar,
        month_start,
        min(month_start) over (partition by customer_id, calendar) as first_month_start,
        revenue_amount
    from ordered
)

select * from final
