"""Installations that tests share: the demo company after its first run and after one weeks later, and a small shop.

Belongs here: how the command is run, and the installations. Does not belong here: what tests do to copies of them.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import forked
from homes import new_home

from orchestration.settings import Settings
from orchestration.transform import NodeResult, build

CUSTOMERS, SEED = 500, 5

CONFIG = f"""
company: Test Retail
reporting: {{time_zone: Asia/Tehran, currency: USD}}
engine: {{memory_limit: 2GB, threads: 1, disk_reserve: 8MB}}
sources:
  - {{name: demo, kind: demo, customers: {CUSTOMERS}, seed: {SEED}}}
"""

SHOP = """
company: Test Shop
engine: {memory_limit: 1GB, threads: 2}
sources:
  - name: shop
    kind: files
    folder: in
    time_zone: UTC
    tables:
      - name: orders
        files: orders*.csv
        key: id
        entity: order
        columns: {order_id: id, person_id: person, ordered_at: at, amount: total}
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
    """Give the command."""
    config = config or home.parent / "cem.yml"
    return forked.cem(*arguments, environment={**os.environ, "CEM_HOME": str(home), "CEM_CONFIG": str(config)})


def advance(home: Path, days: int) -> None:
    """Let the company live some days more: new, changed, late and deleted records."""
    result = cem(home, "demo", "--customers", str(CUSTOMERS), "--seed", str(SEED), "--days", str(days))
    assert result.returncode == 0, result.stderr


def first_run(folder: Path) -> Installation:
    """The installation after its first run."""
    (folder / "cem.yml").write_text(CONFIG)
    result = cem(new_home(folder / "var"), "run")
    assert result.returncode == 0, result.stdout + result.stderr
    return Installation(folder, result.stdout)


def shop_orders(numbers: Iterable[int], total: str = "7.50") -> str:
    """A file of orders of nine people."""
    rows = [f"o{i},sara{i % 9}@example.com,2026-01-{1 + i % 28:02},{total}\n" for i in numbers]
    return "".join(["id,person,at,total\n", *rows])


def shop_run(folder: Path) -> Installation:
    """The shop after its first run, with 59 orders."""
    (folder / "in").mkdir()
    (folder / "in" / "orders_1.csv").write_text(shop_orders(range(1, 60)))
    (folder / "cem.yml").write_text(SHOP)
    result = cem(new_home(folder / "var"), "run")
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


def build_models(settings: Settings, arguments: Sequence[str]) -> list[NodeResult]:
    """`transform.build` without the tests of the data: they change no row, and they take most of the time."""
    return build(settings, ["--exclude-resource-type", "test", *arguments])


def made_once(folder: Path, make: Callable[[Path], Installation]) -> Installation:
    """The installation in a folder: made by the first process of a test run that asks for it, while others wait."""
    folder.mkdir(exist_ok=True)
    made = folder.with_suffix(".made")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            made.write_bytes(pickle.dumps(make(folder)))
        installation: Installation = pickle.loads(made.read_bytes())
    return installation
