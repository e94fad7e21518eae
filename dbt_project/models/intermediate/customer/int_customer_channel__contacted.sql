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

-- Not the periods of the KPIs: the first of them moves when an older record is found.
dates as (
    select distinct
        occurred_date,
        {{ jalali_year('occurred_date') }} as jalali_year,
        {{ jalali_month('occurred_date') }} as jalali_month
    from contacts
),

quarters as (
    select
        occurred_date,
        'gregorian' as calendar,
        cast(date_trunc('quarter', occurred_date) as date) as quarter_start
    from dates
    union all
    select
        occurred_date,
        'jalali' as calendar,
        {{ jalali_quarter_start('jalali_year', 'jalali_month') }} as quarter_start
    from dates
),

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
        on followed.occurred_date = quarters.occurred_date
    group by followed.customer_id, quarters.calendar, quarters.quarter_start, followed.channel
)

select * from contacted
