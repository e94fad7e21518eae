{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'entity': 'opportunity', 'column': 'opportunity_key'}, 'owner': 'coalesce(customer_id, opportunity_key)'}
) }}

with stage_events as (
    select *
    from {{ ref('int_opportunity_stage_event__unioned') }}
    where {{ is_touched('opportunity_key') }}
),

opportunities as (
    select *
    from {{ ref('int_opportunity__unioned') }}
    where {{ is_touched('opportunity_key') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

ordered as (
    select
        *,
        row_number() over stage_order as stage_number,
        lag(stage) over stage_order as previous_stage,
        lead(occurred_at) over stage_order as left_at
    from stage_events
    window stage_order as (
        partition by opportunity_key
        order by occurred_at, {{ natural_order('opportunity_stage_event_id') }}
    )
),

final as (
    select
        ordered.opportunity_stage_event_key,
        ordered.source,
        ordered.opportunity_stage_event_id,
        ordered.opportunity_key,
        persons.customer_id,
        ordered.stage_number,
        ordered.stage,
        ordered.previous_stage,
        ordered.occurred_at as entered_at,
        {{ reporting_date('ordered.occurred_at') }} as entered_date,
        ordered.left_at,
        {{ minutes_between('ordered.occurred_at', 'ordered.left_at') }} / 1440 as days_in_stage
    from ordered
    left join opportunities
        on ordered.opportunity_key = opportunities.opportunity_key
    left join persons
        on opportunities.person_key = persons.person_key
)

select * from final
