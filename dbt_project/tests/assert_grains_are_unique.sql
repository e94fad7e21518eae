-- Models whose key has several columns have one row per key.
with consents as (
    select
        'int_customer_consent__current' as model,
        customer_id || ' ' || purpose || ' ' || channel as key
    from {{ ref('int_customer_consent__current') }}
),

business_hours as (
    select
        'int_business_hours__expanded' as model,
        schedule_key || ' ' || opened_at as key
    from {{ ref('int_business_hours__expanded') }}
),

survival as (
    select
        'mart_subscription_survival' as model,
        plan || ' ' || months as key
    from {{ ref('mart_subscription_survival') }}
),

keys as (
    select * from consents
    union all
    select * from business_hours
    union all
    select * from survival
)

select
    model,
    key,
    count(*) as row_count
from keys
group by model, key
having count(*) > 1
