with spans as (
    select * from {{ ref('int_ticket_span__measured') }}
),

replies as (
    select *
    from spans
    where target = 'first_reply'
),

resolutions as (
    select *
    from spans
    where target = 'resolution' and is_done
),

measured as (
    select
        coalesce(replies.ticket_key, resolutions.ticket_key) as ticket_key,
        replies.calendar_minutes as waited_minutes,
        replies.business_minutes as waited_business_minutes,
        case when replies.is_done then replies.calendar_minutes end as first_response_minutes,
        case when replies.is_done then replies.business_minutes end as first_response_business_minutes,
        resolutions.calendar_minutes as resolution_minutes,
        resolutions.business_minutes as resolution_business_minutes
    from replies
    full outer join resolutions
        on replies.ticket_key = resolutions.ticket_key
)

select * from measured
