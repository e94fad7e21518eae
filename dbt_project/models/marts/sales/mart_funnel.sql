with opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

stage_events as (
    select * from {{ ref('fct_opportunity_stage_event') }}
),

orders as (
    select * from {{ ref('fct_order') }}
),

sessions as (
    select * from {{ ref('fct_web_session') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

-- Sales: how far opportunities came. A loss is where one left the funnel, not a stage of it.
opportunity_entries as (
    select
        stage_events.opportunity_key as subject_key,
        lower(stage_events.stage) as stage,
        stage_events.entered_at
    from stage_events
    where lower(stage_events.stage) not in ('lost', 'won')
    union all
    select
        opportunities.opportunity_key as subject_key,
        'created' as stage,
        opportunities.created_at as entered_at
    from opportunities
    left join stage_events
        on opportunities.opportunity_key = stage_events.opportunity_key
    -- Sources that keep no log of stages still say when it began and how it ended.
    where stage_events.opportunity_key is null
    union all
    select
        opportunity_key as subject_key,
        'won' as stage,
        closed_at as entered_at
    from opportunities
    where outcome = 'won'
),

opportunity_firsts as (
    select
        opportunity_entries.subject_key,
        opportunity_entries.stage,
        min(opportunity_entries.entered_at) as entered_at
    from opportunity_entries
    cross join as_of
    where coalesce(opportunity_entries.entered_at <= as_of.as_of_at, true)
    group by opportunity_entries.subject_key, opportunity_entries.stage
),

opportunity_orders as (
    select
        *,
        row_number() over (
            partition by subject_key
            order by entered_at
        ) as stage_number
    from opportunity_firsts
),

-- The order of the stages is the one opportunities take them in; `won` comes last whatever its date says.
opportunity_ranks as (
    select
        stage,
        row_number() over (
            order by stage = 'won', stage <> 'created', avg(stage_number), stage
        ) as stage_number
    from opportunity_orders
    group by stage
),

-- Customers: from a first visit to a second purchase.
customer_firsts as (
    select
        sessions.customer_id as subject_key,
        'visited' as stage,
        min(sessions.started_at) as entered_at
    from sessions
    cross join as_of
    where sessions.customer_id is not null and sessions.started_at <= as_of.as_of_at
    group by sessions.customer_id
    union all
    select
        customer_id as subject_key,
        'bought' as stage,
        min(ordered_at) filter (where day_number = 1) as entered_at
    from (
        select
            orders.customer_id,
            orders.ordered_at,
            dense_rank() over (
                partition by orders.customer_id
                order by orders.ordered_date
            ) as day_number
        from orders
        cross join as_of
        where orders.is_revenue and orders.customer_id is not null and orders.ordered_at <= as_of.as_of_at
    ) as order_days
    group by customer_id
    union all
    select
        customer_id as subject_key,
        'bought_again' as stage,
        min(ordered_at) as entered_at
    from (
        select
            orders.customer_id,
            orders.ordered_at,
            dense_rank() over (
                partition by orders.customer_id
                order by orders.ordered_date
            ) as day_number
        from orders
        cross join as_of
        where orders.is_revenue and orders.customer_id is not null and orders.ordered_at <= as_of.as_of_at
    ) as order_days
    where day_number = 2
    group by customer_id
),

entries as (
    select
        'sales' as funnel,
        opportunity_firsts.subject_key,
        coalesce(opportunities.channel, 'unknown') as channel,
        opportunity_ranks.stage_number,
        opportunity_ranks.stage,
        opportunity_firsts.entered_at
    from opportunity_firsts
    inner join opportunity_ranks
        on opportunity_firsts.stage = opportunity_ranks.stage
    left join opportunities
        on opportunity_firsts.subject_key = opportunities.opportunity_key
    union all
    select
        'customer' as funnel,
        subject_key,
        'unknown' as channel,
        case stage when 'visited' then 1 when 'bought' then 2 else 3 end as stage_number,
        stage,
        entered_at
    from customer_firsts
),

stages as (
    select distinct
        funnel,
        stage_number,
        stage
    from entries
),

-- Who came to a stage passed all before it, whether the source logged them or not.
subjects as (
    select
        funnel,
        subject_key,
        channel,
        max(stage_number) as furthest_number
    from entries
    group by funnel, subject_key, channel
),

reached as (
    select
        subjects.funnel,
        subjects.subject_key,
        subjects.channel,
        stages.stage_number,
        stages.stage,
        subjects.furthest_number > stages.stage_number as is_passed,
        entries.entered_at
    from subjects
    inner join stages
        on
            subjects.funnel = stages.funnel
            and subjects.furthest_number >= stages.stage_number
    left join entries
        on
            subjects.funnel = entries.funnel
            and subjects.subject_key = entries.subject_key
            and stages.stage_number = entries.stage_number
),

timed as (
    select
        *,
        -- Time to the next stage is known where both moments are.
        {{ minutes_between(
            'entered_at',
            'lead(entered_at) over (
                partition by funnel, subject_key
                order by stage_number
            )'
        ) }} / 1440 as days_to_next
    from reached
),

sliced as (
    select
        *,
        'all' as slice_channel
    from timed
    union all
    select
        *,
        channel as slice_channel
    from timed
    where funnel = 'sales'
),

counted as (
    select
        funnel,
        slice_channel as channel,
        stage_number,
        stage,
        count(*) as entered_count,
        -- After the last stage there is none to go on to.
        case
            when stage_number < max(stage_number) over (partition by funnel) then count(*) filter (where is_passed)
        end as passed_count,
        count(days_to_next) filter (where days_to_next >= 0) as timed_count,
        median(days_to_next) filter (where days_to_next >= 0) as median_days_to_next,
        quantile_cont(days_to_next, 0.9) filter (where days_to_next >= 0) as p90_days_to_next
    from sliced
    group by funnel, slice_channel, stage_number, stage
),

final as (
    select
        funnel,
        channel,
        cast(stage_number as integer) as stage_number,
        stage,
        entered_count,
        passed_count,
        {{ shown_share('passed_count', 'entered_count', 'conversion_rate') }},
        entered_count / cast(first_value(entered_count) over (
            partition by funnel, channel
            order by stage_number
        ) as double) as share_of_first,
        timed_count,
        {{ shown('median_days_to_next', 'timed_count') }} as median_days_to_next,
        {{ shown('p90_days_to_next', 'timed_count') }} as p90_days_to_next,
        {{ reliability('entered_count') }} as reliability
    from counted
)

select * from final
