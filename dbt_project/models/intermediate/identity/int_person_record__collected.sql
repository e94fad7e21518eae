{#- A table that follows the loads: the identity stage reads it more than once, outside of dbt. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'relation': 'int_person__unseen', 'column': 'person_key'}}
) }}

with persons as (
    select *
    from {{ ref('int_person__unioned') }}
    where {{ is_unseen_person() }}
),

referred as (
    {% for entity in referring_to_persons() %}
    select person_key
    from {{ ref('int_' ~ entity ~ '__unioned') }}
    where person_key is not null and {{ is_unseen_person() }}
    {% if not loop.last %}union{% endif %}
    {% endfor %}
),

-- A key is the source and the id, parted by the first colon; the id may hold colons of its own.
bare as (
    select
        split_part(referred.person_key, ':', 1) as source,
        referred.person_key,
        substr(referred.person_key, strpos(referred.person_key, ':') + 1) as person_id,
        true as is_bare
    from referred
    anti join persons
        on referred.person_key = persons.person_key
),

collected as (
    select
        * exclude (_table, _key),
        false as is_bare
    from persons
    union all by name
    select * from bare
),

-- Made once, here: identity finds what changed by comparing numbers, not texts.
hashed as (
    select
        *,
        hash(row(
            {{ setting('identity_input') | join(',\n            ') }}
        )) as input_hash
    from collected
)

select * from hashed
