"""One line per finished piece of work: stage, what, rows, seconds. Goes to the logger `cem.progress`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

logger = logging.getLogger("cem.progress")


@dataclass
class Piece:
    """What the running piece of work has to report when it ends."""

    rows: int = 0
    note: str = ""


@contextmanager
def progress(stage: str, what: str) -> Iterator[Piece]:
    """Time a piece of work and log its line when it ends well.

    Args:
        stage: One of `orchestration.stages.STAGES`.
        what: The source, model group or file worked on.
    """
    piece = Piece()
    start = time.perf_counter()
    yield piece
    seconds = time.perf_counter() - start
    logger.info("%-8s %-24s %12s rows %7.1f s  %s", stage, what, f"{piece.rows:,}", seconds, piece.note)
