with models as (
    select * from {{ source('sentiment', 'model') }}
),

final as (
    select
        language,
        method,
        text_count,
        negative_count,
        neutral_count,
        positive_count,
        trained_count,
        macro_f1,
        macro_f1_low,
        macro_f1_high,
        evaluated_count,
        features,
        trained_at
    from models
)

select * from final
