"""How many rows a table usually brings: a weekday profile times a level, learnt from its own loads.

Belongs here: the range that is expected of a load, from the loads before it. Does not belong here: where those are
kept (`history.py`) and what follows when a load is out of its range (`expectations/load.json`).

    log(rows a day) = level + weekday effect + noise

The level is the median of the last two weeks, the effect the median distance of such weekdays from their
neighbours, the noise the errors that this very forecast made on the loads before. Medians throughout, so that
one bad load which was promoted teaches nothing.
"""

from __future__ import annotations

WINDOW_DAYS = 0.8
"""Loads are added up until they cover about a day: several runs a day are judged together."""

LEVEL_WINDOWS = 14
"""Windows whose median is the level: two weeks, so that each weekday weighs the same."""

NOISE_WINDOWS = 56
"""Windows whose forecast errors tell the noise and the trend."""

MAX_WINDOWS = 90
"""Windows that are looked at: a quarter of daily loads."""

MAX_DAYS = 14
"""Longer gaps are not looked at weekday by weekday."""

SPREADS = 4.0
"""So many median absolute deviations off is out of range; chance alone does that in about 1 of 150 loads."""

CHANCE_SPREAD = 2 * 0.6745
"""Median absolute deviation of the logarithm of a count, times the root of the count, by chance alone: that of a
Poisson count is 0.67; lines of an order and visits of one person come in clusters, which doubles it."""

LEAST_TOLERANCE = 1.5
"""From two thirds to one and a half of what is expected is never out of range: holidays and campaigns do that."""

LEAST_ROWS = 100
"""Where fewer rows are expected nothing is: a quiet day of a small table must not stop a company's figures."""


def expected_ranges(loads: str, min_windows: int) -> str:
    """A query for the number of rows expected of the newest load of each table.

    It gives one row per table whose newest load can be judged: `source`, `table_name`, `counted` (rows that came
    in the judged window), `days` (what the window covers), `expected_low` and `expected_high` (rows).

    Args:
        loads: Relation of one row per load: `source`, `table_name`, `load_no` (their order), `through` (until when
            its data reaches), `days` (time it covers), `counted` (rows), `is_level` (whether `counted` is the size of
            the table rather than what is new), `is_released` (whether somebody released it, so that its level is
            right). The newest of a table is the one to judge.
        min_windows: A load with fewer windows before it is not judged.
    """
    return f"""
with aged as (
    select
        *,
        sum(counted) over past as total,
        sum(days) over past as age,
        max(load_no) over (partition by source, table_name) as newest
    from {loads}
    window past as (partition by source, table_name order by load_no)
),

starts as (
    select source, table_name, age, max(total) as total from aged group by all
    union all by name
    select source, table_name, 0.0 as age, 0 as total from aged group by all having min(age) > 0
),

-- Each load with those before it that together cover about a day.
added as (
    select
        aged.*,
        case when aged.is_level then aged.counted else aged.total - starts.total end as window_rows,
        case when aged.is_level then 1.0 else aged.age - starts.age end as window_days,
        max(aged.age) over (partition by aged.source, aged.table_name) - aged.age as days_ago
    from aged
    asof join starts
        on aged.source = starts.source and aged.table_name = starts.table_name
        and aged.age - {WINDOW_DAYS} >= starts.age
),

-- One window a day, counted back from the newest load: they hardly overlap, and repeated runs count once.
windows as (
    select
        *,
        load_no = newest as is_now,
        ln((window_rows + 0.5) / window_days) as rate,
        greatest(1, least({MAX_DAYS}, round(window_days)))::int as slots,
        isodow(through - interval 12 hour) as weekday
    from added
    qualify row_number() over (
        partition by source, table_name, round(days_ago) order by abs(days_ago - round(days_ago)), load_no desc
    ) = 1
    and row_number() over (partition by source, table_name order by load_no desc) <= {MAX_WINDOWS} + 1
),

distances as (
    select
        source, table_name, weekday, slots,
        rate - median(rate) over (
            partition by source, table_name order by load_no rows between 3 preceding and 3 following
        ) as distance
    from windows
    where not is_now
),

effects as (
    select source, table_name, weekday, slots, median(distance) as effect, count(*) as times
    from distances group by all having count(*) >= 2
),

-- A window of several days that has no like: the mean of its days.
days as (
    select
        windows.source, windows.table_name, windows.load_no,
        ln(avg(exp(effects.effect))) as effect,
        min(effects.times) as times
    from windows
    cross join range({MAX_DAYS}) as step(back)
    left join effects
        on windows.source = effects.source and windows.table_name = effects.table_name and effects.slots = 1
        and effects.weekday = isodow(windows.through - interval 12 hour - to_days(step.back::int))
    where step.back < windows.slots
    group by all having count(effects.effect) = count(*)
),

levelled as (
    select
        windows.*,
        coalesce(effects.effect, days.effect) as season,
        coalesce(effects.times, days.times) as times,
        sum(windows.is_released::int) over (
            partition by windows.source, windows.table_name order by windows.load_no
        ) as era
    from windows
    left join effects using (source, table_name, weekday, slots)
    left join days using (source, table_name, load_no)
),

forecast as (
    select
        *,
        median(rate - season) over (
            partition by source, table_name order by load_no rows between {LEVEL_WINDOWS} preceding and 1 preceding
        ) as level,
        -- A released load says that its level is right: it counts beside the one before it.
        median(rate - season) over (
            partition by source, table_name, era order by load_no
            rows between {LEVEL_WINDOWS} preceding and 1 preceding
        ) as newer_level
    from levelled
    where season is not null
),

errors as (
    select source, table_name, median(error) as trend, mad(error) as spread, any_value(windows_before) as windows_before
    from (
        select
            source, table_name, rate - season - level as error,
            count(*) over (partition by source, table_name) as windows_before
        from forecast
        where not is_now
        qualify row_number() over (partition by source, table_name order by load_no desc) <= {NOISE_WINDOWS}
    )
    where error is not null
    group by all
),

judged as (
    select
        source, table_name, window_rows, window_days,
        least(level, coalesce(newer_level, level)) + season + trend + ln(window_days) as low,
        greatest(level, coalesce(newer_level, level)) + season + trend + ln(window_days) as high,
        -- The effect was fitted on the same few loads that tell the spread: it looks smaller than it is.
        {SPREADS} * spread * sqrt((times + 1) / (times - 1)) as usual_tolerance
    from forecast
    inner join errors using (source, table_name)
    where is_now and windows_before >= {min_windows} and exp(level + season + trend) * window_days >= {LEAST_ROWS}
)

select
    source, table_name, window_rows as counted, window_days as days,
    floor(greatest(0, exp(low - {_tolerance("low")}) - 0.5)) as expected_low,
    ceil(exp(high + {_tolerance("high")})) as expected_high
from judged
"""


def _tolerance(center: str) -> str:
    by_chance = f"{SPREADS * CHANCE_SPREAD} / sqrt(greatest(exp({center}), 0.5))"
    return f"greatest(usual_tolerance, {by_chance}, ln({LEAST_TOLERANCE}))"
