"""The CRM-to-CEM warehouse: from silos of customer data to one view of the customer."""

import os

# Nothing that runs here reports home unless its user asks for it by setting these. The last one makes Dagster store
# what it plans in batches, see `defs/storage.py`.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "DAGSTER_EVENT_BATCH_SIZE": "1000",
}.items():
    os.environ.setdefault(_name, _value)
