-- Judged over a longer window a ticket can only fail more, and is judged later.
select
    ticket_key,
    is_fcr_7d,
    is_fcr_14d,
    is_fcr_30d
from {{ ref('fct_ticket') }}
where
    (is_fcr_14d and not is_fcr_7d)
    or (is_fcr_30d and not is_fcr_14d)
    or (is_fcr_7d is null and is_fcr_14d is not null)
    or (is_fcr_14d is null and is_fcr_30d is not null)
