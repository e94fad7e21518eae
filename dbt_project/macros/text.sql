{#- A list of texts from a setting as an SQL literal; an empty list keeps its type. -#}
{% macro text_list(values) -%}
    cast([
        {%- for value in values -%}
            '{{ value | lower | replace("'", "''") }}'{{ ", " if not loop.last }}
        {%- endfor -%}
    ] as varchar [])
{%- endmacro %}

{#- Sort terms for ids that end in a number: event 9 comes before event 10, though not as text. -#}
{% macro natural_order(id) -%}
    regexp_replace({{ id }}, '[0-9]+$', ''), try_cast(regexp_extract({{ id }}, '[0-9]+$') as hugeint), {{ id }}
{%- endmacro %}
