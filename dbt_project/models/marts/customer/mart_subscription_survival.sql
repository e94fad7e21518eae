with subscriptions as (
    select * from {{ ref('fct_subscription') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

-- How long each subscription was observed, in whole months, and whether its end was seen.
lives as (
    select
        coalesce(subscriptions.plan, 'unknown') as plan,
        subscriptions.ended_at is not null and subscriptions.ended_at <= as_of.as_of_at as has_ended,
        datesub(
            'month',
            subscriptions.started_date,
            case
                when subscriptions.ended_at <= as_of.as_of_at
                    then greatest(subscriptions.ended_date, subscriptions.started_date)
                else as_of.as_of_date
            end
        ) as observed_months
    from subscriptions
    cross join as_of
    where subscriptions.started_at <= as_of.as_of_at
),

plan_lives as (
    select * from lives
    union all
    select
        'all' as plan,
        has_ended,
        observed_months
    from lives
),

observed as (
    select
        plan,
        observed_months as months,
        count(*) as leaving,
        count(*) filter (where has_ended) as ended
    from plan_lives
    group by plan, observed_months
),

-- Every month has its row, also those in which nothing ended, so that a curve can be read at any month.
plan_months as (
    select
        plan,
        unnest(generate_series(0, max(months))) as months
    from observed
    group by plan
),

risk_sets as (
    select
        plan_months.plan,
        plan_months.months,
        coalesce(observed.ended, 0) as ended,
        sum(coalesce(observed.leaving, 0)) over (
            partition by plan_months.plan
            order by plan_months.months desc
            rows between unbounded preceding and current row
        ) as at_risk
    from plan_months
    left join observed
        on
            plan_months.plan = observed.plan
            and plan_months.months = observed.months
),

-- Kaplan-Meier: the product of (1 - ended / at risk), as a sum of logarithms; Greenwood: the sum of
-- ended / (at risk * (at risk - ended)). Where all at risk end, both are undefined and the curve stays at zero.
accumulated as (
    select
        plan,
        months,
        cast(at_risk as bigint) as at_risk,
        ended,
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
    from accumulated
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
