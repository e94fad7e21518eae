{#- A table: the published parts and the complaint rate read it. -#}
{{ config(materialized='table') }}

{%- set dimensions = kpi_dimensions() %}

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

-- Each record is read once; slices are made of the few rows of a day, and periods of the fewer rows of its slices.
daily as (
    select
        metric,
        observed_date,
        {{ dimensions | join(', ') }},
        {{ select_moments_of_records() }}
    from records
    group by all
),

daily_slices as (
    select
        metric,
        observed_date,
        {{ select_slice(dimensions) }},
        {{ select_moments_of_groups() }}
    from daily
    group by {{ kpi_grouping_sets('metric, observed_date', dimensions) }} -- noqa: PRS
),

declared_slices as (
    select *
    from daily_slices
    where {{ is_declared_slice() }}
),

summed as (
    select
        declared_slices.metric,
        days.calendar,
        days.period_grain,
        days.period_start,
        declared_slices.slice,
        declared_slices.slice_value,
        {{ select_moments_of_groups() }}
    from declared_slices
    inner join days
        on declared_slices.observed_date = days.date_day
    group by all
)

select * from summed
