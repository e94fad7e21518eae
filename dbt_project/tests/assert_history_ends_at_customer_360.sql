-- The current row of a customer's history says what their one view says.
with history as (
    select * from {{ ref('mart_customer_360_history') }}
    where is_current
),

customers as (
    select * from {{ ref('mart_customer_360') }}
)

select
    customers.customer_id,
    history.order_count,
    history.ticket_count
from customers
left join history
    on customers.customer_id = history.customer_id
where
    customers.first_seen_at <= customers.as_of_at
    and (
        history.customer_id is null
        or history.order_count <> customers.order_count
        {%- for amount in ('revenue_amount', 'margin_amount') %}
        or history.{{ amount }}
        is distinct from case when customers.order_count = 0 then 0 else customers.{{ amount }} end
        {%- endfor %}
        or history.ticket_count <> customers.ticket_count
        or history.open_ticket_count <> customers.open_ticket_count
        or history.mention_count <> customers.mention_count
        or history.active_subscription_count <> customers.active_subscription_count
        or history.latest_nps_score is distinct from customers.latest_nps_score
        or history.latest_csat_score_100 is distinct from customers.latest_csat_score_100
        or history.is_active is distinct from customers.is_active
        or (history.last_order_date is null) <> (customers.last_order_at is null)
    )
