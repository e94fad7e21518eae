with sentiment_models as (
    select * from {{ ref('mart_sentiment_model') }}
),

-- How far to trust what a classifier says, for the metrics that depend on one.
measured as (
    select
        string_agg(
            language || ': ' || method || case
                when macro_f1 is null then ', not measured'
                else printf(
                    ', macro-F1 %.2f (%.2f to %.2f) on %d texts',
                    macro_f1, macro_f1_low, macro_f1_high, evaluated_count
                )
            end,
            '; ' order by text_count desc, language asc
        ) as measured_error
    from sentiment_models
),

declared as (
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
        cast({{ metric.get('lowest', 'null') }} as double) as lowest,
        cast({{ metric.get('highest', 'null') }} as double) as highest,
        {{ metric.settled_after_days or 0 }} as settled_after_days,
        '{{ metric.slices | join(", ") }}' as slices,
        {{ metric.depends_on_sentiment or false }} as depends_on_sentiment,
        {{ loop.index }} as sort_order
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

final as (
    select
        declared.metric,
        declared.name,
        declared.definition,
        declared.formula,
        declared.unit,
        declared.multiplier,
        declared.lowest,
        declared.highest,
        declared.direction,
        declared.interval_kind,
        declared.period_kind,
        declared.settled_after_days,
        declared.slices,
        declared.n_meaning,
        declared.n_invalid_meaning,
        declared.numerator_meaning,
        declared.denominator_meaning,
        declared.records_part,
        declared.source_models,
        declared.records_model,
        case when declared.depends_on_sentiment then measured.measured_error end as measured_error,
        declared.owner,
        declared.sort_order
    from declared
    cross join measured
)

select * from final
