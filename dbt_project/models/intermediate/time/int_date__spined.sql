with days as (
    select * from {{ ref('int_kpi_day__mapped') }}
)

select date_day
from days
where
    calendar = 'gregorian'
    and period_grain = 'day'
