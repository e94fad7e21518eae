{#-
    Models that follow the loads name the raw tables they are made from, by source: config(meta={'tables': …}).
-#}

{#-
    The ids of the loads that such a model has not seen, as SQL literals; where there are none, one that no load has.

    Written out, because DuckDB takes a list of literals down to the scan of the raw table, so that only their rows
    are mapped and cleaned.
-#}
{% macro new_loads() -%}
{%- set ids = [] -%}
{%- if execute and is_incremental() -%}
    {%- set query -%}
        select distinct loads.load_id
        from ops.loads as loads
        anti join ops.built_loads as built
            on loads.load_id = built.load_id and loads.source = built.source and loads.table_name = built.table_name
        where
            loads.status in ('promoted', 'released')
            and ({{ is_of_tables('loads', model.config.meta.tables) }})
        order by loads.load_id
    {%- endset -%}
    {%- set ids = run_query(query).columns[0].values() -%}
{%- endif -%}
{{- return("'" ~ (ids | join("', '") if ids else 'none') ~ "'") -}}
{%- endmacro %}

{#- Remove what records were before the new loads, where `delete+insert` has put nothing in their place. -#}
{% macro delete_outdated_records() -%}
{%- if is_incremental() -%}
{%- set loads = new_loads() -%}
{%- for source_name, names in model.config.meta.tables.items() %}
{%- for name in names %}
delete from {{ this }} as records
using {{ adapter.quote('raw_' ~ source_name) }}.{{ adapter.quote(name) }} as sent
where
    records.source = '{{ source_name }}'
    and records._table = '{{ name }}'
    and records._key = sent._key
    and records._load_id <> sent._load_id
    and sent._load_id in ({{ loads }});
{%- endfor %}
{%- endfor %}
{%- endif -%}
{%- endmacro %}

{#- Condition: a row about loads is about one of the tables, given by source. -#}
{% macro is_of_tables(relation, tables) -%}
{%- for source_name, names in tables.items() -%}
{{ relation }}.source = '{{ source_name }}' and {{ relation }}.table_name in ('{{ names | join("', '") }}')
{{- ' or ' if not loop.last }}
{%- endfor -%}
{%- endmacro %}
