{#-
    Waits laid out over the cells they count in, for the models of waiting times.

    Belongs here: what a wait is to a cell, and by what a cell is known again. What is made of a cell is
    `int_kpi_wait__summed`.
-#}

{#-
    CTEs over the CTEs `records` and `days`: `record_slices` (one row per wait and slice) and `placed` (one row per wait and
    cell, cells by number).

    `code` holds a wait, in ten-thousandths of a minute, and whether it goes on: put in order, an answer comes before a
    wait that has lasted as long. `content` is a hash of what figures depend on: a wait that goes on and is longer than
    every answered one was at risk at all answers, however long it gets.
-#}
{% macro placed_waits() -%}
{%- set dimensions = ['channel', 'region', 'segment', 'product_line'] -%}
longest as (
    select
        metric,
        {{ wait_code('max(value) filter (where is_answered)', 'false') }} as code
    from records
    group by metric
),

coded as (
    select
        records.*,
        {{ wait_code('records.value', 'records.is_answered') }} as code,
        longest.code as longest_code
    from records
    inner join longest
        on records.metric = longest.metric
),

unnested as (
    select
        metric,
        observed_date,
        is_counted,
        is_answered,
        code,
        hash(case when is_answered then code else least(code, longest_code) end) as content,
        unnest(['all', '{{ dimensions | join("', '") }}']) as slice, -- noqa: LT05
        unnest(['all', {{ dimensions | join(', ') }}]) as slice_value
    from coded
),

record_slices as (
    select
        *,
        hash(metric, slice, slice_value) as slice_id
    from unnested
),

day_periods as (
    select
        date_day,
        {{ wait_period() }} as period_id
    from days
),

placed as (
    select
        record_slices.slice_id,
        day_periods.period_id,
        record_slices.is_counted,
        record_slices.is_answered,
        record_slices.code,
        record_slices.content
    from record_slices
    inner join day_periods
        on record_slices.observed_date = day_periods.date_day
)
{%- endmacro %}

{#- A wait as a number; one that goes on is odd. -#}
{% macro wait_code(value, is_answered) -%}
cast({{ value }} * 10000 as bigint) * 2 + case when {{ is_answered }} then 0 else 1 end
{%- endmacro %}

{#- Number of a period, of the columns calendar, period_grain and period_start. -#}
{% macro wait_period() -%}
hash(calendar, period_grain, period_start)
{%- endmacro %}

{#- Key of a cell, of the columns that say its slice and its period. -#}
{% macro wait_cell(slice_id, period_id) -%}
hash({{ slice_id }}, {{ period_id }})
{%- endmacro %}

{#- Hash of all that a cell holds, of the rows of `placed` in it. -#}
{% macro wait_cell_content() -%}
hash(
    count(*),
    count(*) filter (where is_counted),
    sum(content) filter (where is_counted),
    bit_xor(content) filter (where is_counted)
)
{%- endmacro %}
