"""What readers have now: the one-row table that every published file carries about itself.

Belongs here: its name, its columns, reading it, opening the file. Does not belong here: writing a version (`writer`),
or deciding whether its figures still follow the sources (`staleness`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb

from orchestration.publication.files import Layout
from orchestration.publication.masking import literal
from orchestration.publication.specs import MARTS_SCHEMA, PublicationError

logger = logging.getLogger(__name__)

PUBLICATION = "_publication"
"""One-row table that says which version a file is of."""

PUBLICATION_SPEC = {
    "": "One row: which publication this is.",
    "version": "Number of the publication; grows by one.",
    "run_id": "Run that published it.",
    "published_at": "When it was published, UTC.",
    "as_of_at": "Moment the marts are computed for, UTC.",
    "as_of_date": "Date the marts are computed for, in the reporting time zone.",
    "is_stale": "Whether the figures have stopped following the sources, since a load is held or not yet built on.",
    "stale_since": "Since when they are stale, UTC. NULL when they are not.",
    "stale_reason": "The source tables by which they are stale. NULL when they are not.",
    "held_loads": "Number of loads that wait for a decision.",
    "personal_data": "Whether personal data is masked or kept.",
    "company": "Name of the company.",
    "time_zone": "Reporting time zone: dates and periods are in it.",
    "currency": "Currency of the amounts, ISO 4217.",
    "row_count": "Rows of all tables together.",
    "fingerprint": "Keyed hash of the content; equal hashes, equal content.",
}
"""Descriptions by column; the empty name is the table's own."""

_NOW = "cem_publication_now"


@dataclass(frozen=True)
class Staleness:
    """Whether published figures have stopped following the sources.

    Attributes:
        is_stale: Whether they have.
        since: Since when, UTC; None when they have not.
        reason: The source tables by which, in words; None when they have not.
        held_loads: Number of loads that wait for a decision.
    """

    is_stale: bool
    since: datetime | None
    reason: str | None
    held_loads: int


@dataclass(frozen=True)
class Published:
    """The `_publication` row of a file that readers see."""

    version: int
    run_id: str
    published_at: datetime
    rows: int
    fingerprint: str
    staleness: Staleness


def open_published(folder: Path) -> duckdb.DuckDBPyConnection:
    """A connection that reads what is published, as the database `cem` whatever names the file has.

    The file itself is opened, since its second name is missing where the file system has no hard links.

    Args:
        folder: The published folder.

    Raises:
        PublicationError: Nothing is published yet.
    """
    marts = Layout(folder).marts
    if not marts.exists():
        raise PublicationError("nothing is published yet; run `cem run` first")
    con = duckdb.connect()
    try:
        con.execute(f"attach {literal(str(marts))} as cem (read_only)")
        con.execute("use cem")
    except duckdb.Error:
        con.close()
        raise
    return con


def read_published(con: duckdb.DuckDBPyConnection, layout: Layout) -> Published | None:
    """What readers see now; None when there is nothing, or nothing that DuckDB can read.

    Args:
        con: Any connection; the file is attached to it for the moment.
        layout: Names under the published folder.
    """
    if not layout.marts.exists():
        return None
    try:
        con.execute(f"attach {literal(str(layout.marts))} as {_NOW} (read_only)")
        try:
            row = con.execute(
                "select version, run_id, published_at, row_count, fingerprint, "
                "is_stale, stale_since, stale_reason, held_loads "
                f"from {_NOW}.{MARTS_SCHEMA}.{PUBLICATION}"
            ).fetchone()
        finally:
            con.execute(f"detach {_NOW}")
    except duckdb.Error as error:
        logger.warning("%s cannot be read and is published anew: %s", layout.marts, error)
        return None
    if row is None:
        return None
    version, run_id, published_at, rows, fingerprint, *standing = row
    return Published(version, run_id, published_at, rows, fingerprint, Staleness(*standing))
