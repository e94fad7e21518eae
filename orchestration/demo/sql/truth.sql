-- What no source knows: who is who, and how likely each customer is to leave.

create table truth_who_is_who as
select
    'demo_crm' as source,
    person_id as record_id,
    'H' || i as true_person_id
from crm_record
union all
select
    'demo_support',
    requester_id,
    'H' || i
from support_requester
union all
select
    'demo_survey',
    respondent_id,
    'H' || i
from survey_respondent
union all
select
    'demo_social',
    author_id,
    case when author_no < 400000000 then 'H' || author_no else 'XS' || author_no end
from social_author
union all
select
    'demo_web',
    visitor_code(visitor_base, copy),
    case when i is not null then 'H' || i else 'XW' || visitor_base end
from web_visitor
union all
-- Readers of help articles who were never seen on a visit.
select
    'demo_web',
    visitor_code(i, 0),
    'H' || i
from customer
where i * 2 not in (select visitor_no from web_visitor);

-- Risk at the clock of leaving within 90 days, given what happened so far: the constant hazard, and for
-- each ticket the chance that it still drives out (probability of its shock, not yet felt, and falling
-- into the window; shocks follow a ticket by 25 days on average).
create table truth_customers as
with
pending as (
    select
        i,
        leave_probability as p,
        exp(-greatest(epoch(getvariable('clock') - coalesce(replied_at, created_at)) / 86400, 0) / 25) as still
    from ticket
),

open_risk as (
    select
        i,
        exp(sum(ln(1 - p * still * (1 - exp(-90.0 / 25)) / (1 - p + p * still)))) as stays
    from pending
    group by i
),

seen as (
    select
        i,
        avg(experience) as mean_experience,
        avg(waited_hours) as mean_waited_hours,
        count(*) as ticket_count
    from ticket
    group by i
)

select
    'H' || customer.i as true_person_id,
    customer.satisfaction,
    customer.value,
    customer.hazard as monthly_hazard,
    customer.joined_at,
    case when customer.left_at < getvariable('clock') then customer.left_at end as left_at,
    case when customer.left_at < getvariable('clock') then customer.is_driven_out end as is_driven_out,
    case when customer.returned_at < getvariable('clock') then customer.returned_at end as returned_at,
    is_active(
        getvariable('clock'), customer.joined_at, customer.left_at, customer.returned_at, customer.left_again_at
    ) as is_active,
    case
        when customer.left_at >= getvariable('clock')
            then 1 - exp(-customer.hazard * 90 / 30.44) * coalesce(open_risk.stays, 1)
    end as churn_risk_90_days,
    seen.mean_experience,
    seen.mean_waited_hours,
    coalesce(seen.ticket_count, 0) as ticket_count,
    customer.in_household,
    customer.pair as household_no
from customer
left join open_risk on customer.i = open_risk.i
left join seen on customer.i = seen.i;
