{#-
    From one beginning of a period to the next: what the records of the transition metrics and their sums share.
-#}

{#- Calendar and length of the periods that transitions are looked at in: all of `int_kpi_day__mapped` but 'all'. -#}
{% macro kpi_period_lengths() %}{{ return([
    'gregorian day',
    'gregorian week', 'jalali week',
    'gregorian month', 'jalali month',
    'gregorian quarter', 'jalali quarter',
]) }}{% endmacro %}

{#-
    Condition: a stay has a neighbour of the same customer in a period of one length, a column of the days joined to it:
    who is back in the period of the end was never gone. Subscriptions may run side by side, and several of a customer
    are followed in periods of every length.
-#}
{% macro is_followed_in(length) -%}
(
            start_days.{{ length }} = previous_days.{{ length }}
            or end_days.{{ length }} = next_days.{{ length }}
            or (neighboured.metric = 'revenue_churn_rate' and not neighboured.is_only_stay)
        )
{%- endmacro %}

{#-
    One row per metric, customer, length of period and beginning of a period at which the customer is another than at
    the one before, with what it is and was: level and previous_level, 1 or 0, or the monthly amount.

    `changes` is a relation of what begins and ends, by the boundary at which it is seen: metric, is_counted,
    customer_id, calendar, period_grain, boundary_number, stay_change and amount_change.
-#}
{% macro steps_of_changes(changes) -%}
(
    select
        *,
        lead(boundary_number) over so_far as next_boundary_number,
        coalesce(lag(level) over so_far, 0) as previous_level
    from (
        select
            *,
            case
                when metric = 'revenue_churn_rate' and is_counted
                    then cast(sum(amount_change) over so_far as decimal(18, 4))
                else cast(least(sum(stay_change) over so_far, 1) as decimal(18, 4))
            end as level
        from (
            -- What starts and ends in one period is never seen at a boundary, and a return in the period of the end is
            -- no gap.
            select
                metric,
                is_counted,
                customer_id,
                calendar,
                period_grain,
                boundary_number,
                sum(stay_change) as stay_change,
                sum(amount_change) as amount_change
            from {{ changes }}
            group by metric, is_counted, customer_id, calendar, period_grain, boundary_number
        ) as net_changes
        window so_far as (
            partition by metric, is_counted, customer_id, calendar, period_grain
            order by boundary_number
        )
    ) as levels
    window so_far as (
        partition by metric, is_counted, customer_id, calendar, period_grain
        order by boundary_number
    )
)
{%- endmacro %}
