with stays as (
    select * from {{ ref('int_journey_stay__measured') }}
),

-- The last stage of a journey that may still go on is neither left nor given up.
transitions as (
    select
        band,
        stage as from_stage,
        coalesce(next_stage, 'end') as to_stage,
        hours_to_next
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
