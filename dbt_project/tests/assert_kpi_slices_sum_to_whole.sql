-- The slices of a dimension are disjoint and leave nothing out: their parts add up to the whole.
with parts as (
    select * from {{ ref('mart_kpi_parts') }}
),

whole as (
    select *
    from parts
    where slice = 'all'
),

slices as (
    select
        metric,
        calendar,
        period_grain,
        period_start,
        slice,
        sum(n) as n,
        sum(n_invalid) as n_invalid,
        sum(numerator) as numerator,
        sum(denominator) as denominator
    from parts
    where slice <> 'all'
    group by metric, calendar, period_grain, period_start, slice
)

select
    slices.*,
    whole.n as whole_n,
    whole.n_invalid as whole_n_invalid,
    whole.numerator as whole_numerator,
    whole.denominator as whole_denominator
from slices
left join whole
    on
        slices.metric = whole.metric
        and slices.calendar = whole.calendar
        and slices.period_grain = whole.period_grain
        and slices.period_start = whole.period_start
where
    whole.metric is null
    -- n of the complaint rate is an average, rounded in each slice.
    or (slices.metric <> 'complaint_rate' and slices.n <> whole.n)
    or slices.n_invalid <> whole.n_invalid
    or abs(slices.numerator - whole.numerator) > 1e-6 * greatest(1, abs(whole.numerator))
    or abs(slices.denominator - whole.denominator) > 1e-6 * greatest(1, abs(whole.denominator))
