"""UNIFY: which records are one human, and the id that human keeps.

`resolve` runs the whole stage. Each step has a module of its own:

    intermediate.int_person_record__collected
        │ normalise   spellings → one key a value            identity.record, identity.phone
        │ edges       shared identifiers → pairs             identity.edge, identity.hub
        │ components  pairs → groups
        │ stable_ids  groups → ids that stay                 identity.customer, identity.member
        ▼                                                    identity.customer_xref, identity.event
    every record with its customer_id

Belongs here: rules about persons, on a DuckDB connection. Does not belong here: the orchestrator, the
choice of the golden name or mail of a customer (a model's work), and anything a source is special for.
"""

from orchestration.identity.resolution import IdentityResult, resolve
from orchestration.identity.state import TABLES, IdentitySettings

__all__ = ["TABLES", "IdentityResult", "IdentitySettings", "resolve"]
