{#-
    The steps from records to parts that every family of metrics shares, so that they cannot drift apart.

    A record has: metric, record_key, customer_id, the dimensions, is_counted (false: goes to n_invalid), value and
    weight (NULL: the metric is unweighted). Values and weights are decimals: sums are exact, whatever the order they
    are added in, so equal data gives equal parts to the last digit and nothing seems restated.
-#}

{#- The dimensions a figure may be cut by. -#}
{% macro kpi_dimensions() %}{{ return(['channel', 'region', 'segment', 'product_line', 'survey']) }}{% endmacro %}

{#- The sums that add up over disjoint sets of records. -#}
{% macro kpi_moments() %}{{ return(
    ['n', 'n_invalid', 'sum_x', 'sum_xx', 'sum_w', 'sum_wx', 'sum_wxx', 'sum_ww']
) }}{% endmacro %}

{#- Column list: the moments of the records of a group. -#}
{% macro select_moments_of_records() -%}
count(*) filter (where is_counted) as n,
        count(*) filter (where not is_counted) as n_invalid,
        sum(value) filter (where is_counted) as sum_x,
        sum(value * value) filter (where is_counted) as sum_xx,
        sum(weight) filter (where is_counted) as sum_w,
        sum(weight * value) filter (where is_counted) as sum_wx,
        sum(case when weight is not null then weight * cast(value * value as decimal(18, 4)) end)
            filter (where is_counted) as sum_wxx,
        sum(weight * weight) filter (where is_counted) as sum_ww
{%- endmacro %}

{#- Column list: the moments of groups taken together; `over` turns it into a window. -#}
{% macro select_moments_of_groups(over='') -%}
{% for moment in kpi_moments() %}
        {%- if moment in ('n', 'n_invalid') -%}
        cast(coalesce(sum({{ moment }}){{ over }}, 0) as bigint) as {{ moment }}
        {%- else -%}
        sum({{ moment }}){{ over }} as {{ moment }}
        {%- endif -%}
        {{ ',\n        ' if not loop.last }}
{%- endfor %}
{%- endmacro %}

{#- Column list: the moments themselves, each after a prefix such as a relation or a minus sign. -#}
{% macro select_moments(prefix) -%}
{% for moment in kpi_moments() -%}
        {{ prefix }}{{ moment }}{{ ' as ' ~ moment if prefix == '-' }}{{ ',\n        ' if not loop.last }}
{%- endfor %}
{%- endmacro %}

{#- Column list: the name and value of the slice a row of `kpi_grouping_sets` belongs to. -#}
{% macro select_slice(dimensions) -%}
case
            {%- for dimension in dimensions %}
            when grouping({{ dimension }}) = 0 then '{{ dimension }}'
            {%- endfor %}
            else 'all'
        end as slice,
        coalesce({{ dimensions | join(', ') }}, 'all') as slice_value
{%- endmacro %}

{#- The whole and every dimension in one scan; `keys` stay in every set. -#}
{% macro kpi_grouping_sets(keys, dimensions) -%}
grouping sets (
        ({{ keys }})
        {%- for dimension in dimensions %},
        ({{ keys }}, {{ dimension }})
        {%- endfor %}
    )
{%- endmacro %}

{#- True for the slices that the metric of a row is cut by. -#}
{% macro is_declared_slice() -%}
(
        slice = 'all'
        {%- for dimension in kpi_dimensions() %}
        or (slice = '{{ dimension }}' and metric in (
            {%- for metric in kpi_metrics() if dimension in metric.slices -%}
            '{{ metric.metric }}'{{ ', ' if not loop.last }}
            {%- endfor -%}
        ))
        {%- endfor %}
    )
{%- endmacro %}

{#- Column list: the parts a figure is published with, from its moments. -#}
{% macro select_parts_of_moments() -%}
coalesce(cast(sum_wx as double), cast(sum_x as double), 0) as numerator,
        coalesce(cast(sum_w as double), n) as denominator,
        n,
        n_invalid,
        coalesce(cast(sum_wx as double), cast(sum_x as double), 0) as sum,
        coalesce(cast(sum_wxx as double), cast(sum_xx as double), 0) as sum_sq,
        cast(sum_ww as double) as sum_weight_sq
{%- endmacro %}

{#- The figure of a row of parts; NULL while n is too small to show. `parts` and `metric` are relation aliases. -#}
{% macro kpi_value(parts, metric) -%}
case
            when {{ effective_n(parts) }} >= {{ suppressed_below() }}
                then {{ metric }}.multiplier * coalesce(
                    {{ parts }}.quantile, {{ parts }}.numerator / nullif({{ parts }}.denominator, 0)
                )
        end
{%- endmacro %}

{#- How many unweighted records the records of a row are worth: (sum of weights)^2 / sum of squared weights. -#}
{% macro effective_n(parts) -%}
least(
            {{ parts }}.n,
            coalesce(
                {{ parts }}.denominator * {{ parts }}.denominator / nullif({{ parts }}.sum_weight_sq, 0), {{ parts }}.n
            )
        )
{%- endmacro %}
