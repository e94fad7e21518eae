"""dbt in this process: prepared once, invoked without a subprocess, and always letting go of the warehouse.

Belongs here: where the project and its artefacts are, how dbt is called, what came of each node. Does not
belong here: which assets the nodes are (`defs/transform`) and what the models say (`dbt_project/`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from orchestration.engine_errors import without_values
from orchestration.settings import Settings
from orchestration.sources.staging import write_dbt_inputs
from orchestration.space import is_disk_full
from orchestration.warehouse import explained, is_memory_held, make_room, spill_limit

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from dbt_common.events.base_types import EventMsg

PROJECT = Path(__file__).resolve().parents[1] / "dbt_project"

UNIFY_FOLDERS = ("unioned", "identity", "answer", "text")
"""Folders of `models/intermediate` that belong to UNIFY: what the steps in Python between the two runs of dbt read."""

UNIFY_SELECTION = " ".join(["fqn:cem.staging", *(f"fqn:cem.intermediate.{folder}" for folder in UNIFY_FOLDERS)])
"""What must stand before identity: every source in the shape of the contract. The rest needs customer ids."""


class TransformError(RuntimeError):
    """dbt did not succeed; the message names each failed node and why."""


@dataclass(frozen=True)
class NodeResult:
    """What came of one dbt node.

    Attributes:
        unique_id: dbt's name of the node, such as `model.cem.dim_customer`.
        status: dbt's word: success, pass, warn, fail, error or skipped.
        seconds: Time the node took.
        failures: Rows a test found; None for models.
        message: dbt's one-line message.
    """

    unique_id: str
    status: str
    seconds: float
    failures: int | None
    message: str

    @property
    def is_ok(self) -> bool:
        """Whether the node did what it should (a warning counts)."""
        return self.status in ("success", "pass", "warn", "no-op")


_manifests: dict[str, Manifest] = {}
"""dbt's parsed project by fingerprint, so that the second invocation of a run does not parse again."""


def manifest_path(settings: Settings) -> Path:
    """Where the prepared manifest of this configuration is: a copy, because `cem dbt` writes dbt's own anew.

    One that is killed meanwhile leaves half of dbt's, which could not be read again.
    """
    return settings.home / "dbt" / "manifest.json"


def target_path(settings: Settings) -> Path:
    """Folder of dbt's artefacts of this configuration.

    dbt writes what it made of a generated model to `compiled/cem/<path of the model from the project>` in this
    folder, and that path climbs with one `..` for each folder above the project. The folder is as deep as that,
    so that a checkout far down writes beside the artefacts too, and never outside the state folder.
    """
    depth_of_compiled = len(("target", "compiled", "cem"))
    return settings.home / "dbt" / Path("target", *["artefacts"] * (_climbs(settings) - depth_of_compiled))


def _climbs(settings: Settings) -> int:
    """Folders from the project up to the one that holds the generated models too."""
    return Path(_from_project(settings.dbt_models)).parts.count("..")


def _from_project(folder: Path) -> str:
    return os.path.relpath(folder, PROJECT)


def semantic_manifest_path(settings: Settings) -> Path:
    """Where the prepared semantic models of this configuration are: a copy, for the same reason."""
    return manifest_path(settings).with_name("semantic_manifest.json")


def load_manifest(settings: Settings) -> dict[str, Any]:
    """The prepared manifest as plain data."""
    manifest: dict[str, Any] = json.loads(manifest_path(settings).read_text())
    return manifest


def project_fingerprint(settings: Settings) -> str:
    """A hash over every file dbt reads, its version and how far down the project is: equal hashes need no new parse.

    Where the state folder is does not matter: an installation that was moved or copied stays prepared.
    """
    versions = f"{version('dbt-core')} {version('dbt-duckdb')}"
    digest = hashlib.sha256(f"{versions} {_climbs(settings)} {settings.warehouse.name}".encode())
    generated = settings.home / "dbt"
    folders = [
        *(PROJECT / name for name in ("models", "macros", "seeds", "tests")),
        generated / "models",
        generated / "macros",
    ]
    files = [PROJECT / "dbt_project.yml", PROJECT / "profiles.yml"]
    files += [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def prepare(settings: Settings) -> Path:
    """Write what dbt needs from cem.yml and parse the project, unless nothing changed since the last time.

    Returns:
        The path of the manifest.

    Raises:
        TransformError: The project does not parse.
    """
    write_dbt_inputs(settings)
    fingerprint = project_fingerprint(settings)
    if not _is_prepared(settings, fingerprint):
        _stamp_path(settings).unlink(missing_ok=True)
        _manifests[fingerprint] = _call(settings, ["parse"], None)
        for copy in _copies(settings):
            draft = copy.with_suffix(".tmp")
            shutil.copyfile(target_path(settings) / copy.name, draft)
            draft.replace(copy)
        _stamp_path(settings).write_text(_stamp(settings, fingerprint))
    return manifest_path(settings)


def _is_prepared(settings: Settings, fingerprint: str) -> bool:
    stamp = _stamp_path(settings)
    is_there = stamp.exists() and all(copy.exists() for copy in _copies(settings))
    return is_there and stamp.read_text() == _stamp(settings, fingerprint)


def _stamp(settings: Settings, fingerprint: str) -> str:
    """What was parsed and what is kept of it: a copy that a power cut or a hand has damaged is made anew."""
    return "\n".join([fingerprint, *(hashlib.sha256(copy.read_bytes()).hexdigest() for copy in _copies(settings))])


def _stamp_path(settings: Settings) -> Path:
    return target_path(settings) / "prepared"


def _copies(settings: Settings) -> tuple[Path, ...]:
    """What is kept of a parse: the manifest for readers, the semantic models, and the manifest as dbt reads it."""
    return manifest_path(settings), semantic_manifest_path(settings), _parsed_path(settings)


def _parsed_path(settings: Settings) -> Path:
    return manifest_path(settings).with_name("partial_parse.msgpack")


def _manifest(settings: Settings) -> Manifest:
    """The project as dbt parsed it: in this process, or when it was prepared, read without looking at the files."""
    from dbt.contracts.graph.manifest import Manifest

    fingerprint = project_fingerprint(settings)
    if fingerprint not in _manifests and not _is_prepared(settings, fingerprint):
        prepare(settings)
        fingerprint = project_fingerprint(settings)
    if fingerprint not in _manifests:
        manifest = Manifest.from_msgpack(_parsed_path(settings).read_bytes())
        manifest.build_flat_graph()  # type: ignore[no-untyped-call]
        _manifests[fingerprint] = manifest
    return _manifests[fingerprint]


def build(settings: Settings, arguments: Sequence[str]) -> list[NodeResult]:
    """Run `dbt build` and say what came of each node; the warehouse is free again afterwards.

    Args:
        settings: The configuration.
        arguments: Selection and other arguments of `dbt build`.

    Raises:
        TransformError: dbt could not run at all. Failed nodes are in the result, not raised.
    """
    # Unit tests prove the project, not the data: `make test` runs them, a nightly run does not. And nobody reads the
    # manifest and the results that dbt would write each time.
    result = _call(
        settings,
        ["build", "--no-write-json", "--exclude-resource-type", "unit_test", *arguments],
        _manifest(settings),
    )
    nodes = [
        NodeResult(
            unique_id=str(node.node.unique_id),
            status=str(node.status),
            seconds=float(node.execution_time),
            failures=node.failures,
            message=(node.message or "").strip(),
        )
        for node in result.results
    ]
    if any(is_disk_full(node.message) for node in nodes):
        make_room(settings)
    return nodes


def failures_text(settings: Settings, results: Sequence[NodeResult]) -> str:
    """What went wrong and what to do, one line per failed node; empty when all is well."""
    failed = [result for result in results if not result.is_ok and result.status != "skipped"]
    lines = [f"{result.unique_id}: {result.status}: {result.message}" for result in failed]
    known = (explained(settings.warehouse, result.message) for result in failed)
    return "\n".join([*dict.fromkeys(str(what) for what in known if what is not None), *lines])


def command(settings: Settings, arguments: Sequence[str]) -> bool:
    """Run any dbt command as a user would, output on the terminal. True when dbt says success."""
    from dbt.cli.main import dbtRunner

    with _dbt_environment(settings):
        return bool(dbtRunner().invoke([*arguments, *_folders(settings)]).success)


def _call(settings: Settings, arguments: Sequence[str], manifest: Manifest | None) -> Any:  # noqa: ANN401
    from dbt.artifacts.schemas.run import RunExecutionResult
    from dbt.cli.main import dbtRunner

    with _dbt_environment(settings):
        runner = dbtRunner(manifest=manifest, callbacks=[_reopening(settings)])
        outcome = runner.invoke(["--log-level", "none", *arguments, *_folders(settings)])
    if outcome.exception is not None:
        raise TransformError(f"dbt {arguments[0]} failed: {outcome.exception}") from outcome.exception
    if not outcome.success and not isinstance(outcome.result, RunExecutionResult):
        raise TransformError(f"dbt {arguments[0]} failed; `cem dbt {arguments[0]}` says more")
    return outcome.result


def _folders(settings: Settings) -> list[str]:
    return [
        "--project-dir",
        str(PROJECT),
        "--profiles-dir",
        str(PROJECT),
        "--target-path",
        str(target_path(settings)),
        "--log-path",
        str(settings.home / "dbt" / "logs"),
    ]


@contextmanager
def _hiding_values(manager: Any, sql: str, connection_name: str = "master") -> Iterator[None]:  # noqa: ANN401
    """In place of the adapter's handler, whose message and log quote the value that did not fit.

    The message ends in dbt's log, in its artefacts, on the terminal and in what Dagster and a webhook are told.
    """
    from dbt_common.exceptions import DbtRuntimeError

    try:
        yield
    except duckdb.Error as error:
        manager.rollback_if_open()
        raise DbtRuntimeError(without_values(error)) from None


def _reopening(settings: Settings) -> Callable[[EventMsg], None]:
    """After a node of dbt, close the database when marks of deleted rows hold its memory; the next node opens it."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    def look(event: EventMsg) -> None:
        environment: Any = DuckDBConnectionManager._ENV
        if event.info.name != "NodeFinished" or environment is None or environment.conn is None:
            return
        if is_memory_held(environment.conn, settings.engine.memory_limit):
            environment.close()

    return look


@contextmanager
def _dbt_environment(settings: Settings) -> Iterator[None]:
    """What dbt_project.yml and profiles.yml read; dbt's own connection is closed at the end.

    dbt-duckdb keeps the write lock for the life of the process otherwise.
    """
    values: Mapping[str, str] = {
        "CEM_DBT_MODELS": _from_project(settings.dbt_models),
        "CEM_DBT_MACROS": _from_project(settings.dbt_macros),
        "CEM_WAREHOUSE": str(settings.warehouse),
        "CEM_MEMORY_LIMIT": settings.engine.memory_limit,
        "CEM_THREADS": str(settings.engine.threads),
        "CEM_SPILL_LIMIT": spill_limit(settings.warehouse),
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    handler = DuckDBConnectionManager.exception_handler
    setattr(DuckDBConnectionManager, "exception_handler", _hiding_values)  # noqa: B010 - mypy refuses to assign
    try:
        yield
    finally:
        setattr(DuckDBConnectionManager, "exception_handler", handler)  # noqa: B010
        DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
