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
        {{ shown('macro_f1', 'evaluated_count') }} as macro_f1,
        {{ shown('macro_f1_low', 'evaluated_count') }} as macro_f1_low,
        {{ shown('macro_f1_high', 'evaluated_count') }} as macro_f1_high,
        evaluated_count,
        features,
        trained_at
    from models
)

select * from final
