with ordered as (
    select * from {{ ref('int_customer_month__ordered') }}
),

subscriptions as (
    select * from {{ ref('fct_subscription') }}
),

days as (
    select * from {{ ref('int_kpi_day__mapped') }}
),

periods as (
    select * from {{ ref('dim_period') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

months as (
    select * from periods
    where period_grain = 'month'
),

month_days as (
    select
        calendar,
        date_day,
        period_number
    from days
    where period_grain = 'month'
),

order_months as (
    select
        ordered.customer_id,
        ordered.calendar,
        cohort_months.period_number as cohort_number,
        months.period_number,
        ordered.revenue_amount
    from ordered
    inner join months
        on
            ordered.calendar = months.calendar
            and ordered.month_start = months.period_start
    inner join months as cohort_months
        on
            ordered.calendar = cohort_months.calendar
            and ordered.first_month_start = cohort_months.period_start
),

subscription_spans as (
    select
        subscriptions.customer_id,
        started.calendar,
        started.period_number as first_number,
        -- A subscription counts in the months it is still running at the end of: not in that of its end.
        coalesce(ended.period_number - 1, latest.period_number) as last_number,
        min(started.period_number) over spans_of_customer as cohort_number,
        count(*) over spans_of_customer = 1 as is_only_span,
        case when subscriptions.currency = '{{ reporting_currency() }}' then subscriptions.monthly_amount end
            as monthly_amount
    from subscriptions
    cross join as_of
    inner join month_days as started
        on subscriptions.started_date = started.date_day
    inner join month_days as latest
        on
            as_of.as_of_date = latest.date_day
            and started.calendar = latest.calendar
    left join month_days as ended
        on
            subscriptions.ended_date = ended.date_day
            and started.calendar = ended.calendar
    where
        subscriptions.customer_id is not null
        and subscriptions.started_at <= as_of.as_of_at
    window spans_of_customer as (partition by subscriptions.customer_id, started.calendar)
),

-- Spans of the same months count alike before they are laid out over these.
alike_spans as (
    select
        calendar,
        cohort_number,
        first_number,
        last_number,
        count(*) filter (where is_only_span) as customer_count,
        sum(monthly_amount) as revenue_amount
    from subscription_spans
    group by calendar, cohort_number, first_number, last_number
),

alike_months as (
    select
        calendar,
        cohort_number,
        unnest(generate_series(first_number, last_number)) as period_number,
        customer_count,
        revenue_amount
    from alike_spans
),

-- Only of customers with several spans need one ask whether two of them share a month.
several_spans as (
    select
        customer_id,
        calendar,
        cohort_number,
        unnest(generate_series(first_number, last_number)) as period_number
    from subscription_spans
    where not is_only_span
),

counted_months as (
    select
        'order' as basis,
        calendar,
        cohort_number,
        period_number,
        count(*) as active_customer_count,
        sum(revenue_amount) as revenue_amount
    from order_months
    group by calendar, cohort_number, period_number
    union all
    select
        'subscription' as basis,
        calendar,
        cohort_number,
        period_number,
        sum(customer_count) as active_customer_count,
        sum(revenue_amount) as revenue_amount
    from alike_months
    group by calendar, cohort_number, period_number
    union all
    select
        'subscription' as basis,
        calendar,
        cohort_number,
        period_number,
        count(distinct customer_id) as active_customer_count,
        null as revenue_amount
    from several_spans
    group by calendar, cohort_number, period_number
),

activity as (
    select
        basis,
        calendar,
        cohort_number,
        period_number,
        cast(sum(active_customer_count) as bigint) as active_customer_count,
        sum(revenue_amount) as revenue_amount
    from counted_months
    group by basis, calendar, cohort_number, period_number
),

-- Who started and ended within one month was a customer too, though never at the end of a month.
cohorts as (
    select
        'order' as basis,
        calendar,
        cohort_number,
        count(*) as customer_count
    from order_months
    where period_number = cohort_number
    group by calendar, cohort_number
    union all
    select
        'subscription' as basis,
        calendar,
        cohort_number,
        count(distinct customer_id) as customer_count
    from subscription_spans
    group by calendar, cohort_number
),

-- Every month of every cohort has its row, also one in which nobody came back.
cells as (
    select
        cohorts.basis,
        cohorts.calendar,
        cohorts.cohort_number,
        cohort_months.period_start as cohort_start,
        cohort_months.label as cohort,
        months.period_number - cohorts.cohort_number as months_since,
        months.period_start as month_start,
        months.is_complete,
        cohorts.customer_count,
        coalesce(activity.active_customer_count, 0) as active_customer_count,
        cast(coalesce(activity.revenue_amount, 0) as decimal(18, 4)) as revenue_amount
    from cohorts
    inner join months as cohort_months
        on
            cohorts.calendar = cohort_months.calendar
            and cohorts.cohort_number = cohort_months.period_number
    inner join months
        on
            cohorts.calendar = months.calendar
            and cohorts.cohort_number <= months.period_number
    left join activity
        on
            cohorts.basis = activity.basis
            and cohorts.calendar = activity.calendar
            and cohorts.cohort_number = activity.cohort_number
            and months.period_number = activity.period_number
),

final as (
    select
        basis,
        calendar,
        cohort_start,
        cohort,
        cast(months_since as integer) as months_since,
        month_start,
        is_complete,
        customer_count,
        active_customer_count,
        {{ shown_share('active_customer_count', 'customer_count', 'retention_rate') }},
        revenue_amount,
        {{ shown(
            "cast(revenue_amount as double) / nullif(first_value(revenue_amount) over (
                partition by basis, calendar, cohort_start
                order by months_since
            ), 0)",
            'customer_count'
        ) }} as revenue_retention_rate,
        {{ reliability('customer_count') }} as reliability
    from cells
)

select * from final
