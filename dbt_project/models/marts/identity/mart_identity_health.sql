with person_links as (
    select * from {{ ref('int_person__resolved') }}
),

linked as (
    select * from {{ source('identity', 'linked') }}
),

doubtful as (
    select * from {{ source('identity', 'doubtful') }}
),

judgements as (
    select * from {{ source('identity', 'judgement') }}
),

forbidden as (
    select distinct
        person_key_a,
        person_key_b
    from {{ source('identity', 'decision') }}
    where kind = 'forbid' and undone_at is null
),

events as (
    select * from {{ source('identity', 'event') }}
),

sized as (
    select
        *,
        count(*) over (partition by customer_id) as customer_records
    from person_links
),

matched as (
    select
        source,
        count(*) filter (where customer_records > 1) as numerator,
        count(*) as denominator
    from sized
    group by source
),

match_rates as (
    select
        'match_rate' as measure,
        'source' as slice,
        source as slice_value,
        numerator,
        denominator
    from matched
    union all
    select
        'match_rate' as measure,
        'all' as slice,
        'all' as slice_value,
        cast(sum(numerator) as bigint) as numerator,
        cast(sum(denominator) as bigint) as denominator
    from matched
    having count(*) > 0
),

customers as (
    select
        customer_id,
        count(*) as customer_records
    from person_links
    group by customer_id
),

sizes as (
    select
        'customer_share' as measure,
        'records' as slice,
        case
            when customer_records <= 5 then cast(customer_records as varchar)
            when customer_records <= 10 then '6-10'
            when customer_records <= 20 then '11-20'
            else '21+'
        end as slice_value,
        count(*) as numerator,
        cast(sum(count(*)) over () as bigint) as denominator
    from customers
    group by slice_value
),

rules as (
    select
        'record_share' as measure,
        'rule' as slice,
        rule as slice_value,
        count(*) as numerator,
        cast(sum(count(*)) over () as bigint) as denominator
    from person_links
    group by rule
),

-- Pairs that wait for a person, of all pairs that are linked or wait.
doubts as (
    select
        'doubtful_share' as measure,
        'all' as slice,
        'all' as slice_value,
        count(*) filter (where is_doubtful) as numerator,
        count(*) as denominator
    from (
        select true as is_doubtful from doubtful
        union all
        select false as is_doubtful from linked
    ) as pairs
    having count(*) > 0
),

-- Judged links are a simple random sample of all links, and those of one kind of evidence one of that kind. A link that
-- was judged wrong and parted for it stays in the sample: without it the rest would look better than the rules are.
sampled as (
    select
        judgements.is_same,
        linked.evidence,
        linked.person_key_a is not null as is_linked,
        forbidden.person_key_a is not null as is_forbidden
    from judgements
    left join linked
        on
            judgements.person_key_a = linked.person_key_a
            and judgements.person_key_b = linked.person_key_b
    left join forbidden
        on
            judgements.person_key_a = forbidden.person_key_a
            and judgements.person_key_b = forbidden.person_key_b
),

judged as (
    select
        coalesce(evidence, 'forbidden') as evidence,
        is_same
    from sampled
    where is_linked or (is_forbidden and not is_same)
),

counted as (
    select
        evidence,
        count(*) filter (where is_same) as numerator,
        count(*) as denominator
    from judged
    group by evidence
),

precisions as (
    select
        'precision' as measure,
        'evidence' as slice,
        evidence as slice_value,
        numerator,
        denominator
    from counted
    union all
    select
        'precision' as measure,
        'all' as slice,
        'all' as slice_value,
        cast(sum(numerator) as bigint) as numerator,
        cast(sum(denominator) as bigint) as denominator
    from counted
    having count(*) > 0
),

-- How many ids were created, merged, split or retired on a day, of all such changes of the day.
changes as (
    select
        concat(kind, '_share') as measure,
        'date' as slice,
        cast({{ reporting_date('occurred_at') }} as varchar) as slice_value,
        count(*) as numerator,
        cast(sum(count(*)) over (partition by {{ reporting_date('occurred_at') }}) as bigint) as denominator
    from events
    group by kind, {{ reporting_date('occurred_at') }}
),

measured as (
    select * from match_rates
    union all
    select * from sizes
    union all
    select * from rules
    union all
    select * from doubts
    union all
    select * from precisions
    union all
    select * from changes
),

final as (
    select
        concat_ws(' ', measure, slice, slice_value) as health_key,
        measure,
        slice,
        slice_value,
        numerator,
        denominator,
        numerator / denominator as value,
        -- Only the precision is an estimate; the others count everything there is.
        case when measure = 'precision' then {{ wilson_bound('-', 'numerator / denominator', 'denominator') }} end
            as ci_low,
        case when measure = 'precision' then {{ wilson_bound('+', 'numerator / denominator', 'denominator') }} end
            as ci_high
    from measured
)

select * from final
