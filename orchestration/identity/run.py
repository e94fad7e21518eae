"""Identity with its model: which model a run goes by, and when it learns its own.

Belongs here: the file of the model. Does not belong here: what is in it (`model`), how it is learnt (`training`).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import duckdb

from orchestration.identity.model import DEFAULT_MODEL, Model, load_model, save_model
from orchestration.identity.resolution import IdentityResult, resolve
from orchestration.identity.state import IdentitySettings, ensure_schema
from orchestration.identity.training import Ground, train
from orchestration.warehouse import utc_now


def resolve_and_learn(con: duckdb.DuckDBPyConnection, settings: IdentitySettings, model_file: Path) -> IdentityResult:
    """Resolve all person records by the trained model; without one, by one that is trained on the way.

    Where there are too few records to learn from, the default model serves.

    Args:
        con: The warehouse, outside of a transaction.
        settings: The `identity` section of the settings.
        model_file: Where the trained model is kept.
    """
    if model_file.exists():
        return resolve(con, settings, model=load_model(model_file))
    return resolve(con, settings, learn=partial(train_model, con, model_file))


def train_model(con: duckdb.DuckDBPyConnection, model_file: Path, ground: Ground | None = None) -> Model:
    """Train the model, on the records of the last run when nothing else is given, and keep it.

    Raises:
        TrainingError: There is nothing to learn from.
    """
    ensure_schema(con)
    about = {"trained_at": f"{utc_now():%Y-%m-%d %H:%M} UTC"}
    model = train(con, load_model(DEFAULT_MODEL), about, ground or Ground())
    save_model(model, model_file)
    return model
