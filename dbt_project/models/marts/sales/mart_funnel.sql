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

-- Sales: how far opportunities came. A loss is where one left the funnel, not a stage of it, and a win its end.
stages_on_the_way as (
    select
        opportunity_key,
        lower(stage) as stage,
        entered_at,
        stage_number
    from stage_events
    where lower(stage) not in ('lost', 'won')
),

opportunity_entries as (
    select
        opportunity_key as subject_key,
        stage,
        entered_at,
        stage_number
    from stages_on_the_way
    union all
    select
        opportunities.opportunity_key as subject_key,
        'created' as stage,
        opportunities.created_at as entered_at,
        null as stage_number
    from opportunities
    left join stages_on_the_way
        on opportunities.opportunity_key = stages_on_the_way.opportunity_key
    -- Sources that keep no log of stages, or the last one only, still say when it began and how it ended.
    where stages_on_the_way.opportunity_key is null
    union all
    select
        opportunity_key as subject_key,
        'won' as stage,
        closed_at as entered_at,
        null as stage_number
    from opportunities
    where outcome = 'won'
),

opportunity_firsts as (
    select
        opportunity_entries.subject_key,
        opportunity_entries.stage,
        min(opportunity_entries.entered_at) as entered_at,
        min(opportunity_entries.stage_number) as logged_number
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
            order by entered_at, logged_number nulls last, stage
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

order_days as (
    select
        orders.customer_id,
        min(orders.ordered_at) as ordered_at
    from orders
    cross join as_of
    where orders.is_revenue and orders.customer_id is not null and orders.ordered_at <= as_of.as_of_at
    group by orders.customer_id, orders.ordered_date
),

first_order_days as (
    select
        customer_id,
        min(ordered_at, 2) as ordered_at
    from order_days
    group by customer_id
),

-- Customers: from a first visit to a purchase on a second day.
customer_firsts as (
    select
        sessions.customer_id as subject_key,
        1 as stage_number,
        'visited' as stage,
        min(sessions.started_at) as entered_at
    from sessions
    cross join as_of
    where sessions.customer_id is not null and sessions.started_at <= as_of.as_of_at
    group by sessions.customer_id
    {%- for stage in ('bought', 'bought_again') %}
    union all
    select
        customer_id as subject_key,
        {{ loop.index + 1 }} as stage_number,
        '{{ stage }}' as stage,
        ordered_at[{{ loop.index }}] as entered_at
    from first_order_days
    where len(ordered_at) >= {{ loop.index }}
    {%- endfor %}
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
        stage_number,
        stage,
        entered_at
    from customer_firsts
),

-- Who came to a stage passed all before it, whether the source logged them or not.
subjects as (
    select
        funnel,
        channel,
        subject_key,
        max(stage_number) as furthest_number
    from entries
    group by funnel, channel, subject_key
),

subject_counts as (
    select
        funnel,
        channel,
        furthest_number,
        count(*) as subject_count
    from subjects
    group by funnel, channel, furthest_number
),

-- Time to the next stage is known where both moments are.
timed as (
    select
        funnel,
        channel,
        stage_number,
        case
            when lead(stage_number) over stages_of_subject = stage_number + 1
                then {{ minutes_between('entered_at', 'lead(entered_at) over stages_of_subject') }} / 1440
        end as days_to_next
    from entries
    window stages_of_subject as (
        partition by funnel, subject_key
        order by stage_number
    )
),

{%- for relation in ('subject_counts', 'timed') %}

sliced_{{ relation }} as (
    select * replace ('all' as channel)
    from {{ relation }}
    union all
    select *
    from {{ relation }}
    where funnel = 'sales'
),
{%- endfor %}

stages as (
    select distinct
        funnel,
        stage_number,
        stage
    from entries
),

counts as (
    select
        stages.funnel,
        sliced_subject_counts.channel,
        stages.stage_number,
        stages.stage,
        sum(sliced_subject_counts.subject_count) as entered_count,
        sum(sliced_subject_counts.subject_count) filter (
            where sliced_subject_counts.furthest_number > stages.stage_number
        ) as passed_count
    from sliced_subject_counts
    inner join stages
        on
            sliced_subject_counts.funnel = stages.funnel
            and sliced_subject_counts.furthest_number >= stages.stage_number
    group by stages.funnel, sliced_subject_counts.channel, stages.stage_number, stages.stage
),

times as (
    select
        funnel,
        channel,
        stage_number,
        count(*) as timed_count,
        median(days_to_next) as median_days_to_next,
        quantile_cont(days_to_next, 0.9) as p90_days_to_next
    from sliced_timed
    where days_to_next >= 0
    group by funnel, channel, stage_number
),

counted as (
    select
        counts.funnel,
        counts.channel,
        counts.stage_number,
        counts.stage,
        cast(counts.entered_count as bigint) as entered_count,
        first_value(counts.entered_count) over (
            partition by counts.funnel, counts.channel
            order by counts.stage_number
        ) as first_count,
        -- After the last stage there is none to go on to.
        case
            when counts.stage_number < max(counts.stage_number) over (partition by counts.funnel)
                then cast(coalesce(counts.passed_count, 0) as bigint)
        end as passed_count,
        coalesce(times.timed_count, 0) as timed_count,
        times.median_days_to_next,
        times.p90_days_to_next
    from counts
    left join times
        on
            counts.funnel = times.funnel
            and counts.channel = times.channel
            and counts.stage_number = times.stage_number
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
        {{ shown('entered_count / cast(first_count as double)', 'first_count') }} as share_of_first,
        timed_count,
        {{ shown('median_days_to_next', 'timed_count') }} as median_days_to_next,
        {{ shown('p90_days_to_next', 'timed_count') }} as p90_days_to_next,
        {{ reliability('entered_count') }} as reliability
    from counted
)

select * from final
