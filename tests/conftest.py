"""Fixtures that tests of all parts share: a configuration on disk, a warehouse, its extensions, the demo company."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import duckdb
import hypothesis
import pytest
from demo_company import Installation, first_run, later_run, made_once, shop_run
from homes import new_home

from orchestration.cli import GARBAGE_THRESHOLDS
from orchestration.settings import Settings, load_settings
from orchestration.warehouse import connect, install_extensions

hypothesis.settings.register_profile("deep", max_examples=3000, print_blob=True)
"""For hours of searching by hand: `pytest --hypothesis-profile=deep`."""

gc.set_threshold(*GARBAGE_THRESHOLDS)  # as in the command: many tests run dbt in their own process

TESTS = Path(__file__).parent

WriteConfig = Callable[[str], Settings]


LONG = ("integration", "chaos", "acceptance")
"""Folders whose tests run the whole job. They begin first: many short tests at the end keep all processes busy."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process: what they share, modules that import slowly too, is made once."""
    places = {folder: place for place, folder in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.relative_to(TESTS).parts[0], len(LONG)))
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
    """A state folder that is prepared: it has compiled suites and extensions."""
    folder = new_home(tmp_path / "home")
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
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a test run have in common."""
    mine = tmp_path_factory.getbasetemp()
    return mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine


@pytest.fixture(scope="session")
def company(shared: Path) -> Installation:
    """The demo company after its first run. Tests copy what they change."""
    return made_once(shared / "company", first_run)


@pytest.fixture(scope="session")
def later_company(company: Installation, shared: Path) -> Installation:
    """The demo company after a run some weeks later. Tests copy what they change."""
    return made_once(shared / "later_company", lambda folder: later_run(company, folder))


@pytest.fixture(scope="session")
def shop(shared: Path) -> Installation:
    """The small shop after its first run. Tests copy it."""
    return made_once(shared / "shop", shop_run)


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
