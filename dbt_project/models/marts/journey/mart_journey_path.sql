with journeys as (
    select * from {{ ref('fct_journey') }}
),

-- A journey that may still go on has no path yet.
closed as (
    select
        band,
        path,
        customer_id,
        duration_days,
        has_order,
        end_score
    from journeys
    where not is_open
    union all
    select
        'all' as band,
        path,
        customer_id,
        duration_days,
        has_order,
        end_score
    from journeys
    where not is_open
),

common_paths as (
    select
        band,
        path,
        count(distinct customer_id) as customer_count
    from closed
    group by band, path
    having count(distinct customer_id) >= {{ suppressed_below() }}
),

-- Paths of a few customers are chance, and might name them: together they are `other`.
named as (
    select
        closed.* exclude (path),
        coalesce(common_paths.path, 'other') as path,
        common_paths.customer_count as path_customer_count
    from closed
    left join common_paths
        on
            closed.band = common_paths.band
            and closed.path = common_paths.path
),

counted as (
    select
        band,
        path,
        count(*) as journey_count,
        -- Known of every path by itself; only those that are counted together share customers.
        coalesce(
            any_value(path_customer_count),
            count(distinct customer_id) filter (where path_customer_count is null)
        ) as customer_count,
        count(*) filter (where has_order) as order_journey_count,
        median(duration_days) as median_duration_days,
        count(end_score) as scored_count,
        sum(end_score) as end_score_sum,
        sum(end_score * end_score) as end_score_sum_sq
    from named
    group by band, path
),

totalled as (
    select
        *,
        sum(journey_count) over (partition by band) as band_journey_count
    from counted
),

final as (
    select
        band,
        path,
        cast(row_number() over (
            partition by band
            order by path = 'other' asc, journey_count desc, path asc
        ) as integer) as path_rank,
        cast(band_journey_count as bigint) as band_journey_count,
        journey_count,
        customer_count,
        {{ shown_share('journey_count', 'band_journey_count', 'journey_share') }},
        {{ shown_share('order_journey_count', 'journey_count', 'order_rate') }},
        {{ shown('median_duration_days', 'journey_count') }} as median_duration_days,
        scored_count,
        {{ shown_mean('scored_count', 'end_score_sum', 'end_score_sum_sq', 'end_score_mean') }},
        {{ reliability('journey_count') }} as reliability
    from totalled
)

select * from final
