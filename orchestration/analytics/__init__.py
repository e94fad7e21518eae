"""MODEL, the part SQL cannot say: models that are fitted, on plain arrays and on the warehouse's facts.

Belongs here: one module an analysis, with pure functions on arrays, a `build_…` function that reads facts and writes
marts, and the marts' descriptions. Does not belong here: KPIs that are counts, which are dbt models.
"""
