"""Fixtures that tests of all parts share: a configuration on disk, a warehouse, its extensions, the demo company."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import duckdb
import hypothesis
import pytest
from demo_company import Installation, first_run, later_run

from orchestration.cli import GARBAGE_THRESHOLDS
from orchestration.settings import Settings, load_settings
from orchestration.warehouse import connect, install_extensions

hypothesis.settings.register_profile("deep", max_examples=3000, print_blob=True)
"""For hours of searching by hand: `pytest --hypothesis-profile=deep`."""

gc.set_threshold(*GARBAGE_THRESHOLDS)  # as in the command: many tests run dbt in their own process

WriteConfig = Callable[[str], Settings]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process: what they share, modules that import slowly too, is made once."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="session")
def extensions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pinned DuckDB extensions, installed once a session."""
    folder = tmp_path_factory.mktemp("extensions")
    install_extensions(folder)
    return folder


@pytest.fixture
def home(tmp_path: Path, extensions: Path) -> Path:
    """A state folder whose extensions are there already."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "extensions").symlink_to(extensions)
    return folder


@pytest.fixture
def write_config(tmp_path: Path, home: Path) -> WriteConfig:
    """Write a cem.yml into the test's folder and load it; relative paths in it count from there."""

    def write(text: str) -> Settings:
        path = tmp_path / "cem.yml"
        path.write_text(dedent(text), encoding="utf-8")
        return load_settings(path, home)

    return write


@pytest.fixture
def warehouse(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An open, empty warehouse in the state folder."""
    con = connect(home / "warehouse.duckdb", home / "extensions", "1GB", 2)
    yield con
    con.close()


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The demo company after its first run. For tests of the group `daily_run`, which copy what they change."""
    return first_run(tmp_path_factory.mktemp("company"))


@pytest.fixture(scope="session")
def later_company(company: Installation, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The demo company after a run some weeks later."""
    return later_run(company, tmp_path_factory.mktemp("later_company"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount real small file systems, by their size in bytes; skipped where the user may not mount."""
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        folder = tmp_path / f"disk_{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a small file system needs the right to mount one")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
