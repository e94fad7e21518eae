{#- A table: every entity is asked for these persons. -#}
{{ config(materialized='table') }}

{%- set is_collected = execute
    and adapter.get_relation(target.database, 'intermediate', 'int_person_record__collected') is not none %}

with unseen as (
    select person_key
    from {{ ref('int_person__unioned') }}
    where {{ is_unseen_record('person') }}
    {%- for entity in referring_to_persons() %}
    union
    select person_key
    from {{ ref('int_' ~ entity ~ '__unioned') }}
    where {{ is_unseen_record(entity) }}
    {%- endfor %}
    {%- if is_collected and not should_full_refresh() %}
    union
    select record_key as person_key
    from ops.removed_records
    where entity = 'person'
    -- Of the bare ones, those that nobody refers to any more go.
    union
    select person_key
    from {{ as_last_built('intermediate', 'int_person_record__collected') }}
    where is_bare
    {%- endif %}
)

select person_key
from unseen
where person_key is not null
