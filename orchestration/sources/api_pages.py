"""Pages of an API on disk: written as they came, one a line, and read by the engine.

Belongs here: what is kept of a read under way, so that the next run goes on from there, and the rows of the
pages as a relation. Does not belong here: asking for pages (`api_client.py`), what a page is (`api.py`).

    $CEM_HOME/pages/<source>/<table>/<moment>.jsonl    one response body a line
    $CEM_HOME/pages/<source>/<table>/<moment>.json     how far the read is

A page is a fact once its line in the second file is: a process that dies between the two writes leaves bytes
that the next one cuts off. The pages of the last read stay for replays; older ones are removed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orchestration.settings import Table
from orchestration.sources.files import MAX_OBJECT_BYTES
from orchestration.sources.reading import Relation, column_names, renamed
from orchestration.sources.text_files import without_half_characters
from orchestration.sources.values import identifier, literal

RESUMED_WITHIN = timedelta(days=7)
"""A read that began earlier is begun anew: by then a source may have forgotten its place in it."""


@dataclass
class Progress:
    """How far a read is.

    Attributes:
        request: Fingerprint of what was asked for; another request does not go on from here.
        began: When the first page was asked for, UTC.
        position: Where the next page is, as the paginator says it; None at the beginning.
        pages: Pages written.
        records: Records in them.
        size: Bytes of them.
        fields: Names of all fields of all records, in the order they were met.
        total: Number of records the source says it has: the least that any page said.
        digest: Of the last page, to recognise it.
        is_finished: Whether the last page was read.
        is_used: Whether the pages were handed on; a read that died before that need not be repeated.
    """

    request: str
    began: datetime
    position: str | int | None = None
    pages: int = 0
    records: int = 0
    size: int = 0
    fields: list[str] = field(default_factory=list)
    total: int | None = None
    digest: str = ""
    is_finished: bool = False
    is_used: bool = False


class Pull:
    """One read of an endpoint, as far as it came."""

    def __init__(self, folder: Path, name: str, progress: Progress) -> None:
        self.progress = progress
        self._folder, self._name = folder, name

    @classmethod
    def begin_or_resume(cls, folder: Path, request: str, now: datetime) -> Pull:
        """The read of this request that was left unfinished, or a new one."""
        left = _latest(folder)
        if left is not None and left.is_resumable(request, now):
            return left
        return cls.begin(folder, request, now)

    @classmethod
    def begin(cls, folder: Path, request: str, now: datetime) -> Pull:
        """A new read. The last one stays beside it; what is older, or was never finished, is removed."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        last = _latest(folder)
        kept = last._name if last is not None and last.progress.is_finished else None
        for path in folder.iterdir():
            if path.name.partition(".")[0] != kept:
                path.unlink()
        return cls(folder, now.strftime("%Y%m%dT%H%M%S%f"), Progress(request, now))

    @property
    def path(self) -> Path:
        """The pages."""
        return self._folder / f"{self._name}.jsonl"

    def is_resumable(self, request: str, now: datetime) -> bool:
        """Whether a read of this request may go on from here."""
        done = self.progress
        is_there = self.path.exists() and self.path.stat().st_size >= done.size
        return done.request == request and not done.is_used and is_there and now - done.began < RESUMED_WITHIN

    def add(self, body: bytes, records: int) -> None:
        """Append a page; it counts once `save` has been called."""
        # No text in JSON holds a bare line end, so that a page is one line without changing its content.
        line = without_half_characters(body).replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
        with self.path.open("ab") as handle:
            handle.truncate(self.progress.size)
            handle.write(line)
        self.progress.size += len(line)
        self.progress.pages += 1
        self.progress.records += records

    def save(self) -> None:
        """Make what was done so far a fact."""
        text = json.dumps(asdict(self.progress) | {"began": self.progress.began.isoformat()}, ensure_ascii=False)
        draft = self._folder / f"{self._name}.draft"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self._folder / f"{self._name}.json")


def _latest(folder: Path) -> Pull | None:
    for path in sorted(folder.glob("*.json"), reverse=True):
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            progress = Progress(**saved | {"began": datetime.fromisoformat(saved["began"])})
        except (ValueError, TypeError, KeyError):
            continue  # cut off when the machine died: such a read is not gone on with
        return Pull(folder, path.stem, progress)
    return None


def pages_relation(table: Table, pull: Pull, records: str | None, label: str) -> Relation | None:
    """The records of all pages, every value a text as sent, nested ones as JSON; None when there are none.

    Args:
        table: The table.
        pull: A finished read.
        records: Place of the list of records in a page; None when the page is the list.
        label: What the rows are from.

    Raises:
        SourceError: Two fields could not be told apart.
    """
    fields = pull.progress.fields
    if not pull.progress.records or not fields:
        return None
    names = column_names(table, fields, label)
    steps = records.split(".") if records else []
    shape: Any = [dict.fromkeys(fields, "VARCHAR")]
    for step in reversed(steps):
        shape = {step: shape}
    place = "".join(f".{identifier(step)}" for step in steps)
    structure = literal(json.dumps(shape, ensure_ascii=False))
    source = f"read_ndjson_objects({literal(str(pull.path))}, maximum_object_size = {MAX_OBJECT_BYTES})"
    listed = f"(from_json(json, {structure})){place}"
    sql = (
        f"select {renamed(fields, names)}, row_number() over () as _source_row "
        f"from (select unnest({listed}, max_depth := 2) from {source})"
    )
    return Relation(sql, dict.fromkeys(names, "VARCHAR"), label)
