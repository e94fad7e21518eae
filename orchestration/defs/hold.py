"""What a held load means to the steps behind it: they refuse to work, and readers are told that figures are stale."""

from __future__ import annotations

import dagster as dg
import duckdb

from orchestration.guard import held_loads
from orchestration.publication import PublicationError, Staleness, mark
from orchestration.settings import Settings
from orchestration.space import SpaceError

PUBLISHED = dg.AssetKey(["published", "marts"])
"""The asset of what readers have."""


def refuse_held(con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Stop a step while a load is held.

    Raises:
        dagster.Failure: A load is held.
    """
    held = held_loads(con)
    if held:
        raise dg.Failure(
            "Loads are held, so nothing is built on them: "
            + "; ".join(f"{load.source}.{load.table_name}: {load.reason}" for load in held)
            + ". Release or discard them (cem load release | discard, or the jobs of that name), "
            "or mend the source and run again." + tell_readers(con, settings),
            allow_retries=False,
        )


def tell_readers(con: duckdb.DuckDBPyConnection, settings: Settings) -> str:
    """Mark what is published as stale, or not. A hold must be heard of even when that fails.

    Returns:
        What to add to the message about the hold.
    """
    try:
        standing = mark(con, settings)
    except (PublicationError, SpaceError, OSError, duckdb.Error) as error:
        return f" The published marts stay up, but could not be marked as stale: {error}"
    return " The published marts stay up, marked as stale." if standing and standing.is_stale else ""


def observation(standing: Staleness) -> dg.AssetObservation:
    """How the published marts stand to the sources, for the page of their asset."""
    return dg.AssetObservation(PUBLISHED, metadata=metadata(standing))


def metadata(standing: Staleness) -> dict[str, dg.MetadataValue]:
    """Metadata of the published marts about their staleness."""
    found: dict[str, dg.MetadataValue] = {"is_stale": dg.MetadataValue.bool(standing.is_stale)}
    if standing.since is not None:
        found["stale_since"] = dg.MetadataValue.text(f"{standing.since:%Y-%m-%d %H:%M} UTC")
        found["stale_reason"] = dg.MetadataValue.text(standing.reason or "")
    return found
