"""Putting finished files in place so that a reader, a crash or a full disk never sees half of one.

Belongs here: the names of published files, durable writes, the atomic switch, clean-up after a crash.
Does not belong here: what is in the files.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestration.publication.specs import PublicationError

logger = logging.getLogger(__name__)

SPACE_MARGIN = 64 * 2**20
"""Bytes to have free whatever the size: an empty database file, its log, the link."""


@dataclass(frozen=True)
class Layout:
    """Names under the published folder.

    Attributes:
        folder: The published folder.
    """

    folder: Path

    @property
    def marts(self) -> Path:
        """The file readers open."""
        return self.folder / "marts.duckdb"

    @property
    def alias(self) -> Path:
        """The same file under a name that no schema has (see `writer`)."""
        return self.folder / "cem.duckdb"

    @property
    def parquet(self) -> Path:
        """The link to the Parquet folder of the current version."""
        return self.folder / "parquet"

    def draft(self, version: int) -> Path:
        """The file while it is being written."""
        return self.folder / f"marts.duckdb.{version}.tmp"

    def parquet_folder(self, version: int) -> Path:
        """The finished Parquet folder of a version."""
        return self.folder / f"parquet-{version}"

    def parquet_draft(self, version: int) -> Path:
        """The Parquet folder while it is being written."""
        return self.folder / f"parquet-{version}.tmp"

    def parquet_version(self) -> int | None:
        """Version the Parquet link points at; None when there is no complete one.

        Raises:
            PublicationError: Something else has the name of the link.
        """
        if not self.parquet.is_symlink():
            if self.parquet.exists():
                raise PublicationError(f"{self.parquet} is a folder, not the link to the current version; move it away")
            return None
        match = re.fullmatch(r"parquet-(\d+)", self.parquet.readlink().name)
        return int(match[1]) if match and (self.parquet / "_publication.parquet").is_file() else None

    def parquet_folders(self) -> Iterator[tuple[int, Path]]:
        """Finished Parquet folders with their versions."""
        for path in self.folder.glob("parquet-*"):
            if match := re.fullmatch(r"parquet-(\d+)", path.name):
                yield int(match[1]), path


def remove_leftovers(layout: Layout) -> list[str]:
    """Remove what a publication that did not end left behind; the published version is not touched.

    Returns:
        Names of what was removed.
    """
    current = layout.parquet_version()
    leftovers = [
        *layout.folder.glob("marts.duckdb.*.tmp*"),
        *layout.folder.glob("*.link.tmp"),
        *layout.folder.glob("parquet-*.tmp"),
        *(path for version, path in layout.parquet_folders() if current is None or version > current),
    ]
    for path in leftovers:
        remove(path)
    return sorted(path.name for path in leftovers)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder; fine when it is gone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file; where the file system can, the copy shares the blocks of the original and costs nothing."""
    with source.open("rb") as old, target.open("wb") as new:
        left = os.fstat(old.fileno()).st_size
        try:
            while left > 0 and (copied := os.copy_file_range(old.fileno(), new.fileno(), left)):
                left -= copied
        except OSError as error:
            logger.debug("%s is copied the plain way: %s", source, error)
            old.seek(0)
            new.seek(0)
            shutil.copyfileobj(old, new)


def link_file(source: Path, target: Path) -> None:
    """Give a finished file a second name; a copy of it where the file system has no hard links."""
    try:
        target.hardlink_to(source)
    except OSError:
        copy_file(source, target)


def switch_file(draft: Path, target: Path) -> None:
    """Put a finished file in place of the one readers open. Whoever has the old one open keeps it."""
    sync(draft)
    draft.replace(target)
    sync(target.parent)


def finish_folder(draft: Path, target: Path) -> None:
    """Give a finished folder its name, with everything in it on the disk."""
    for path in draft.iterdir():
        sync(path)
    sync(draft)
    draft.rename(target)
    sync(target.parent)


def switch_link(link: Path, target: Path) -> None:
    """Point a link at another name in its folder, in one step. Nothing is done when it does already."""
    if link.is_symlink() and link.readlink() == Path(target.name):
        return
    draft = link.with_name(f"{link.name}.link.tmp")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target.name)
    draft.replace(link)
    sync(link.parent)


def switch_second_name(alias: Path, target: Path) -> None:
    """Make a second name of a file mean the file as it is now. Nothing is done when it does already.

    A hard link, because DuckDB follows a symbolic one and names the database after what it finds there.
    """
    if alias.exists() and alias.samefile(target):
        return
    draft = alias.with_name(f"{alias.name}.link.tmp")
    draft.unlink(missing_ok=True)
    try:
        draft.hardlink_to(target)
    except OSError as error:
        logger.warning("%s is not offered, because this file system has no hard links: %s", alias, error)
        alias.unlink(missing_ok=True)
        return
    draft.replace(alias)
    sync(alias.parent)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def removed_on_failure(*drafts: Path) -> Iterator[None]:
    """Remove drafts when writing them fails, so that a full disk is not left full."""
    try:
        yield
    except BaseException:
        for draft in drafts:
            remove(draft)
            remove(Path(f"{draft}.wal"))
        raise
