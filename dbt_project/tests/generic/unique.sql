{#-
    No two rows have one value. Of a model that follows the change, a value can only have come twice with a row of the
    last build; the others were looked at by the builds that made them.
-#}
{% test unique(model, column_name) %}
{%- set made = is_made_by_last_build(model) %}
select
    {{ column_name }},
    count(*) as row_count
from {{ model }}
where
    {{ column_name }} is not null
    {%- if made != 'true' %}
    and {{ column_name }} in (select made.{{ column_name }} from {{ model }} as made where {{ made }})
    {%- endif %}
group by {{ column_name }}
having count(*) > 1
{% endtest %}
