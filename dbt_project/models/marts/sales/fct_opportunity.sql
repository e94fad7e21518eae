{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'entity': 'opportunity', 'column': 'opportunity_key'}, 'owner': 'coalesce(customer_id, opportunity_key)'}
) }}

with opportunities as (
    select *
    from {{ ref('int_opportunity__unioned') }}
    where {{ is_touched('opportunity_key') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

stage_events as (
    select *
    from {{ ref('fct_opportunity_stage_event') }}
    where {{ is_touched('opportunity_key') }}
),

-- Some sources state the outcome only as a stage: leads in one file, won deals in another.
last_stages as (
    select
        opportunity_key,
        arg_max(lower(stage), stage_number) as stage,
        max(entered_at) as entered_at
    from stage_events
    group by opportunity_key
),

decided as (
    select
        opportunities.*,
        case
            when opportunities.is_won or (opportunities.is_won is null and last_stages.stage = 'won') then 'won'
            when not opportunities.is_won or last_stages.stage = 'lost' then 'lost'
            else 'open'
        end as outcome,
        case when last_stages.stage in ('won', 'lost') then last_stages.entered_at end as decided_at
    from opportunities
    left join last_stages
        on opportunities.opportunity_key = last_stages.opportunity_key
),

closed as (
    select
        * exclude (closed_at, stage),
        coalesce(closed_at, decided_at) as closed_at,
        case when closed_at is null and decided_at is not null then outcome else stage end as stage
    from decided
),

final as (
    select
        opportunities.opportunity_key,
        opportunities.source,
        opportunities.opportunity_id,
        persons.customer_id,
        opportunities.person_key,
        opportunities.account_key,
        opportunities.stage,
        opportunities.amount,
        coalesce(opportunities.currency, '{{ reporting_currency() }}') as currency,
        opportunities.channel,
        opportunities.owner_id,
        opportunities.outcome,
        opportunities.created_at,
        {{ reporting_date('opportunities.created_at') }} as created_date,
        opportunities.closed_at,
        {{ reporting_date('opportunities.closed_at') }} as closed_date,
        case
            when opportunities.closed_at >= opportunities.created_at
                then {{ minutes_between('opportunities.created_at', 'opportunities.closed_at') }} / 1440
        end as days_to_close
    from closed as opportunities
    left join persons
        on opportunities.person_key = persons.person_key
)

select * from final
