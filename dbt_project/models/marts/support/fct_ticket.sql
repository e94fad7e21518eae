{{ config(meta={'owner': 'coalesce(customer_id, ticket_key)'}) }}

with tickets as (
    select * from {{ ref('int_ticket__unioned') }}
),

resolutions as (
    select * from {{ ref('int_ticket__resolved') }}
),

replies as (
    select * from {{ ref('int_ticket__replied') }}
),

waits as (
    select * from {{ ref('int_ticket_wait__measured') }}
),

as_of as (
    select * from {{ ref('int_as_of__resolved') }}
),

joined as (
    select
        tickets.ticket_key,
        tickets.source,
        tickets.ticket_id,
        resolutions.customer_id,
        tickets.person_key,
        tickets.order_key,
        tickets.assignee_key,
        tickets.category,
        tickets.type,
        tickets.priority,
        resolutions.status,
        tickets.channel,
        tickets.group_name,
        tickets.tags,
        tickets.created_by,
        tickets.created_at,
        resolutions.resolved_at,
        tickets.closed_at,
        resolutions.is_resolved,
        resolutions.is_merged,
        resolutions.surviving_ticket_key,
        resolutions.reopen_count,
        resolutions.handoff_count,
        resolutions.next_contact_at,
        replies.has_message_log,
        replies.wait_started_at,
        replies.first_human_reply_at,
        replies.first_bot_reply_at,
        replies.public_human_reply_count,
        waits.waited_minutes,
        waits.waited_business_minutes,
        waits.first_response_minutes,
        waits.first_response_business_minutes,
        waits.resolution_minutes,
        waits.resolution_business_minutes,
        tickets.native_reopen_count,
        tickets.native_reassignment_count,
        tickets.native_first_reply_minutes,
        tickets.native_is_sla_met,
        as_of.as_of_at
    from tickets
    inner join resolutions
        on tickets.ticket_key = resolutions.ticket_key
    inner join replies
        on tickets.ticket_key = replies.ticket_key
    left join waits
        on tickets.ticket_key = waits.ticket_key
    cross join as_of
),

judged as (
    select
        *,
        coalesce(list_contains({{ text_list(complaint_types()) }}, lower(type)), false)
        or coalesce(
            list_has_any(string_split_regex(lower(trim(tags)), '\s*,\s*'), {{ text_list(complaint_tags()) }}), false
        ) as is_complaint,
        case
            when has_message_log then is_resolved and public_human_reply_count = 0
        end as is_auto_solved,
        case
            -- Whether anybody replied cannot be told from a log without messages, nobody waits for a reply to a
            -- ticket an agent opened, and the wait on a merged ticket goes on at the survivor.
            when not has_message_log or wait_started_at is null then null
            when first_human_reply_at is not null then true
            when is_merged then null
            else false
        end as is_answered,
        -- Tickets solved without any human reply are a class of their own, where the log could show a reply.
        is_resolved
        and not is_merged
        and resolved_at is not null
        and (public_human_reply_count > 0 or not has_message_log) as is_fcr_candidate
    from joined
),

final as (
    select
        ticket_key,
        source,
        ticket_id,
        customer_id,
        person_key,
        order_key,
        assignee_key,
        category,
        type,
        priority,
        status,
        channel,
        group_name,
        created_by,
        created_at,
        {{ reporting_date('created_at') }} as created_date,
        resolved_at,
        {{ reporting_date('resolved_at') }} as resolved_date,
        closed_at,
        is_resolved,
        is_complaint,
        is_auto_solved,
        is_merged,
        surviving_ticket_key,
        wait_started_at,
        first_human_reply_at,
        first_bot_reply_at,
        is_answered,
        case when is_answered is not null then waited_minutes end as waited_minutes,
        case when is_answered is not null then waited_business_minutes end as waited_business_minutes,
        first_response_minutes,
        first_response_business_minutes,
        resolution_minutes,
        resolution_business_minutes,
        public_human_reply_count,
        reopen_count,
        handoff_count,
        next_contact_at,
        {{ is_first_contact_resolution(7) }} as is_fcr_7d,
        {{ is_first_contact_resolution(14) }} as is_fcr_14d,
        {{ is_first_contact_resolution(30) }} as is_fcr_30d,
        native_reopen_count,
        reopen_count - native_reopen_count as reopen_difference,
        native_reassignment_count,
        handoff_count - native_reassignment_count as handoff_difference,
        native_first_reply_minutes,
        first_response_minutes - native_first_reply_minutes as first_response_difference_minutes,
        native_is_sla_met
    from judged
)

select * from final
