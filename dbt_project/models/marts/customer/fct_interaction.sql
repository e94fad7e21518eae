{{ config(
    materialized='incremental',
    incremental_strategy='touched',
    on_schema_change='fail',
    meta={'touched': {'column': 'customer_id'}, 'owner': 'customer_id'}
) }}

with as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

persons as (
    select *
    from {{ ref('int_person__resolved') }}
    where {{ is_touched('customer_id') }}
),

orders as (
    select *
    from {{ ref('fct_order') }}
    where {{ is_touched('customer_id') }}
),

tickets as (
    select *
    from {{ ref('fct_ticket') }}
    where {{ is_touched('customer_id') }}
),

ticket_events as (
    select * from {{ ref('int_ticket_event__ordered') }}
),

invitations as (
    select *
    from {{ ref('fct_survey_invitation') }}
    where {{ is_touched('customer_id') }}
),

responses as (
    select *
    from {{ ref('fct_survey_response') }}
    where {{ is_touched('customer_id') }}
),

message_feelings as (
    select *
    from {{ ref('int_text__felt') }}
    where entity = 'ticket_event'
),

mentions as (
    select *
    from {{ ref('fct_mention') }}
    where {{ is_touched('customer_id') }}
),

sessions as (
    select *
    from {{ ref('fct_web_session') }}
    where {{ is_touched('customer_id') }}
),

campaign_touches as (
    select * from {{ ref('int_campaign_touch__unioned') }}
),

self_service_views as (
    select * from {{ ref('int_self_service_view__unioned') }}
),

activities as (
    select * from {{ ref('int_activity__unioned') }}
),

opportunities as (
    select * from {{ ref('fct_opportunity') }}
),

stage_events as (
    select *
    from {{ ref('fct_opportunity_stage_event') }}
    where {{ is_touched('customer_id') }}
),

loyalty_events as (
    select * from {{ ref('int_loyalty_event__unioned') }}
),

subscriptions as (
    select *
    from {{ ref('fct_subscription') }}
    where {{ is_touched('customer_id') }}
),

consents as (
    select * from {{ ref('int_consent__unioned') }}
),

-- One branch per touchpoint. Direction says who moved first: inbound the customer, outbound the company.
touchpoints as (
    select
        customer_id,
        source,
        'order' as entity,
        order_key as record_key,
        ordered_at as occurred_at,
        channel,
        'order_placed' as type,
        'inbound' as direction,
        'buy' as journey_stage,
        cast(null as varchar) as sentiment,
        cast(null as double) as score_100
    from orders
    union all
    select
        customer_id,
        source,
        'ticket' as entity,
        ticket_key as record_key,
        created_at as occurred_at,
        channel,
        'ticket_created' as type,
        case when created_by in ('agent', 'system') then 'outbound' else 'inbound' end as direction,
        'get_help' as journey_stage,
        null as sentiment,
        null as score_100
    from tickets
    union all
    select
        customer_id,
        source,
        'ticket' as entity,
        ticket_key as record_key,
        resolved_at as occurred_at,
        channel,
        'ticket_resolved' as type,
        'outbound' as direction,
        'get_help' as journey_stage,
        null as sentiment,
        null as score_100
    from tickets
    union all
    select
        tickets.customer_id,
        ticket_events.source,
        'ticket_event' as entity,
        ticket_events.ticket_event_key as record_key,
        ticket_events.occurred_at,
        tickets.channel,
        'ticket_message' as type,
        case when ticket_events.actor_type = 'customer' then 'inbound' else 'outbound' end as direction,
        'get_help' as journey_stage,
        message_feelings.sentiment,
        null as score_100
    from ticket_events
    inner join tickets
        on ticket_events.ticket_key = tickets.ticket_key
    left join message_feelings
        on ticket_events.ticket_event_key = message_feelings.record_key
    where ticket_events.is_public_message
    union all
    select
        customer_id,
        source,
        'invitation' as entity,
        invitation_key as record_key,
        sent_at as occurred_at,
        channel,
        'survey_sent' as type,
        'outbound' as direction,
        case
            when ticket_key is not null then 'get_help'
            when order_key is not null then 'buy'
            else 'use'
        end as journey_stage,
        null as sentiment,
        null as score_100
    from invitations
    where is_delivered
    union all
    select
        customer_id,
        source,
        'response' as entity,
        response_key as record_key,
        answered_at as occurred_at,
        channel,
        'survey_answered' as type,
        'inbound' as direction,
        case
            when ticket_key is not null then 'get_help'
            when order_key is not null then 'buy'
            else 'use'
        end as journey_stage,
        sentiment,
        score_100
    from responses
    where score is not null or comment is not null
    union all
    select
        customer_id,
        source,
        'mention' as entity,
        mention_key as record_key,
        published_at as occurred_at,
        channel,
        'mention_published' as type,
        'inbound' as direction,
        'advocate' as journey_stage,
        sentiment,
        null as score_100
    from mentions
    union all
    select
        customer_id,
        source,
        'web_session' as entity,
        web_session_key as record_key,
        started_at as occurred_at,
        -- The channel of a visit is the site itself; where the visitor came from is a matter of its session.
        'web' as channel,
        'web_session' as type,
        'inbound' as direction,
        case when has_order then 'buy' else 'consider' end as journey_stage,
        null as sentiment,
        null as score_100
    from sessions
    union all
    select
        persons.customer_id,
        campaign_touches.source,
        'campaign_touch' as entity,
        campaign_touches.campaign_touch_key as record_key,
        campaign_touches.occurred_at,
        campaign_touches.channel,
        'campaign_' || coalesce(campaign_touches.type, 'sent') as type,
        case
            when campaign_touches.type in ('opened', 'clicked', 'unsubscribed') then 'inbound'
            else 'outbound'
        end as direction,
        case campaign_touches.type
            when 'clicked' then 'consider'
            when 'unsubscribed' then 'leave'
            else 'aware'
        end as journey_stage,
        null as sentiment,
        null as score_100
    from campaign_touches
    inner join persons
        on campaign_touches.person_key = persons.person_key
    -- What bounced reached nobody.
    where campaign_touches.type is null or campaign_touches.type <> 'bounced'
    union all
    select
        persons.customer_id,
        self_service_views.source,
        'self_service_view' as entity,
        self_service_views.self_service_view_key as record_key,
        self_service_views.occurred_at,
        'web' as channel,
        'help_article_read' as type,
        'inbound' as direction,
        'get_help' as journey_stage,
        null as sentiment,
        null as score_100
    from self_service_views
    inner join persons
        on self_service_views.person_key = persons.person_key
    union all
    select
        persons.customer_id,
        activities.source,
        'activity' as entity,
        activities.activity_key as record_key,
        activities.occurred_at,
        case activities.type
            when 'call' then 'phone'
            when 'message' then 'chat'
            else activities.type
        end as channel,
        'activity_' || coalesce(activities.type, 'contact') as type,
        coalesce(activities.direction, 'outbound') as direction,
        'consider' as journey_stage,
        null as sentiment,
        null as score_100
    from activities
    inner join persons
        on activities.person_key = persons.person_key
    -- A note is the employee's own; nobody was in touch with the customer.
    where activities.type is null or activities.type <> 'note'
    union all
    select
        stage_events.customer_id,
        stage_events.source,
        'opportunity_stage_event' as entity,
        stage_events.opportunity_stage_event_key as record_key,
        stage_events.entered_at as occurred_at,
        opportunities.channel,
        'opportunity_stage_entered' as type,
        'outbound' as direction,
        'consider' as journey_stage,
        null as sentiment,
        null as score_100
    from stage_events
    left join opportunities
        on stage_events.opportunity_key = opportunities.opportunity_key
    union all
    select
        persons.customer_id,
        loyalty_events.source,
        'loyalty_event' as entity,
        loyalty_events.loyalty_event_key as record_key,
        loyalty_events.occurred_at,
        'loyalty' as channel,
        'loyalty_' || coalesce(loyalty_events.type, 'event') as type,
        case when loyalty_events.type in ('expire', 'tier') then 'outbound' else 'inbound' end as direction,
        'use' as journey_stage,
        null as sentiment,
        null as score_100
    from loyalty_events
    inner join persons
        on loyalty_events.person_key = persons.person_key
    union all
    select
        customer_id,
        source,
        'subscription' as entity,
        subscription_key as record_key,
        started_at as occurred_at,
        null as channel,
        'subscription_started' as type,
        'inbound' as direction,
        'buy' as journey_stage,
        null as sentiment,
        null as score_100
    from subscriptions
    union all
    select
        customer_id,
        source,
        'subscription' as entity,
        subscription_key as record_key,
        ended_at as occurred_at,
        null as channel,
        'subscription_ended' as type,
        'inbound' as direction,
        'leave' as journey_stage,
        null as sentiment,
        null as score_100
    from subscriptions
    union all
    select
        persons.customer_id,
        consents.source,
        'consent' as entity,
        consents.consent_key as record_key,
        consents.occurred_at,
        consents.channel,
        case when consents.is_granted then 'consent_given' else 'consent_withdrawn' end as type,
        'inbound' as direction,
        case when consents.is_granted then 'use' else 'leave' end as journey_stage,
        null as sentiment,
        null as score_100
    from consents
    inner join persons
        on consents.person_key = persons.person_key
),

final as (
    select
        -- A record may be several touchpoints (a ticket is opened and resolved), each of its own type.
        touchpoints.type || ':' || touchpoints.record_key as interaction_key,
        touchpoints.customer_id,
        touchpoints.source,
        touchpoints.entity,
        touchpoints.record_key,
        touchpoints.occurred_at,
        {{ reporting_date('touchpoints.occurred_at') }} as occurred_date,
        touchpoints.channel,
        touchpoints.type,
        touchpoints.direction,
        touchpoints.journey_stage,
        touchpoints.sentiment,
        touchpoints.score_100
    from touchpoints
    cross join as_of
    where
        touchpoints.customer_id is not null
        -- Also drops what has not happened: no resolution yet, an end that lies ahead.
        and touchpoints.occurred_at <= as_of.as_of_at
)

select * from final
