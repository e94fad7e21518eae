{#- A table: every entity is asked for these persons. -#}
{{ config(materialized='table') }}

{%- set entities = ['person'] + referring_to_persons() %}
{%- set follows = follows_change() %}
{%- if follows %}
    {%- set loads = unseen_loads('unify') %}
{%- endif %}

with brought as (
    {%- for entity in entities %}
    select person_key
    from {{ ref('int_' ~ entity ~ '__unioned') }}
    where {% if follows %}_load_id in ({{ loads }}){% else %}false{% endif %}
    union all
    -- What an older row makes from now on is in no new load.
    select person_key
    from {{ ref('int_' ~ entity ~ '__unioned') }}
    where {% if follows %}{{ entity }}_key in {{ keys_of(entity, 'ops.removed_records') }}{% else %}false{% endif %}
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

unseen as (
    select person_key from brought
    {%- if follows %}
    union all
    select person_key from ops.removed_records
    {%- endif %}
)

select distinct person_key
from unseen
where person_key is not null
