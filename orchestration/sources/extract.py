"""Extraction: what a source has that the warehouse does not, as a candidate for the guard.

Belongs here: hashes, versions, deletions, and the state that makes the next read shorter. Does not belong here: how
a kind of source is read (`files.py`, `databases.py`, `api.py`, `inline.py`), keys (`keys.py`), verdicts (`guard/`).

    source ─ Relation ─→ candidate_<source>.<table> ─ less what is known ─→ what the guard judges

Nothing but the candidate is written here: cursors and fingerprints travel in `Extracted.state` and are
booked in the transaction that promotes the rows, so a load that is held or killed is read again.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import duckdb

from orchestration.engine_errors import pass_on_lack_of_room
from orchestration.settings import Settings, Table
from orchestration.sources import api
from orchestration.sources.databases import (
    Database,
    attached,
    database_error,
    fingerprint,
    key_select,
    table_relation,
)
from orchestration.sources.errors import SourceError
from orchestration.sources.expressions import Use, expressions, fault, used_columns
from orchestration.sources.files import RAGGED, RAGGED_SIGN, REJECTS, UNEVEN_SIGN, file_relation, reading_error
from orchestration.sources.inline import PLACE, inline_fingerprint, inline_relation
from orchestration.sources.keys import clamp_cursors, cursor, cursor_state, cursor_text, is_older, key_text
from orchestration.sources.mapping import column_text
from orchestration.sources.reading import BOOKED, Relation, first_line, missing_text, named
from orchestration.sources.text_files import SourceFile, find_files, readable, unpacked, with_even_lines
from orchestration.sources.values import identifier, literal
from orchestration.warehouse import columns_of, utc_now

log = logging.getLogger("cem.sources")

GONE = "gone"
"""Fingerprint of a file that is no longer there."""

DROPPED = "cem_dropped"
"""Temporary table of the rows that a candidate need not hold."""

VERSIONS = "cem_versions"
"""Temporary table of the rows whose key a load brings more than once."""

_NEWEST = f"from {VERSIONS} where version = 1 and repeat = 1"
_TIED = f"select _key {_NEWEST} group by _key having count(*) > 1"
"""Keys of which a load brings several rows that differ and are equally new."""

_IS_TIE_REASON = "len(list_filter(reasons, lambda reason: suffix(reason, '[sent.key_unique]'))) > 0"
_IS_OTHER_REASON = "len(list_filter(reasons, lambda reason: not suffix(reason, '_unique]'))) > 0"
"""What the guard says of a row in quarantine: that another one had its key, or more than what follows from that."""

SEEN = "cem_seen_keys"
"""Temporary table of all keys a source has, where only its changes were read."""


TOLD = "cem_told_deleted"
"""Temporary table of the rows that say their record was deleted."""


@dataclass(frozen=True)
class StateEntry:
    """One row of `ops.source_state` to book with the promotion.

    Attributes:
        kind: file, rows, cursor, request or behind.
        name: Of what.
        value: What to remember.
    """

    kind: str
    name: str
    value: str


@dataclass(frozen=True)
class Extracted:
    """What extraction found; extracted = candidates + deduplicated.

    Attributes:
        source: Name of the source.
        table_name: Name of the table.
        load_id: The load.
        extracted: Records seen in the source by this load.
        deduplicated: Of those, the ones left out: known already, repeated or older than another version.
        candidates: Of those, the ones that wait in the candidate table.
        deleted: Rows of the candidate table that are not in `extracted`: records gone from the source.
        skipped: Whether nothing was read because nothing changed.
        ahead: Candidates whose cursor was in the future when they were read.
        state: What to remember once the load is promoted.
        shortfall: What is missing by the source's own count, in words; None when nothing is.
    """

    source: str
    table_name: str
    load_id: str
    extracted: int = 0
    deduplicated: int = 0
    candidates: int = 0
    deleted: int = 0
    skipped: bool = False
    ahead: int = 0
    state: tuple[StateEntry, ...] = ()
    shortfall: str | None = None


@dataclass(frozen=True)
class Part:
    """Rows to read, and what to say when that fails.

    Attributes:
        relation: The rows.
        explain: The error in words.
        even: Reads the file once more with all its lines ended in one way, if it has lines.
    """

    relation: Relation
    explain: Callable[[duckdb.Error], SourceError]
    even: Callable[[], Relation | None] | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be read now.

    Attributes:
        parts: Files, or the one database table or endpoint.
        state: What to remember.
        is_complete: Whether all records of the source are read, so that those missing are gone.
        all_keys: SELECT of all keys, where only changes are read.
        next_cursor: Gives what to remember of the greatest cursor of the rows (None: nothing).
        shortfall: What is missing by the source's own count, in words.
    """

    parts: Sequence[Part]
    state: Sequence[StateEntry] = ()
    is_complete: bool = True
    all_keys: str | None = None
    next_cursor: Callable[[str | None], str | None] | None = None
    shortfall: str | None = None


def extract_table(con: duckdb.DuckDBPyConnection, settings: Settings, table: Table, load_id: str) -> Extracted:
    """Bring what is new, changed or gone in one source table into `candidate_<source>.<table>`.

    Args:
        con: The warehouse, open for writing and not in a transaction.
        settings: The settings.
        table: The source table.
        load_id: The load.

    Returns:
        Counts and state. When nothing changed since the last promoted load, nothing is read and there is
        no candidate table.

    Raises:
        SourceError: The source cannot be read as configured.
    """
    candidate = _Candidate(con, table, load_id, utc_now())
    known = _known_state(con, table)
    extracted = _extracted(con, settings, candidate, known)
    behind = candidate.behind
    if behind is None or known.get((behind.kind, behind.name)) == behind.value:
        return extracted
    log.info("%s: it lists records that no increment brought; everything is read once more", named(table))
    without_cursor = {place: value for place, value in known.items() if place[0] != "cursor"}
    extracted = _extracted(con, settings, candidate, without_cursor)
    # What a read of everything does not bring either, does not ask for the next one.
    return replace(extracted, state=(*extracted.state, behind))


def _extracted(
    con: duckdb.DuckDBPyConnection, settings: Settings, candidate: _Candidate, known: Mapping[tuple[str, str], str]
) -> Extracted:
    candidate.drop()
    with plan_reading(con, settings, candidate.table, known) as plan:
        if plan is None:
            return Extracted(candidate.table.source, candidate.table.name, candidate.load_id, skipped=True)
        try:
            return candidate.fill(plan)
        except BaseException:
            candidate.drop()
            raise


# What to read


@contextmanager
def plan_reading(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    table: Table,
    known: Mapping[tuple[str, str], str],
    *,
    is_preview: bool = False,
) -> Iterator[Plan | None]:
    """What of a table is to be read; None when nothing changed. What it opened is closed afterwards.

    Args:
        con: A connection with the extensions.
        settings: The settings.
        table: The source table.
        known: Values of `ops.source_state` by kind and name; empty to read everything.
        is_preview: Whether the first page of an API, or the first lines of each text file, will do.

    Raises:
        SourceError: The source cannot be opened as configured.
    """
    if table.rows is not None:
        yield _inline_plan(table, known)
    elif table.files:
        folder = settings.home / "unpacked"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=folder) as copies:
            yield _files_plan(con, settings, table, known, Path(copies), is_preview=is_preview)
    elif table.path is not None:
        with api.api_reading(con, settings, table, known, first_page_only=is_preview) as reading:
            yield _api_plan(table, reading, known)
    else:
        with attached(con, settings.source(table.source)) as database:
            yield _database_plan(con, database, table, known)


def _known_state(con: duckdb.DuckDBPyConnection, table: Table) -> dict[tuple[str, str], str]:
    rows = con.execute(
        "select kind, name, value from ops.source_state where source = ? and table_name = ?",
        [table.source, table.name],
    ).fetchall()
    return {(kind, name): value for kind, name, value in rows}


def _inline_plan(table: Table, known: Mapping[tuple[str, str], str]) -> Plan | None:
    state = StateEntry("rows", PLACE, inline_fingerprint(table))
    if known.get((state.kind, state.name)) == state.value:
        return None
    relation = inline_relation(table)
    parts = [] if relation is None else [Part(relation, lambda error: SourceError(str(error)))]
    return Plan(parts, [state])


def _files_plan(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    table: Table,
    known: Mapping[tuple[str, str], str],
    copies: Path,
    *,
    is_preview: bool,
) -> Plan | None:
    files = find_files(settings.source(table.source), table)
    before = {name: value for (kind, name), value in known.items() if kind == "file" and value != GONE}
    changed = [file for file in files if before.get(file.label) != file.fingerprint]
    gone = before.keys() - {file.label for file in files}
    is_sweep = table.deletes == "sweep"
    if files and not changed and not (gone and is_sweep):
        return None
    # Which records are gone only shows in all files together.
    read = files if is_sweep else changed
    parts = [_file_part(con, table, file, copies, is_preview=is_preview) for file in read]
    if is_sweep and not table.optional and any(parts) and not all(parts):
        empty = next(file.label for file, part in zip(read, parts, strict=True) if part is None)
        raise SourceError(
            f"{named(table)}: {empty} is empty, and all its records would be deleted; deliver it again, remove it if "
            "they are gone, or declare the table `optional: true`",
            is_transient=True,
        )
    state = [StateEntry("file", file.label, file.fingerprint) for file in changed]
    state += [StateEntry("file", label, GONE) for label in sorted(gone)]
    return Plan([part for part in parts if part is not None], state, is_complete=is_sweep)


def _file_part(
    con: duckdb.DuckDBPyConnection, table: Table, file: SourceFile, copies: Path, *, is_preview: bool
) -> Part | None:
    with readable(table, file.label):
        path = unpacked(table, file, copies, is_preview=is_preview)
        relation = file_relation(con, table, file, path)
    if relation is None:
        return None

    def even() -> Relation | None:
        with readable(table, file.label):
            return file_relation(con, table, file, with_even_lines(path, copies))

    return Part(relation, partial(reading_error, table, file, path), even if table.format == "csv" else None)


def _database_plan(
    con: duckdb.DuckDBPyConnection, database: Database, table: Table, known: Mapping[tuple[str, str], str]
) -> Plan | None:
    state = []
    mark = fingerprint(database, table)
    if mark is not None:
        if known.get(("file", database.sqlite_path.name)) == mark:
            return None
        state.append(StateEntry("file", database.sqlite_path.name, mark))
    since = known.get(("cursor", table.cursor)) if table.cursor else None
    relation, is_increment = table_relation(con, database, table, since)
    part = Part(relation, partial(database_error, database, table))
    if not is_increment:
        return Plan([part], state)
    is_sweep = table.deletes == "sweep"
    all_keys = key_select(con, database, table) if is_sweep else None
    return Plan([part], state, is_complete=False, all_keys=all_keys)


def _api_plan(table: Table, reading: api.Reading, known: Mapping[tuple[str, str], str]) -> Plan:
    parts = [] if reading.relation is None else [Part(reading.relation, partial(api.reading_error, table))]
    if table.since is None:
        return Plan(parts, shortfall=reading.shortfall)

    def next_cursor(latest: str | None) -> str | None:
        # Where everything was read, the old cursor may be of another request.
        before = None if reading.is_complete else known.get(("cursor", table.cursor or ""))
        return api.next_cursor(table, latest, reading.began, before)

    state = [StateEntry("request", table.path or "", reading.request)]
    return Plan(parts, state, reading.is_complete, reading.all_keys, next_cursor, reading.shortfall)


# The candidate


class _Candidate:
    """The table that one load of one source table is brought into.

    Attributes:
        table: The source table.
        load_id: The load.
        behind: Tells the records apart that the source lists and that no read has brought: imported or put back with
            an old cursor, they are behind it for ever. None where there are none.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, table: Table, load_id: str, loaded_at: datetime) -> None:
        self._con = con
        self.table = table
        self.load_id = load_id
        self._loaded_at = loaded_at
        self._schema = f"candidate_{table.source}"
        self._name = f"{identifier(self._schema)}.{identifier(table.name)}"
        self._raw = f"{identifier(f'raw_{table.source}')}.{identifier(table.name)}"
        self._raw_columns = columns_of(con, f"raw_{table.source}", table.name)
        self._uses: list[Use] | None = None
        self.behind: StateEntry | None = None

    def drop(self) -> None:
        """Remove what an earlier load left behind."""
        if columns_of(self._con, self._schema, self.table.name):
            self._con.execute(f"drop table {self._name}")

    def fill(self, plan: Plan) -> Extracted:
        """Read everything, then leave out what is known."""
        self._create(plan)
        for part in plan.parts:
            self._read(part)
        read = self._count()
        state = [*plan.state, *self._cursor_entry(plan)]
        ahead = clamp_cursors(self._con, self.table, self._name, self._loaded_at)
        unchanged, gone = self._find_gone(plan, read)
        self._find_dropped(plan)
        if self.table.deleted is not None:
            with self._at_fault("deleted"):
                gone = self._find_deleted(self.table.deleted, gone)
        self._find_quarantined()
        dropped = self._delete_dropped(read)
        self._try_mappings()
        self._append_gone(gone)
        if read == 0 and self.table.optional and not self._raw_columns:
            self._create_raw()
        return Extracted(
            self.table.source,
            self.table.name,
            self.load_id,
            extracted=read + unchanged,
            deduplicated=dropped + unchanged,
            candidates=read - dropped,
            deleted=gone,
            ahead=ahead,
            state=tuple(state),
            shortfall=plan.shortfall,
        )

    def _count(self) -> int:
        row = self._con.execute(f"select count(*) from {self._name}").fetchone()
        return int(row[0]) if row else 0

    # Shape

    def _create(self, plan: Plan) -> None:
        self._con.execute(f"create schema if not exists {identifier(self._schema)}")
        present: dict[str, str] = {}
        for part in plan.parts:
            self._check_columns(part.relation)
            for name in part.relation.columns:
                present.setdefault(name.casefold(), name)
        shapes = [f"select * exclude (_source_row) from ({part.relation.sql})" for part in plan.parts]
        absent = [use for use in self._used() if use.column.casefold() not in present]
        missing = self._absent_shape(absent, has_parts=bool(plan.parts))
        shapes += [missing] if missing else []
        union = " union all by name ".join(f"(select * from ({shape}) limit 0)" for shape in shapes)
        booked = (
            "null::varchar as _key, null::ubigint as _row_hash, null::varchar as _cursor, "
            "null::varchar as _source_file, null::bigint as _source_row, null::varchar as _load_id, "
            "null::timestamp as _loaded_at, null::timestamp as _deleted_at"
        )
        try:
            self._con.execute(f"create table {self._name} as select *, {booked} from ({union})")
        except duckdb.Error as error:
            raise SourceError(f"{named(self.table)}: its files do not fit together: {first_line(error)}") from None

    def _absent_shape(self, absent: Sequence[Use], *, has_parts: bool) -> str | None:
        """Columns that are used but not there: fields no JSON object has, or all when there is no file."""
        kept = {name: kind for name, kind in self._raw_columns.items() if name not in BOOKED}
        if not has_parts and kept:
            return f"select {', '.join(map(identifier, kept))} from {self._raw}"
        names = {use.column.casefold(): use.column for use in absent}
        columns = [f"null::varchar as {identifier(name)}" for name in names.values()]
        if not columns and not has_parts:
            columns = ["null::varchar as column_1"]
        return f"select {', '.join(columns)}" if columns else None

    def _used(self) -> list[Use]:
        if self._uses is None:
            self._uses = used_columns(self._con, self.table)
        return self._uses

    def _check_columns(self, relation: Relation) -> None:
        """Refuse a part that lacks a column the configuration uses; JSON may lack those that may be empty."""
        present = {name.casefold() for name in relation.columns}
        is_json = self.table.format == "jsonl"
        missing = [
            use.column
            for use in self._used()
            if use.column.casefold() not in present and (use.is_required or not is_json)
        ]
        if missing:
            place = relation.file or f"table {self.table.table or self.table.name}"
            raise SourceError(missing_text(self.table, dict.fromkeys(missing), list(relation.columns), place))

    # Rows

    def _read(self, part: Part) -> None:
        relation = part.relation
        try:
            self._insert(relation.sql, relation)
        except duckdb.Error as error:
            refusal = part.explain(error)
            again = part.even() if part.even and UNEVEN_SIGN in str(error) else None
            if again is not None:
                self._con.execute(f"delete from {self._name} where _source_file = {literal(relation.file or '')}")
                self._read(Part(again, part.explain))
                return
            if relation.tolerant_sql is None or RAGGED_SIGN not in str(error):
                raise refusal from None
            self._read_tolerantly(relation, refusal)

    def _insert(self, sql: str, relation: Relation) -> None:
        names = ", ".join(f"sent.{identifier(name)}" for name in relation.columns)
        file = "null::varchar" if relation.file is None else literal(relation.file)
        self._con.execute(
            f"insert into {self._name} by name select {names}, {key_text(self.table, relation.file)} as _key, "
            f"{_row_hash(relation)} as _row_hash, {cursor(self.table, 'sent._cursor_text')} as _cursor, "
            f"{file} as _source_file, sent._source_row, {literal(self.load_id)} as _load_id, "
            f"{literal(self._loaded_at.isoformat(sep=' '))}::timestamp as _loaded_at "
            # The text of the cursor is a column of its own because it is looked at many times.
            f"from (select *, {cursor_text(self.table)} as _cursor_text from ({sql})) as sent"
        )

    def _read_tolerantly(self, relation: Relation, refusal: SourceError) -> None:
        """Keep lines that do not fit the header as rows without a key: the guard quarantines them.

        The line is in the first column, its number in `_source_row`. Only a wrong number of fields can be
        told line by line; an open quotation mark may swallow the rest of the file and fails.
        """
        for name in (REJECTS, f"{REJECTS}_scan"):
            self._con.execute(f"drop table if exists {name}")
        self._con.execute(f"delete from {self._name} where _source_file = {literal(relation.file or '')}")
        try:
            self._insert(relation.tolerant_sql or "", relation)
        except duckdb.Error:
            raise refusal from None
        kinds = {row[0] for row in self._con.execute(f"select distinct error_type from {REJECTS}").fetchall()}
        if kinds - RAGGED:
            raise refusal
        first = identifier(next(iter(relation.columns)))
        self._con.execute(
            f"insert into {self._name} by name select csv_line as {first}, null::varchar as _key, "
            f"md5_number_lower(csv_line) as _row_hash, {literal(relation.file or '')} as _source_file, "
            f"line as _source_row, {literal(self.load_id)} as _load_id, "
            f"{literal(self._loaded_at.isoformat(sep=' '))}::timestamp as _loaded_at "
            f"from (select csv_line, line from {REJECTS} group by all)"
        )

    def _cursor_entry(self, plan: Plan) -> list[StateEntry]:
        if self.table.cursor is None or not self.table.is_incremental:
            return []
        row = self._con.execute(f"select max(_cursor) from {self._name}").fetchone()
        if plan.next_cursor is not None:
            value = plan.next_cursor(row[0] if row else None)
            return [] if value is None else [StateEntry("cursor", self.table.cursor, value)]
        if row is None or row[0] is None:
            return []
        return [StateEntry("cursor", self.table.cursor, cursor_state(self.table, row[0], self._loaded_at))]

    @contextmanager
    def _at_fault(self, field: str) -> Iterator[None]:
        """Name the piece of SQL of cem.yml that fails, without the row that it fails on.

        Raises:
            SourceError: It fails.
        """
        try:
            yield
        except duckdb.Error as error:
            pass_on_lack_of_room(error)
            raise SourceError(f"{named(self.table)}: {field} {fault(error)}", field=field) from None

    def _try_mappings(self) -> None:
        """Compute what cem.yml says in SQL of every new row once by itself, so that what fails can be named."""
        for mapping in self.table.entities:
            said = dict(expressions(mapping))
            if not said:
                continue
            where = said.pop("where", "true")
            counts = ", ".join(f"count({expression})" for expression in said.values()) or "count(*)"
            try:
                self._con.execute(f"select {counts} from {self._name} where {where}")
            except duckdb.Error:
                with self._at_fault(f"entities.{mapping.entity}.where"):
                    self._con.execute(f"select count({where}) from {self._name}")
                for path, expression in said.items():
                    with self._at_fault(f"entities.{mapping.entity}.{path}"):
                        self._con.execute(f"select count({expression}) from {self._name} where {where}")
                raise

    # What need not be judged again

    def _find_dropped(self, plan: Plan) -> None:
        """Note rows that repeat or precede another row of this load, or are promoted."""
        self._con.execute(f"create or replace temp table {VERSIONS} as {self._versions()}")
        queries = [f"select row_id from {VERSIONS} where version > 1 or repeat > 1"]
        if self._raw_columns:
            queries += [self._promoted(is_complete=plan.is_complete), self._promoted_mended()]
        union = " union ".join(queries)
        self._con.execute(f"create or replace temp table {DROPPED} as {union}")

    def _versions(self) -> str:
        """Rows whose key occurs more than once in this load: how old each is, and whether it says the same again.

        The greatest cursor is the newest; without one, files count in the order of their names. Rows that
        differ and are equally new (`_TIED`) stay, for the guard to refuse.
        """
        newest = "order by _cursor desc nulls last, _source_file desc nulls last"
        if self.table.path is not None:
            newest += ", _source_row desc"  # of what an API gave twice, the later page was read later
        several = f"select _key from {self._name} group by _key having count(*) > 1"
        return (
            "select rowid as row_id, _key, _row_hash, "
            f"dense_rank() over (partition by _key {newest}) as version, "
            f"row_number() over (partition by _key, _row_hash {newest}) as repeat "
            f"from {self._name} where _key in ({several})"
        )

    def _promoted(self, *, is_complete: bool) -> str:
        """Rows that are promoted, or older than what is, or than what said that their record was deleted.

        A promoted row stays where the load brings another version of it that nobody has judged yet: by itself that one
        would look like a correction, take its place, and make room for it again when both are read the next time.
        """
        older = is_older("sent._cursor", "raw._cursor")
        if self.table.files and self.table.cursor is None and not is_complete:
            # An early file that is delivered again does not undo what a later one said.
            older = "sent._source_file < raw._source_file"
        unjudged = (
            f"select tied._key from (select * {_NEWEST} and _key in ({_TIED})) as tied "
            f"anti join (from {self._raw} where _deleted_at is null) as raw using (_key, _row_hash) "
            f"anti join (select key as _key, row_hash as _row_hash from ({self._in_quarantine()})) as bad "
            "using (_key, _row_hash)"
        )
        # What only a sweep missed, and is there again, was never said to be deleted.
        is_told = self.table.deleted is not None and not is_complete
        return (
            f"select sent.rowid as row_id from {self._name} as sent inner join {self._raw} as raw "
            f"on sent._key = raw._key where (raw._deleted_at is null or {is_told}) and coalesce({older}, false) or "
            f"raw._deleted_at is null and sent._row_hash = raw._row_hash and sent._key not in ({unjudged})"
        )

    def _find_quarantined(self) -> None:
        """Note rows that are in quarantine besides, unless all that spoke against them was another row, now gone."""
        quarantined = (
            f"select sent.rowid as row_id from {self._name} as sent inner join ({self._in_quarantine()}) as bad "
            "on coalesce(sent._key, bad.key) = bad.key and sent._row_hash = bad.row_hash "
            f"where sent._key in ({_TIED}) or {_IS_OTHER_REASON} or not {_IS_TIE_REASON}"
        )
        self._con.execute(f"insert into {DROPPED} ({quarantined}) except select row_id from {DROPPED}")
        self._con.execute(f"drop table {VERSIONS}")

    def _in_quarantine(self) -> str:
        return (
            f"from quarantine.rows where source = {literal(self.table.source)} "
            f"and table_name = {literal(self.table.name)} and released_at is null"
        )

    def _promoted_mended(self) -> str:
        return (
            f"select sent.rowid as row_id from {self._name} as sent inner join ({self._mended()}) as mended "
            "on coalesce(sent._key, mended.sent_key) = mended.sent_key and sent._row_hash = mended.row_hash"
        )

    def _mended(self) -> str:
        """Rows that people promoted from quarantine under another key than they are sent with: both keys, and the hash.

        As long as a row is sent as it was, it is known, and what was made of it is not gone.
        """
        return (
            "select bad.key as sent_key, bad.row_hash, bad.\"row\" ->> '_key' is null as is_nameless, raw._key "
            f"from quarantine.rows as bad inner join {self._raw} as raw on bad.row_hash = raw._row_hash "
            f"where bad.source = {literal(self.table.source)} and bad.table_name = {literal(self.table.name)} "
            "and bad.released_at is not null and bad.key <> raw._key and raw._deleted_at is null "
            # Without key columns there is nothing to mend, and equal rows are different records.
            f"and {bool(self.table.key)}"
        )

    def _delete_dropped(self, read: int) -> int:
        row = self._con.execute(f"select count(*) from {DROPPED}").fetchone()
        dropped = int(row[0]) if row else 0
        if dropped == read:
            self._con.execute(f"truncate {self._name}")
        elif dropped:
            self._con.execute(f"delete from {self._name} where rowid in (select row_id from {DROPPED})")
        self._con.execute(f"drop table {DROPPED}")
        return dropped

    # What is gone

    def _find_gone(self, plan: Plan, read: int) -> tuple[int, int]:
        """Note the promoted records that the source no longer has.

        Returns:
            Records that were seen but not read because they did not change, and records that are gone.
        """
        is_sweep = self.table.deletes == "sweep" or self.table.rows is not None
        if not is_sweep or not self._raw_columns or not (plan.is_complete or plan.all_keys):
            return 0, 0
        unchanged = 0
        seen = f"select _key from {SEEN} where _key is not null"
        self._con.execute(f"create or replace temp table {SEEN} as select _key from {self._name}")
        if plan.all_keys:
            self._con.execute(
                f"insert into {SEEN} select key from (select {key_text(self.table)} as key "
                f"from ({plan.all_keys}) as sent) where key not in ({seen})"
            )
            row = self._con.execute(f"select count(*) from {SEEN}").fetchone()
            unchanged = int(row[0]) - read if row else 0
            self.behind = self._behind()
        # Where only keys are read, nobody can tell whether a row without one is still there.
        is_there = f"is_nameless or sent_key in ({seen})"
        if plan.is_complete:
            is_there = f"row_hash in (select _row_hash from {self._name})"
        self._con.execute(f"insert into {SEEN} select _key from ({self._mended()}) where {is_there}")
        gone = f"select _key from {self._raw} where _deleted_at is null and _key not in ({seen})"
        self._con.execute(f"create or replace temp table {SEEN} as {gone}")
        self._keep_named_by_ragged(plan)
        row = self._con.execute(f"select count(*) from {SEEN}").fetchone()
        return unchanged, int(row[0]) if row else 0

    def _keep_named_by_ragged(self, plan: Plan) -> None:
        """Call no record gone whose key stands in a line that does not fit the header: it may be about that record."""
        firsts = dict.fromkeys(next(iter(part.relation.columns)) for part in plan.parts if part.relation.tolerant_sql)
        if not firsts or not self.table.key:
            return
        # As `_read_tolerantly` keeps it, the line is in the first column of its file.
        line = f"coalesce({', '.join(identifier(first) for first in firsts)})"
        ragged = f"(select {line} as _line from {self._name} where _key is null)"
        named_in = " and ".join(
            f"contains(_line, trim({column_text(self.table, column)}))" for column in self.table.key
        )
        self._con.execute(
            f"delete from {SEEN} where _key in (select raw._key from {self._raw} as raw inner join {SEEN} using (_key) "
            f"inner join {ragged} on {named_in})"
        )

    def _behind(self) -> StateEntry | None:
        """What is listed and was never brought; of a source that keeps its deleted rows nobody can tell."""
        if self.table.deleted is not None:
            return None
        brought = (
            f"select _key from {self._name} union all select _key from {self._raw} where _deleted_at is null "
            f"union all select key {self._in_quarantine()} union all select sent_key from ({self._mended()})"
        )
        row = self._con.execute(
            f"select count(*), bit_xor(md5_number_lower(_key)) from {SEEN} "
            f"anti join ({brought}) as brought using (_key) where _key is not null"
        ).fetchone()
        return StateEntry("behind", self.table.name, f"{row[0]}:{row[1]}") if row and row[0] else None

    def _find_deleted(self, condition: str, gone: int) -> int:
        """Leave out the rows that say their record was deleted, and note the promoted ones among these.

        Where another row, equally new, says that the record is there, both stay, for the guard to refuse.

        Returns:
            Records that are gone, those found by a sweep included.
        """
        fresh = f"from {self._name} where rowid not in (select row_id from {DROPPED})"
        self._con.execute(
            f"create or replace temp table {TOLD} as "
            f"select rowid as row_id, _key, _cursor, _source_file, _source_row {fresh} and ({condition})"
        )
        self._con.execute(
            f"delete from {TOLD} where _key in "
            f"(select _key {fresh} and ({condition}) is not true and _key in (select _key from {TOLD}))"
        )
        self._con.execute(f"insert into {DROPPED} select row_id from {TOLD}")
        if not self._raw_columns:
            return gone
        swept = f" union select _key from {SEEN}" if gone else ""
        said = (
            f" or ({condition}) and _key not in (select _key {fresh} and _key is not null)"
            if self._has_in_raw("deleted")
            else ""
        )
        self._con.execute(
            f"create or replace temp table {SEEN} as select _key from {self._raw} where _deleted_at is null "
            # A promoted row may say so too, since `deleted` was declared or changed later.
            f"and (_key in (select _key from {TOLD}){said}){swept}"
        )
        row = self._con.execute(f"select count(*) from {SEEN}").fetchone()
        return int(row[0]) if row else 0

    def _append_gone(self, gone: int) -> None:
        if not gone:
            return
        moment = f"{literal(self._loaded_at.isoformat(sep=' '))}::timestamp"
        self._con.execute(
            f"insert into {self._name} by name select * replace ({literal(self.load_id)} as _load_id, "
            f"{moment} as _loaded_at, {moment} as _deleted_at) from {self._raw} "
            f"where _key in (select _key from {SEEN})"
        )
        if self.table.deleted is not None:
            # The row that said so tells how new that is: older versions that come again do not undo it.
            self._con.execute(
                f"update {self._name} as gone set _cursor = coalesce(told._cursor, gone._cursor), "
                "_source_file = told._source_file, _source_row = told._source_row "
                f"from (select distinct on (_key) * from {TOLD}) as told "
                "where gone._deleted_at is not null and gone._key = told._key"
            )

    def _has_in_raw(self, field: str) -> bool:
        """Whether the promoted rows have all columns that a piece of SQL uses."""
        present = {name.casefold() for name in self._raw_columns}
        return all(use.column.casefold() in present for use in self._used() if use.field == field)

    def _create_raw(self) -> None:
        """Give a table that may be absent its empty place, so that what is built on it can be built."""
        self._con.execute(f"create schema if not exists {identifier(f'raw_{self.table.source}')}")
        self._con.execute(f"create table {self._raw} as select * from {self._name} limit 0")


def _row_hash(relation: Relation) -> str:
    """A hash of the row as sent, the same in every version of the engine.

    Values go in with their names, and missing ones not at all: neither the order of the columns nor a new
    column without values changes it.
    """
    parts = [
        f"{literal(f'{name}=')} || cast(sent.{identifier(name)} as varchar)"
        for name in sorted(relation.columns, key=str.casefold)
    ]
    return f"md5_number_lower(concat_ws(chr(31), {', '.join(parts)}))"
