with consents as (
    select * from {{ ref('int_consent__unioned') }}
),

persons as (
    select * from {{ ref('int_person__resolved') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

given as (
    select
        persons.customer_id,
        lower(trim(consents.purpose)) as purpose,
        lower(trim(consents.channel)) as channel,
        consents.is_granted,
        consents.occurred_at
    from consents
    inner join persons
        on consents.person_key = persons.person_key
    cross join as_of
    where consents.occurred_at <= as_of.as_of_at
),

-- A consent without a channel speaks for every channel that any other consent of the customer names.
channels as (
    select distinct
        customer_id,
        purpose,
        channel
    from given
    where channel is not null
),

-- Two branches, because a join that also asks for a missing channel is not one that the engine can hash.
spread as (
    select
        customer_id,
        purpose,
        channel,
        is_granted,
        occurred_at
    from given
    where channel is not null
    union all
    select
        given.customer_id,
        given.purpose,
        coalesce(channels.channel, 'any') as channel,
        given.is_granted,
        given.occurred_at
    from given
    left join channels
        on
            given.customer_id = channels.customer_id
            and given.purpose = channels.purpose
    where given.channel is null
),

current_consents as (
    select
        customer_id,
        purpose,
        channel,
        -- Of a grant and a withdrawal at one moment, the withdrawal holds.
        arg_max(is_granted, struct_pack(at := occurred_at, is_withdrawal := not is_granted)) as is_granted,
        max(occurred_at) as decided_at
    from spread
    group by customer_id, purpose, channel
)

select * from current_consents
