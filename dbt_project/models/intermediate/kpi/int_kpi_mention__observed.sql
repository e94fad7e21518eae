with mentions as (
    select * from {{ ref('fct_mention') }}
),

customers as (
    select * from {{ ref('int_kpi_customer__sliced') }}
),

observed as (
    select
        'net_sentiment' as metric,
        mentions.mention_key as record_key,
        mentions.customer_id,
        mentions.published_date as observed_date,
        coalesce(mentions.channel, 'unknown') as channel,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        'unknown' as product_line,
        'unknown' as survey,
        coalesce(mentions.sentiment in ('positive', 'neutral', 'negative'), false) as is_counted,
        cast(
            case mentions.sentiment when 'positive' then 1 when 'neutral' then 0 when 'negative' then -1 end
            as decimal(18, 4)
        ) as value,
        cast(null as decimal(18, 9)) as weight
    from mentions
    left join customers
        on mentions.customer_id = customers.customer_id
    -- A repost says again what was counted already.
    where not coalesce(mentions.is_repost, false)
)

select * from observed
