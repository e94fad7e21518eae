{#- A table: every model that follows the change reads it. -#}
{{ config(materialized='table') }}

{#- Entities that name a person, and where the last build says whose a record was. -#}
{%- set facts = {
    'order': 'fct_order',
    'opportunity': 'fct_opportunity',
    'subscription': 'fct_subscription',
    'ticket': 'fct_ticket',
    'invitation': 'fct_survey_invitation',
    'response': 'fct_survey_response',
    'mention': 'fct_mention',
    'web_session': 'fct_web_session',
    'activity': 'fct_interaction',
    'loyalty_event': 'fct_interaction',
    'consent': 'fct_interaction',
    'campaign_touch': 'fct_interaction',
    'self_service_view': 'fct_interaction',
} %}
{%- set links = source('identity', 'customer_xref') %}
{%- set as_of = ref('int_as_of__resolved') %}
{%- set follows = follows_change() %}
{%- if follows %}
    {%- set built_at, last_as_of_at = last_build() %}
{%- endif %}

with records as (
    select * from {{ ref('int_record__touched') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

-- An answer or invitation without a person is of the person of its ticket or order.
asked_about as (
    {%- for entity in ('invitation', 'response') %}
    select
        ticket_key,
        order_key
    from {{ ref('int_' ~ entity ~ '__unioned') }}
    where {{ entity }}_key in {{ keys_of(entity, 'records') }}
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
),

named as (
    select record_key as person_key
    from records
    where entity = 'person'
    {%- for entity in facts %}
    union all
    select person_key
    from {{ ref('int_' ~ entity ~ '__unioned') }}
    where {{ entity }}_key in {{ keys_of(entity, 'records') }}
    {%- endfor %}
    {%- for entity in ('ticket', 'order') %}
    union all
    select person_key
    from {{ ref('int_' ~ entity ~ '__unioned') }}
    where {{ entity }}_key in (select asked_about.{{ entity }}_key from asked_about)
    {%- endfor %}
),

{%- if follows %}

-- Links that began or ended since.
relinked as (
    select customer_id
    from {{ links }}
    where valid_from > timestamp '{{ built_at }}' or valid_to > timestamp '{{ built_at }}'
),

-- What holds a link may change without it.
proven as (
    select
        customer_id,
        count(*) as record_count,
        count(distinct source) as source_count,
        min(score) as identity_score
    from persons
    group by customer_id
),

held_otherwise as (
    select golden.customer_id
    from {{ as_last_built('intermediate', 'int_customer__golden') }} as golden
    inner join proven
        on golden.customer_id = proven.customer_id
    where
        golden.record_count <> proven.record_count
        or golden.source_count <> proven.source_count
        or golden.identity_score is distinct from proven.identity_score
),

-- Whom the time that passed tells something of: a silence has become too long, a day of a span has come, a journey is
-- over.
passed as (
    select spans.customer_id
    from {{ as_last_built('intermediate', 'int_customer_activity__spanned') }} as spans
    cross join {{ as_of }} as as_of
    where
        (spans.ended_date is null and spans.silence_limit_date <= as_of.as_of_date)
        {%- for day in ('started_date', 'ended_date') %}
        or (
            spans.{{ day }} > {{ reporting_date("timestamp '" ~ last_as_of_at ~ "'") }}
            and spans.{{ day }} <= as_of.as_of_date
        )
        {%- endfor %}
    union all
    select journeys.customer_id
    from {{ as_last_built('marts', 'fct_journey') }} as journeys
    cross join {{ as_of }} as as_of
    where
        journeys.is_open
        and journeys.ended_at + interval {{ journey_gap_days() }} day < as_of.as_of_at
),

-- Time that went back, as when the newest record is deleted, tells of everybody.
brought_back as (
    select customers.customer_id
    from {{ as_last_built('marts', 'dim_customer') }} as customers
    cross join {{ as_of }} as as_of
    where as_of.as_of_at < timestamp '{{ last_as_of_at }}'
),

-- A build that did not end may have brought some models to where others are not.
left_over as (
    select customer_id
    from {{ this }}
    where touched_at > timestamp '{{ built_at }}'
),

{%- endif %}

touched as (
    select persons.customer_id
    from named
    inner join persons
        on named.person_key = persons.person_key
    {%- if follows %}
    {%- for entity, fact in facts.items() if fact != 'fct_interaction' %}
    union
    select customer_id
    from {{ as_last_built('marts', fact) }}
    where {{ entity }}_key in {{ keys_of(entity, 'records') }}
    {%- endfor %}
    -- What has no fact of its own, in one look at the longest of all tables.
    union
    select customer_id
    from {{ as_last_built('marts', 'fct_interaction') }}
    where
        record_key in (
            select records.record_key
            from records
            where
                records.entity in (
                    {%- for entity, fact in facts.items() if fact == 'fct_interaction' %}
                    '{{ entity }}'{{ ',' if not loop.last }}
                    {%- endfor %}
                )
        )
    {%- for found in ('relinked', 'held_otherwise', 'passed', 'brought_back', 'left_over') %}
    union
    select customer_id from {{ found }}
    {%- endfor %}
    {%- endif %}
)

select
    customer_id,
    {{ utc_now() }} as touched_at
from touched
where customer_id is not null
