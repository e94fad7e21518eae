{#- A table: the identity stage reads it more than once, outside of dbt. -#}
{{ config(materialized='table') }}

{#- Every contract entity that refers to a person. -#}
{%- set referring = [
    'order', 'opportunity', 'activity', 'subscription', 'loyalty_event', 'consent', 'ticket', 'invitation',
    'response', 'mention', 'web_session', 'campaign_touch', 'self_service_view',
] %}

with persons as (
    select * from {{ ref('int_person__unioned') }}
),

referred as (
    {% for entity in referring %}
    select person_key from {{ ref('int_' ~ entity ~ '__unioned') }}
    where person_key is not null
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
