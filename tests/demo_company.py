"""An installation of the demo company that tests share: what it has after its first run, and after one weeks later.

Belongs here: how the command is run, and the installation. Does not belong here: what tests do to copies of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CUSTOMERS, SEED = 1000, 3

CONFIG = f"""
company: Test Retail
reporting: {{time_zone: Asia/Tehran, currency: USD}}
engine: {{memory_limit: 2GB, threads: 1, disk_reserve: 8MB}}
sources:
  - {{name: demo, kind: demo, customers: {CUSTOMERS}, seed: {SEED}}}
"""

DAYS = 21
"""How much later the later run is: new, changed, late and deleted records."""


@dataclass(frozen=True)
class Installation:
    """A state folder beside its configuration, after a run.

    Attributes:
        folder: Holds `cem.yml` and `var`.
        output: What the run printed.
        found: Another folder, with the installation as the run found it; None when there was nothing yet.
    """

    folder: Path
    output: str
    found: Path | None = None

    @property
    def home(self) -> Path:
        """The state folder."""
        return self.folder / "var"

    def copy(self, folder: Path) -> Path:
        """The same installation in another folder; its state folder."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return folder / "var"


def cem(home: Path, *arguments: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        [Path(sys.executable).with_name("cem"), *arguments],
        env={**os.environ, "CEM_HOME": str(home), "CEM_CONFIG": str(config or home.parent / "cem.yml")},
        capture_output=True,
        text=True,
    )


def advance(home: Path, days: int) -> None:
    """Let the company live some days more: new, changed, late and deleted records."""
    result = cem(home, "demo", "--customers", str(CUSTOMERS), "--seed", str(SEED), "--days", str(days))
    assert result.returncode == 0, result.stderr


def first_run(folder: Path) -> Installation:
    """The installation after its first run."""
    (folder / "cem.yml").write_text(CONFIG)
    result = cem(folder / "var", "run")
    assert result.returncode == 0, result.stdout + result.stderr
    return Installation(folder, result.stdout)


def later_run(first: Installation, folder: Path) -> Installation:
    """A copy of it after a run some weeks later."""
    home = first.copy(folder / "found")
    advance(home, DAYS)
    after = folder / "after"
    shutil.copytree(folder / "found", after, symlinks=True)
    result = cem(after / "var", "run")
    assert result.returncode == 0, result.stdout + result.stderr
    return Installation(after, result.stdout, folder / "found")
