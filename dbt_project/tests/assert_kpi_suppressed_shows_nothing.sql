-- A figure of too few records says something about single customers, and little about anything else.
select *
from {{ ref('mart_kpi') }}
where
    (reliability = 'suppressed' and coalesce(value, ci_low, ci_high) is not null)
    or (reliability <> 'suppressed' and n < {{ suppressed_below() }})
