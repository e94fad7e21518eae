-- Models whose key has several columns have one row per key. Of a model that follows the change, the column it follows
-- by has to be one of them: only rows that the last build made are looked at.
{%- set keys = {
    'int_business_hours__expanded': ['schedule_key', 'opened_at'],
    'int_ticket_span__measured': ['ticket_key', 'target'],
    'mart_subscription_survival': ['plan', 'months'],
    'mart_native_difference': ['source', 'figure'],
    'mart_cohort': ['basis', 'calendar', 'cohort_start', 'months_since'],
    'mart_funnel': ['funnel', 'channel', 'stage_number'],
    'mart_basket_pair': ['first_product_key', 'second_product_key'],
    'mart_survey_fatigue': ['survey_kind', 'earlier_invitation_count'],
    'mart_journey_path': ['band', 'path'],
    'mart_journey_transition': ['band', 'from_stage', 'to_stage'],
    'mart_feedback_loop': ['calendar', 'month_start', 'reason'],
    'mart_segment': ['segmentation', 'segment'],
    'mart_customer_360_history': ['customer_id', 'valid_from_date'],
    'mart_channel_experience': ['calendar', 'quarter_start', 'channel'],
} %}

{%- for model, columns in keys.items() %}
select
    '{{ model }}' as model,
    concat_ws(' ', {{ columns | join(', ') }}) as key,
    count(*) as row_count
from {{ ref(model) }}
where {{ is_made_by_last_build(ref(model)) }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% if not loop.last %}union all{% endif %}
{%- endfor %}
