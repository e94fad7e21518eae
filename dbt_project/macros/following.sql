{#-
    Models that follow the change: what a run with new loads does instead of building a model from the first row.

    Entities follow the loads: they name the raw tables they are made from, by source, in config(meta={'tables': …}).
    What is made of entities follows the records and customers that a change touches: such a model is incremental
    by the strategy `touched` and says in config(meta={'touched': …}) by which of its columns.
-#}

{#-
    The ids of the loads that a stage has not seen, as SQL literals; where there are none, one that no load has.

    Written out, because DuckDB takes a list of literals down to the scan of a table, so that only their rows are read.
-#}
{% macro unseen_loads(stage, condition='true') -%}
{%- set query -%}
    select distinct loads.load_id
    from ops.loads as loads
    anti join (from ops.built_loads where stage = '{{ stage }}') as built
        on loads.load_id = built.load_id and loads.source = built.source and loads.table_name = built.table_name
    where loads.status in ('promoted', 'released') and ({{ condition }})
    order by loads.load_id
{%- endset -%}
{%- set ids = run_query(query).columns[0].values() -%}
{{- return("'" ~ (ids | join("', '") if ids else 'none') ~ "'") -}}
{%- endmacro %}

{#- Whether rows of an earlier run are kept. In a unit test there is no relation that could. -#}
{% macro is_kept() -%}
{{- return(execute and this is not none and is_incremental()) -}}
{%- endmacro %}

{#- The loads that an entity has not seen. -#}
{% macro new_loads() -%}
{%- if is_kept() -%}
{{- return(unseen_loads('unify', is_of_tables('loads', model.config.meta.tables))) -}}
{%- endif -%}
{{- return("'none'") -}}
{%- endmacro %}

{#- Records of an entity that were made of rows which new loads sent again, for the tables of one source. -#}
{% macro outdated_records(source_name, name, loads) -%}
{{ this }} as records
    inner join {{ adapter.quote('raw_' ~ source_name) }}.{{ adapter.quote(name) }} as sent
        on records._key = sent._key
    where
        records.source = '{{ source_name }}'
        and records._table = '{{ name }}'
        and records._load_id <> sent._load_id
        and sent._load_id in ({{ loads }})
{%- endmacro %}

{#-
    Book which records were made of rows that new loads sent again, before they are replaced: one that goes, or that an
    older row makes from now on, is in no new load, and what was made of it has to be made anew all the same. So has the
    person it named.
-#}
{% macro book_outdated_records() -%}
{%- if is_kept() -%}
{%- set entity = model.config.meta.entity -%}
{%- for source_name, names in model.config.meta.tables.items() %}
{%- for name in names %}
insert into ops.removed_records
select
    '{{ entity }}',
    records.{{ config.get('unique_key') }},
    {{ 'records.person_key' if entity == 'person' or entity in referring_to_persons() else 'null' }}
from {{ outdated_records(source_name, name, new_loads()) }};
{%- endfor %}
{%- endfor %}
{%- endif -%}
{%- endmacro %}

{#- Remove what records were before the new loads, where `delete+insert` has put nothing in their place. -#}
{% macro delete_outdated_records() -%}
{%- if is_kept() -%}
{%- for source_name, names in model.config.meta.tables.items() %}
{%- for name in names %}
delete from {{ this }} where {{ config.get('unique_key') }} in (
    select records.{{ config.get('unique_key') }}
    from {{ outdated_records(source_name, name, new_loads()) }}
);
{%- endfor %}
{%- endfor %}
{%- endif -%}
{%- endmacro %}

{#-
    Condition on records of an entity: the texts made of them have not seen them as they are. What a score says of its
    comment is a matter of the question too.
-#}
{% macro is_unseen(entity) -%}
{%- if is_kept() -%}
{%- set loads = unseen_loads('unify') -%}
(
    _load_id in ({{ loads }})
    or {{ entity }}_key in {{ keys_of(entity, 'ops.removed_records') }}
    {%- if entity == 'response' %}
    or question_key in {{ keys_of('question', 'ops.removed_records') }}
    or question_key in (
        select questions.question_key from {{ ref('int_question__unioned') }} as questions where questions._load_id in ({{ loads }})
    )
    {%- endif %}
)
{%- else -%}
{%- if entity == 'response' and not execute %}{% do ref('int_question__unioned') %}{% endif -%}
true
{%- endif -%}
{%- endmacro %}

{#- Make room for the texts of unseen records, and remove those of removed ones. -#}
{% macro delete_unseen_texts() -%}
{%- if is_kept() -%}
{%- for entity in ('response', 'ticket_event', 'mention') %}
delete from {{ this }}
where
    entity = '{{ entity }}'
    and record_key in (
        select {{ entity }}_key from {{ ref('int_' ~ entity ~ '__unioned') }} where {{ is_unseen(entity) }}
        union
        select record_key from ops.removed_records where entity = '{{ entity }}'
    );
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

{#- Whether the models after identity follow the change in this run; if not, all of them are built anew. -#}
{% macro follows_change() -%}
{{- return(execute and not should_full_refresh() and last_build() is not none) -}}
{%- endmacro %}

{#- Whether there are books of what was loaded and built, as in every warehouse that runs have made. -#}
{% macro is_booked() -%}
{{- return(adapter.get_relation(target.database, 'ops', 'builds') is not none) -}}
{%- endmacro %}

{#- When the models were built last and the moment their figures were as of, or none. -#}
{% macro last_build() -%}
{%- if not is_booked() -%}
{{- return(none) -}}
{%- endif -%}
{%- set found = run_query("select built_at, as_of_at from ops.builds where stage = 'model'").rows -%}
{{- return(found[0] if found and found[0][1] is not none else none) -}}
{%- endmacro %}

{#- The keys of an entity in a relation that says the entity beside each key, as a query in brackets. -#}
{% macro keys_of(entity, relation) -%}
(select {{ relation }}.record_key from {{ relation }} where {{ relation }}.entity = '{{ entity }}')
{%- endmacro %}

{#-
    A relation as the last build left it. Not by ref(): what tells which rows are to be made anew is read before they
    are, though made from what is made from them.
-#}
{% macro as_last_built(schema, name) -%}
{{ api.Relation.create(database=target.database, schema=schema, identifier=name) }}
{%- endmacro %}

{#-
    The values of a key whose rows are to be made anew, as a query: of touched records, of rows of touched customers.

    `column` of the model is the key of an `entity`, or the customer where the model names no entity. A model without
    customers says so by `has_customers: false`, one that has the keys from a `relation` of its own by its name.
-#}
{% macro touched_keys() -%}
{{- touched_keys_of(config.get('meta').touched, this, ref) -}}
{%- endmacro %}

{#- The same for any model that follows the change: `rows` is its relation, and `find` gives a relation by its name. -#}
{% macro touched_keys_of(touched, rows, find) -%}
{%- if touched.relation -%}
select {{ touched.column }} from {{ find(touched.relation) }}
{%- elif touched.entity -%}
select record_key from {{ find('int_record__touched') }} where entity = '{{ touched.entity }}'
{%- if touched.get('has_customers', true) %}
union
select {{ touched.column }} from {{ rows }} where customer_id in (select customer_id from {{ find('int_customer__touched') }})
{%- endif -%}
{%- else -%}
select customer_id from {{ find('int_customer__touched') }}
{%- endif -%}
{%- endmacro %}

{#-
    Condition on rows of a model that a test is about: they are of what was touched, or of new loads, so that the last
    build made them. True for models that are built whole, and whenever tests are run by themselves (`dbt test`), which
    look at all rows: a model that forgot to ask what is touched would be found there, and by `test_full_refresh.py`.

    Not by ref(): the tables that name what is touched are no parents of the test, only of the model.
-#}
{% macro is_made_by_last_build(model) -%}
{%- if execute and flags.WHICH == 'build' and not should_full_refresh() -%}
{%- set found = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
    | selectattr('schema', 'equalto', model.schema) | selectattr('alias', 'equalto', model.identifier) | first -%}
{%- set meta = found.config.meta if found else {} -%}
{%- if meta.tables and is_booked() -%}
{{- return('_load_id in (' ~ unseen_loads('unify', is_of_tables('loads', meta.tables)) ~ ')') -}}
{%- elif meta.touched and follows_change() -%}
{{- return(meta.touched.column ~ ' in (' ~ touched_keys_of(meta.touched, model, intermediate_as_last_built) ~ ')') -}}
{%- endif -%}
{%- endif -%}
{{- return('true') -}}
{%- endmacro %}

{% macro intermediate_as_last_built(name) -%}
{{- return(as_last_built('intermediate', name)) -}}
{%- endmacro %}

{#- Whether the rows of this model stay where no change touches them. -#}
{% macro keeps_rows() -%}
{{- return(is_kept() and follows_change()) -}}
{%- endmacro %}

{#- Condition on a column that holds the key of the model: its rows are to be made anew. All are in a full build. -#}
{% macro is_touched(column) -%}
{%- if not execute -%}
{%- do ref('int_record__touched') -%}
{%- do ref('int_customer__touched') -%}
{%- endif -%}
{%- if keeps_rows() -%}
{{ column }} in ({{ touched_keys() }})
{%- else -%}
true
{%- endif -%}
{%- endmacro %}

{#- Condition on records of persons and on records that refer to one: the person is to be collected anew. -#}
{% macro is_unseen_person() -%}
{%- if not execute -%}
{%- do ref('int_person__unseen') -%}
{%- endif -%}
{%- if keeps_rows() -%}
person_key in ({{ touched_keys() }})
{%- else -%}
true
{%- endif -%}
{%- endmacro %}

{#- The entities of the contract that refer to a person. -#}
{% macro referring_to_persons() -%}
{{- return([
    'order', 'opportunity', 'activity', 'subscription', 'loyalty_event', 'consent', 'ticket', 'invitation',
    'response', 'mention', 'web_session', 'campaign_touch', 'self_service_view',
]) -}}
{%- endmacro %}

{#- The strategy `touched`: rows of touched keys go, and those made anew come. -#}
{% macro get_incremental_touched_sql(arguments) -%}
{%- set columns = get_quoted_csv(arguments.dest_columns | map(attribute='name')) -%}
delete from {{ arguments.target_relation }}
{%- if keeps_rows() %}
where {{ config.get('meta').touched.column }} in ({{ touched_keys() }})
{%- endif %};
insert into {{ arguments.target_relation }} ({{ columns }})
select {{ columns }} from {{ arguments.temp_relation }}
{%- endmacro %}
