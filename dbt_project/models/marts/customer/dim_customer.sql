{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'column': 'customer_id'}, 'owner': 'customer_id'}
) }}

with customers as (
    select *
    from {{ ref('int_customer__golden') }}
    where {{ is_touched('customer_id') }}
),

interactions as (
    select *
    from {{ ref('fct_interaction') }}
    where {{ is_touched('customer_id') }}
),

traces as (
    select
        customer_id,
        min(occurred_at) as first_interaction_at,
        max(occurred_at) filter (where direction = 'inbound') as last_seen_at
    from interactions
    group by customer_id
),

final as (
    select
        customers.customer_id,
        customers.full_name,
        customers.given_name,
        customers.family_name,
        customers.name_source,
        customers.name_rule,
        customers.email,
        customers.email_source,
        customers.email_rule,
        customers.phone,
        customers.phone_source,
        customers.phone_rule,
        customers.gender,
        customers.birth_date,
        customers.city,
        customers.region,
        customers.country,
        customers.segment,
        customers.language,
        customers.account_key,
        customers.record_count,
        customers.source_count,
        customers.identity_score,
        -- least() passes over NULL: a customer without a dated record was first seen at the first interaction.
        least(customers.first_recorded_at, traces.first_interaction_at) as first_seen_at,
        traces.last_seen_at
    from customers
    left join traces
        on customers.customer_id = traces.customer_id
)

select * from final
