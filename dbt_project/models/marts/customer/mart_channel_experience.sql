with contacts as (
    select * from {{ ref('int_customer_channel__contacted') }}
),

-- Quarters before the first that any figure is of are none to compare with.
quarters as (
    select *
    from {{ ref('dim_period') }}
    where period_grain = 'quarter'
),

counted as (
    select
        contacts.calendar,
        contacts.quarter_start,
        contacts.channel,
        cast(sum(contacts.contact_count) as bigint) as contact_count,
        count(*) filter (where contacts.contact_count > 0) as customer_count,
        sum(contacts.switched_count) as switched_count,
        cast(sum(contacts.scored_count) as bigint) as scored_count,
        sum(contacts.score_sum) as score_sum,
        sum(contacts.score_sum_sq) as score_sum_sq
    from contacts
    inner join quarters
        on
            contacts.calendar = quarters.calendar
            and contacts.quarter_start = quarters.period_start
    group by contacts.calendar, contacts.quarter_start, contacts.channel
),

compared as (
    select
        *,
        sum(scored_count) over (partition by calendar, quarter_start) - scored_count as other_scored_count,
        sum(score_sum) over (partition by calendar, quarter_start) - score_sum as other_score_sum,
        sum(score_sum_sq) over (partition by calendar, quarter_start) - score_sum_sq as other_score_sum_sq
    from counted
),

-- The variances of both means.
varied as (
    select
        *,
        least(scored_count, other_scored_count) as compared_count,
        greatest(0, score_sum_sq - score_sum * score_sum / nullif(scored_count, 0))
        / nullif(scored_count - 1, 0) / nullif(scored_count, 0) as variance,
        greatest(0, other_score_sum_sq - other_score_sum * other_score_sum / nullif(other_scored_count, 0))
        / nullif(other_scored_count - 1, 0) / nullif(other_scored_count, 0) as other_variance
    from compared
),

-- Their difference, with its degrees of freedom (Welch, Satterthwaite).
estimated as (
    select
        *,
        score_sum / nullif(scored_count, 0) - other_score_sum / nullif(other_scored_count, 0) as gap,
        sqrt(variance + other_variance) as gap_error,
        -- Where they are whole, rounding must not take one away; where all scores are equal, the interval is the gap.
        coalesce(
            floor(
                pow(variance + other_variance, 2)
                / nullif(
                    variance * variance / (scored_count - 1)
                    + other_variance * other_variance / (other_scored_count - 1),
                    0
                )
                + 0.000001
            ),
            compared_count - 1
        ) as degrees_of_freedom
    from varied
),

final as (
    select
        calendar,
        quarter_start,
        channel,
        contact_count,
        customer_count,
        {{ shown_share('switched_count', 'contact_count', 'switch_rate') }},
        scored_count,
        {{ shown_mean('scored_count', 'score_sum', 'score_sum_sq', 'score_mean') }},
        cast(other_scored_count as bigint) as other_scored_count,
        {{ shown('gap', 'compared_count') }} as score_gap,
        {{ shown('gap - (' ~ t_quantile('degrees_of_freedom') ~ ') * gap_error', 'compared_count') }}
            as score_gap_ci_low,
        {{ shown('gap + (' ~ t_quantile('degrees_of_freedom') ~ ') * gap_error', 'compared_count') }}
            as score_gap_ci_high,
        {{ reliability('contact_count') }} as reliability
    from estimated
)

select * from final
