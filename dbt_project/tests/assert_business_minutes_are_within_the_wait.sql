-- Business minutes are a part of the minutes waited, and neither is ever negative.
select
    ticket_key,
    first_response_minutes,
    first_response_business_minutes
from {{ ref('fct_ticket') }}
where
    first_response_minutes < 0
    or first_response_business_minutes < 0
    or first_response_business_minutes > first_response_minutes + 0.001
