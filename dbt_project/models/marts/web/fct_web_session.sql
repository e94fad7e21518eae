{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'entity': 'web_session', 'column': 'web_session_key'}, 'owner': 'coalesce(customer_id, web_session_key)'}
) }}

with sessions as (
    select *
    from {{ ref('int_web_session__unioned') }}
    where {{ is_touched('web_session_key') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

final as (
    select
        sessions.web_session_key,
        sessions.source,
        sessions.web_session_id,
        persons.customer_id,
        sessions.person_key,
        sessions.order_key,
        sessions.channel,
        sessions.campaign,
        sessions.device,
        sessions.page_view_count,
        sessions.started_at,
        {{ reporting_date('sessions.started_at') }} as started_date,
        sessions.ended_at,
        case
            when sessions.ended_at >= sessions.started_at
                then {{ minutes_between('sessions.started_at', 'sessions.ended_at') }}
        end as duration_minutes,
        sessions.order_key is not null as has_order
    from sessions
    left join persons
        on sessions.person_key = persons.person_key
)

select * from final
