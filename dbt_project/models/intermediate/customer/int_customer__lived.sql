with spans as (
    select * from {{ ref('int_customer_activity__spanned') }}
),

subscriptions as (
    select * from {{ ref('fct_subscription') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

-- A contract says more about a customer than the pace of orders: who ever had one is judged by it.
kinds as (
    select
        customer_id,
        min(kind) as kind
    from spans
    group by customer_id
),

last_ends as (
    select
        subscriptions.customer_id,
        -- arg_max passes over a NULL, which would give the reason of an older contract.
        arg_max(
            coalesce(subscriptions.end_reason, 'unknown'), (subscriptions.ended_at, subscriptions.subscription_key)
        ) as end_reason
    from subscriptions
    cross join as_of
    where subscriptions.ended_at <= as_of.as_of_at
    group by subscriptions.customer_id
),

states as (
    select
        kinds.customer_id,
        kinds.kind,
        count(*) = count(spans.ended_date) as is_churned,
        max(spans.ended_date) as last_ended_date
    from kinds
    inner join spans
        on
            kinds.customer_id = spans.customer_id
            and kinds.kind = spans.kind
    group by kinds.customer_id, kinds.kind
),

lived as (
    select
        states.customer_id,
        states.kind as activity_kind,
        not states.is_churned as is_active,
        states.is_churned,
        case when states.is_churned then states.last_ended_date end as churned_date,
        case
            when not states.is_churned then null
            when states.kind = 'contractual' then coalesce(last_ends.end_reason, 'unknown')
            else 'inactive'
        end as churn_reason
    from states
    left join last_ends
        on states.customer_id = last_ends.customer_id
)

select * from lived
