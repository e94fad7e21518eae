with subscriptions as (
    select * from {{ ref('fct_subscription') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

-- Until when each subscription was observed, and whether its end was seen.
lives as (
    select
        coalesce(subscriptions.plan, 'unknown') as plan,
        subscriptions.ended_at is not null and subscriptions.ended_at <= as_of.as_of_at as has_ended,
        subscriptions.started_date,
        case
            when subscriptions.ended_at <= as_of.as_of_at
                then greatest(subscriptions.ended_date, subscriptions.started_date)
            else as_of.as_of_date
        end as observed_date
    from subscriptions
    cross join as_of
    where subscriptions.started_at <= as_of.as_of_at
),

whole as (
    select
        *,
        datesub('month', started_date, observed_date) as whole_months
    from lives
),

-- Whole months alone would have an end within a month happen when that month began. A part of a month is days of the
-- longest one, so that it stays below a whole.
timed as (
    select
        plan,
        has_ended,
        whole_months
        + (observed_date - cast(started_date + to_months(cast(whole_months as integer)) as date)) / 31.0 as months
    from whole
),

plan_lives as (
    select * from timed
    union all
    select * replace ('all' as plan)
    from timed
),

observed as (
    select
        plan,
        months,
        count(*) as leaving,
        count(*) filter (where has_ended) as ended
    from plan_lives
    group by plan, months
),

risk_sets as (
    select
        plan,
        months,
        ended,
        sum(leaving) over (
            partition by plan
            order by months desc
            rows between unbounded preceding and current row
        ) as at_risk
    from observed
),

-- Kaplan-Meier: the product of (1 - ended / at risk), as a sum of logarithms; Greenwood: the sum of
-- ended / (at risk * (at risk - ended)). Where all at risk end, both are undefined and the curve stays at zero.
accumulated as (
    select
        plan,
        months,
        max(case when ended = at_risk then 1 else 0 end) over months_so_far = 1 as is_extinct,
        sum(case when ended < at_risk then ln(1 - ended / cast(at_risk as double)) end) over months_so_far
            as log_survival,
        sum(
            case when ended < at_risk then ended / (cast(at_risk as double) * (at_risk - ended)) end
        ) over months_so_far as greenwood_sum
    from risk_sets
    window months_so_far as (
        partition by plan
        order by months
        rows between unbounded preceding and current row
    )
),

-- Every month has its row, also those in which nothing ended, so that a curve can be read at any month.
plan_months as (
    select
        plan,
        unnest(generate_series(0, cast(max(ceil(months)) as bigint))) as months
    from observed
    group by plan
),

ended_by_month as (
    select
        plan,
        cast(ceil(months) as bigint) as months,
        sum(ended) as ended
    from observed
    group by plan, ceil(months)
),

-- At a month the curve is where the last time before it left it, and at risk is who was observed until the next.
monthly as (
    select
        plan_months.plan,
        plan_months.months,
        cast(coalesce(risk_sets.at_risk, 0) as bigint) as at_risk,
        cast(coalesce(ended_by_month.ended, 0) as bigint) as ended,
        coalesce(accumulated.is_extinct, false) as is_extinct,
        coalesce(accumulated.log_survival, 0) as log_survival,
        accumulated.greenwood_sum
    from plan_months
    asof left join accumulated
        on
            plan_months.plan = accumulated.plan
            and plan_months.months >= accumulated.months
    asof left join risk_sets
        on
            plan_months.plan = risk_sets.plan
            and plan_months.months <= risk_sets.months
    left join ended_by_month
        on
            plan_months.plan = ended_by_month.plan
            and plan_months.months = ended_by_month.months
),

estimated as (
    select
        plan,
        months,
        at_risk,
        ended,
        case when is_extinct then 0 else exp(log_survival) end as survival,
        -- On the scale of log(-log S) the interval cannot leave 0 to 1; before the first end there is none.
        case
            when not is_extinct and log_survival < 0
                then 1.959963984540054 * sqrt(greenwood_sum) / abs(log_survival)
        end as half_width,
        case
            when at_risk < {{ suppressed_below() }} then 'suppressed'
            when at_risk < {{ low_below() }} then 'low'
            else 'ok'
        end as reliability
    from monthly
),

final as (
    select
        plan,
        months,
        at_risk,
        ended,
        case when reliability <> 'suppressed' then survival end as survival,
        case when reliability <> 'suppressed' then power(survival, exp(half_width)) end as ci_low,
        case when reliability <> 'suppressed' then power(survival, exp(-half_width)) end as ci_high,
        reliability
    from estimated
)

select * from final
