-- Time: the blocks in which events are drawn, the weights of their days and hours, and the delivery
-- periods (one file a quarter for the history, one file a day afterwards).

-- Block 0 is the two years of history; later blocks open one by one as the company advances. A draw
-- belongs to one block for good, so that advancing never changes what was drawn before.
create table block as
select
    b as block,
    case when b = 0 then getvariable('starts') else getvariable('ends') + to_days(((b - 1) * 91)::int) end as starts_at,
    case when b = 0 then getvariable('ends') else getvariable('ends') + to_days((b * 91)::int) end as ends_at,
    date_diff('day', starts_at, ends_at) / 30.44 as months
from range(0, getvariable('blocks')) as r (b);

create table day_weight as
with
day as (
    select
        block.block,
        unnest(generate_series(block.starts_at, block.ends_at - interval 1 day, interval 1 day)) as day
    from block
)

select
    day.block,
    profile.profile,
    day.day,
    -- Shoppers come at the weekend, before Nowruz (March) and in November and December; the desk is
    -- busiest on the first days of both working weeks and after the peaks.
    case
        when profile.profile = 0 then
            list_extract([0.95, 0.90, 0.92, 1.15, 1.25, 1.10, 0.95], isodow(day.day)::int)
            * list_extract(
                [0.85, 1.00, 1.35, 0.80, 0.95, 1.00, 0.95, 0.95, 1.00, 1.05, 1.35, 1.30], month(day.day)::int
            )
        else
            list_extract([1.35, 1.20, 1.10, 0.85, 0.45, 0.90, 1.15], isodow(day.day)::int)
            * list_extract(
                [1.10, 0.95, 1.15, 1.05, 0.95, 0.95, 0.95, 0.95, 0.95, 1.00, 1.15, 1.30], month(day.day)::int
            )
    end * (0.85 + 0.3 * u(day.day, 'weather')) as weight
from day
cross join (select unnest([0, 1]) as profile) as profile;

set variable day_slot = (
    with
    cumulated as (
        select
            block,
            profile,
            day,
            sum(weight) over (partition by block, profile order by day)
            / sum(weight) over (partition by block, profile) as upto
        from day_weight
    ),

    slot as (
        select
            key.block,
            key.profile,
            slot.slot,
            (slot.slot + 0.5) / 16384 as share
        from (select distinct block, profile from day_weight) as key
        cross join range(16384) as slot (slot)
    )

    select list(cumulated.day order by slot.block, slot.profile, slot.slot)
    from slot
    asof join cumulated
        on slot.block = cumulated.block and slot.profile = cumulated.profile and slot.share <= cumulated.upto
);

-- Hours of the day in UTC, each as often as things happen in it.
set variable hour_shop = [
    5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 11, 12, 13, 14, 15, 16, 16, 17, 17, 18, 18, 18, 19, 19, 20, 21, 22
];
set variable hour_desk = [3, 4, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 9, 9, 10, 10, 11, 12, 13, 14, 15, 16, 18, 20];

set variable poisson_quantile = (
    with
    mass as (
        select
            step.step,
            k.k,
            case
                when step.step = 0 then case when k.k = 0 then 1.0 else 0.0 end
                else exp(-step.step / 4 + k.k * ln(step.step / 4) - lgamma(k.k + 1))
            end as p
        from range(0, 122) as step (step)
        cross join range(0, 60) as k (k)
    ),

    cumulated as (
        select
            step,
            sum(p) over (partition by step order by k) as upto
        from mass
    ),

    quantile as (
        select
            slot.slot,
            cumulated.step,
            count(*) filter (where cumulated.upto <= (slot.slot + 0.5) / 512) as n
        from cumulated
        cross join range(512) as slot (slot)
        group by all
    )

    select list(n order by step, slot) from quantile
);

create table period as
with
history as (
    select
        quarter as starts_at,
        least(quarter + interval 3 month, getvariable('ends')) as ends_at,
        year(quarter) || '-Q' || quarter(quarter) as name
    from unnest(generate_series(
        date_trunc('quarter', getvariable('starts')), getvariable('ends') - interval 1 day, interval 3 month
    )) as q (quarter)
),

later as (
    select
        day as starts_at,
        day + interval 1 day as ends_at,
        strftime(day, '%Y-%m-%d') as name
    from unnest(generate_series(getvariable('ends'), getvariable('clock') - interval 1 day, interval 1 day)) as d (day)
),

both_kinds as (
    select * from history
    union all
    select * from later
)

select * from both_kinds where starts_at >= getvariable('since') order by starts_at;
