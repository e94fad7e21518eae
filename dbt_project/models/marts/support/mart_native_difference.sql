with tickets as (
    select * from {{ ref('fct_ticket') }}
),

compared as (
    select
        source,
        'reopens' as figure,
        cast(native_reopen_count as double) as native_value,
        cast(reopen_count as double) as own_value
    from tickets
    where native_reopen_count is not null
    union all
    select
        source,
        'handoffs' as figure,
        cast(native_reassignment_count as double) as native_value,
        cast(handoff_count as double) as own_value
    from tickets
    where native_reassignment_count is not null
    union all
    select
        source,
        'first_response_minutes' as figure,
        native_first_reply_minutes as native_value,
        first_response_minutes as own_value
    from tickets
    where native_first_reply_minutes is not null
),

measured as (
    select
        source,
        figure,
        count(*) as native_count,
        count(own_value) as compared_count,
        -- Within a minute, replies are at the same time.
        count(*) filter (
            where abs(own_value - native_value) < case when figure = 'first_response_minutes' then 1 else 0.5 end
        ) as equal_count,
        avg(native_value) filter (where own_value is not null) as native_mean,
        avg(own_value) as own_mean,
        avg(own_value - native_value) as mean_difference,
        median(own_value - native_value) as median_difference,
        max(abs(own_value - native_value)) as largest_difference
    from compared
    group by source, figure
),

final as (
    select
        source,
        figure,
        native_count,
        compared_count,
        equal_count,
        {{ shown('native_mean', 'compared_count') }} as native_mean,
        {{ shown('own_mean', 'compared_count') }} as own_mean,
        {{ shown('mean_difference', 'compared_count') }} as mean_difference,
        {{ shown('median_difference', 'compared_count') }} as median_difference,
        {{ shown('largest_difference', 'compared_count') }} as largest_difference
    from measured
)

select * from final
