{#- An invitation younger than this may still be answered: most answers come within a week. -#}
{%- set settled_days = 7 %}

with invitations as (
    select * from {{ ref('fct_survey_invitation') }}
),

views as (
    select * from {{ ref('int_self_service_view__unioned') }}
),

tickets as (
    select * from {{ ref('fct_ticket') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

customers as (
    select * from {{ ref('int_kpi_customer__sliced') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

invited as (
    select
        'survey_response_rate' as metric,
        invitations.invitation_key as record_key,
        invitations.customer_id,
        invitations.sent_date as observed_date,
        invitations.channel,
        coalesce(invitations.survey_name, invitations.survey_key) as survey,
        cast(invitations.is_answered as integer) as value
    from invitations
    cross join as_of
    where invitations.is_delivered and invitations.sent_date <= as_of.as_of_date - {{ settled_days }}
),

-- Reading help for a day is one attempt, however many articles it took.
attempts as (
    select
        persons.customer_id,
        {{ reporting_date('views.occurred_at') }} as observed_date,
        arg_min(views.self_service_view_key, (views.occurred_at, views.self_service_view_key)) as record_key,
        min(views.occurred_at) as started_at
    from views
    inner join persons
        on views.person_key = persons.person_key
    group by persons.customer_id, observed_date
),

asked as (
    select
        ticket_key,
        customer_id,
        channel,
        created_at,
        created_date
    from tickets
    where customer_id is not null and not is_merged and (created_by is null or created_by = 'customer')
),

failed_attempts as (
    select distinct attempts.record_key
    from attempts
    inner join asked
        on
            attempts.customer_id = asked.customer_id
            and attempts.started_at <= asked.created_at
            and attempts.started_at + interval {{ self_service_days() }} day >= asked.created_at
),

tickets_after_help as (
    select distinct asked.ticket_key
    from attempts
    inner join asked
        on
            attempts.customer_id = asked.customer_id
            and attempts.started_at <= asked.created_at
            and attempts.started_at + interval {{ self_service_days() }} day >= asked.created_at
),

-- A need for help is an attempt of their own, or a ticket that no attempt came before.
needs as (
    select
        attempts.record_key,
        attempts.customer_id,
        attempts.observed_date,
        'web' as channel,
        cast(failed_attempts.record_key is null as integer) as value
    from attempts
    left join failed_attempts
        on attempts.record_key = failed_attempts.record_key
    union all
    select
        asked.ticket_key as record_key,
        asked.customer_id,
        asked.created_date as observed_date,
        asked.channel,
        0 as value
    from asked
    left join tickets_after_help
        on asked.ticket_key = tickets_after_help.ticket_key
    where tickets_after_help.ticket_key is null
),

-- Without any help articles nobody can help themselves: there is no rate, rather than one of 0.
helped as (
    select
        'self_service_rate' as metric,
        needs.record_key,
        needs.customer_id,
        needs.observed_date,
        needs.channel,
        cast(null as varchar) as survey,
        needs.value
    from needs
    cross join as_of
    where
        needs.observed_date <= as_of.as_of_date - {{ self_service_days() }}
        and exists (select 1 from attempts)
),

contacts as (
    select * from invited
    union all
    select * from helped
),

observed as (
    select
        contacts.metric,
        contacts.record_key,
        contacts.customer_id,
        contacts.observed_date,
        coalesce(contacts.channel, 'unknown') as channel,
        coalesce(customers.region, 'unknown') as region,
        coalesce(customers.segment, 'unknown') as segment,
        'unknown' as product_line,
        coalesce(contacts.survey, 'unknown') as survey,
        true as is_counted,
        cast(contacts.value as decimal(18, 4)) as value,
        cast(null as decimal(18, 9)) as weight
    from contacts
    left join customers
        on contacts.customer_id = customers.customer_id
)

select * from observed
