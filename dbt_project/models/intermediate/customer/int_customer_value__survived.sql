{#- A table: the golden record and the mart of its provenance read it. -#}
{{ config(materialized='table') }}

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

with person_links as (
    select * from {{ ref('int_person__resolved') }}
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

known as (
    {% for attribute in attributes %}
    select
        customer_id,
        '{{ attribute }}' as attribute,
        '{{ survivorship()[attribute] }}' as strategy,
        {{ attribute }}_value as value,
        person_key,
        source,
        is_verified,
        changed_at
    from records
    where {{ attribute }}_value is not null
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

counted as (
    select
        *,
        count(*) over (partition by customer_id, attribute, value) as value_record_count,
        count(*) over (partition by person_key) as known_count,
        -- A source that is not named is trusted less than all that are.
        coalesce(list_position({{ trusted_sources() | tojson | replace('"', "'") }}, source), 1000000) as trust
    from known
),

weighed as (
    select
        *,
        case strategy
            when 'most_frequent' then value_record_count
            when 'source_priority' then -trust
            when 'most_complete' then known_count
            when 'longest' then length(value)
            when 'verified_first' then cast(is_verified as integer)
            else 0
        end as strength
    from counted
),

-- What the strategy leaves open goes to the most recently changed record, undated ones last; keys break ties, so that
-- a rebuild agrees.
ranked as (
    select
        *,
        row_number() over (
            partition by customer_id, attribute
            order by strength desc, changed_at desc nulls last, person_key asc
        ) as place,
        max(strength) over (partition by customer_id, attribute) as top_strength
    from weighed
),

survived as (
    select
        customer_id,
        attribute,
        any_value(value) filter (where place = 1) as value,
        any_value(source) filter (where place = 1) as source,
        any_value(person_key) filter (where place = 1) as person_key,
        case
            when count(distinct value) = 1 then 'only_value'
            when
                any_value(strategy) <> 'most_recent'
                and count(distinct value) filter (where strength = top_strength) = 1
                then any_value(strategy)
            when any_value(changed_at) filter (where place = 1) is not null then 'most_recent'
            else 'first_record_key'
        end as rule,
        count(distinct value) as value_count,
        count(*) as record_count
    from ranked
    group by customer_id, attribute
)

select * from survived
