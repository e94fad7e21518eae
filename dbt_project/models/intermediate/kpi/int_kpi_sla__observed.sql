with sla_events as (
    select * from {{ ref('fct_sla_event') }}
),

tickets as (
    select * from {{ ref('fct_ticket') }}
),

orders as (
    select * from {{ ref('fct_order') }}
),

customers as (
    select * from {{ ref('int_kpi_customer__sliced') }}
),

observed as (
    select
        'sla_' || sla_events.target || '_met_rate' as metric,
        sla_events.ticket_key as record_key,
        sla_events.customer_id,
        sla_events.created_date as observed_date,
        coalesce(tickets.channel, 'unknown') as channel,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        coalesce(orders.product_line, 'unknown') as product_line,
        'unknown' as survey,
        sla_events.status <> 'pending' as is_counted,
        cast(
            case sla_events.status when 'met' then 1 when 'breached' then 0 end
            as decimal(18, 4)
        ) as value,
        cast(null as decimal(18, 9)) as weight
    from sla_events
    inner join tickets
        on sla_events.ticket_key = tickets.ticket_key
    left join customers
        on sla_events.customer_id = customers.customer_id
    left join orders
        on tickets.order_key = orders.order_key
)

select * from observed
