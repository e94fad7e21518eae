with customers as (
    select * from {{ ref('dim_customer') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

consents as (
    select * from {{ ref('int_customer_consent__current') }}
),

order_totals as (
    select * from {{ ref('int_customer__ordered') }}
),

survey_scores as (
    select * from {{ ref('int_customer__surveyed') }}
),

lives as (
    select * from {{ ref('int_customer__lived') }}
),

subscriptions as (
    select * from {{ ref('fct_subscription') }}
),

tickets as (
    select * from {{ ref('fct_ticket') }}
),

open_spans as (
    select * from {{ ref('int_ticket_activity__spanned') }}
),

mentions as (
    select * from {{ ref('fct_mention') }}
),

responses as (
    select * from {{ ref('fct_survey_response') }}
),

invitations as (
    select * from {{ ref('fct_survey_invitation') }}
),

marketing_consents as (
    select
        customer_id,
        bool_or(is_granted) as is_marketing_consented,
        string_agg(channel, ', ' order by channel) filter (where is_granted) as marketing_channels
    from consents
    where purpose = 'marketing'
    group by customer_id
),

subscription_totals as (
    select
        customer_id,
        count(*) filter (where is_active) as active_subscription_count,
        sum(monthly_amount) filter (
            where is_active and currency = '{{ reporting_currency() }}'
        ) as monthly_recurring_amount
    from subscriptions
    where customer_id is not null
    group by customer_id
),

ticket_totals as (
    select
        tickets.customer_id,
        count(*) as ticket_count,
        max(tickets.created_at) filter (where tickets.is_complaint) as last_complaint_ticket_at
    from tickets
    cross join as_of
    where
        tickets.customer_id is not null
        and not tickets.is_merged
        and tickets.created_at <= as_of.as_of_at
    group by tickets.customer_id
),

open_ticket_totals as (
    select
        open_spans.customer_id,
        count(*) as open_ticket_count
    from open_spans
    cross join as_of
    where
        open_spans.customer_id is not null
        and open_spans.started_at <= as_of.as_of_at
        and coalesce(open_spans.ended_at > as_of.as_of_at, true)
    group by open_spans.customer_id
),

mention_totals as (
    select
        mentions.customer_id,
        count(*) as mention_count,
        -- 100 times the share of positive less the share of negative, of the mentions with a known sentiment.
        100.0 * (
            count(*) filter (where mentions.sentiment = 'positive')
            - count(*) filter (where mentions.sentiment = 'negative')
        ) / nullif(count(*) filter (where mentions.sentiment <> 'unknown'), 0) as net_sentiment,
        max(mentions.published_at) filter (where {{ is_complaint_text('mention', 'mentions') }})
            as last_complaint_mention_at
    from mentions
    cross join as_of
    where
        mentions.customer_id is not null
        and not mentions.is_repost
        and mentions.published_at <= as_of.as_of_at
    group by mentions.customer_id
),

comment_totals as (
    select
        responses.customer_id,
        max(responses.answered_at) as last_complaint_comment_at
    from responses
    cross join as_of
    where
        responses.customer_id is not null
        and {{ is_complaint_text('comment', 'responses') }}
        and responses.answered_at <= as_of.as_of_at
    group by responses.customer_id
),

-- The window of N days ends with, and includes, the day of as_of.
invitation_totals as (
    select
        invitations.customer_id,
        count(*) as recent_survey_count
    from invitations
    cross join as_of
    where
        invitations.customer_id is not null
        and invitations.is_delivered
        and invitations.sent_at <= as_of.as_of_at
        and invitations.sent_date > as_of.as_of_date - {{ survey_fatigue_days() }}
    group by invitations.customer_id
),

final as (
    select
        customers.customer_id,
        customers.full_name,
        customers.email,
        customers.phone,
        customers.gender,
        customers.birth_date,
        customers.city,
        customers.region,
        customers.country,
        customers.segment,
        customers.language,
        customers.account_key,
        marketing_consents.is_marketing_consented,
        marketing_consents.marketing_channels,
        coalesce(order_totals.order_count, 0) as order_count,
        coalesce(order_totals.other_currency_order_count, 0) as other_currency_order_count,
        cast(order_totals.revenue_amount as decimal(18, 4)) as revenue_amount,
        cast(order_totals.margin_amount as decimal(18, 4)) as margin_amount,
        cast(order_totals.margin_amount as decimal(18, 4)) as clv_to_date_amount,
        order_totals.first_order_at,
        order_totals.last_order_at,
        order_totals.recency_quintile,
        order_totals.frequency_quintile,
        order_totals.monetary_quintile,
        coalesce(subscription_totals.active_subscription_count, 0) as active_subscription_count,
        cast(subscription_totals.monthly_recurring_amount as decimal(18, 4)) as monthly_recurring_amount,
        survey_scores.latest_nps_score,
        survey_scores.latest_nps_band,
        survey_scores.latest_nps_at,
        survey_scores.recent_nps_score,
        survey_scores.latest_csat_score_100,
        survey_scores.recent_csat_score_100,
        survey_scores.latest_ces_score_100,
        survey_scores.recent_ces_score_100,
        coalesce(invitation_totals.recent_survey_count, 0) as recent_survey_count,
        coalesce(ticket_totals.ticket_count, 0) as ticket_count,
        coalesce(open_ticket_totals.open_ticket_count, 0) as open_ticket_count,
        greatest(
            ticket_totals.last_complaint_ticket_at,
            comment_totals.last_complaint_comment_at,
            mention_totals.last_complaint_mention_at
        ) as last_complaint_at,
        coalesce(mention_totals.mention_count, 0) as mention_count,
        mention_totals.net_sentiment,
        customers.first_seen_at,
        customers.last_seen_at,
        as_of.as_of_date - {{ reporting_date('customers.first_seen_at') }} as tenure_days,
        lives.activity_kind,
        lives.is_active,
        lives.is_churned,
        lives.churned_date,
        lives.churn_reason,
        customers.identity_score,
        customers.record_count,
        customers.source_count,
        (
            cast(customers.full_name is not null as integer)
            + cast(customers.email is not null as integer)
            + cast(customers.phone is not null as integer)
            + cast(customers.gender is not null as integer)
            + cast(customers.birth_date is not null as integer)
            + cast(customers.city is not null as integer)
            + cast(customers.region is not null as integer)
            + cast(customers.country is not null as integer)
            + cast(customers.segment is not null as integer)
            + cast(customers.language is not null as integer)
        ) / 10.0 as profile_completeness,
        as_of.as_of_at
    from customers
    cross join as_of
    left join marketing_consents
        on customers.customer_id = marketing_consents.customer_id
    left join order_totals
        on customers.customer_id = order_totals.customer_id
    left join subscription_totals
        on customers.customer_id = subscription_totals.customer_id
    left join survey_scores
        on customers.customer_id = survey_scores.customer_id
    left join ticket_totals
        on customers.customer_id = ticket_totals.customer_id
    left join open_ticket_totals
        on customers.customer_id = open_ticket_totals.customer_id
    left join mention_totals
        on customers.customer_id = mention_totals.customer_id
    left join comment_totals
        on customers.customer_id = comment_totals.customer_id
    left join invitation_totals
        on customers.customer_id = invitation_totals.customer_id
    left join lives
        on customers.customer_id = lives.customer_id
)

select * from final
