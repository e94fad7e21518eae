{#- A table: the published parts and the complaint rate read it. -#}
{{ config(materialized='table') }}

{%- set dimensions = kpi_dimensions() %}
{%- set cell = 'daily.metric, days.calendar, days.period_grain, days.period_start' %}

with survey_records as (
    select * from {{ ref('int_kpi_survey__observed') }}
),

ticket_records as (
    select * from {{ ref('int_kpi_ticket__observed') }}
),

sla_records as (
    select * from {{ ref('int_kpi_sla__observed') }}
),

complaint_records as (
    select * from {{ ref('int_kpi_complaint__observed') }}
),

mention_records as (
    select * from {{ ref('int_kpi_mention__observed') }}
),

contact_records as (
    select * from {{ ref('int_kpi_contact__observed') }}
),

days as (
    select * from {{ ref('int_kpi_day__mapped') }}
),

records as (
    select * from survey_records
    union all
    select * from ticket_records
    union all
    select * from sla_records
    union all
    select * from complaint_records
    union all
    select * from mention_records
    union all
    select * from contact_records
),

-- Each record is read once; periods and slices are then made of the few rows of a day.
daily as (
    select
        metric,
        observed_date,
        {{ dimensions | join(', ') }},
        {{ select_moments_of_records() }}
    from records
    group by all
),

sliced as (
    select
        daily.metric,
        days.calendar,
        days.period_grain,
        days.period_start,
        {{ select_slice(dimensions) }},
        {{ select_moments_of_groups() }}
    from daily
    inner join days
        on daily.observed_date = days.date_day
    group by {{ kpi_grouping_sets(cell, dimensions) }} -- noqa: PRS
),

summed as (
    select *
    from sliced
    where {{ is_declared_slice() }}
)

select * from summed
