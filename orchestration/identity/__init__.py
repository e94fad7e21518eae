"""UNIFY: which records are one human, and the id that human keeps.

`resolve` runs the whole stage. Each step has a module of its own:

    intermediate.int_person_record__collected
        │ normalise          spellings → one key a value       identity.record, .phone
        │ edges              shared identifiers → ties         identity.edge, .hub
        │ blocking, model,   rare keys → pairs, weighed by a   identity.block, .pair
        │   weighing         trained model → more ties
        │ components,        ties → groups, with guards and    identity.component, .refusal,
        │   clusters         people's decisions                identity.decision
        │ stable_ids         groups → ids that stay            identity.customer, .member,
        ▼                                                      identity.customer_xref, .event
    every record with its customer_id

`training` learns the model (Splink), `decisions` keeps what people decide, `explain` says why.

Belongs here: rules about persons, on a DuckDB connection. Does not belong here: the orchestrator, the
choice of the golden name or mail of a customer (a model's work), and anything a source is special for.
"""

from orchestration.identity.resolution import IdentityResult, resolve
from orchestration.identity.run import resolve_and_learn, train_model
from orchestration.identity.state import TABLES, IdentitySettings

__all__ = ["TABLES", "IdentityResult", "IdentitySettings", "resolve", "resolve_and_learn", "train_model"]
