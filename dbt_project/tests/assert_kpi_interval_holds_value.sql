-- Every figure lies in its interval, and whatever has one has the other.
select *
from {{ ref('mart_kpi') }}
where
    (value is null) <> (ci_low is null)
    or (value is null) <> (ci_high is null)
    or value < ci_low - 1e-9 * greatest(1, abs(ci_low))
    or value > ci_high + 1e-9 * greatest(1, abs(ci_high))
