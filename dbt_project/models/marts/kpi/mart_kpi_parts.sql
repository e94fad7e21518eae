{#-
    Built anew each time and compared with what the previous build published, so that a changed figure says so.
    A period still running changes every day, which is no restatement.
-#}
{%- set key = ['metric', 'calendar', 'period_grain', 'period_start', 'slice', 'slice_value'] %}
{%- set compared = ['numerator', 'denominator', 'n', 'sum', 'sum_sq', 'sum_weight_sq'] %}
{%- set compared = compared + ['quantile', 'quantile_low', 'quantile_high'] %}
{%- set published = load_relation(this) if execute and flags.WHICH in ('build', 'run') else none %}
{%- if published is not none and published.is_table %}
    {%- set stored = adapter.get_columns_in_relation(published) | map(attribute='name') | list %}
    {%- set needed = key + compared + ['period_end', 'is_complete', 'restated_at', 'previous_value'] %}
    {%- set has_previous = needed | reject('in', stored) | list | length == 0 %}
{%- endif %}

-- depends_on: {{ ref('dim_metric') }}
with combined as (
    select * from {{ ref('int_kpi_part__combined') }}
),

{% if has_previous -%}
metrics as (
    select * from {{ ref('dim_metric') }}
),

previous as (
    select * from {{ this }}
),

compared as (
    select
        combined.*,
        coalesce(
            previous.is_complete
            and (
                {%- for part in compared %}
                combined.{{ part }} is distinct from previous.{{ part }}{{ ' or' if not loop.last }}
                {%- endfor %}
            ),
            false
        ) as is_restated,
        previous.restated_at as earlier_restated_at,
        previous.previous_value as earlier_previous_value,
        {{ kpi_value('previous', 'metrics') }} as stored_value
    from combined
    inner join metrics
        on combined.metric = metrics.metric
    left join previous
        on
            {%- for column in key %}
            combined.{{ column }} = previous.{{ column }} and
            {%- endfor %}
            combined.period_end = previous.period_end
),

restated as (
    select
        *,
        case
            when is_restated then timestamp '{{ run_started_at.strftime("%Y-%m-%d %H:%M:%S") }}'
            else earlier_restated_at
        end as restated_at,
        case when is_restated then stored_value else earlier_previous_value end as previous_value
    from compared
),
{%- else -%}
restated as (
    select
        *,
        cast(null as timestamp) as restated_at,
        cast(null as double) as previous_value
    from combined
),
{%- endif %}

final as (
    select
        metric,
        calendar,
        period_grain,
        period_start,
        period_end,
        slice,
        slice_value,
        numerator,
        denominator,
        n,
        n_invalid,
        sum,
        sum_sq,
        sum_weight_sq,
        quantile,
        quantile_low,
        quantile_high,
        is_complete,
        restated_at,
        previous_value
    from restated
)

select * from final
