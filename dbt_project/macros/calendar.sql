{#-
    Calendars in plain integer arithmetic: Jalali (Solar Hijri) dates and weeks of any first day.

    Belongs here: conversions of one date, and of the dates of a relation. What the periods of the KPIs are is
    `int_kpi_day__mapped`.

    The Jalali year follows the 33-year cycle (leap years 1, 5, 9, 13, 17, 22, 26 and 30 of each cycle), which
    equals the astronomical calendar from 1178 to at least 1500. In this cycle year y begins
    floor((12053 * y + 21) / 33) days after year 0 does, so both directions need no table.
-#}

{#- Days from 1 Farvardin of year 0 to 1 Farvardin 1400, which was 2021-03-21. -#}
{% macro jalali_anchor_days() %}511340{% endmacro %}

{#- Days since 1 Farvardin of year 0. -#}
{% macro jalali_day_number(date_column) -%}
(({{ date_column }} - date '2021-03-21') + {{ jalali_anchor_days() }})
{%- endmacro %}

{#- Day number on which a Jalali year begins. -#}
{% macro jalali_year_start(year) -%}
((12053 * ({{ year }}) + 21) // 33)
{%- endmacro %}

{#- Jalali year of a date. -#}
{% macro jalali_year(date_column) -%}
((33 * {{ jalali_day_number(date_column) }} + 11) // 12053)
{%- endmacro %}

{#- Position of a date in its Jalali year, 0 on 1 Farvardin. -#}
{% macro jalali_day_of_year(date_column) -%}
({{ jalali_day_number(date_column) }} - {{ jalali_year_start(jalali_year(date_column)) }})
{%- endmacro %}

{#- Jalali month of a date, 1 Farvardin to 12 Esfand: six months of 31 days, then months of 30. -#}
{% macro jalali_month(date_column) -%}
case
    when {{ jalali_day_of_year(date_column) }} < 186 then {{ jalali_day_of_year(date_column) }} // 31 + 1
    else ({{ jalali_day_of_year(date_column) }} - 186) // 30 + 7
end
{%- endmacro %}

{#- Jalali day of the month of a date. -#}
{% macro jalali_day(date_column) -%}
case
    when {{ jalali_day_of_year(date_column) }} < 186 then {{ jalali_day_of_year(date_column) }} % 31 + 1
    else ({{ jalali_day_of_year(date_column) }} - 186) % 30 + 1
end
{%- endmacro %}

{#- The date on which a Jalali month begins; month 13 is the first month of the next year. -#}
{% macro jalali_month_start(year, month) -%}
(
    date '2021-03-21' + cast(
        {{ jalali_year_start('(' ~ year ~ ') + ((' ~ month ~ ') - 1) // 12') }}
        + case
            when (({{ month }}) - 1) % 12 < 6 then 31 * ((({{ month }}) - 1) % 12)
            else 30 * ((({{ month }}) - 1) % 12) + 6
        end
        - {{ jalali_anchor_days() }} as integer
    )
)
{%- endmacro %}

{#-
    CTEs over the dates of a relation: `dates`, and `months` or `quarters` with one row per date and calendar and the
    `month_start` or `quarter_start` that the date falls in.

    Models that are kept from run to run use this and not `int_kpi_day__mapped`, whose first period moves when an older
    record is found.
-#}
{% macro dates_in_calendars(relation, date_column, grain) -%}
{%- set jalali_start = {'month': jalali_month_start, 'quarter': jalali_quarter_start}[grain] -%}
dates as (
    select distinct
        {{ date_column }} as date_day,
        {{ jalali_year(date_column) }} as jalali_year,
        {{ jalali_month(date_column) }} as jalali_month
    from {{ relation }}
),

{{ grain }}s as (
    select
        date_day,
        'gregorian' as calendar,
        cast(date_trunc('{{ grain }}', date_day) as date) as {{ grain }}_start
    from dates
    union all
    select
        date_day,
        'jalali' as calendar,
        {{ jalali_start('jalali_year', 'jalali_month') }} as {{ grain }}_start
    from dates
)
{%- endmacro %}

{#- First day of the week of a date; `first_day` is the ISO number (1 Monday to 7 Sunday) of the week's first day. -#}
{% macro week_start(date_column, first_day) -%}
({{ date_column }} - cast((isodow({{ date_column }}) - {{ first_day }} + 7) % 7 as integer))
{%- endmacro %}

{#- ISO number of a weekday's English name. -#}
{% macro weekday_number(name) -%}
{{ ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'].index(name) + 1 }}
{%- endmacro %}

{#- Name of the weekday a Gregorian week begins on. -#}
{% macro reporting_week_start() %}{{ return(setting('week_start')) }}{% endmacro %}

{#- The date on which the season of a Jalali month begins, spring on 1 Farvardin; the seasons are the quarters. -#}
{% macro jalali_quarter_start(year, month) -%}
{{ jalali_month_start(year, '(' ~ month ~ ' - 1) // 3 * 3 + 1') }}
{%- endmacro %}
