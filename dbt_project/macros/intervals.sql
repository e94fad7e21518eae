{#-
    95 % intervals as SQL expressions over columns.

    Belongs here: one macro for each kind of interval, and `interval_bound`, which chooses by the kind that
    `dim_metric` declares. What a metric's parts mean is `kpi_metrics`.

    `side` is '-' for the lower and '+' for the upper bound. All arguments are SQL expressions.
-#}

{#- The 97.5 % point of the standard normal distribution. -#}
{% macro z95() %}1.959963984540054{% endmacro %}

{#- Wilson score bound of a proportion p seen in n trials. -#}
{% macro wilson_bound(side, p, n) -%}
greatest(0.0, least(1.0, (
    ({{ p }}) + {{ z95() }} * {{ z95() }} / (2 * ({{ n }}))
    {{ side }} {{ z95() }} * sqrt(
        greatest(0.0, ({{ p }}) * (1 - ({{ p }}))) / ({{ n }})
        + {{ z95() }} * {{ z95() }} / (4 * pow({{ n }}, 2))
    )
) / (1 + {{ z95() }} * {{ z95() }} / ({{ n }}))))
{%- endmacro %}

{#-
    Adjusted Wald bound of a net share (promoters - detractors) / n, Rocks 2016 (arXiv:1601.07235): three quarters
    of an answer are added to promoters and to detractors, and three answers to the whole.
-#}
{% macro adjusted_wald_bound(side, promoters, detractors, n) -%}
greatest(-1.0, least(1.0, (
    ({{ promoters }}) - ({{ detractors }})
    {{ side }} {{ z95() }} * sqrt(
        greatest(
            0.0,
            ({{ promoters }}) + ({{ detractors }}) + 1.5
            - pow(({{ promoters }}) - ({{ detractors }}), 2) / (({{ n }}) + 3)
        )
    )
) / (({{ n }}) + 3)))
{%- endmacro %}

{#-
    The 97.5 % point of Student's t. The expansion in powers of 1 / df (Abramowitz and Stegun 26.7.5) is
    within 0.00001 from 10 degrees of freedom on; for few degrees of freedom the value is looked up.
-#}
{% macro t_quantile(df) -%}
{%- set looked_up = [
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912,
    2.364624, 2.306004, 2.262157, 2.228139, 2.200985, 2.178813,
] -%}
case
    {%- for exact in looked_up %}
    when ({{ df }}) = {{ loop.index }} then {{ exact }}
    {%- endfor %}
    when ({{ df }}) > {{ looked_up | length }} then {{ z95() }} + (
        2.372271 + (2.822499 + (2.555850 + 1.589534 / ({{ df }})) / ({{ df }})) / ({{ df }})
    ) / ({{ df }})
end
{%- endmacro %}

{#- t bound of a mean from its sums. NULL for fewer than two values. -#}
{% macro t_bound(side, n, total, total_of_squares) -%}
(
    ({{ total }}) / nullif(({{ n }}), 0)
    {{ side }} {{ t_quantile('(' ~ n ~ ') - 1') }} * sqrt(
        greatest(0.0, ({{ total_of_squares }}) - pow({{ total }}, 2) / nullif(({{ n }}), 0))
        / nullif((({{ n }}) - 1), 0) / nullif(({{ n }}), 0)
    )
)
{%- endmacro %}

{#- Byar's bound of a Poisson count; divide by the exposure for a rate. -#}
{% macro byar_bound(side, events) -%}
{%- set events_at_bound = '((' ~ events ~ ') + 1)' if side == '+' else '(' ~ events ~ ')' -%}
case
    when {{ events_at_bound }} <= 0 then 0.0
    else greatest(0.0, {{ events_at_bound }} * pow(
        1 - 1 / (9.0 * {{ events_at_bound }}) {{ side }} {{ z95() }} / (3 * sqrt({{ events_at_bound }})), 3
    ))
end
{%- endmacro %}

{#-
    The bound of a figure by the kind of interval its metric declares. Reads the columns interval_kind, multiplier,
    numerator, denominator, n, n_eff, sum and sum_sq, and of quantiles, whose bounds are values of the records,
    quantile_low and quantile_high. Weighted figures are treated as n_eff unweighted ones.
-#}
{% macro interval_bound(side) -%}
multiplier * case interval_kind
    when 'wilson' then {{ wilson_bound(side, 'numerator / denominator', 'n_eff') }}
    when 'adjusted_wald' then {{ adjusted_wald_bound(
        side,
        'n_eff * (sum_sq + sum) / (2 * denominator)',
        'n_eff * (sum_sq - sum) / (2 * denominator)',
        'n_eff'
    ) }}
    when 't' then {{ t_bound(side, 'n', 'sum', 'sum_sq') }}
    when 'order_statistic' then quantile_{{ 'low' if side == '-' else 'high' }}
    when 'kaplan_meier' then quantile_{{ 'low' if side == '-' else 'high' }}
    when 'poisson' then {{ byar_bound(side, 'numerator') }} / denominator
end
{%- endmacro %}
