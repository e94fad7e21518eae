with booked as (
    select * from {{ source('ops', 'loads') }}
),

quarantined_rows as (
    select
        source,
        table_name,
        quarantined_at,
        released_at
    from {{ source('quarantine', 'rows') }}
),

rules as (
    select * from {{ ref('mart_load_rule') }}
),

loads as (
    select
        source,
        table_name,
        {{ reporting_date('started_at') }} as load_date,
        status,
        extracted,
        promoted,
        quarantined,
        deduplicated,
        -- Rows of a load that nobody let through went nowhere yet.
        case when status in ('held', 'discarded') then extracted - deduplicated else 0 end as held_back,
        started_at,
        case when status in ('promoted', 'released') then started_at end as promoted_at
    from booked
),

days as (
    select
        source,
        table_name,
        load_date,
        count(*) as load_count,
        count(*) filter (where status in ('held', 'released', 'discarded')) as held_count,
        count(*) filter (where status = 'released') as released_count,
        count(*) filter (where status = 'discarded') as discarded_count,
        cast(sum(extracted) as bigint) as extracted,
        cast(sum(promoted) as bigint) as promoted,
        cast(sum(quarantined) as bigint) as quarantined,
        cast(sum(deduplicated) as bigint) as deduplicated,
        cast(sum(held_back) as bigint) as held_back,
        max(started_at) as last_load_at,
        max(promoted_at) as promoted_at
    from loads
    group by source, table_name, load_date
),

followed as (
    select
        *,
        max(promoted_at) over (
            partition by source, table_name
            order by load_date
            rows between unbounded preceding and current row
        ) as last_promoted_at
    from days
),

broken as (
    select
        source,
        table_name,
        load_date,
        count(*) as broken_rule_count,
        -- The larger the share the worse, then the number; ties go by name, so that the answer never changes.
        arg_min(rule_id, (-failed_share, -failed, rule_id)) as worst_rule_id
    from rules
    where failed > 0
    group by source, table_name, load_date
),

arrivals_and_departures as (
    select
        source,
        table_name,
        {{ reporting_date('quarantined_at') }} as moved_date,
        1 as moved
    from quarantined_rows
    union all
    select
        source,
        table_name,
        {{ reporting_date('released_at') }} as moved_date,
        -1 as moved
    from quarantined_rows
    where released_at is not null
),

-- A day without a movement in the quarantine must still see those before it, hence the days among the movements.
moved_by_day as (
    select
        source,
        table_name,
        moved_date,
        sum(moved) as moved
    from (
        select * from arrivals_and_departures
        union all
        select
            source,
            table_name,
            load_date as moved_date,
            0 as moved
        from days
    ) as movements
    group by source, table_name, moved_date
),

open_by_day as (
    select
        source,
        table_name,
        moved_date,
        cast(sum(moved) over (
            partition by source, table_name
            order by moved_date
            rows between unbounded preceding and current row
        ) as bigint) as open_count
    from moved_by_day
),

final as (
    select
        followed.source || '.' || followed.table_name || ' ' || followed.load_date as load_day_key,
        followed.source,
        followed.table_name,
        followed.load_date,
        followed.load_count,
        followed.held_count,
        followed.released_count,
        followed.discarded_count,
        followed.extracted,
        followed.promoted,
        followed.quarantined,
        followed.deduplicated,
        followed.held_back,
        followed.promoted / nullif(followed.extracted, 0) as promoted_share,
        followed.quarantined / nullif(followed.promoted + followed.quarantined, 0) as quarantined_share,
        followed.deduplicated / nullif(followed.extracted, 0) as deduplicated_share,
        coalesce(broken.broken_rule_count, 0) as broken_rule_count,
        broken.worst_rule_id,
        followed.last_load_at,
        followed.last_promoted_at,
        {{ minutes_between('followed.last_promoted_at', 'followed.last_load_at') }} / 60 as unpromoted_hours,
        open_by_day.open_count as quarantine_open_count
    from followed
    inner join open_by_day
        on
            followed.source = open_by_day.source
            and followed.table_name = open_by_day.table_name
            and followed.load_date = open_by_day.moved_date
    left join broken
        on
            followed.source = broken.source
            and followed.table_name = broken.table_name
            and followed.load_date = broken.load_date
)

select * from final
