{#- A view: the queue is the open cases as they stand, in the order to work on them. -#}
{{ config(materialized='view') }}

with cases as (
    select * from {{ ref('fct_feedback_case') }}
),

customers as (
    select * from {{ ref('mart_customer_360') }}
),

final as (
    select
        cases.feedback_case_key,
        cast(row_number() over (
            order by
                case cases.status when 'open' then cases.contact_due_at else cases.close_due_at end,
                cases.feedback_case_key
        ) as integer) as queue_position,
        cases.reason,
        cases.status,
        cases.customer_id,
        cases.person_key,
        cases.record_key,
        cases.owner_key,
        cases.opened_at,
        case cases.status when 'open' then 'contact' else 'close' end as next_step,
        case cases.status when 'open' then cases.contact_due_at else cases.close_due_at end as due_at,
        coalesce(case cases.status when 'open' then cases.is_contacted_in_time else cases.is_closed_in_time end, true)
        = false as is_overdue,
        cases.open_days,
        cases.score_before,
        customers.revenue_amount,
        customers.is_active
    from cases
    left join customers
        on cases.customer_id = customers.customer_id
    where cases.status <> 'closed'
)

select * from final
