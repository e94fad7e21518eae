with days as (
    select * from {{ ref('int_kpi_day__mapped') }}
),

periods as (
    select distinct
        calendar,
        period_grain,
        period_number,
        period_start,
        period_end,
        measured_until_date,
        is_complete
    from days
),

numbered as (
    select
        *,
        calendar || ' ' || period_grain as calendar_grain,
        {{ jalali_year('period_start') }} as jalali_year,
        {{ jalali_month('period_start') }} as jalali_month,
        -- Weeks are numbered by their first days: the first week that begins in a year is its week 1.
        case calendar
            when 'jalali' then {{ jalali_day_of_year('period_start') }} // 7 + 1
            else (dayofyear(period_start) - 1) // 7 + 1
        end as week_number
    from periods
),

final as (
    select
        calendar || ':' || period_grain || ':' || period_start as period_key,
        calendar,
        period_grain,
        period_start,
        period_end,
        period_number,
        measured_until_date,
        is_complete,
        case calendar_grain
            when 'jalali week' then printf('%d-W%02d', jalali_year, week_number)
            when 'jalali month' then printf('%d-%02d', jalali_year, jalali_month)
            when 'jalali quarter' then printf('%d-Q%d', jalali_year, (jalali_month + 2) // 3)
            when 'gregorian day' then strftime(period_start, '%Y-%m-%d')
            {%- if reporting_week_start() == 'monday' %}
            when 'gregorian week' then strftime(period_start, '%G-W%V')
            {%- else %}
            when 'gregorian week' then printf('%d-W%02d', year(period_start), week_number)
            {%- endif %}
            when 'gregorian month' then strftime(period_start, '%Y-%m')
            when 'gregorian quarter' then printf('%d-Q%d', year(period_start), quarter(period_start))
            else period_grain
        end as label
    from numbered
)

select * from final
