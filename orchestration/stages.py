"""The stages of the path. Their names are the asset groups in the Dagster UI."""

EXTRACT = "extract"
GUARD = "guard"
UNIFY = "unify"
MODEL = "model"
PUBLISH = "publish"

STAGES = (EXTRACT, GUARD, UNIFY, MODEL, PUBLISH)

PICTURE = """
 systems        EXTRACT             GUARD                 UNIFY                     MODEL           PUBLISH
 CRM, tickets → candidate_<source> → raw_<source>      → stg_ → int_ → identity → dim_, fct_, → marts.duckdb
 surveys,       as sent, waiting     audited: good rows  one shape,    one        mart_         and Parquet,
 social, web    for its audit        promoted, bad rows  any source    customer   KPIs, 360     one version
                                     quarantined                       id                       at a time
"""
