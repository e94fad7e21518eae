with customer_xref as (
    select * from {{ source('identity', 'customer_xref') }}
),

current_links as (
    select
        person_key,
        customer_id,
        source,
        rule,
        score
    from customer_xref
    where valid_to is null
)

select * from current_links
