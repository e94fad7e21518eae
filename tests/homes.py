"""State folders for tests: the compiled suites that `make setup` left are there already.

They hold nothing of a configuration or a place, and are made anew when a suite or the compiler changed. Without them
every folder pays for Great Expectations once, which is tested where it is meant (`test_verdict.py`).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PREPARED = Path(os.environ.get("CEM_HOME") or Path(__file__).resolve().parents[1] / "var") / "guard"


def new_home(home: Path) -> Path:
    """A new state folder, and its path."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "guard").mkdir()
    if PREPARED.is_dir():
        shutil.copytree(PREPARED, home / "guard", dirs_exist_ok=True)
    return home
