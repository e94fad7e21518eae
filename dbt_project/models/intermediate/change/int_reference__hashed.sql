{#- Small relations of which a row may tell of many records of others, and what it tells them. -#}
{%- set references = {
    'agent': ['is_bot'],
    'product': ['product_line', 'unit_cost', 'currency'],
    'survey': ['name', 'kind', 'channel'],
    'question': ['survey_key', 'metric', 'scale_min', 'scale_max', 'polarity', 'top_box_min'],
} %}

with hashed as (
    {%- for entity, columns in references.items() %}
    select
        '{{ entity }}' as entity,
        {{ entity }}_key as record_key,
        hash({{ columns | join(', ') }}) as content
    from {{ ref('int_' ~ entity ~ '__unioned') }}
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
)

select * from hashed
