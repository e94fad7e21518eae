with declared as (
    {%- for metric in kpi_metrics() %}
    select
        {%- for column in (
            'metric', 'name', 'definition', 'formula', 'unit', 'direction', 'interval_kind', 'period_kind',
            'n_meaning', 'n_invalid_meaning', 'numerator_meaning', 'denominator_meaning', 'records_part',
            'source_models', 'records_model', 'owner'
        ) %}
        '{{ metric[column] | replace("'", "''") }}' as {{ column }},
        {%- endfor %}
        cast({{ metric.multiplier }} as double) as multiplier,
        '{{ metric.slices | join(", ") }}' as slices,
        {{ loop.index }} as sort_order
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

final as (
    select
        metric,
        name,
        definition,
        formula,
        unit,
        multiplier,
        direction,
        interval_kind,
        period_kind,
        slices,
        n_meaning,
        n_invalid_meaning,
        numerator_meaning,
        denominator_meaning,
        records_part,
        source_models,
        records_model,
        owner,
        sort_order
    from declared
)

select * from final
