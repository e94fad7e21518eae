{{ config(meta={'owner': 'customer_id'}) }}

with customers as (
    select * from {{ ref('mart_customer_360') }}
),

rfm_segments as (
    select * from {{ ref('rfm_segment') }}
),

persona_rules as (
    select * from {{ ref('persona_rule') }}
),

matched as (
    select
        customers.customer_id,
        min(persona_rules.priority) as persona_priority
    from customers
    inner join persona_rules
        on
            coalesce(customers.activity_kind = persona_rules.activity_kind, persona_rules.activity_kind is null)
            and coalesce(customers.is_active = persona_rules.is_active, persona_rules.is_active is null)
            and coalesce(customers.latest_nps_band = persona_rules.nps_band, persona_rules.nps_band is null)
            and customers.order_count >= coalesce(persona_rules.minimum_order_count, 0)
            and coalesce(customers.monetary_quintile, 0) >= coalesce(persona_rules.minimum_monetary_quintile, 0)
            and customers.ticket_count >= coalesce(persona_rules.minimum_ticket_count, 0)
            and customers.open_ticket_count >= coalesce(persona_rules.minimum_open_ticket_count, 0)
            and coalesce(
                (customers.last_complaint_at is not null) = persona_rules.has_complained,
                persona_rules.has_complained is null
            )
            and coalesce(
                customers.tenure_days >= persona_rules.minimum_tenure_days, persona_rules.minimum_tenure_days is null
            )
            and coalesce(
                customers.tenure_days <= persona_rules.maximum_tenure_days, persona_rules.maximum_tenure_days is null
            )
    group by customers.customer_id
),

final as (
    select
        customers.customer_id,
        customers.recency_quintile,
        customers.frequency_quintile,
        customers.monetary_quintile,
        -- Who never bought has no recency: no segment of buyers fits.
        coalesce(rfm_segments.segment, 'no purchase') as rfm_segment,
        coalesce(persona_rules.persona, 'unknown') as persona,
        matched.persona_priority
    from customers
    left join rfm_segments
        on
            customers.recency_quintile = rfm_segments.recency_quintile
            and customers.frequency_quintile = rfm_segments.frequency_quintile
    left join matched
        on customers.customer_id = matched.customer_id
    left join persona_rules
        on matched.persona_priority = persona_rules.priority
)

select * from final
