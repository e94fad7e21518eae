-- Models whose key has several columns have one row per key.
with consents as (
    select
        'int_customer_consent__current' as model,
        customer_id || ' ' || purpose || ' ' || channel as key
    from {{ ref('int_customer_consent__current') }}
),

business_hours as (
    select
        'int_business_hours__expanded' as model,
        schedule_key || ' ' || opened_at as key
    from {{ ref('int_business_hours__expanded') }}
),

survival as (
    select
        'mart_subscription_survival' as model,
        plan || ' ' || months as key
    from {{ ref('mart_subscription_survival') }}
),

span_keys as (
    select
        'int_ticket_span__measured' as model,
        ticket_key || ' ' || target as key
    from {{ ref('int_ticket_span__measured') }}
),

native_keys as (
    select
        'mart_native_difference' as model,
        source || ' ' || figure as key
    from {{ ref('mart_native_difference') }}
),

cohort_keys as (
    select
        'mart_cohort' as model,
        concat_ws(' ', basis, calendar, cohort_start, months_since) as key
    from {{ ref('mart_cohort') }}
),

funnel_keys as (
    select
        'mart_funnel' as model,
        concat_ws(' ', funnel, channel, stage_number) as key
    from {{ ref('mart_funnel') }}
),

basket_pair_keys as (
    select
        'mart_basket_pair' as model,
        concat_ws(' ', first_product_key, second_product_key) as key
    from {{ ref('mart_basket_pair') }}
),

survey_fatigue_keys as (
    select
        'mart_survey_fatigue' as model,
        concat_ws(' ', survey_kind, earlier_invitation_count) as key
    from {{ ref('mart_survey_fatigue') }}
),

journey_path_keys as (
    select
        'mart_journey_path' as model,
        concat_ws(' ', band, path) as key
    from {{ ref('mart_journey_path') }}
),

journey_transition_keys as (
    select
        'mart_journey_transition' as model,
        concat_ws(' ', band, from_stage, to_stage) as key
    from {{ ref('mart_journey_transition') }}
),

feedback_loop_keys as (
    select
        'mart_feedback_loop' as model,
        concat_ws(' ', calendar, month_start, reason) as key
    from {{ ref('mart_feedback_loop') }}
),

segment_keys as (
    select
        'mart_segment' as model,
        concat_ws(' ', segmentation, segment) as key
    from {{ ref('mart_segment') }}
),

customer_360_history_keys as (
    select
        'mart_customer_360_history' as model,
        concat_ws(' ', customer_id, valid_from_date) as key
    from {{ ref('mart_customer_360_history') }}
),

channel_experience_keys as (
    select
        'mart_channel_experience' as model,
        concat_ws(' ', calendar, quarter_start, channel) as key
    from {{ ref('mart_channel_experience') }}
),

keys as (
    select * from consents
    union all
    select * from business_hours
    union all
    select * from survival
    union all
    select * from span_keys
    union all
    select * from native_keys
    union all
    select * from cohort_keys
    union all
    select * from funnel_keys
    union all
    select * from basket_pair_keys
    union all
    select * from survey_fatigue_keys
    union all
    select * from journey_path_keys
    union all
    select * from journey_transition_keys
    union all
    select * from feedback_loop_keys
    union all
    select * from segment_keys
    union all
    select * from customer_360_history_keys
    union all
    select * from channel_experience_keys
)

select
    model,
    key,
    count(*) as row_count
from keys
group by model, key
having count(*) > 1
