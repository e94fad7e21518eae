{#- A table: the golden record and the mart of its provenance read it. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'column': 'customer_id'}}
) }}

{#- The known value of each attribute, as text. The parts of a name follow its full form. -#}
{%- set attributes = {
    'name': "nullif(trim(coalesce(persons.full_name, concat_ws(' ', persons.given_name, persons.family_name))), '')",
    'email': "nullif(lower(trim(persons.email)), '')",
    'phone': "nullif(trim(persons.phone), '')",
    'gender': 'persons.gender',
    'birth_date': 'cast(persons.birth_date as varchar)',
    'city': 'persons.city',
    'region': 'persons.region',
    'country': 'persons.country',
    'segment': 'persons.segment',
    'language': 'persons.language',
    'account_key': 'persons.account_key',
} %}
{%- set strategies = survivorship() %}

with person_links as (
    select *
    from {{ ref('int_person__resolved') }}
    where {{ is_touched('customer_id') }}
),

persons as (
    select * from {{ ref('int_person__unioned') }}
),

records as (
    select
        person_links.customer_id,
        person_links.person_key,
        person_links.source,
        {% for attribute, value in attributes.items() %}
        {{ value }} as {{ attribute }}_value,
        {% endfor %}
        coalesce(persons.is_verified, false) as is_verified,
        coalesce(persons.updated_at, persons.created_at) as changed_at
    from person_links
    inner join persons
        on person_links.person_key = persons.person_key
),

customers as (
    select
        customer_id,
        count(*) as record_count
    from records
    group by customer_id
),

sized as (
    select
        records.*,
        customers.record_count = 1 as is_only_record
    from records
    inner join customers
        on records.customer_id = customers.customer_id
),

known as (
    {% for attribute in attributes %}
    select
        customer_id,
        '{{ attribute }}' as attribute,
        {{ attribute }}_value as value,
        person_key,
        source,
        changed_at,
        is_only_record,
        {%- set strategy = strategies[attribute] %}
        {% if strategy == 'source_priority' -%}
        -- A source that is not named is trusted less than all that are.
        -coalesce(
            list_position({{ trusted_sources() | tojson | replace('"', "'") }}, source), 1000000
        ) as strength
        {%- elif strategy == 'most_complete' -%}
        {%- for other in attributes %}
        {{ '+ ' if not loop.first }}cast({{ other }}_value is not null as integer)
        {%- endfor %} as strength
        {%- elif strategy == 'longest' -%}
        length({{ attribute }}_value) as strength
        {%- elif strategy == 'verified_first' -%}
        cast(is_verified as integer) as strength
        {%- elif strategy == 'most_frequent' -%}
        count(*) over (partition by customer_id, {{ attribute }}_value) as strength
        {%- else -%}
        0 as strength
        {%- endif %}
    from sized
    where {{ attribute }}_value is not null
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

-- What the strategy leaves open goes to the most recently changed record, undated ones last; keys break ties, so that
-- a rebuild agrees.
ranked as (
    select
        *,
        row_number() over strongest_first as place,
        first(strength) over strongest_first as top_strength
    from known
    -- Most customers have one record, and nothing to choose from.
    where not is_only_record
    window strongest_first as (
        partition by customer_id, attribute
        order by strength desc, changed_at desc nulls last, person_key asc
    )
),

chosen as (
    select
        customer_id,
        attribute,
        any_value(value) filter (where place = 1) as value,
        any_value(source) filter (where place = 1) as source,
        any_value(person_key) filter (where place = 1) as person_key,
        any_value(changed_at) filter (where place = 1) as changed_at,
        count(distinct value) as value_count,
        count(distinct value) filter (where strength = top_strength) as top_value_count,
        count(*) as record_count
    from ranked
    group by customer_id, attribute
),

survived as (
    select
        customer_id,
        attribute,
        value,
        source,
        person_key,
        case
            when value_count = 1 then 'only_value'
            {%- for attribute, strategy in strategies.items() if strategy != 'most_recent' %}
            when attribute = '{{ attribute }}' and top_value_count = 1 then '{{ strategy }}'
            {%- endfor %}
            when changed_at is not null then 'most_recent'
            else 'first_record_key'
        end as rule,
        value_count,
        record_count
    from chosen
    union all
    select
        customer_id,
        attribute,
        value,
        source,
        person_key,
        'only_value' as rule,
        1 as value_count,
        1 as record_count
    from known
    where is_only_record
)

select * from survived
