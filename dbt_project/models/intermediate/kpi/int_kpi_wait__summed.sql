{#- A table: quantiles need every record of every cell in order, once. -#}
{{ config(materialized='table') }}

{%- set dimensions = ['channel', 'region', 'segment', 'product_line'] %}
{%- set shares = {'median': 0.5, 'p90': 0.9} %}

with records as (
    select * from {{ ref('int_kpi_wait__observed') }}
),

days as (
    select * from {{ ref('int_kpi_day__mapped') }}
),

-- A cell is known by a number while its records are put in order.
day_periods as (
    select
        date_day,
        calendar,
        period_grain,
        period_start,
        dense_rank() over (order by calendar, period_grain, period_start) as period_id
    from days
),

periods as (
    select distinct
        period_id,
        calendar,
        period_grain,
        period_start
    from day_periods
),

record_slices as (
    select
        metric,
        observed_date,
        is_counted,
        is_answered,
        value,
        'all' as slice,
        'all' as slice_value
    from records
    {%- for dimension in dimensions %}
    union all
    select
        metric,
        observed_date,
        is_counted,
        is_answered,
        value,
        '{{ dimension }}' as slice,
        {{ dimension }} as slice_value
    from records
    {%- endfor %}
),

numbered as (
    select
        *,
        dense_rank() over (order by metric, slice, slice_value) as slice_id
    from record_slices
),

slices as (
    select distinct
        slice_id,
        metric,
        slice,
        slice_value
    from numbered
),

placed as (
    select
        numbered.slice_id,
        day_periods.period_id,
        numbered.is_counted,
        numbered.is_answered,
        numbered.value
    from numbered
    inner join day_periods
        on numbered.observed_date = day_periods.date_day
),

counted as (
    select
        slice_id,
        period_id,
        count(*) filter (where is_counted) as known,
        count(*) filter (where is_counted and is_answered) as answered,
        count(*) as total
    from placed
    group by slice_id, period_id
),

-- An answer comes before a wait that ends at the same minute without one.
ordered as (
    select
        placed.slice_id,
        placed.period_id,
        placed.value,
        placed.is_answered,
        counted.answered,
        counted.known - row_number() over record_order + 1 as at_risk,
        count(*) filter (where placed.is_answered) over record_order as answer_rank,
        coalesce(lead(placed.value) over record_order <> placed.value, true) as is_last_of_value
    from placed
    inner join counted
        on
            placed.slice_id = counted.slice_id
            and placed.period_id = counted.period_id
    where placed.is_counted
    window record_order as (
        partition by placed.slice_id, placed.period_id
        order by placed.value asc, placed.is_answered desc
        rows between unbounded preceding and current row
    )
),

-- Kaplan-Meier as in mart_subscription_survival, one record after the other, which at the last of equal values
-- comes to the same.
accumulated as (
    select
        *,
        sum(case when is_answered and at_risk > 1 then ln(1 - 1 / cast(at_risk as double)) end) over waits_so_far
            as log_survival,
        sum(case when is_answered and at_risk > 1 then 1 / (cast(at_risk as double) * (at_risk - 1)) end)
            over waits_so_far as greenwood_sum,
        is_answered and at_risk = 1 as is_extinct
    from ordered
    window waits_so_far as (
        partition by slice_id, period_id
        order by at_risk desc
        rows between unbounded preceding and current row
    )
),

estimated as (
    select
        *,
        case when is_extinct then 0 else exp(coalesce(log_survival, 0)) end as survival,
        case when log_survival < 0 and not is_extinct then {{ z95() }} * sqrt(greenwood_sum) / abs(log_survival) end
            as half_width
    from accumulated
),

-- The ranks between which a quantile lies: exact, from the binomial distribution of the values below it. Beyond
-- seven standard deviations nothing is left of it.
sample_sizes as (
    select distinct answered
    from counted
    where answered > 0
),

below_counts as (
    {%- for statistic, share in shares.items() %}
    select
        '{{ statistic }}' as statistic,
        answered,
        {{ share }} as share,
        unnest(generate_series(
            greatest(0, cast(floor(answered * {{ share }} - 7 * sqrt(answered * {{ share * (1 - share) }})) as bigint)),
            least(
                answered, cast(ceil(answered * {{ share }} + 7 * sqrt(answered * {{ share * (1 - share) }})) as bigint)
            )
        )) as below
    from sample_sizes
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

cumulated as (
    select
        statistic,
        answered,
        below,
        sum(exp(
            lgamma(answered + 1) - lgamma(below + 1) - lgamma(answered - below + 1)
            + below * ln(share) + (answered - below) * ln(1 - share)
        )) over (
            partition by statistic, answered
            order by below
            rows between unbounded preceding and current row
        ) as probability
    from below_counts
),

bounds as (
    select
        statistic,
        answered,
        min(below) + count(*) filter (where probability <= 0.025) as lower_rank,
        min(below) + count(*) filter (where probability < 0.975) + 1 as upper_rank
    from cumulated
    group by statistic, answered
),

ranked as (
    select
        estimated.*,
        median_bounds.lower_rank as median_lower_rank,
        median_bounds.upper_rank as median_upper_rank,
        p90_bounds.lower_rank as p90_lower_rank,
        p90_bounds.upper_rank as p90_upper_rank
    from estimated
    left join bounds as median_bounds
        on
            estimated.answered = median_bounds.answered
            and median_bounds.statistic = 'median'
    left join bounds as p90_bounds
        on
            estimated.answered = p90_bounds.answered
            and p90_bounds.statistic = 'p90'
),

quantiles as (
    select
        slice_id,
        period_id,
        avg(cast(value as double)) filter (
            where is_answered and answer_rank in ((answered + 1) // 2, (answered + 2) // 2)
        ) as median,
        -- The smallest rank of nine tenths or more, in whole numbers.
        max(value) filter (where is_answered and answer_rank = (9 * answered + 9) // 10) as p90,
        max(value) filter (where is_answered and answer_rank = median_lower_rank) as median_low,
        max(value) filter (where is_answered and answer_rank = median_upper_rank) as median_high,
        max(value) filter (where is_answered and answer_rank = p90_lower_rank) as p90_low,
        max(value) filter (where is_answered and answer_rank = p90_upper_rank) as p90_high,
        -- The leeway holds the rounding of logarithms, far below one record.
        min(value) filter (where is_last_of_value and survival <= 0.5 + 1e-9) as km_median,
        min(value) filter (
            where is_last_of_value and power(survival, exp(coalesce(half_width, 0))) <= 0.5 + 1e-9
        ) as km_median_low,
        min(value) filter (
            where is_last_of_value and power(survival, exp(-half_width)) <= 0.5 + 1e-9
        ) as km_median_high
    from ranked
    group by slice_id, period_id
),

by_statistic as (
    {%- for statistic in ('median', 'p90', 'km_median') %}
    select
        replace(slices.metric, '_km_median', '_{{ statistic }}') as metric,
        periods.calendar,
        periods.period_grain,
        periods.period_start,
        slices.slice,
        slices.slice_value,
        {{ 'counted.known' if statistic == 'km_median' else 'counted.answered' }} as n,
        counted.total - {{ 'counted.known' if statistic == 'km_median' else 'counted.answered' }} as n_invalid,
        cast(quantiles.{{ statistic }} as double) as quantile,
        -- Nobody answers before being asked: without a value to bound it, the lower bound is 0.
        case
            when quantiles.{{ statistic }} is not null then coalesce(cast(quantiles.{{ statistic }}_low as double), 0)
        end as quantile_low,
        case
            when quantiles.{{ statistic }} is not null then cast(quantiles.{{ statistic }}_high as double)
        end as quantile_high
    from counted
    inner join slices
        on counted.slice_id = slices.slice_id
    inner join periods
        on counted.period_id = periods.period_id
    left join quantiles
        on
            counted.slice_id = quantiles.slice_id
            and counted.period_id = quantiles.period_id
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
)

select * from by_statistic
