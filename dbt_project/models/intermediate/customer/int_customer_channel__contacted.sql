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

-- Contact is made for a reason of the customer's own. Answers, points, consents and contracts are noted elsewhere, and
-- what is written on a ticket goes on with the contact that opened it.
inbound as (
    select
        customer_id,
        interaction_key,
        occurred_at,
        occurred_date,
        channel,
        score_100,
        entity = 'activity'
        or type in ('order_placed', 'ticket_created', 'web_session', 'help_article_read', 'mention_published')
            as is_contact
    from interactions
    where direction = 'inbound' and {{ is_touched('customer_id') }}
),

contacts as (
    select *
    from inbound
    where is_contact or score_100 is not null
),

followed as (
    select
        *,
        lead(channel) over contacts_of_customer as next_channel,
        lead(occurred_at) over contacts_of_customer as next_at
    from contacts
    window contacts_of_customer as (
        partition by customer_id, is_contact
        order by occurred_at, interaction_key
    )
),

{{ dates_in_calendars('contacts', 'occurred_date', 'quarter') }},

contacted as (
    select
        followed.customer_id,
        quarters.calendar,
        quarters.quarter_start,
        coalesce(followed.channel, 'unknown') as channel,
        count(*) filter (where followed.is_contact) as contact_count,
        -- Whether an unknown channel is another one, nobody knows.
        count(*) filter (
            where
            followed.is_contact
            and followed.next_channel <> followed.channel
            and followed.next_at <= followed.occurred_at + interval {{ switch_days }} day
        ) as switched_count,
        count(followed.score_100) as scored_count,
        coalesce(sum(followed.score_100), 0) as score_sum,
        coalesce(sum(followed.score_100 * followed.score_100), 0) as score_sum_sq
    from followed
    inner join quarters
        on followed.occurred_date = quarters.date_day
    group by followed.customer_id, quarters.calendar, quarters.quarter_start, coalesce(followed.channel, 'unknown')
)

select * from contacted
