"""The shape of a load against the shape of what was promoted before.

Belongs here: which columns are new, gone or of another type, and what a gone column was probably renamed to.
Does not belong here: what follows from it (`verdict.py`), and types of contract columns (`mapping.py`).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb

from orchestration.guard.sql import identifier

LIKELY_RENAME = 0.5
"""Similarity of two names from which one is offered as the likely new name of the other: a hint to people."""

SAME_VALUES = 0.5
"""Share of common values from which a new column is taken for a renamed one whatever its name."""

IMPLAUSIBLE_ABSENCE = 0.001
"""A JSON field is taken for removed when its absence from every row of the load is less likely than this."""

GONE = "gone"
"""Accepted instead of a type: the column is no longer sent."""

_WIDER: Mapping[str, int] = {
    name: rank for rank, name in enumerate(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"))
}


@dataclass(frozen=True)
class Drift:
    """How a load differs in shape from the rows promoted before.

    Attributes:
        added: New columns.
        absent: Columns that are missing but may be: optional JSON fields that no row of this load has.
        removed: Columns that are gone, with the likely new name or None.
        changed: Columns whose type changed (old type, new type); one that only grew is not among them.
    """

    added: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    removed: Mapping[str, str | None] = field(default_factory=dict)
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def compare(
    con: duckdb.DuckDBPyConnection,
    candidate: str,
    raw: str,
    new: Mapping[str, str],
    old: Mapping[str, str],
    *,
    optional_fields: bool,
    accepted: Mapping[str, str] | None = None,
) -> Drift:
    """Compare the as-sent columns of a load with those of the rows promoted before.

    Args:
        con: The warehouse.
        candidate: SQL name of the load.
        raw: SQL name of the promoted rows.
        new: Types by as-sent column of the load.
        old: Types by as-sent column of the promoted rows; empty when there are none.
        optional_fields: Whether rows need not name all fields (JSON).
        accepted: What somebody accepted by releasing a load: the new type of a column, or `GONE`.
    """
    accepted = accepted or {}
    if not old:
        return Drift()
    added = [name for name in new if name not in old]
    missing = [name for name in old if name not in new]
    absent = [name for name in missing if accepted.get(name) == GONE]
    if optional_fields:
        absent += _plausibly_absent(con, candidate, raw, [name for name in missing if name not in absent])
    differing = {name: (old[name], kind) for name, kind in new.items() if name in old and old[name] != kind}
    filled = _filled(con, candidate, list(differing))
    return Drift(
        added=tuple(added),
        absent=tuple(absent),
        removed={
            name: _likely_rename(con, candidate, raw, name, added, (list(old), list(new)))
            for name in missing
            if name not in absent
        },
        # A column without any value has whatever type the reader gave it.
        changed={
            name: kinds
            for name, kinds in differing.items()
            if name in filled and not converts(*kinds) and accepted.get(name) != kinds[1]
        },
    )


def is_widening(old: str, new: str) -> bool:
    """Whether every value of the old type is one of the new type, so that the raw column can grow."""
    if old in _WIDER and new in _WIDER:
        return _WIDER[new] > _WIDER[old]
    if (old, new) == ("FLOAT", "DOUBLE"):
        return True
    before, after = _decimal(old), _decimal(new)
    return bool(before and after and after[1] >= before[1] and after[0] - after[1] >= before[0] - before[1])


def converts(old: str, new: str) -> bool:
    """Whether values of the new type need no decision: the raw column grows, or already holds them."""
    return is_widening(old, new) or is_widening(new, old)


def _decimal(kind: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", kind)
    return (int(match[1]), int(match[2])) if match else None


def _filled(con: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str]) -> set[str]:
    if not columns:
        return set()
    counts = con.execute(
        f"select {', '.join(f'count({identifier(column)})' for column in columns)} from {relation}"
    ).fetchone()
    return {column for column, count in zip(columns, counts or (), strict=True) if count}


def _plausibly_absent(con: duckdb.DuckDBPyConnection, candidate: str, raw: str, missing: Sequence[str]) -> list[str]:
    """JSON fields so rare, or a load so small, that no row having them is no surprise."""
    if not missing:
        return []
    counts = con.execute(
        f"select count(*), {', '.join(f'count({identifier(column)})' for column in missing)} from {raw}"
    ).fetchone() or (0,)
    loaded = con.execute(f"select count(*) from {candidate} where _deleted_at is null").fetchone() or (0,)
    plausible = []
    for column, filled in zip(missing, counts[1:], strict=True):
        share = (filled + 1) / (counts[0] + 2)  # Laplace: never quite sure
        if loaded[0] * math.log1p(-share) >= math.log(IMPLAUSIBLE_ABSENCE):
            plausible.append(column)
    return plausible


def _likely_rename(
    con: duckdb.DuckDBPyConnection,
    candidate: str,
    raw: str,
    gone: str,
    added: Sequence[str],
    places: tuple[Sequence[str], Sequence[str]],
) -> str | None:
    """The new column that most likely replaces one that is gone: by its values, its place, or its name."""
    best, best_share = None, SAME_VALUES
    for column in added:
        row = con.execute(
            f"with new_values as (select distinct {identifier(column)}::varchar as value from {candidate} "
            f"where {identifier(column)} is not null limit 1000) "
            f"select avg((value in (select {identifier(gone)}::varchar from {raw}))::int) from new_values"
        ).fetchone()
        if row and row[0] is not None and row[0] >= best_share:
            best, best_share = column, row[0]
    if best is not None:
        return best
    old, new = places
    heir = new[old.index(gone)] if old.index(gone) < len(new) else None
    if heir in added and len(old) == len(new):
        return heir
    close = difflib.get_close_matches(gone.lower(), [name.lower() for name in added], n=1, cutoff=LIKELY_RENAME)
    return next((name for name in added if name.lower() == close[0]), None) if close else None
