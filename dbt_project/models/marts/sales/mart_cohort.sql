with orders as (
    select * from {{ ref('fct_order') }}
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

-- What a customer did in a month, in both calendars. Money of several currencies is never summed.
ordered_months as (
    select
        'order' as basis,
        month_days.calendar,
        orders.customer_id,
        month_days.period_number,
        sum(orders.amount) filter (where orders.currency = '{{ reporting_currency() }}') as revenue_amount
    from orders
    inner join month_days
        on orders.ordered_date = month_days.date_day
    cross join as_of
    where
        orders.is_revenue
        and orders.customer_id is not null
        and orders.ordered_at <= as_of.as_of_at
    group by month_days.calendar, orders.customer_id, month_days.period_number
),

subscription_spans as (
    select
        subscriptions.customer_id,
        started.calendar,
        started.period_number as first_number,
        -- A subscription counts in the months it is still running at the end of: not in that of its end.
        coalesce(ended.period_number - 1, latest.period_number) as last_number,
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
),

subscribed_months as (
    select
        'subscription' as basis,
        calendar,
        customer_id,
        unnest(generate_series(first_number, last_number)) as period_number,
        monthly_amount as revenue_amount
    from subscription_spans
),

active_months as (
    select * from ordered_months
    union all
    select
        basis,
        calendar,
        customer_id,
        cast(period_number as integer) as period_number,
        sum(revenue_amount) as revenue_amount
    from subscribed_months
    group by basis, calendar, customer_id, period_number
),

-- Who started and ended within one month was a customer too, though never at the end of a month.
starts as (
    select
        basis,
        calendar,
        customer_id,
        min(period_number) as cohort_number
    from (
        select
            basis,
            calendar,
            customer_id,
            period_number
        from ordered_months
        union all
        select
            'subscription' as basis,
            calendar,
            customer_id,
            first_number as period_number
        from subscription_spans
    ) as all_starts
    group by basis, calendar, customer_id
),

cohorts as (
    select
        basis,
        calendar,
        cohort_number,
        count(*) as customer_count
    from starts
    group by basis, calendar, cohort_number
),

activity as (
    select
        starts.basis,
        starts.calendar,
        starts.cohort_number,
        active_months.period_number,
        count(*) as active_customer_count,
        sum(active_months.revenue_amount) as revenue_amount
    from starts
    inner join active_months
        on
            starts.basis = active_months.basis
            and starts.calendar = active_months.calendar
            and starts.customer_id = active_months.customer_id
    group by starts.basis, starts.calendar, starts.cohort_number, active_months.period_number
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
