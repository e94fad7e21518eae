"""Tables of HTTP APIs as relations: what to ask for, the pages on disk, where the next read begins.

Belongs here: the request of a table, going on with a read that was cut off, the cursor. Does not belong here:
HTTP (`api_client.py`), paging (`api_paging.py`), files (`api_pages.py`), keys and loads (`extract.py`).

    cem.yml ─ Asked ─→ pages, as they came, in $CEM_HOME/pages ─→ Relation

A long read that dies goes on from the pages on disk. The alternative, promoting it chunk by chunk, would show
half a table as a whole one. It is safe because the place in the read is a token or a key of the source; where
we count pages ourselves, the last page is read once more, and when it is not the same the read begins anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import duckdb
from pydantic import SecretStr

from orchestration.engine_errors import pass_on_lack_of_room, without_values
from orchestration.located_yaml import SecretText
from orchestration.settings import Settings, Since, Source, Table
from orchestration.sources.api_conformity import AFTER, SINCE, texts
from orchestration.sources.api_pages import Pull, pages_relation
from orchestration.sources.databases import NUMBER
from orchestration.sources.errors import SourceError
from orchestration.sources.reading import Relation, missing_text, named
from orchestration.sources.values import identifier
from orchestration.warehouse import utc_now

if TYPE_CHECKING:
    from orchestration.sources.api_client import Asked, Page

logger = logging.getLogger(__name__)

PROGRESS_EVERY = 100
"""Pages between two lines of the log, so that a long read shows that it is alive."""

STALE_PLACE = frozenset({400, 404, 410, 422})
"""Answers to a token of a former read that the source has forgotten."""

PREVIEW_LIMITS = {"attempts": 2, "longest_wait_seconds": 10.0}
"""Somebody waits for a preview."""

SHORTEST_SECRET = 8
"""Characters of a secret that is looked for in answers; a shorter one is found in any text."""


@dataclass(frozen=True)
class Request:
    """One endpoint of a table: its records, or the keys of all of them.

    Attributes:
        path: Endpoint.
        params: Query parameters, with placeholders.
        body: JSON to send, with placeholders; None for a GET.
        records: Place of the records in a page.
    """

    path: str
    params: Mapping[str, Any]
    body: Mapping[str, Any] | None
    records: str | None


@dataclass(frozen=True)
class Reading:
    """What an API gave.

    Attributes:
        relation: The records; None when there were none.
        began: When the read began, UTC: what changed since then may be missing in it.
        all_keys: SELECT of all keys, where only changes were read.
        is_complete: Whether all records were read.
        request: Fingerprint of what was asked for, without the moment it begins at.
        shortfall: What is missing by the source's own count; None when nothing is.
    """

    relation: Relation | None
    began: datetime
    all_keys: str | None
    is_complete: bool
    request: str
    shortfall: str | None


@contextmanager
def api_reading(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    table: Table,
    known: Mapping[tuple[str, str], str],
    *,
    first_page_only: bool = False,
) -> Iterator[Reading]:
    """Read what is new in a table of an API. The pages stay while the block lasts.

    Args:
        con: A connection.
        settings: The settings.
        table: The table.
        known: Values of `ops.source_state` by kind and name; empty to read everything.
        first_page_only: Whether to read one page of it and keep nothing, for a preview.

    Raises:
        SourceError: The API does not answer as declared.
    """
    source = settings.source(table.source)
    if first_page_only:
        limits = source.limits.model_copy(update=PREVIEW_LIMITS)
        source = source.model_copy(update={"limits": limits})
    pulls: list[Pull] = []
    folder = Path(tempfile.mkdtemp()) if first_page_only else settings.pages
    try:
        main = Request(table.path or "", table.params, table.body, table.records)
        fingerprint = request_fingerprint(source, table, main)
        since = known.get(("cursor", table.cursor or "")) if table.since else None
        if since is not None and known.get(("request", main.path)) != fingerprint:
            since = None  # something else is asked for now, of which the old cursor knows nothing
        pulls.append(_pull(source, table, main, since, folder / source.name / table.name, first_page_only))
        relation = pages_relation(table, pulls[0], main.records, main.path)
        shortfall = None if first_page_only else _shortfall(con, table, pulls[0], relation)
        all_keys = None
        if since is not None and table.sweep is not None and not first_page_only:
            given = table.sweep.model_dump(exclude_none=True)
            listing = replace(main, **given)
            pulls.append(_pull(source, table, listing, None, folder / source.name / f"{table.name}.keys", False))
            keys = pages_relation(table, pulls[1], listing.records, listing.path)
            all_keys = _keys_select(table, keys, listing.path)
            shortfall = shortfall or _shortfall(con, table, pulls[1], keys)
        yield Reading(relation, pulls[0].progress.began, all_keys, since is None, fingerprint, shortfall)
    finally:
        if first_page_only:
            shutil.rmtree(folder)
        else:
            _mark_used(pulls)


def reading_error(table: Table, error: duckdb.Error) -> SourceError:
    """An engine error about pages in words; records are not quoted.

    Raises:
        duckdb.Error: Memory or disk ran out, which no page is at fault for.
    """
    pass_on_lack_of_room(error)
    reason = "a page is not JSON that the engine can read" if "JSON" in str(error) else without_values(error)
    return SourceError(f"{named(table)}: {table.path}: {reason}")


def _mark_used(pulls: list[Pull]) -> None:
    for pull in pulls:
        if pull.progress.is_finished:
            pull.progress.is_used = True
            pull.save()


# What to ask for


def request_fingerprint(source: Source, table: Table, request: Request) -> str:
    """Changes when something else is asked for; a secret that changes does not count."""
    asked = [source.url, request.path, request.params, request.body, request.records]
    return _digest([*asked, table.paging.model_dump(), table.key])


def _digest(value: Any) -> str:  # noqa: ANN401 (a JSON tree)
    return hashlib.sha256(json.dumps(_written(value), ensure_ascii=False).encode()).hexdigest()[:16]


def _written(value: Any) -> Any:  # noqa: ANN401 (a JSON tree)
    """A JSON tree with variables as they were written, not as they were replaced."""
    if isinstance(value, SecretText):
        return value.raw
    if isinstance(value, Mapping):
        return {name: _written(item) for name, item in value.items()}
    return [_written(item) for item in value] if isinstance(value, list | tuple) else value


def _filled(value: Any, given: Mapping[str, Any]) -> Any:  # noqa: ANN401 (a JSON tree)
    """A JSON tree with its placeholders replaced; one that stands alone takes the type of its value."""
    if isinstance(value, str):
        if value in given:
            return given[value]
        for placeholder, replacement in given.items():
            value = value.replace(placeholder, str(replacement))
        return value
    if isinstance(value, Mapping):
        return {name: _filled(item, given) for name, item in value.items()}
    return [_filled(item, given) for item in value] if isinstance(value, list | tuple) else value


def _asked(source: Source, table: Table, request: Request, since: str | None) -> Asked:
    from orchestration.sources.api_client import Asked

    given = {} if table.since is None else {SINCE: since_value(table, since)}

    def fill(after: object) -> tuple[dict[str, Any], dict[str, Any] | None]:
        placeholders = given if table.paging.type != "key" else given | {AFTER: after}
        params = {name: _parameter(value) for name, value in _filled(request.params, placeholders).items()}
        return params, None if request.body is None else _filled(request.body, placeholders)

    params, body = fill(table.paging.first)
    secrets = _secrets(source, request)
    return Asked(named(table), request.path, params, body, request.records, table.paging, table.key, fill, secrets)


def _parameter(value: object) -> object:
    """A value as it is written in an address."""
    return str(value).lower() if isinstance(value, bool) else value


def _secrets(source: Source, request: Request) -> tuple[str, ...]:
    """Texts that must be written nowhere, in the forms an answer might repeat them in."""
    given = [getattr(source.auth, name) for name in type(source.auth).model_fields]
    hidden = [value.get_secret_value() for value in (*given, *source.headers.values()) if isinstance(value, SecretStr)]
    hidden += [str(text) for tree in (request.params, request.body) for text in texts(tree) if _is_secret(text)]
    forms = [form for text in hidden for form in (text, quote(text, safe=""), json.dumps(text)[1:-1])]
    return tuple(sorted({form for form in forms if len(form) >= SHORTEST_SECRET}, key=len, reverse=True))


def _is_secret(text: str) -> bool:
    return isinstance(text, SecretText)


# Where a read begins and ends


def since_value(table: Table, state: str | None) -> str | int:
    """Where an increment begins, as the API takes it: the end of the last one less the overlap.

    Args:
        table: A table with `since`.
        state: What `next_cursor` gave; None for the first read.

    Raises:
        SourceError: The cursor is not what `since` says.
    """
    since = table.since or Since()
    if state is None:
        return _first_since(table, since)
    number = NUMBER.fullmatch(state)
    overlap = timedelta(minutes=table.overlap_minutes)
    if number is not None:
        _refuse_number(table)
        value = int(number.group(1))
        per_second = {"unix": 1, "unix_ms": 1000}.get(since.format)
        return value if per_second is None else max(0, value - int(overlap.total_seconds()) * per_second)
    try:
        moment = datetime.fromisoformat(state)
    except ValueError:
        return state
    return _formatted(moment - overlap, since)


def _refuse_number(table: Table) -> None:
    """Refuse a cursor that is a number where the API is said to take times."""
    if table.since is not None and table.since.format == "iso":
        raise SourceError(
            f"{named(table)}: `{table.cursor}` holds numbers, but since.format is iso; allowed for numbers: unix, "
            "unix_ms, number",
            field="since",
        )


def _first_since(table: Table, since: Since) -> str | int:
    text = str(since.start)
    if text.lstrip("-").isdigit():
        return int(text) if since.format in {"number", "unix", "unix_ms"} else _formatted(_epoch(int(text)), since)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SourceError(
            f"{named(table)}: since.start '{text}' is no date, time or number; write it like 2020-01-01",
            field="since",
        ) from None
    return _formatted(moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment, since)


def _epoch(seconds: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(seconds=seconds)


def _formatted(moment: datetime, since: Since) -> str | int:
    """A moment in UTC as the API takes it."""
    aware = moment.replace(tzinfo=UTC)
    if since.format == "iso":
        return aware.strftime("%Y-%m-%dT%H:%M:%SZ")
    if since.format in {"unix", "unix_ms"}:
        return int(aware.timestamp()) * (1000 if since.format == "unix_ms" else 1)
    return aware.astimezone(ZoneInfo(since.time_zone)).strftime(since.format)


def next_cursor(table: Table, latest: str | None, reading_began: datetime, known: str | None) -> str | None:
    """What to remember of the newest cursor of a read; None when there is nothing new to remember.

    What changed after the read began may be missing in it, so the next one begins there at the latest: a
    source whose clock is ahead, or one record with a date in the future, must not hide what is to come.

    Args:
        table: A table with `since`.
        latest: The greatest `_cursor`, as `values.sortable` writes it.
        reading_began: UTC.
        known: What is remembered so far.

    Raises:
        SourceError: The cursor is not what `since` says.
    """
    if latest is None:
        return None
    number = NUMBER.fullmatch(latest)
    if number is not None:
        _refuse_number(table)
        per_second = {"unix": 1, "unix_ms": 1000}.get(table.since.format if table.since else "")
        ceiling = None if per_second is None else f"{int(_seconds(reading_began) * per_second):030d}."
    else:
        ceiling = reading_began.isoformat(timespec="microseconds") if "T" in latest else None
    if ceiling is not None and latest > ceiling:
        logger.warning(
            "%s: its newest `%s` is later than the read began; the next read begins when this one did",
            named(table),
            table.cursor,
        )
        latest = ceiling
    return latest if known is None else max(known, latest)


def _seconds(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()


def _shortfall(con: duckdb.DuckDBPyConnection, table: Table, pull: Pull, relation: Relation | None) -> str | None:
    """What is missing by the source's own count, in words."""
    total = pull.progress.total
    if total is None:
        return None
    heads = dict.fromkeys(key.split(".")[0] for key in table.key)
    came = 0
    if relation is not None:
        keys = ", ".join(identifier(head) for head in heads if head in relation.columns)
        row = con.execute(f"select count(*) from (select distinct {keys or '*'} from ({relation.sql}))").fetchone()
        came = int(row[0]) if row else 0
    if came >= total:
        return None
    return f"{came:,} records came, but `{table.paging.total}` of the source says {total:,}; run again"


def _keys_select(table: Table, relation: Relation | None, path: str) -> str:
    heads = list(dict.fromkeys(key.split(".")[0] for key in table.key))
    if relation is None:
        return f"select {', '.join(f'null::varchar as {identifier(head)}' for head in heads)} where false"
    present = {name.casefold() for name in relation.columns}
    missing = [head for head in heads if head.casefold() not in present]
    if missing:
        raise SourceError(missing_text(table, missing, list(relation.columns), path))
    return relation.sql


# Reading


def _pull(source: Source, table: Table, request: Request, since: str | None, folder: Path, is_preview: bool) -> Pull:
    """Read an endpoint to its end, or its first page, going on where a former read was cut off."""
    asked = _asked(source, table, request, since)
    fingerprint = _digest([request_fingerprint(source, table, request), since])
    pull = Pull.begin_or_resume(folder, fingerprint, utc_now())
    if pull.progress.is_finished:
        return pull
    if pull.progress.pages and not _goes_on(source, asked, pull):
        pull = Pull.begin(folder, fingerprint, utc_now())
    if not pull.progress.pages:
        _read(source, asked, pull, is_preview=is_preview)
    pull.progress.is_finished = True
    pull.save()
    return pull


def _goes_on(source: Source, asked: Asked, pull: Pull) -> bool:
    """Read the rest of what was cut off; no when the source has moved on meanwhile."""
    from orchestration.sources.api_client import RefusedError

    before = pull.progress.pages
    logger.info("%s: going on after %d pages of a read that was cut off", asked.name, before)
    try:
        return _read(source, asked, pull, is_preview=False)
    except RefusedError as error:
        if error.status in STALE_PLACE and pull.progress.pages == before:
            logger.warning("%s: the source has forgotten where the read was cut off; it begins anew", asked.name)
            return False
        raise


def _read(source: Source, asked: Asked, pull: Pull, *, is_preview: bool) -> bool:
    """Read pages from where a read is, to the end; no when it cannot go on from there."""
    from orchestration.sources.api_client import pages

    done = pull.progress
    met = dict.fromkeys(done.fields)
    is_resumed = done.pages > 0
    for page in pages(source, asked, done.position, done.pages):
        digest = _page_digest(asked, page)
        if is_resumed and page.is_counted:
            is_resumed = False
            if digest != done.digest:
                logger.warning("%s: records moved between pages meanwhile; the read begins anew", asked.name)
                return False
            continue
        for record in page.records:
            if not met.keys() >= record.keys():
                met |= dict.fromkeys(record)
        if page.answered is not None and not done.pages:
            done.began = min(done.began, page.answered)
        if page.total is not None:
            done.total = page.total if done.total is None else min(done.total, page.total)
        done.fields, done.digest, done.position = list(met), digest, page.position
        pull.add(page.body, len(page.records))
        pull.save()
        if done.pages % PROGRESS_EVERY == 0:
            logger.info("%s: %s pages, %s records", asked.name, f"{done.pages:,}", f"{done.records:,}")
        if is_preview:
            break
    return True


def _page_digest(asked: Asked, page: Page) -> str:
    from orchestration.sources.api_paging import dig

    return _digest([[dig(record, place) for place in asked.key] for record in page.records])
