with segments as (
    select * from {{ ref('mart_customer_segment') }}
),

customers as (
    select * from {{ ref('mart_customer_360') }}
),

named as (
    select
        'rfm' as segmentation,
        rfm_segment as segment,
        customer_id
    from segments
    union all
    select
        'persona' as segmentation,
        persona as segment,
        customer_id
    from segments
),

counted as (
    select
        named.segmentation,
        named.segment,
        count(*) as customer_count,
        count(*) filter (where customers.is_active) as active_count,
        count(customers.is_active) as activity_count,
        sum(customers.revenue_amount) as revenue_amount,
        count(customers.latest_nps_band) as nps_count,
        count(*) filter (where customers.latest_nps_band = 'promoter') as promoter_count,
        count(*) filter (where customers.latest_nps_band = 'detractor') as detractor_count,
        sum(customers.ticket_count) as ticket_count
    from named
    inner join customers
        on named.customer_id = customers.customer_id
    group by named.segmentation, named.segment
),

totalled as (
    select
        *,
        sum(customer_count) over (partition by segmentation) as all_customer_count,
        sum(revenue_amount) over (partition by segmentation) as all_revenue_amount
    from counted
),

final as (
    select
        segmentation,
        segment,
        cast(all_customer_count as bigint) as all_customer_count,
        customer_count,
        {{ shown_share('customer_count', 'all_customer_count', 'customer_share') }},
        {{ shown('cast(revenue_amount as decimal(18, 4))', 'customer_count') }} as revenue_amount,
        {{ shown('cast(revenue_amount as double) / nullif(all_revenue_amount, 0)', 'customer_count') }}
            as revenue_share,
        activity_count,
        {{ shown_share('active_count', 'activity_count', 'active_rate') }},
        nps_count,
        {{ shown('100.0 * (promoter_count - detractor_count) / nps_count', 'nps_count') }} as nps,
        {{ shown('100 * ' ~ adjusted_wald_bound('-', 'promoter_count', 'detractor_count', 'nps_count'), 'nps_count') }}
            as nps_ci_low,
        {{ shown('100 * ' ~ adjusted_wald_bound('+', 'promoter_count', 'detractor_count', 'nps_count'), 'nps_count') }}
            as nps_ci_high,
        {{ shown('cast(ticket_count as double) / customer_count', 'customer_count') }} as tickets_per_customer,
        {{ reliability('customer_count') }} as reliability
    from totalled
)

select * from final
