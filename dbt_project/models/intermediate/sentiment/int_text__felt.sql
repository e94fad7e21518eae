with texts as (
    select * from {{ ref('int_text__collected') }}
),

scores as (
    select * from {{ source('sentiment', 'text_score') }}
),

felt as (
    select
        texts.entity,
        texts.record_key,
        texts.language,
        -- Where we cannot tell, the source's own label is better than nothing.
        coalesce(nullif(scores.sentiment, 'unknown'), texts.source_label, 'unknown') as sentiment,
        case when scores.sentiment <> 'unknown' then scores.score end as sentiment_score,
        case
            when scores.sentiment <> 'unknown' then scores.method
            when texts.source_label is not null then 'source'
            else 'none'
        end as sentiment_by
    from texts
    left join scores
        on texts.text_id = scores.text_id
)

select * from felt
