{#- Whether a text is a complaint: a negative one, where kpis.complaint_texts names its kind (comment or mention). -#}
{% macro is_complaint_text(kind, texts) -%}
    {{ texts }}.sentiment = 'negative' and {{ kind in complaint_texts() }}
{%- endmacro %}
