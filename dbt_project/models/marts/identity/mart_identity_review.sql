with doubtful as (
    select * from {{ source('identity', 'doubtful') }}
),

final as (
    select
        concat(person_key_a, ' ', person_key_b) as pair_key,
        person_key_a,
        person_key_b,
        customer_id_a,
        customer_id_b,
        1 / (1 + pow(2.0, -bits)) as match_probability,
        row_number() over (order by bits desc, person_key_a asc, person_key_b asc) as review_rank
    from doubtful
)

select * from final
