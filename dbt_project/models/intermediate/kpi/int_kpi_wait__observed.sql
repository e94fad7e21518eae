with tickets as (
    select * from {{ ref('fct_ticket') }}
),

orders as (
    select * from {{ ref('fct_order') }}
),

customers as (
    select * from {{ ref('int_kpi_customer__sliced') }}
),

by_clock as (
    {%- for clock in ('', 'business_') %}
    select
        *,
        'first_response_{{ clock }}minutes_km_median' as metric,
        waited_{{ clock }}minutes as waited
    from tickets
    -- is_answered is NULL where nobody waits for a reply or none could be seen.
    where is_answered is not null
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

observed as (
    select
        by_clock.metric,
        by_clock.ticket_key as record_key,
        by_clock.customer_id,
        by_clock.created_date as observed_date,
        coalesce(by_clock.channel, 'unknown') as channel,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        coalesce(orders.product_line, 'unknown') as product_line,
        'unknown' as survey,
        by_clock.waited is not null as is_counted,
        cast(by_clock.waited as decimal(18, 4)) as value,
        by_clock.is_answered,
        cast(null as decimal(18, 9)) as weight
    from by_clock
    left join customers
        on by_clock.customer_id = customers.customer_id
    left join orders
        on by_clock.order_key = orders.order_key
)

select * from observed
