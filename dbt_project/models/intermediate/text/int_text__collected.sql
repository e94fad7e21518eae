{#- A table that follows the loads: telling languages apart is work, and several models read it. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    pre_hook="{{ delete_unseen_texts() }}"
) }}

with responses as (
    select *
    from {{ ref('int_response__unioned') }}
    where {{ is_unseen('response') }}
),

scores as (
    select * from {{ ref('int_response__scored') }}
),

ticket_events as (
    select *
    from {{ ref('int_ticket_event__unioned') }}
    where {{ is_unseen('ticket_event') }}
),

mentions as (
    select *
    from {{ ref('int_mention__unioned') }}
    where {{ is_unseen('mention') }}
),

texts as (
    select
        'response' as entity,
        responses.response_key as record_key,
        responses.language as stated_language,
        responses.comment as text,
        -- What the score beside a comment says of it: 1-2 and 4-5 of 1-5, the bands of NPS.
        case
            when scores.band = 'promoter' then 'positive'
            when scores.band = 'detractor' then 'negative'
            when scores.metric = 'nps' then null
            when scores.score_100 >= 75 then 'positive'
            when scores.score_100 <= 25 then 'negative'
            when scores.score_100 = 50 then 'neutral'
        end as label,
        cast(null as varchar) as source_label
    from responses
    inner join scores
        on responses.response_key = scores.response_key
    union all
    select
        'ticket_event' as entity,
        ticket_event_key as record_key,
        null as stated_language,
        body as text,
        null as label,
        null as source_label
    from ticket_events
    where
        type = 'message'
        and visibility = 'public'
        and actor_type = 'customer'
    union all
    select
        'mention' as entity,
        mention_key as record_key,
        language as stated_language,
        text,
        null as label,
        sentiment as source_label
    from mentions
),

written as (
    select
        *,
        lower(left(trim(stated_language), 2)) as language_code,
        -- A text in Arabic letters has one of the languages written so, whatever its source says.
        lower(left(trim(stated_language), 2)) in ('fa', 'ar', 'ur', 'ps', 'ku') as is_stated_arabic,
        len(regexp_replace(text, '[^\x{0600}-\x{06FF}]', '', 'g')) as arabic_letters,
        len(regexp_replace(text, '[^a-zA-Z]', '', 'g')) as latin_letters,
        -- Words without which hardly two sentences of English are written.
        len(regexp_extract_all(lower(text), '\b(the|and|is|was|were|to|my|it|for|not|very|of|you|this|with|have|i)\b'))
            as english_words,
        len(string_split(trim(text), ' ')) as words
    from texts
    where trim(text) <> ''
),

spoken as (
    select
        *,
        case
            when arabic_letters > latin_letters and is_stated_arabic then language_code
            -- A yeh without dots tells nothing: Persian is typed with it on Arabic keyboards.
            when
                arabic_letters > latin_letters
                and regexp_matches(text, 'ة')
                and not regexp_matches(text, '[پچژگکی]')
                then 'ar'
            when arabic_letters > latin_letters then 'fa'
            when not is_stated_arabic then language_code
            when english_words * 8 >= words and english_words > 0 then 'en'
            else 'und'
        end as language
    from written
),

collected as (
    select
        entity,
        record_key,
        md5(language || ':' || text) as text_id,
        language,
        text,
        label,
        source_label
    from spoken
)

select * from collected
