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

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

-- Before its time has run out a target could only count if it is met already, and the rate of new tickets would be
-- 100 %.
decided as (
    select
        sla_events.*,
        coalesce(sla_events.status <> 'pending' and sla_events.due_at <= as_of.as_of_at, false) as is_decided
    from sla_events
    cross join as_of
),

observed as (
    select
        'sla_' || decided.target || '_met_rate' as metric,
        decided.ticket_key as record_key,
        decided.customer_id,
        decided.created_date as observed_date,
        coalesce(tickets.channel, 'unknown') as channel,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        coalesce(orders.product_line, 'unknown') as product_line,
        'unknown' as survey,
        decided.is_decided as is_counted,
        cast(case when decided.is_decided then cast(decided.status = 'met' as integer) end as decimal(18, 4)) as value,
        cast(null as decimal(18, 9)) as weight
    from decided
    inner join tickets
        on decided.ticket_key = tickets.ticket_key
    left join customers
        on decided.customer_id = customers.customer_id
    left join orders
        on tickets.order_key = orders.order_key
)

select * from observed
