{#- A table: the customer dimension, the orders' region and the customer view read it. -#}
{{ config(materialized='table') }}

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
        person_links.score,
        nullif(trim(coalesce(persons.full_name, concat_ws(' ', persons.given_name, persons.family_name))), '')
            as full_name,
        nullif(trim(persons.given_name), '') as given_name,
        nullif(trim(persons.family_name), '') as family_name,
        nullif(lower(trim(persons.email)), '') as email,
        nullif(trim(persons.phone), '') as phone,
        persons.gender,
        persons.birth_date,
        persons.city,
        persons.region,
        persons.country,
        persons.segment,
        persons.language,
        persons.account_key,
        persons.created_at,
        coalesce(persons.updated_at, persons.created_at) as changed_at
    from person_links
    left join persons
        on person_links.person_key = persons.person_key
),

-- The most recently changed record wins; undated records come last, and keys break ties so that a rebuild agrees.
ranked as (
    select
        *,
        row_number() over (
            partition by customer_id
            order by changed_at asc nulls first, person_key desc
        ) as freshness
    from records
),

survivors as (
    select
        customer_id,
        -- The parts of a name stay together: a given name from one record and a family name from another is nobody.
        arg_max(
            struct_pack(
                full_name := full_name,
                given_name := given_name,
                family_name := family_name,
                source := source,
                is_dated := changed_at is not null
            ),
            freshness
        ) filter (
            where full_name is not null
        ) as name_winner,
        count(distinct full_name) as full_name_count,
        arg_max(struct_pack(value := email, source := source, is_dated := changed_at is not null), freshness) filter (
            where email is not null
        ) as email_winner,
        count(distinct email) as email_count,
        arg_max(struct_pack(value := phone, source := source, is_dated := changed_at is not null), freshness) filter (
            where phone is not null
        ) as phone_winner,
        count(distinct phone) as phone_count,
        arg_max(gender, freshness) as gender,
        arg_max(birth_date, freshness) as birth_date,
        arg_max(city, freshness) as city,
        arg_max(region, freshness) as region,
        arg_max(country, freshness) as country,
        arg_max(segment, freshness) as segment,
        arg_max(language, freshness) as language,
        arg_max(account_key, freshness) as account_key,
        count(*) as record_count,
        count(distinct source) as source_count,
        min(score) as identity_score,
        min(created_at) as first_recorded_at
    from ranked
    group by customer_id
),

golden as (
    select
        survivors.customer_id,
        survivors.name_winner.full_name,
        survivors.name_winner.given_name,
        survivors.name_winner.family_name,
        survivors.name_winner.source as name_source,
        {{ survivorship_rule('survivors.name_winner', 'survivors.full_name_count') }} as name_rule,
        survivors.email_winner.value as email,
        survivors.email_winner.source as email_source,
        {{ survivorship_rule('survivors.email_winner', 'survivors.email_count') }} as email_rule,
        survivors.phone_winner.value as phone,
        survivors.phone_winner.source as phone_source,
        {{ survivorship_rule('survivors.phone_winner', 'survivors.phone_count') }} as phone_rule,
        survivors.gender,
        survivors.birth_date,
        survivors.city,
        survivors.region,
        survivors.country,
        survivors.segment,
        survivors.language,
        survivors.account_key,
        survivors.record_count,
        survivors.source_count,
        survivors.identity_score,
        survivors.first_recorded_at
    from survivors
)

select * from golden
