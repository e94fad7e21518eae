{#-
    Figures of the analyses: a share or mean that is never shown without its interval, and not at all from too few
    observations. The KPIs proper have `kpi_metrics` and `intervals`.

    All arguments are SQL expressions but `name`, the name of the column.
-#}

{#- How far a figure from n observations can be trusted: suppressed, low or ok. -#}
{% macro reliability(n) -%}
case
    when {{ n }} < {{ suppressed_below() }} then 'suppressed'
    when {{ n }} < {{ low_below() }} then 'low'
    else 'ok'
end
{%- endmacro %}

{#- A value from n observations, or NULL from too few. -#}
{% macro shown(value, n) -%}
case when {{ n }} >= {{ suppressed_below() }} then {{ value }} end
{%- endmacro %}

{#- A share with its 95 % Wilson interval: <name>, <name>_ci_low, <name>_ci_high. -#}
{% macro shown_share(part, whole, name) -%}
{%- set share = '(' ~ part ~ ') / cast(' ~ whole ~ ' as double)' -%}
{{ shown(share, whole) }} as {{ name }},
{{ shown(wilson_bound('-', share, whole), whole) }} as {{ name }}_ci_low,
{{ shown(wilson_bound('+', share, whole), whole) }} as {{ name }}_ci_high
{%- endmacro %}

{#- A mean with its 95 % t interval: <name>, <name>_ci_low, <name>_ci_high. -#}
{% macro shown_mean(n, total, total_of_squares, name) -%}
{{ shown(total ~ ' / cast(' ~ n ~ ' as double)', n) }} as {{ name }},
{{ shown(t_bound('-', n, total, total_of_squares), n) }} as {{ name }}_ci_low,
{{ shown(t_bound('+', n, total, total_of_squares), n) }} as {{ name }}_ci_high
{%- endmacro %}
