-- A customer has one span of a kind at a time.
with neighbours as (
    select
        customer_activity_span_key,
        started_date,
        ended_date,
        lead(started_date) over (
            partition by customer_id, kind
            order by started_date
        ) as next_started_date
    from {{ ref('int_customer_activity__spanned') }}
    where {{ is_made_by_last_build(ref('int_customer_activity__spanned')) }}
)

select * from neighbours
where
    ended_date < started_date
    or (next_started_date is not null and coalesce(ended_date, date '9999-12-31') > next_started_date)
