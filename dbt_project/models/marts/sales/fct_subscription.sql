{{ config(meta={'owner': 'coalesce(customer_id, subscription_key)'}) }}

with subscriptions as (
    select * from {{ ref('int_subscription__unioned') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

final as (
    select
        subscriptions.subscription_key,
        subscriptions.source,
        subscriptions.subscription_id,
        persons.customer_id,
        subscriptions.person_key,
        subscriptions.product_key,
        subscriptions.plan,
        subscriptions.started_at,
        subscriptions.ended_at,
        {{ reporting_date('subscriptions.started_at') }} as started_date,
        {{ reporting_date('subscriptions.ended_at') }} as ended_date,
        subscriptions.end_reason,
        subscriptions.monthly_amount,
        coalesce(subscriptions.currency, '{{ reporting_currency() }}') as currency,
        subscriptions.started_at <= as_of.as_of_at
        and (subscriptions.ended_at is null or subscriptions.ended_at > as_of.as_of_at) as is_active
    from subscriptions
    left join persons
        on subscriptions.person_key = persons.person_key
    cross join as_of
)

select * from final
