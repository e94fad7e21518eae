with tickets as (
    select * from {{ ref('fct_ticket') }}
),

orders as (
    select * from {{ ref('fct_order') }}
),

customers as (
    select * from {{ ref('int_kpi_customer__sliced') }}
),

sliced as (
    select
        tickets.*,
        coalesce(tickets.channel, 'unknown') as slice_channel,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        coalesce(orders.product_line, 'unknown') as product_line
    from tickets
    left join customers
        on tickets.customer_id = customers.customer_id
    left join orders
        on tickets.order_key = orders.order_key
),

by_metric as (
    {%- for days in (7, 14, 30) %}
    select
        *,
        'fcr_{{ days }}d' as metric,
        resolved_date as observed_date,
        true as is_counted,
        cast(is_fcr_{{ days }}d as integer) as value
    from sliced
    where is_fcr_{{ days }}d is not null
    union all
    {%- endfor %}
    {%- for minutes in ('first_response_minutes', 'first_response_business_minutes') %}
    select
        *,
        '{{ minutes }}' as metric,
        created_date as observed_date,
        {{ minutes }} is not null as is_counted,
        {{ minutes }} as value
    from sliced
    -- is_answered is NULL where nobody waits for a reply or none could be seen.
    where is_answered is not null or {{ minutes }} is not null
    union all
    {%- endfor %}
    select
        *,
        'unanswered_rate' as metric,
        created_date as observed_date,
        true as is_counted,
        cast(not is_answered as integer) as value
    from sliced
    where is_answered is not null
    union all
    select
        *,
        'sla_met_rate' as metric,
        created_date as observed_date,
        true as is_counted,
        cast(native_is_sla_met as integer) as value
    from sliced
    where native_is_sla_met is not null
),

observed as (
    select
        metric,
        ticket_key as record_key,
        customer_id,
        observed_date,
        slice_channel as channel,
        region,
        segment,
        product_line,
        'unknown' as survey,
        is_counted,
        cast(value as decimal(18, 4)) as value,
        cast(null as decimal(18, 9)) as weight
    from by_metric
)

select * from observed
