with loads as (
    select * from {{ source('ops', 'loads') }}
),

load_rules as (
    select * from {{ source('ops', 'load_rules') }}
),

dated as (
    select
        load_rules.source,
        load_rules.table_name,
        {{ reporting_date('loads.started_at') }} as load_date,
        load_rules.rule_id,
        load_rules.severity,
        load_rules.description,
        loads.started_at,
        load_rules.failed,
        load_rules.checked
    from load_rules
    inner join loads
        on
            load_rules.load_id = loads.load_id
            and load_rules.source = loads.source
            and load_rules.table_name = loads.table_name
),

summed as (
    select
        source,
        table_name,
        load_date,
        rule_id,
        -- A rule may be reworded between two loads of a day: the last word counts.
        arg_max(severity, started_at) as severity,
        arg_max(description, started_at) as description,
        count(*) as load_count,
        count(*) filter (where failed > 0) as broken_count,
        cast(sum(failed) as bigint) as failed,
        cast(sum(checked) as bigint) as checked
    from dated
    group by source, table_name, load_date, rule_id
),

final as (
    select
        source || '.' || table_name || ' ' || load_date || ' ' || rule_id as load_rule_key,
        source,
        table_name,
        load_date,
        rule_id,
        severity,
        description,
        load_count,
        broken_count,
        failed,
        checked,
        failed / nullif(checked, 0) as failed_share
    from summed
)

select * from final
