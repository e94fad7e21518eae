with interactions as (
    select * from {{ ref('fct_interaction') }}
),

journeys as (
    select * from {{ ref('fct_journey') }}
),

steps as (
    select
        journeys.journey_key,
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
    where interactions.direction = 'inbound'
    window steps_of_journey as (
        partition by journeys.journey_key
        order by interactions.occurred_at, interactions.interaction_key
    )
),

stays as (
    select
        *,
        lead(journey_stage) over stays_of_journey as next_stage,
        lead(occurred_at) over stays_of_journey as next_at
    from steps
    where journey_stage is distinct from previous_stage
    window stays_of_journey as (
        partition by journey_key
        order by occurred_at, interaction_key
    )
),

-- The last stage of a journey that may still go on is neither left nor given up.
transitions as (
    select
        band,
        journey_stage as from_stage,
        coalesce(next_stage, 'end') as to_stage,
        {{ minutes_between('occurred_at', 'next_at') }} / 60 as hours_to_next
    from stays
    where next_stage is not null or not is_open
),

sliced as (
    select * from transitions
    union all
    select
        'all' as band,
        from_stage,
        to_stage,
        hours_to_next
    from transitions
),

counted as (
    select
        band,
        from_stage,
        to_stage,
        count(*) as transition_count,
        median(hours_to_next) as median_hours
    from sliced
    group by band, from_stage, to_stage
),

totalled as (
    select
        *,
        sum(transition_count) over (partition by band, from_stage) as left_count
    from counted
),

final as (
    select
        band,
        from_stage,
        to_stage,
        cast(left_count as bigint) as left_count,
        transition_count,
        {{ shown_share('transition_count', 'left_count', 'transition_share') }},
        {{ shown('median_hours', 'transition_count') }} as median_hours,
        {{ reliability('left_count') }} as reliability
    from totalled
)

select * from final
