{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'column': 'customer_id'}}
) }}

{%- set lengths = kpi_period_lengths() %}

with spans as (
    select *
    from {{ ref('int_customer_activity__spanned') }}
    where {{ is_touched('customer_id') }}
),

subscriptions as (
    select *
    from {{ ref('fct_subscription') }}
    where {{ is_touched('customer_id') }}
),

-- Retention asks whether somebody is active in any way: stays of both kinds that touch or overlap are one. Two of the
-- same days are told apart by their kind, so that both windows take them in one order.
span_reach as (
    select
        customer_id,
        kind,
        started_date,
        ended_date,
        max(coalesce(ended_date, date '9999-12-31')) over (
            partition by customer_id
            order by started_date, coalesce(ended_date, date '9999-12-31'), kind
            rows between unbounded preceding and 1 preceding
        ) as reached_date
    from spans
),

span_numbered as (
    select
        *,
        count(*) filter (where reached_date is null or started_date > reached_date) over (
            partition by customer_id
            order by started_date, coalesce(ended_date, date '9999-12-31'), kind
            rows between unbounded preceding and current row
        ) as stay_number
    from span_reach
),

either_kind as (
    select
        customer_id,
        min(started_date) as started_date,
        case when count(*) = count(ended_date) then max(ended_date) end as ended_date
    from span_numbered
    group by customer_id, stay_number
),

-- A renewal dated the day after the end goes on from the end, as it does in the spans of activity.
ends_of_subscriptions as (
    select distinct
        customer_id,
        ended_date
    from subscriptions
    where ended_date is not null
),

renewed_subscriptions as (
    select
        subscriptions.customer_id,
        case
            when ends_of_subscriptions.customer_id is not null then ends_of_subscriptions.ended_date
            else subscriptions.started_date
        end as started_date,
        subscriptions.ended_date,
        subscriptions.monthly_amount,
        subscriptions.monthly_amount is not null
        and coalesce(subscriptions.currency, '{{ reporting_currency() }}') = '{{ reporting_currency() }}' as is_counted
    from subscriptions
    left join ends_of_subscriptions
        on
            subscriptions.customer_id = ends_of_subscriptions.customer_id
            and subscriptions.started_date = ends_of_subscriptions.ended_date + 1
    where subscriptions.customer_id is not null
),

stays as (
    select
        'retention_rate' as metric,
        true as is_counted,
        customer_id,
        started_date,
        ended_date,
        cast(1 as decimal(18, 4)) as amount
    from either_kind
    union all
    select
        case kind when 'contractual' then 'churn_rate' else 'churn_rate_noncontractual' end as metric,
        true as is_counted,
        customer_id,
        started_date,
        ended_date,
        cast(1 as decimal(18, 4)) as amount
    from spans
    union all
    select
        'revenue_churn_rate' as metric,
        is_counted,
        customer_id,
        started_date,
        ended_date,
        -- What has no usable amount is still followed, as one customer.
        cast(case when is_counted then monthly_amount else 1 end as decimal(18, 4)) as amount
    from renewed_subscriptions
),

neighboured as (
    select
        *,
        count(*) over of_customer = 1 as is_only_stay,
        lag(ended_date) over stays_in_order as previous_ended_date,
        lead(started_date) over stays_in_order as next_started_date
    from stays
    window
        of_customer as (
            partition by metric, is_counted, customer_id
        ),
        stays_in_order as (
            partition by metric, is_counted, customer_id
            order by started_date, ended_date nulls last
        )
),

days as (
    select
        {%- for length in lengths %}
        any_value(period_number) filter (where calendar || ' ' || period_grain = '{{ length }}')
            as {{ length | replace(' ', '_') }},
        {%- endfor %}
        date_day
    from {{ ref('int_kpi_day__mapped') }}
    group by date_day
),

followed as (
    select
        {%- for length in lengths %}
        case when {{ is_followed_in(length | replace(' ', '_')) }} then '{{ length }}' end
            as {{ length | replace(' ', '_') }},
        {%- endfor %}
        neighboured.*
    from neighboured
    left join days as start_days
        on neighboured.started_date = start_days.date_day
    left join days as end_days
        on neighboured.ended_date = end_days.date_day
    left join days as previous_days
        on neighboured.previous_ended_date = previous_days.date_day
    left join days as next_days
        on neighboured.next_started_date = next_days.date_day
),

merged as (
    select
        metric,
        is_counted,
        customer_id,
        started_date,
        ended_date,
        amount,
        list_filter([{{ lengths | map('replace', ' ', '_') | join(', ') }}], lambda length: length is not null)
            as followed_in
    from followed
)

select * from merged
