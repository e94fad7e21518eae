-- Every row that was read was let through, quarantined, left out, or is held back with its load.
select
    load_day_key,
    extracted,
    promoted,
    quarantined,
    deduplicated,
    held_back
from {{ ref('mart_load_quality') }}
where extracted <> promoted + quarantined + deduplicated + held_back
