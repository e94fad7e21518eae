{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'entity': 'mention', 'column': 'mention_key'}, 'owner': 'coalesce(customer_id, mention_key)'}
) }}

with mentions as (
    select *
    from {{ ref('int_mention__unioned') }}
    where {{ is_touched('mention_key') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

feelings as (
    select *
    from {{ ref('int_text__felt') }}
    where entity = 'mention' and {{ is_touched('record_key') }}
),

final as (
    select
        mentions.mention_key,
        mentions.source,
        mentions.mention_id,
        persons.customer_id,
        mentions.person_key,
        mentions.channel,
        mentions.language,
        mentions.published_at,
        {{ reporting_date('mentions.published_at') }} as published_date,
        coalesce(feelings.sentiment, mentions.sentiment, 'unknown') as sentiment,
        feelings.sentiment_score,
        coalesce(feelings.sentiment_by, case when mentions.sentiment is null then 'none' else 'source' end)
            as sentiment_by,
        mentions.sentiment as sentiment_source_label,
        mentions.repost_of_mention_key is not null as is_repost,
        mentions.repost_of_mention_key,
        mentions.reach,
        mentions.text
    from mentions
    left join persons
        on mentions.person_key = persons.person_key
    left join feelings
        on mentions.mention_key = feelings.record_key
)

select * from final
