{#- A view: the figures follow from the parts, and a tool that cuts them otherwise follows the same formulas. -#}
{{ config(materialized='view') }}

with parts as (
    select * from {{ ref('mart_kpi_parts') }}
),

metrics as (
    select * from {{ ref('dim_metric') }}
),

sized as (
    select
        parts.*,
        metrics.interval_kind,
        metrics.multiplier,
        metrics.lowest,
        metrics.highest,
        {{ effective_n('parts') }} as n_eff,
        {{ kpi_value('parts', 'metrics') }} as value
    from parts
    inner join metrics
        on parts.metric = metrics.metric
),

bounded as (
    select
        *,
        case when value is not null then {{ interval_bound('-') }} end as ci_low,
        case when value is not null then {{ interval_bound('+') }} end as ci_high,
        case
            when n_eff < {{ suppressed_below() }} then 'suppressed'
            when n_eff < {{ low_below() }} then 'low'
            else 'ok'
        end as reliability
    from sized
),

final as (
    select
        metric,
        calendar,
        period_grain,
        period_start,
        period_end,
        slice,
        slice_value,
        numerator,
        denominator,
        n,
        n_invalid,
        case when sum_weight_sq is not null then n_eff end as n_eff,
        sum,
        sum_sq,
        value,
        case when ci_low < lowest then lowest else ci_low end as ci_low,
        case when ci_high > highest then highest else ci_high end as ci_high,
        reliability,
        is_complete,
        restated_at,
        previous_value,
        case when restated_at is not null then value - previous_value end as restated_by
    from bounded
)

select * from final
