{#- A table: it is read while what it was found from is replaced. -#}
{{ config(materialized='table') }}

{%- set follows = follows_change() %}

with records as (
    select * from {{ ref('int_kpi_wait__observed') }}
),

days as (
    select * from {{ ref('int_kpi_day__mapped') }}
),

{{ placed_waits() }},

present as (
    select
        {{ wait_cell('slice_id', 'period_id') }} as cell_id,
        {{ wait_cell_content() }} as content_hash
    from placed
    {%- if not follows %}
    where false
    {%- endif %}
    group by slice_id, period_id
),

before as (
    {%- if follows %}
    select distinct
        cell_id,
        content_hash
    from {{ as_last_built('intermediate', 'int_kpi_wait__summed') }}
    {%- else %}
    select * from present
    {%- endif %}
)

select coalesce(present.cell_id, before.cell_id) as cell_id
from present
full outer join before
    on present.cell_id = before.cell_id
where present.content_hash is distinct from before.content_hash
