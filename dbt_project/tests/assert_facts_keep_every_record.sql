-- Facts have as many rows as the records they are made of: joins neither drop nor double.
{% set facts = {
    'fct_order': 'int_order__unioned',
    'fct_order_line': 'int_order_line__unioned',
    'dim_product': 'int_product__unioned',
    'fct_subscription': 'int_subscription__unioned',
    'fct_opportunity': 'int_opportunity__unioned',
    'fct_opportunity_stage_event': 'int_opportunity_stage_event__unioned',
    'fct_ticket': 'int_ticket__unioned',
    'fct_survey_invitation': 'int_invitation__unioned',
    'fct_survey_response': 'int_response__unioned',
    'fct_mention': 'int_mention__unioned',
    'fct_web_session': 'int_web_session__unioned',
} %}

with counts as (
    {% for fact, records in facts.items() %}
    select
        '{{ fact }}' as fact,
        (select count(*) from {{ ref(fact) }}) as fact_count,
        (select count(*) from {{ ref(records) }}) as record_count
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select * from counts
where fact_count <> record_count
