{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'column': 'customer_id'}}
) }}

{#- A contact through another channel so soon after is about the same matter. -#}
{%- set switch_days = 7 %}

with interactions as (
    select * from {{ ref('fct_interaction') }}
),

contacts as (
    select
        customer_id,
        interaction_key,
        occurred_at,
        occurred_date,
        coalesce(channel, 'unknown') as channel,
        score_100
    from interactions
    where direction = 'inbound' and {{ is_touched('customer_id') }}
),

followed as (
    select
        *,
        lead(channel) over contacts_of_customer as next_channel,
        lead(occurred_at) over contacts_of_customer as next_at
    from contacts
    window contacts_of_customer as (
        partition by customer_id
        order by occurred_at, interaction_key
    )
),

{{ dates_in_calendars('contacts', 'occurred_date', 'quarter') }},

contacted as (
    select
        followed.customer_id,
        quarters.calendar,
        quarters.quarter_start,
        followed.channel,
        count(*) as contact_count,
        count(*) filter (
            where
            followed.next_channel <> followed.channel
            and followed.next_at <= followed.occurred_at + interval {{ switch_days }} day
        ) as switched_count,
        count(followed.score_100) as scored_count,
        coalesce(sum(followed.score_100), 0) as score_sum,
        coalesce(sum(followed.score_100 * followed.score_100), 0) as score_sum_sq
    from followed
    inner join quarters
        on followed.occurred_date = quarters.date_day
    group by followed.customer_id, quarters.calendar, quarters.quarter_start, followed.channel
)

select * from contacted
