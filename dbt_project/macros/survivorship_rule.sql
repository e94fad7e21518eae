{#- Which rule chose the winning value of a golden attribute, from its winner and its number of distinct values. -#}
{% macro survivorship_rule(winner, value_count) -%}
    case
        when {{ value_count }} = 0 then null
        when {{ value_count }} = 1 then 'only_value'
        when {{ winner }}.is_dated then 'most_recent'
        else 'first_record_key'
    end
{%- endmacro %}
