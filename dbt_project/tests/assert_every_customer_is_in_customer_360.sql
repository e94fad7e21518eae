-- The identity map, the customer dimension and the customer view know the same customers.
with mapped as (
    select distinct customer_id
    from {{ ref('int_person__resolved') }}
),

viewed as (
    select customer_id
    from {{ ref('mart_customer_360') }}
)

select
    mapped.customer_id as mapped_customer_id,
    viewed.customer_id as viewed_customer_id
from mapped
full outer join viewed
    on mapped.customer_id = viewed.customer_id
where
    mapped.customer_id is null
    or viewed.customer_id is null
