"""Identity with its model: which model a run goes by, and when it learns its own.

Belongs here: the file of the model. Does not belong here: what is in it (`model`), how it is learnt (`training`).
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from orchestration.identity.model import DEFAULT_MODEL, Model, current_model, load_model, save_model
from orchestration.identity.resolution import IdentityResult, resolve
from orchestration.identity.state import IdentitySettings
from orchestration.warehouse import utc_now

MIN_TRAINING_RECORDS = 20_000
"""Fewer records hold too few pairs to learn shares of a percent from; from here on a run without a model trains one."""


def resolve_and_learn(con: duckdb.DuckDBPyConnection, settings: IdentitySettings, model_file: Path) -> IdentityResult:
    """Resolve all person records by the trained model; without one, by the default model.

    Where there are records enough and no trained model, one is trained after the first pass and applied at once.

    Args:
        con: The warehouse, outside of a transaction.
        settings: The `identity` section of the settings.
        model_file: Where the trained model is kept.
    """
    result = resolve(con, settings, model=current_model(model_file))
    if model_file.exists() or result.records < MIN_TRAINING_RECORDS or not result.edges:
        return result
    return resolve(con, settings, model=train_model(con, model_file))


def train_model(con: duckdb.DuckDBPyConnection, model_file: Path) -> Model:
    """Train the model on the records of the last run, and keep it; the next run goes by it.

    Raises:
        TrainingError: There is nothing to learn from.
    """
    from orchestration.identity.training import train

    model = train(con, load_model(DEFAULT_MODEL), {"trained_at": f"{utc_now():%Y-%m-%d %H:%M} UTC"})
    save_model(model, model_file)
    return model
