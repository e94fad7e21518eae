-- Open minutes are counted by differences of a running sum, which needs intervals that follow one another.
with neighbours as (
    select
        schedule_key,
        opened_at,
        closed_at,
        minutes_before,
        lead(opened_at) over schedule_order as next_opened_at,
        lead(minutes_before) over schedule_order as next_minutes_before
    from {{ ref('int_business_hours__expanded') }}
    window schedule_order as (
        partition by schedule_key
        order by opened_at
    )
)

select * from neighbours
where
    closed_at <= opened_at
    or next_opened_at <= closed_at
    or abs(next_minutes_before - minutes_before - {{ minutes_between('opened_at', 'closed_at') }}) > 0.001
