"""Text files that are whole: after a kill or a power cut there is what was written, or what was there before.

Belongs here: small files of the state folder that are written at once. Does not belong here: published files
(`publication/files.py`), and files that grow.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text file in one step; its folder is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of two processes that write the same file each has its own draft.
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # Renamed before it is on the disk, a file may be empty after a power cut.
        os.fsync(file.fileno())
    draft.replace(path)
