-- Every figure lies in its interval, and whatever has one has the other; only a quantile may have no upper bound.
select kpi.*
from {{ ref('mart_kpi') }} as kpi
inner join {{ ref('dim_metric') }} as metrics
    on kpi.metric = metrics.metric
where
    (kpi.value is null) <> (kpi.ci_low is null)
    or (kpi.value is null and kpi.ci_high is not null)
    or (
        kpi.value is not null
        and kpi.ci_high is null
        and metrics.interval_kind not in ('order_statistic', 'kaplan_meier')
    )
    or kpi.value < kpi.ci_low - 1e-9 * greatest(1, abs(kpi.ci_low))
    or kpi.value > kpi.ci_high + 1e-9 * greatest(1, abs(kpi.ci_high))
