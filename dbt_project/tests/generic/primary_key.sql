{#-
    No two rows have one value, and none is without one. Of a model that follows the change, the values of what the last
    build touched are looked for among all rows; others were looked at by the builds that made them.
-#}
{% test primary_key(model, column_name) %}
{%- set made = is_made_by_last_build(model) %}
select
    {{ column_name }},
    count(*) as row_count
from {{ model }}
{%- if made != 'true' %}
where {{ column_name }} in (select made.{{ column_name }} from {{ model }} as made where {{ made }})
{%- endif %}
group by {{ column_name }}
having count(*) > 1 or {{ column_name }} is null
{%- if made != 'true' %}
union all
select
    {{ column_name }},
    count(*) as row_count
from {{ model }}
where {{ column_name }} is null
group by {{ column_name }}
{%- endif %}
{% endtest %}
