{#- A table: every model that follows the change reads it. -#}
{{ config(materialized='table') }}

{#- Entities that models are made of record by record, and when what is said of their records changes by itself. -#}
{%- set times = {
    'person': [],
    'order': ['ordered_at', 'promised_at'],
    'order_line': [],
    'opportunity': [],
    'opportunity_stage_event': ['occurred_at'],
    'activity': ['occurred_at'],
    'subscription': ['started_at', 'ended_at'],
    'loyalty_event': ['occurred_at'],
    'consent': ['occurred_at'],
    'ticket': ['created_at', 'resolved_at', 'closed_at'],
    'ticket_event': ['occurred_at'],
    'invitation': ['sent_at'],
    'response': ['answered_at'],
    'mention': ['published_at'],
    'web_session': ['started_at'],
    'campaign_touch': ['occurred_at'],
    'self_service_view': ['occurred_at'],
} %}
{#- What is a part of what, and where the last build says so. -#}
{%- set parts = {
    'order_line': ('order', as_last_built('marts', 'fct_order_line')),
    'opportunity_stage_event': ('opportunity', as_last_built('marts', 'fct_opportunity_stage_event')),
    'ticket_event': ('ticket', as_last_built('intermediate', 'int_ticket_event__ordered')),
} %}
{#- Who refers to what others tell of, by which column. -#}
{%- set referring = [
    ('order_line', 'product_key', 'product'),
    ('ticket_event', 'assignee_key', 'agent'),
    ('ticket_event', "source || ':' || actor_id", 'agent'),
    ('invitation', 'survey_key', 'survey'),
    ('response', 'question_key', 'question'),
] %}
{%- set as_of = ref('int_as_of__resolved') %}
{%- set told = ref('int_reference__hashed') %}
{%- set questions = ref('int_question__unioned') %}
{%- set follows = follows_change() %}
{%- if follows %}
    {%- set moments = run_query("select as_of_at from " ~ as_of).columns[0].values() %}
    {%- set moments = [moments[0], last_build()[1]] %}
    {%- set loads = unseen_loads('model') %}
{%- endif %}

with invitations as (
    select * from {{ ref('int_invitation__unioned') }}
),

responses as (
    select * from {{ ref('int_response__unioned') }}
),

ticket_merges as (
    select * from {{ ref('int_ticket__merged') }}
),

{%- if follows %}

-- References that tell something else than they told the last build. A question is asked in the way of its survey.
told_otherwise as (
    select
        coalesce(told.entity, built.entity) as entity,
        coalesce(told.record_key, built.record_key) as record_key
    from {{ told }} as told
    full join ops.built_references as built
        on
            told.entity = built.entity
            and told.record_key = built.record_key
    where told.content is distinct from built.content
),

references_changed as (
    select * from told_otherwise
    union
    select
        'question' as entity,
        question_key as record_key
    from {{ questions }}
    where survey_key in {{ keys_of('survey', 'told_otherwise') }}
),

{%- endif %}

-- Records that the last build has not seen as they are, and those that time has reached since.
changed as (
    {%- for entity, columns in times.items() %}
    select
        '{{ entity }}' as entity,
        {{ entity }}_key as record_key
    from {{ ref('int_' ~ entity ~ '__unioned') }}
    {%- if follows %}
    where
        _load_id in ({{ loads }})
        {%- for column in columns if moments[0] != moments[1] %}
        or ({{ column }} > timestamp '{{ moments | min }}' and {{ column }} <= timestamp '{{ moments | max }}')
        {%- endfor %}
    {%- else %}
    where false
    {%- endif %}
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
    {%- if follows %}
    union all
    select
        entity,
        record_key
    from ops.removed_records
    {%- for entity, column, reference in referring %}
    union all
    select
        '{{ entity }}' as entity,
        {{ entity }}_key as record_key
    from {{ ref('int_' ~ entity ~ '__unioned') }}
    where {{ column }} in {{ keys_of(reference, 'references_changed') }}
    {%- endfor %}
    {%- endif %}
),

-- A record has as many rows elsewhere as it has parts; what a part belonged to loses it.
wholes as (
    select * from changed
    {%- for part, (whole, built) in parts.items() %}
    union
    select
        '{{ whole }}' as entity,
        {{ whole }}_key as record_key
    from {{ ref('int_' ~ part ~ '__unioned') }}
    where {{ part }}_key in {{ keys_of(part, 'changed') }}
    {%- if follows %}
    union
    select
        '{{ whole }}' as entity,
        {{ whole }}_key as record_key
    from {{ built }}
    where {{ part }}_key in {{ keys_of(part, 'changed') }}
    {%- endif %}
    {%- endfor %}
),

-- Which ticket of several merged ones survives, is a matter of all of them.
families as (
    select surviving_ticket_key
    from ticket_merges
    where ticket_key in {{ keys_of('ticket', 'wholes') }}
    {%- if follows %}
    union
    select surviving_ticket_key
    from {{ as_last_built('marts', 'fct_ticket') }}
    where ticket_key in {{ keys_of('ticket', 'wholes') }}
    {%- endif %}
),

merged as (
    select * from wholes
    union
    select
        'ticket' as entity,
        ticket_key as record_key
    from ticket_merges
    where surviving_ticket_key in (select families.surviving_ticket_key from families)
),

-- An invitation knows its first answer, and by its ticket or order who was asked.
asked as (
    select * from merged
    union
    select
        'invitation' as entity,
        invitation_key as record_key
    from invitations
    where
        ticket_key in {{ keys_of('ticket', 'merged') }}
        or order_key in {{ keys_of('order', 'merged') }}
    union
    select
        'invitation' as entity,
        invitation_key as record_key
    from responses
    where
        invitation_key is not null
        and response_key in {{ keys_of('response', 'merged') }}
    {%- if follows %}
    union
    select
        'invitation' as entity,
        invitation_key as record_key
    from {{ as_last_built('marts', 'fct_survey_response') }}
    where
        invitation_key is not null
        and response_key in {{ keys_of('response', 'merged') }}
    {%- endif %}
),

touched as (
    select * from asked
    union
    select
        'response' as entity,
        response_key as record_key
    from responses
    where
        invitation_key in {{ keys_of('invitation', 'asked') }}
        or ticket_key in {{ keys_of('ticket', 'asked') }}
        or order_key in {{ keys_of('order', 'asked') }}
)

select
    entity,
    record_key
from touched
where record_key is not null
