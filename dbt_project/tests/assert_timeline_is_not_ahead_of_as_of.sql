-- The timeline, and with it whatever is learned from it, never looks beyond as_of.
select
    interactions.interaction_key,
    interactions.occurred_at
from {{ ref('fct_interaction') }} as interactions
cross join {{ ref('int_as_of__resolved') }} as as_of
where interactions.occurred_at > as_of.as_of_at
