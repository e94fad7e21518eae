{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'column': 'customer_id'}}
) }}

with interactions as (
    select * from {{ ref('fct_interaction') }}
),

journeys as (
    select * from {{ ref('fct_journey') }}
),

steps as (
    select
        journeys.journey_key,
        journeys.customer_id,
        journeys.band,
        journeys.is_open,
        interactions.interaction_key,
        interactions.occurred_at,
        interactions.journey_stage,
        lag(interactions.journey_stage) over steps_of_journey as previous_stage
    from interactions
    inner join journeys
        on
            interactions.customer_id = journeys.customer_id
            and interactions.occurred_at between journeys.started_at and journeys.ended_at
    where
        interactions.direction = 'inbound'
        and {{ is_touched('interactions.customer_id') }}
        and {{ is_touched('journeys.customer_id') }}
    window steps_of_journey as (
        partition by journeys.journey_key
        order by interactions.occurred_at, interactions.interaction_key
    )
),

stays as (
    select
        customer_id,
        band,
        is_open,
        journey_stage as stage,
        occurred_at as entered_at,
        lead(journey_stage) over stays_of_journey as next_stage,
        lead(occurred_at) over stays_of_journey as next_entered_at
    from steps
    where journey_stage is distinct from previous_stage
    window stays_of_journey as (
        partition by journey_key
        order by occurred_at, interaction_key
    )
),

measured as (
    select
        customer_id,
        band,
        is_open,
        stage,
        next_stage,
        {{ minutes_between('entered_at', 'next_entered_at') }} / 60 as hours_to_next
    from stays
)

select * from measured
