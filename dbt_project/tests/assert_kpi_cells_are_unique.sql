-- One figure for each metric, period and slice: a join that multiplies rows would double it unseen.
select
    metric,
    calendar,
    period_grain,
    period_start,
    slice,
    slice_value
from {{ ref('mart_kpi_parts') }}
group by metric, calendar, period_grain, period_start, slice, slice_value
having count(*) > 1
