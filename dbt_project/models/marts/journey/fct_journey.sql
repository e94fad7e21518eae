{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'column': 'customer_id'}, 'owner': 'customer_id'}
) }}

{#- Stages of a path written out; later ones end in an ellipsis. Longer paths are each customer's own. -#}
{%- set longest_path = 8 %}

with interactions as (
    select * from {{ ref('fct_interaction') }}
),

responses as (
    select *
    from {{ ref('fct_survey_response') }}
    where {{ is_touched('customer_id') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

-- A journey is what a customer did: sendings of the company neither begin one nor keep it alive.
steps as (
    select
        customer_id,
        occurred_at,
        occurred_date,
        channel,
        type,
        journey_stage,
        coalesce(score_100, case sentiment when 'positive' then 100 when 'neutral' then 50 when 'negative' then 0 end)
            as score_100,
        row_number() over steps_of_customer as step_number,
        coalesce(
            occurred_at > lag(occurred_at) over steps_of_customer + interval {{ journey_gap_days() }} day, true
        ) as is_new_journey,
        lag(journey_stage) over steps_of_customer as previous_stage
    from interactions
    where direction = 'inbound' and {{ is_touched('customer_id') }}
    window steps_of_customer as (
        partition by customer_id
        order by occurred_at, interaction_key
    )
),

staged as (
    select
        *,
        count(*) filter (where is_new_journey) over (
            partition by customer_id
            order by step_number
            rows between unbounded preceding and current row
        ) as journey_number,
        is_new_journey or coalesce(journey_stage <> previous_stage, true) as is_new_stage
    from steps
),

journeys as (
    select
        customer_id,
        journey_number,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        min(occurred_date) as started_date,
        max(occurred_date) as ended_date,
        count(*) as step_count,
        count(distinct channel) as channel_count,
        -- Sorted all together, which is far less work than a sort of each group.
        list_transform(
            list_sort(list(row(step_number, journey_stage)) filter (where is_new_stage)),
            lambda step: struct_extract(step, 2)
        ) as stages,
        bool_or(type = 'order_placed') as has_order,
        bool_or(type = 'ticket_created') as has_ticket,
        count(score_100) as scored_step_count,
        avg(score_100) as mean_score,
        -- The peak is the score farthest from the middle; of two as far, the bad one is remembered.
        arg_max(score_100, abs(score_100 - 50) * 1000 - score_100) as peak_score,
        arg_max(score_100, step_number) as end_score
    from staged
    group by customer_id, journey_number
),

bands as (
    select
        journeys.customer_id,
        journeys.journey_number,
        arg_max(responses.band, row(responses.answered_at, responses.response_key)) as band
    from journeys
    inner join responses
        on
            journeys.customer_id = responses.customer_id
            and journeys.started_at <= responses.answered_at
            and journeys.ended_at + interval {{ nps_window_days() }} day >= responses.answered_at
    cross join as_of
    where responses.band is not null and responses.answered_at <= as_of.as_of_at
    group by journeys.customer_id, journeys.journey_number
),

final as (
    select
        journeys.customer_id || ':' || journeys.journey_number as journey_key,
        journeys.customer_id,
        cast(journeys.journey_number as integer) as journey_number,
        journeys.started_at,
        journeys.ended_at,
        journeys.started_date,
        {{ minutes_between('journeys.started_at', 'journeys.ended_at') }} / 1440 as duration_days,
        journeys.ended_at + interval {{ journey_gap_days() }} day >= as_of.as_of_at as is_open,
        journeys.step_count,
        journeys.channel_count,
        array_to_string(journeys.stages[:{{ longest_path }}], ' > ')
        || case when len(journeys.stages) > {{ longest_path }} then ' > …' else '' end as path,
        journeys.stages[1] as first_stage,
        journeys.stages[-1] as last_stage,
        journeys.has_order,
        journeys.has_ticket,
        journeys.scored_step_count,
        journeys.mean_score,
        journeys.peak_score,
        journeys.end_score,
        coalesce(bands.band, 'unknown') as band
    from journeys
    cross join as_of
    left join bands
        on
            journeys.customer_id = bands.customer_id
            and journeys.journey_number = bands.journey_number
)

select * from final
