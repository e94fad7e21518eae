{#- A view: it shows columns of a table that follows the change, of which the values stay behind. -#}
{{ config(materialized='view', meta={'touched': {'column': 'customer_id'}, 'owner': 'customer_id'}) }}

with survived as (
    select * from {{ ref('int_customer_value__survived') }}
),

final as (
    select
        concat(customer_id, ':', attribute) as golden_value_key,
        customer_id,
        attribute,
        source,
        person_key,
        rule,
        value_count,
        record_count
    from survived
)

select * from final
