"""Room on the disk: asked for before work begins, kept in reserve for its end.

A write that fails for lack of space leaves DuckDB's file filling the disk, and then nothing can be booked,
rolled back or logged any more. So work is refused that would not fit, and a file of the state folder keeps
some room that is given up when a write fails all the same.

Belongs here: free bytes, the reserve, how a full disk is recognised. Does not belong here: how much a piece
of work needs, and mending the warehouse afterwards (`warehouse.py`).
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

RESERVE = "reserve"
"""Name of the file in the state folder whose deletion frees the reserve."""

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_UNITS |= {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4}

_SIGNS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "database or disk is full",
    "max_temp_directory_size",
)
"""How the system, SQLite and DuckDB say that something did not fit on the disk."""


class SpaceError(RuntimeError):
    """The disk is too full; the message names the folder and what to do."""


_given_up: set[Path] = set()
"""State folders whose reserve was given up in this process and not laid again."""


def bytes_of(size: str) -> int:
    """A size such as `256MB` or `1GiB` in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]i?)?B", size)
    if not match:
        raise ValueError(f"'{size}' is not a size such as 256MB")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def require_space(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: Where the files will be written.
        needed: Bytes they may take.
        what: The work, for the message.

    Raises:
        SpaceError: There is less.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SpaceError(
            f"{folder}: {what} may need {needed:,} bytes and {free:,} are free; nothing was begun. Free some space "
            "there, or point CEM_HOME to a larger disk, and run again"
        )


def lay_reserve(home: Path, size: int) -> bool:
    """Allocate the reserve of a state folder, where it is not there already and there is room for it twice.

    Args:
        home: The state folder.
        size: Bytes to keep; 0 keeps none.

    Returns:
        Whether the reserve is there now.
    """
    path = home / RESERVE
    present = path.stat().st_size if path.exists() else 0
    if present == size:
        return size > 0
    path.unlink(missing_ok=True)
    if size == 0 or shutil.disk_usage(home).free < 2 * size:
        if size:
            logger.warning("%s: too little is free to keep a reserve of %s bytes (engine.disk_reserve)", home, size)
        return False
    draft = home / f"{RESERVE}.tmp"
    handle = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        draft.unlink()
        logger.warning("%s: the reserve cannot be kept: %s", home, error.strerror)
        return False
    finally:
        os.close(handle)
    draft.rename(path)
    _given_up.discard(home)
    return True


def is_given_up(home: Path) -> bool:
    """Whether the reserve of a state folder was given up in this process: some write did not fit."""
    return home in _given_up


def release_reserve(home: Path) -> bool:
    """Free the reserve, so that what has begun can end. Returns whether there was one."""
    path = home / RESERVE
    if not path.exists():
        return False
    path.unlink()
    _given_up.add(home)
    logger.warning("%s: the disk is full; the reserve was given up so that the run can end cleanly", home)
    return True


def is_disk_full(error: BaseException | str) -> bool:
    """Whether an error, or what it was raised from, says that the disk is full."""
    if isinstance(error, str):
        return any(sign in error for sign in _SIGNS)
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if is_disk_full(str(link)):
            return True
        link = link.__cause__ or link.__context__
    return False
