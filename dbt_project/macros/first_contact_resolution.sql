{#-
    Whether a ticket was resolved at the first contact, judged over `window_days` after its resolution; NULL where
    that cannot be judged (yet). Reads the columns of fct_ticket's `judged` CTE.
-#}
{% macro is_first_contact_resolution(window_days) -%}
    case
        when not is_fcr_candidate or resolved_at + interval {{ window_days }} day > as_of_at then null
        else
            reopen_count = 0
            and handoff_count = 0
            and coalesce(next_contact_at > resolved_at + interval {{ window_days }} day, true)
    end
{%- endmacro %}
