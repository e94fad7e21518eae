with cases as (
    select * from {{ ref('fct_feedback_case') }}
),

days as (
    select * from {{ ref('int_kpi_day__mapped') }}
),

dated as (
    select
        cases.*,
        days.calendar,
        days.period_start
    from cases
    inner join days
        on cases.opened_date = days.date_day
    where days.period_grain = 'month'
),

sliced as (
    select * from dated
    union all
    select * replace ('all' as reason)
    from dated
),

counted as (
    select
        calendar,
        period_start,
        reason,
        count(*) as case_count,
        count(*) filter (where status = 'open') as open_count,
        count(*) filter (where status = 'contacted') as contacted_count,
        count(*) filter (where status = 'closed') as closed_count,
        max(open_days) as oldest_open_days,
        count(is_contacted_in_time) as contact_judged_count,
        count(*) filter (where is_contacted_in_time) as contacted_in_time_count,
        count(is_closed_in_time) as close_judged_count,
        count(*) filter (where is_closed_in_time) as closed_in_time_count,
        median(hours_to_contact) as median_hours_to_contact,
        count(hours_to_contact) as ever_contacted_count,
        count(score_change) as resurveyed_count,
        sum(score_change) as score_change_sum,
        sum(score_change * score_change) as score_change_sum_sq
    from sliced
    group by calendar, period_start, reason
),

final as (
    select
        calendar,
        period_start as month_start,
        reason,
        case_count,
        open_count,
        contacted_count,
        closed_count,
        oldest_open_days,
        contact_judged_count,
        {{ shown_share('contacted_in_time_count', 'contact_judged_count', 'contacted_in_time_rate') }},
        close_judged_count,
        {{ shown_share('closed_in_time_count', 'close_judged_count', 'closed_in_time_rate') }},
        {{ shown('median_hours_to_contact', 'ever_contacted_count') }} as median_hours_to_contact,
        resurveyed_count,
        {{ shown_mean('resurveyed_count', 'score_change_sum', 'score_change_sum_sq', 'score_change_mean') }},
        {{ reliability('case_count') }} as reliability
    from counted
)

select * from final
