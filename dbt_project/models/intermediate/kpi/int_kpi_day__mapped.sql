{#- A table: every family of metrics joins its dates to it. -#}
{{ config(materialized='table') }}

{%- set first_dates = [
    ('fct_order', 'ordered_date'),
    ('fct_subscription', 'started_date'),
    ('fct_ticket', 'created_date'),
    ('fct_ticket', 'resolved_date'),
    ('fct_survey_response', 'answered_date'),
    ('fct_mention', 'published_date'),
    ('int_kpi_contact__observed', 'observed_date'),
    ('int_customer_activity__spanned', 'started_date'),
] %}
{%- set first_weekday = weekday_number(reporting_week_start()) %}
{%- set saturday = weekday_number('saturday') %}

with as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

first_dates as (
    {%- for model, column in first_dates %}
    select min({{ column }}) as first_date
    from {{ ref(model) }}
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

bounds as (
    select
        min(first_dates.first_date) as first_date,
        min(as_of.as_of_date) as as_of_date
    from first_dates
    cross join as_of
),

days as (
    select
        cast(unnest(generate_series(first_date, as_of_date, interval 1 day)) as date) as date_day,
        first_date,
        as_of_date
    from bounds
),

jalali_days as (
    select
        *,
        {{ jalali_year('date_day') }} as jalali_year,
        {{ jalali_month('date_day') }} as jalali_month
    from days
),

starts as (
    select
        *,
        {{ week_start('date_day', first_weekday) }} as week_start,
        {{ week_start('date_day', saturday) }} as jalali_week_start,
        cast(date_trunc('month', date_day) as date) as month_start,
        cast(date_trunc('quarter', date_day) as date) as quarter_start,
        {{ jalali_month_start('jalali_year', 'jalali_month') }} as jalali_month_start,
        {{ jalali_month_start('jalali_year', 'jalali_month + 1') }} as next_jalali_month_start,
        {{ jalali_quarter_start('jalali_year', 'jalali_month') }} as jalali_quarter_start,
        {{ jalali_quarter_start('jalali_year', 'jalali_month + 3') }} as next_jalali_quarter_start
    from jalali_days
),

periods as (
    -- A day is the same in both calendars: one row serves both, or every figure of a day would stand twice.
    select
        date_day,
        as_of_date,
        'gregorian' as calendar,
        'day' as period_grain,
        date_day as period_start,
        date_day as period_end
    from starts
    union all
    select
        date_day,
        as_of_date,
        'gregorian' as calendar,
        'week' as period_grain,
        week_start as period_start,
        week_start + 6 as period_end
    from starts
    union all
    select
        date_day,
        as_of_date,
        'jalali' as calendar,
        'week' as period_grain,
        jalali_week_start as period_start,
        jalali_week_start + 6 as period_end
    from starts
    union all
    select
        date_day,
        as_of_date,
        'gregorian' as calendar,
        'month' as period_grain,
        month_start as period_start,
        cast(month_start + interval 1 month as date) - 1 as period_end
    from starts
    union all
    select
        date_day,
        as_of_date,
        'jalali' as calendar,
        'month' as period_grain,
        jalali_month_start as period_start,
        next_jalali_month_start - 1 as period_end
    from starts
    union all
    select
        date_day,
        as_of_date,
        'gregorian' as calendar,
        'quarter' as period_grain,
        quarter_start as period_start,
        cast(quarter_start + interval 3 month as date) - 1 as period_end
    from starts
    union all
    select
        date_day,
        as_of_date,
        'jalali' as calendar,
        'quarter' as period_grain,
        jalali_quarter_start as period_start,
        next_jalali_quarter_start - 1 as period_end
    from starts
    union all
    select
        date_day,
        as_of_date,
        'gregorian' as calendar,
        'all' as period_grain,
        first_date as period_start,
        as_of_date as period_end
    from starts
),

mapped as (
    select
        date_day,
        calendar,
        period_grain,
        cast(dense_rank() over (partition by calendar, period_grain order by period_start) as integer)
            as period_number,
        period_start,
        period_end,
        least(period_end, as_of_date) as measured_until_date,
        -- The day of as_of is still running. The whole of time has no end to wait for.
        period_end < as_of_date or period_grain = 'all' as is_complete
    from periods
)

select * from mapped
