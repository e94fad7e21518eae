-- A survival curve starts within 0 to 1, never rises, and lies within its interval.
with steps as (
    select
        *,
        lag(survival) over (
            partition by plan
            order by months
        ) as previous_survival
    from {{ ref('mart_subscription_survival') }}
)

select * from steps
where
    survival not between 0 and 1
    or survival > previous_survival + 1e-12
    or survival < ci_low - 1e-12
    or survival > ci_high + 1e-12
