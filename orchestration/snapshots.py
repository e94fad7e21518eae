"""Copies of the warehouse as the last good runs left it, and the way back to one.

A snapshot is written under another name, flushed and renamed, so that one that can be seen is whole. It is only
a way back for a damaged warehouse: a killed or failed run needs none, it is simply repeated.

Belongs here: taking, listing and restoring snapshots. Does not belong here: backups to another disk, which
your own tools make of the snapshots folder, whose files never change.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from orchestration.publication.files import copy_file, sync
from orchestration.settings import Settings
from orchestration.space import require_space
from orchestration.warehouse import run_lock, utc_now

SPACE_MARGIN = 64 * 2**20
"""Bytes to leave free beside a copy, for what runs meanwhile."""

DECIDED = (
    "loads released or discarded, rows mended, and on identity: records forced together or apart, decisions undone, "
    "links judged"
)
"""What people decide that is in the warehouse and nowhere else."""

_ENDING = ".duckdb"


class SnapshotError(RuntimeError):
    """There is nothing to restore; the message says where it was looked for and what to do."""


@dataclass(frozen=True)
class Snapshot:
    """A copy of the warehouse.

    Attributes:
        path: The file.
        taken_at: When it was taken, UTC.
        version: The last publication it knows; 0 before the first.
    """

    path: Path
    taken_at: datetime
    version: int


def take(settings: Settings) -> Snapshot | None:
    """Keep a copy of the warehouse, unless the newest one is of exactly this state; older ones go.

    The warehouse must be closed, with everything in the file itself (as `writing` leaves it).

    Returns:
        The new snapshot; None when there was nothing to keep or snapshots are off (which removes old ones).

    Raises:
        SpaceError: There is no room for a copy; the old snapshots stay.
        SnapshotError: What was copied cannot be opened; the old snapshots stay.
    """
    with run_lock(settings.home):
        for leftover in settings.snapshots.glob("*.tmp*"):
            leftover.unlink()
        kept = _files(settings)
        new = None
        if settings.engine.snapshots and not (kept and _is_same(settings.warehouse, kept[0])):
            new = _copy(settings)
            kept.insert(0, new.path)
        for path in kept[settings.engine.snapshots :]:
            path.unlink()
        return new


def restore(settings: Settings) -> tuple[Snapshot, Path | None]:
    """Put the newest snapshot that can be read in the place of the warehouse, in one step.

    What readers see is not touched. The next run reads from the sources what came since, because the state of
    every source is in the warehouse, and publishes a version above the one that readers have.

    Returns:
        The snapshot, and where the file it replaced is kept (None when there was none).

    Raises:
        SnapshotError: There is none that can be read.
        SpaceError: There is no room for a second copy.
        WarehouseBusyError: A run is under way.
    """
    with run_lock(settings.home):
        snapshot = next((found for path in _files(settings) if (found := _read(path)) is not None), None)
        if snapshot is None:
            raise SnapshotError(
                f"there is no snapshot that can be read in {settings.snapshots}. Move {settings.warehouse} away and "
                "run again: everything is read anew from the sources, but customers get new ids and what was "
                f"decided by hand ({DECIDED}) is lost; a backup of yours is better"
            )
        draft = settings.warehouse.with_name(f"{settings.warehouse.name}.new")
        _clone(snapshot.path, draft)
        # The log belongs to the file that is replaced: played on this one it would destroy it.
        replaced = _put_aside(settings.warehouse)
        draft.replace(settings.warehouse)
        sync(settings.home)
        return snapshot, replaced


def snapshots(settings: Settings) -> list[Snapshot]:
    """The snapshots that can be read, newest first."""
    return [found for path in _files(settings) if (found := _read(path)) is not None]


def _files(settings: Settings) -> list[Path]:
    """Files of snapshots, newest first; their names begin with the time."""
    return sorted(settings.snapshots.glob(f"*{_ENDING}"), reverse=True)


def _is_same(warehouse: Path, copy: Path) -> bool:
    # A copy has the time of its original, so equal times and sizes are the same content.
    ours, theirs = warehouse.stat(), copy.stat()
    return (ours.st_mtime_ns, ours.st_size) == (theirs.st_mtime_ns, theirs.st_size)


def _copy(settings: Settings) -> Snapshot:
    settings.snapshots.mkdir(parents=True, exist_ok=True)
    path = settings.snapshots / f"{utc_now():%Y%m%dT%H%M%S%f}{_ENDING}"
    draft = path.with_name(f"{path.name}.tmp")
    try:
        _clone(settings.warehouse, draft)
        found = _read(draft)
        if found is None:
            raise SnapshotError(f"{settings.warehouse}: its copy cannot be opened, so the last snapshot stays as it is")
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync(settings.snapshots)
    return replace(found, path=path)


def _clone(source: Path, target: Path) -> None:
    """Copy a file with its times, and wait until it is on the disk."""
    require_space(target.parent, source.stat().st_size + SPACE_MARGIN, "a copy of the warehouse")
    copy_file(source, target)
    sync(target)
    shutil.copystat(source, target)


def _read(path: Path) -> Snapshot | None:
    """What a snapshot is of; None when it cannot be read."""
    try:
        with duckdb.connect(str(path), read_only=True) as con:
            row = con.execute("select coalesce(max(version), 0) from ops.publications").fetchone()
    except duckdb.Error:
        return None
    taken_at = datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None)
    return Snapshot(path, taken_at, int(row[0]) if row else 0)


def _put_aside(warehouse: Path) -> Path | None:
    """Keep the file that is about to be replaced, and its log, under another name; the newest such file only."""
    aside = warehouse.with_name(f"{warehouse.stem}.replaced{_ENDING}")
    for path in (aside, Path(f"{aside}.wal")):
        path.unlink(missing_ok=True)
    if warehouse.exists():
        with suppress(OSError):  # a file system without hard links keeps one of the two: the good one
            aside.hardlink_to(warehouse)
    log = Path(f"{warehouse}.wal")
    if log.exists():
        log.replace(f"{aside}.wal")
    return aside if aside.exists() else None
