{#- A contact through another channel so soon after is about the same matter. -#}
{%- set switch_days = 7 %}

with interactions as (
    select * from {{ ref('fct_interaction') }}
),

days as (
    select * from {{ ref('int_kpi_day__mapped') }}
),

contacts as (
    select
        customer_id,
        interaction_key,
        occurred_at,
        occurred_date,
        coalesce(channel, 'unknown') as channel,
        score_100
    from interactions
    where direction = 'inbound'
),

followed as (
    select
        *,
        lead(channel) over contacts_of_customer as next_channel,
        lead(occurred_at) over contacts_of_customer as next_at
    from contacts
    window contacts_of_customer as (
        partition by customer_id
        order by occurred_at, interaction_key
    )
),

counted as (
    select
        days.calendar,
        days.period_start,
        followed.channel,
        count(*) as contact_count,
        count(distinct followed.customer_id) as customer_count,
        count(*) filter (
            where
            followed.next_channel <> followed.channel
            and followed.next_at <= followed.occurred_at + interval {{ switch_days }} day
        ) as switched_count,
        count(followed.score_100) as scored_count,
        coalesce(sum(followed.score_100), 0) as score_sum,
        coalesce(sum(followed.score_100 * followed.score_100), 0) as score_sum_sq
    from followed
    inner join days
        on followed.occurred_date = days.date_day
    where days.period_grain = 'quarter'
    group by days.calendar, days.period_start, followed.channel
),

compared as (
    select
        *,
        sum(scored_count) over (partition by calendar, period_start) - scored_count as other_scored_count,
        sum(score_sum) over (partition by calendar, period_start) - score_sum as other_score_sum,
        sum(score_sum_sq) over (partition by calendar, period_start) - score_sum_sq as other_score_sum_sq
    from counted
),

-- The difference of two means, and the variance of it (Welch).
estimated as (
    select
        *,
        score_sum / nullif(scored_count, 0) - other_score_sum / nullif(other_scored_count, 0) as gap,
        sqrt(
            greatest(0, score_sum_sq - score_sum * score_sum / nullif(scored_count, 0))
            / nullif(scored_count - 1, 0) / nullif(scored_count, 0)
            + greatest(0, other_score_sum_sq - other_score_sum * other_score_sum / nullif(other_scored_count, 0))
            / nullif(other_scored_count - 1, 0) / nullif(other_scored_count, 0)
        ) as gap_error,
        least(scored_count, other_scored_count) as compared_count
    from compared
),

final as (
    select
        calendar,
        period_start as quarter_start,
        channel,
        contact_count,
        customer_count,
        {{ shown_share('switched_count', 'contact_count', 'switch_rate') }},
        scored_count,
        {{ shown_mean('scored_count', 'score_sum', 'score_sum_sq', 'score_mean') }},
        cast(other_scored_count as bigint) as other_scored_count,
        {{ shown('gap', 'compared_count') }} as score_gap,
        {{ shown('gap - ' ~ z95() ~ ' * gap_error', 'compared_count') }} as score_gap_ci_low,
        {{ shown('gap + ' ~ z95() ~ ' * gap_error', 'compared_count') }} as score_gap_ci_high,
        {{ reliability('contact_count') }} as reliability
    from estimated
)

select * from final
