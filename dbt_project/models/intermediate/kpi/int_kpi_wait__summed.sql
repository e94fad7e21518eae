{#- A table: quantiles need all records of a cell in order. Cells that hold what they held keep their rows. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'relation': 'int_kpi_wait_cell__touched', 'column': 'cell_id'}}
) }}

{%- set shares = {'median': 0.5, 'p90': 0.9} %}
{%- if not execute %}
    {%- do ref('int_kpi_wait_cell__touched') %}
{%- endif %}

with records as (
    select * from {{ ref('int_kpi_wait__observed') }}
),

days as (
    select * from {{ ref('int_kpi_day__mapped') }}
),

{{ placed_waits() }},

periods as (
    select distinct
        calendar,
        period_grain,
        period_start,
        {{ wait_period() }} as period_id
    from days
),

slices as (
    select distinct
        slice_id,
        metric,
        slice,
        slice_value
    from record_slices
),

-- Sorted lists are an order of magnitude cheaper than windows over cells.
lists as (
    select
        slice_id,
        period_id,
        {{ wait_cell_content() }} as content_hash,
        count(*) as total,
        count(*) filter (where is_counted) as known,
        count(*) filter (where is_counted and is_answered) as answered,
        list_sort(list(code) filter (where is_counted)) as codes
    from placed
    {%- if keeps_rows() %}
    where {{ wait_cell('slice_id', 'period_id') }} in ({{ touched_keys() }})
    {%- endif %}
    group by slice_id, period_id
),

cells as (
    select
        *,
        list_filter(codes, lambda code: code % 2 = 0) as answer_codes
    from lists
),

-- The list keeps its order, and so does a running sum that has no order of its own.
unfolded as (
    select
        slice_id,
        period_id,
        known,
        unnest(codes) as code,
        unnest(codes[2:]) as next_code,
        generate_subscripts(codes, 1) as position
    from lists
    where known >= {{ suppressed_below() }}
),

at_risks as (
    select
        *,
        code % 2 = 0 as is_answer,
        cast(known - position + 1 as double) as at_risk
    from unfolded
),

-- Kaplan-Meier as in mart_subscription_survival, one record after the other, which at the last of equal waits comes to
-- the same. The sums run over all cells and are exact decimals, so that what came before can be taken off; with more
-- than 15 places they would leave the whole numbers a double holds, and their conversion would cost most of the model.
steps as (
    select
        *,
        cast(case when is_answer and at_risk > 1 then ln(1 - 1 / at_risk) else 0 end as decimal(38, 15)) as log_step,
        cast(case when is_answer and at_risk > 1 then 1 / (at_risk * (at_risk - 1)) else 0 end as decimal(38, 15))
            as greenwood_step
    from at_risks
),

running as (
    select
        *,
        sum(log_step) over (rows between unbounded preceding and current row) as log_sum, -- noqa: PRS
        sum(greenwood_step) over (rows between unbounded preceding and current row) as greenwood_sum -- noqa: PRS
    from steps
),

starts as (
    select
        slice_id,
        period_id,
        log_sum - log_step as log_before,
        greenwood_sum - greenwood_step as greenwood_before
    from running
    where position = 1
),

accumulated as (
    select
        running.slice_id,
        running.period_id,
        running.code // 2 as wait,
        running.at_risk = 1 as is_extinct,
        cast(running.log_sum - starts.log_before as double) as log_survival,
        cast(running.greenwood_sum - starts.greenwood_before as double) as greenwood
    from running
    inner join starts
        on
            running.slice_id = starts.slice_id
            and running.period_id = starts.period_id
    -- The curve falls at answers; where several have one wait, it is known at the last of them.
    where
        running.is_answer
        and running.code is distinct from running.next_code
),

estimated as (
    select
        slice_id,
        period_id,
        wait,
        case when is_extinct then 0 else exp(log_survival) end as survival,
        case when not is_extinct and log_survival < 0 then {{ z95() }} * sqrt(greenwood) / abs(log_survival) end
            as half_width
    from accumulated
),

-- The leeway holds the rounding of logarithms, far below one record.
crossings as (
    select
        slice_id,
        period_id,
        min(wait) filter (where survival <= 0.5 + 1e-9) as km_median,
        min(wait) filter (where power(survival, exp(coalesce(half_width, 0))) <= 0.5 + 1e-9) as km_median_low,
        min(wait) filter (where power(survival, exp(-half_width)) <= 0.5 + 1e-9) as km_median_high
    from estimated
    group by slice_id, period_id
),

-- The ranks between which a quantile lies: exact, from the binomial distribution of the values below it. Beyond
-- seven standard deviations nothing is left of it.
sample_sizes as (
    select distinct answered
    from cells
    where answered >= {{ suppressed_below() }}
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

quantiles as (
    select
        cells.slice_id,
        cells.period_id,
        cells.content_hash,
        cells.total,
        cells.known,
        cells.answered,
        (
            cells.answer_codes[(cells.answered + 1) // 2] // 2 + cells.answer_codes[(cells.answered + 2) // 2] // 2
        ) / 2.0 as median,
        -- The smallest rank of nine tenths or more, in whole numbers.
        cells.answer_codes[(9 * cells.answered + 9) // 10] // 2 as p90,
        {%- for statistic in shares %}
        cells.answer_codes[nullif({{ statistic }}_bounds.lower_rank, 0)] // 2 as {{ statistic }}_low,
        cells.answer_codes[{{ statistic }}_bounds.upper_rank] // 2 as {{ statistic }}_high,
        {%- endfor %}
        crossings.km_median,
        crossings.km_median_low,
        crossings.km_median_high
    from cells
    left join crossings
        on
            cells.slice_id = crossings.slice_id
            and cells.period_id = crossings.period_id
    {%- for statistic in shares %}
    left join bounds as {{ statistic }}_bounds
        on
            cells.answered = {{ statistic }}_bounds.answered
            and {{ statistic }}_bounds.statistic = '{{ statistic }}'
    {%- endfor %}
),

by_statistic as (
    {%- for statistic in ('median', 'p90', 'km_median') %}
    {%- set size = 'known' if statistic == 'km_median' else 'answered' %}
    select
        replace(slices.metric, '_km_median', '_{{ statistic }}') as metric,
        periods.calendar,
        periods.period_grain,
        periods.period_start,
        slices.slice,
        slices.slice_value,
        {{ wait_cell('quantiles.slice_id', 'quantiles.period_id') }} as cell_id,
        quantiles.content_hash,
        quantiles.{{ size }} as n,
        quantiles.total - quantiles.{{ size }} as n_invalid,
        quantiles.{{ statistic }} / 10000.0 as quantile,
        -- Nobody answers before being asked: without a value to bound it, the lower bound is 0.
        case when quantiles.{{ statistic }} is not null then coalesce(quantiles.{{ statistic }}_low / 10000.0, 0) end
            as quantile_low,
        case when quantiles.{{ statistic }} is not null then quantiles.{{ statistic }}_high / 10000.0 end
            as quantile_high
    from quantiles
    inner join slices
        on quantiles.slice_id = slices.slice_id
    inner join periods
        on quantiles.period_id = periods.period_id
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
)

select
    metric,
    calendar,
    period_grain,
    period_start,
    slice,
    slice_value,
    cell_id,
    content_hash,
    n,
    n_invalid,
    case when n >= {{ suppressed_below() }} then quantile end as quantile,
    case when n >= {{ suppressed_below() }} then quantile_low end as quantile_low,
    case when n >= {{ suppressed_below() }} then quantile_high end as quantile_high
from by_statistic
