with spans as (
    select *
    from {{ ref('int_ticket_span__measured') }}
    where target = 'first_reply'
),

measured as (
    select
        ticket_key,
        calendar_minutes as waited_minutes,
        business_minutes as waited_business_minutes,
        case when is_done then calendar_minutes end as first_response_minutes,
        case when is_done then business_minutes end as first_response_business_minutes
    from spans
)

select * from measured
