{#- A table: the customer dimension, the orders' region and the customer view read it. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'column': 'customer_id'}}
) }}

{#- Attributes that are one text each; name and birth date are more. -#}
{%- set texts = ['gender', 'city', 'region', 'country', 'segment', 'language', 'account_key'] %}

with person_links as (
    select *
    from {{ ref('int_person__resolved') }}
    where {{ is_touched('customer_id') }}
),

persons as (
    select * from {{ ref('int_person__unioned') }}
),

survived as (
    select *
    from {{ ref('int_customer_value__survived') }}
    where {{ is_touched('customer_id') }}
),

counted as (
    select
        person_links.customer_id,
        count(*) as record_count,
        count(distinct person_links.source) as source_count,
        min(person_links.score) as identity_score,
        min(persons.created_at) as first_recorded_at
    from person_links
    left join persons
        on person_links.person_key = persons.person_key
    group by person_links.customer_id
),

pivoted as (
    select
        customer_id,
        {% for attribute in ['name', 'email', 'phone'] %}
        any_value(value) filter (where attribute = '{{ attribute }}') as {{ attribute }},
        any_value(source) filter (where attribute = '{{ attribute }}') as {{ attribute }}_source,
        any_value(rule) filter (where attribute = '{{ attribute }}') as {{ attribute }}_rule,
        {% endfor %}
        {% for attribute in texts %}
        any_value(value) filter (where attribute = '{{ attribute }}') as {{ attribute }},
        {% endfor %}
        any_value(person_key) filter (where attribute = 'name') as name_person_key,
        cast(any_value(value) filter (where attribute = 'birth_date') as date) as birth_date
    from survived
    group by customer_id
),

golden as (
    select
        counted.customer_id,
        pivoted.name as full_name,
        -- The parts of a name stay together: a given name from one record and a family name from another is nobody.
        nullif(trim(named.given_name), '') as given_name,
        nullif(trim(named.family_name), '') as family_name,
        pivoted.name_source,
        pivoted.name_rule,
        pivoted.email,
        pivoted.email_source,
        pivoted.email_rule,
        pivoted.phone,
        pivoted.phone_source,
        pivoted.phone_rule,
        pivoted.gender,
        pivoted.birth_date,
        pivoted.city,
        pivoted.region,
        pivoted.country,
        pivoted.segment,
        pivoted.language,
        pivoted.account_key,
        counted.record_count,
        counted.source_count,
        counted.identity_score,
        counted.first_recorded_at
    from counted
    left join pivoted
        on counted.customer_id = pivoted.customer_id
    left join persons as named
        on pivoted.name_person_key = named.person_key
)

select * from golden
