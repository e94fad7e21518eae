"""`cem check`: whether the sources are what cem.yml says, and what its mappings make of them.

Belongs here: opening every source without loading it, comparing it with the configuration, a preview.
Does not belong here: what the configuration alone can tell (`settings.py`), rules about values (`guard/`).
Nothing is written, and a run may be under way: the warehouse is not opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import duckdb

from orchestration.guard.suites import stray_custom_suites
from orchestration.located_yaml import Place, Problem
from orchestration.settings import EntityMapping, Settings, Table, place_of
from orchestration.sources.contract import load_contract
from orchestration.sources.errors import SourceError
from orchestration.sources.expressions import Use, expressions, fault, used_columns
from orchestration.sources.extract import Part, plan_reading
from orchestration.sources.mapping import mapped_select
from orchestration.sources.reading import missing_text, named
from orchestration.sources.values import identifier, literal
from orchestration.warehouse import install_extensions

SAMPLED_ROWS = 1000
"""Rows of each table whose values are tried; enough to see a wrong date order, quick on any table."""

UNREADABLE_SHARE = 0.5
"""From this share on, values that cannot be read mean a wrong setting; below, they are bad data."""

WIDEST = 28
"""Characters of a value that a preview shows."""

SAMPLE = "cem_check_sample"


@dataclass(frozen=True)
class Preview:
    """The first mapped rows of an entity of a source table; no row where nothing could be read.

    Attributes:
        table: The source table, with its source.
        entity: The contract entity.
        columns: Mapped columns.
        rows: Values as shown, personal ones masked unless they were asked for.
    """

    table: str
    entity: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """A table of text."""
        widths = [
            max(len(line[position]) for line in (self.columns, *self.rows)) for position in range(len(self.columns))
        ]
        ruler = tuple("─" * width for width in widths)
        lines = (self.columns, ruler, *self.rows)
        return "\n".join([f"{self.table} → {self.entity}", *(_line(line, widths) for line in lines)])


@dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Attributes:
        problems: What must be mended before a run can work.
        notes: What may be meant so.
        previews: The first mapped rows.
    """

    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    previews: tuple[Preview, ...] = ()

    def text(self) -> str:
        """The report as shown to an operator: previews, then notes, then problems."""
        parts = [preview.text() for preview in self.previews]
        if self.notes:
            parts.append("Worth a look:\n" + "\n".join(f"  {note}" for note in self.notes))
        if self.problems:
            parts.append("Problems:\n" + "\n".join(f"  {problem}" for problem in self.problems))
        else:
            parts.append("No problems: the configuration fits the sources.")
        return "\n\n".join(parts)


@dataclass
class _Findings:
    """What is found on the way through the tables."""

    settings: Settings
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    previews: list[Preview] = field(default_factory=list)

    def problem(self, table: Table, path: str, text: str) -> None:
        self.problems.append(Problem(*place_of(self.settings, table, path), text))

    def note(self, table: Table, path: str, text: str) -> None:
        self.notes.append(Problem(*place_of(self.settings, table, path), text))


def check(settings: Settings, rows: int = 3, *, show_personal: bool = False) -> CheckReport:
    """Open every source and compare it with the configuration.

    Args:
        settings: The settings.
        rows: Rows to preview of each entity of each table.
        show_personal: Whether previews show personal data.
    """
    findings = _Findings(settings)
    install_extensions(settings.extensions)
    with duckdb.connect(
        config={"extension_directory": str(settings.extensions), "autoinstall_known_extensions": False}
    ) as con:
        con.execute("set timezone = 'UTC'")
        absent = [table for table in settings.tables() if _is_ungenerated(settings, table)]
        if absent:
            text = "the demo company is not there yet; `cem run` or `cem demo` makes it"
            findings.note(absent[0], "name", text)
        for table in settings.tables():
            if table in absent:
                continue
            try:
                _check_table(con, findings, table, rows, show_personal=show_personal)
            except SourceError as error:
                findings.problem(table, error.field, str(error))
    tables = [(table.source, table.name) for table in settings.tables()]
    for suite in stray_custom_suites(settings.config_path.parent, tables):
        text = "no table has this name, so nothing is judged by it; the file of a table is <source>__<table>.json"
        findings.notes.append(Problem(Place(str(suite), 1), "", text))
    return CheckReport(tuple(findings.problems), tuple(findings.notes), tuple(findings.previews))


def _is_ungenerated(settings: Settings, table: Table) -> bool:
    """Whether a table belongs to a demo company that no run has made yet."""
    if settings.demo is None or settings.demo_folder.exists():
        return False
    source = settings.source(table.source)
    place = source.connection.get_secret_value() if source.connection else str(source.folder)
    return place.startswith(str(settings.demo_folder))


def _check_table(
    con: duckdb.DuckDBPyConnection, findings: _Findings, table: Table, rows: int, *, show_personal: bool
) -> None:
    with plan_reading(con, findings.settings, table, {}, is_preview=True) as plan:
        parts = plan.parts if plan else ()
        uses = used_columns(con, table)
        fits = [_check_columns(findings, table, part, uses) for part in parts]
        if not all(fits):
            return
        if not any(_sample(con, part, uses) for part in parts):
            if not table.optional:
                text = f"{named(table)} is empty; declare `optional: true` if it may be"
                findings.problem(table, "name", text)
            return
        if table.deleted is not None:
            _check_expression(con, findings, table, "deleted", table.deleted)
        for mapping in table.entities:
            if _check_expressions(con, findings, table, mapping):
                _check_mapping(con, findings, table, mapping, rows, show_personal=show_personal)


def _check_columns(findings: _Findings, table: Table, part: Part, uses: Sequence[Use]) -> bool:
    present = {name.casefold() for name in part.relation.columns}
    place = part.relation.file or f"table {table.table or table.name}"
    is_fit = True
    for use in uses:
        if use.column.casefold() in present:
            continue
        text = missing_text(table, [use.column], list(part.relation.columns), place)
        if table.format == "jsonl" and not use.is_required:
            findings.note(table, use.field, f"{text}. It counts as empty")
        else:
            findings.problem(table, use.field, text)
            is_fit = False
    return is_fit


def _sample(con: duckdb.DuckDBPyConnection, part: Part, uses: Sequence[Use]) -> bool:
    """Take the first rows in raw shape, with the fields that no JSON object has; no where there are none."""
    present = {name.casefold() for name in part.relation.columns}
    absent = {use.column.casefold(): use.column for use in uses if use.column.casefold() not in present}
    columns = [f"null::varchar as {identifier(name)}" for name in absent.values()]
    columns += ["null::varchar as _key", "null::ubigint as _row_hash", "null::varchar as _cursor"]
    columns += [f"{literal(part.relation.file or '')} as _source_file", "'check' as _load_id"]
    columns += ["null::timestamp as _loaded_at", "null::timestamp as _deleted_at"]
    try:
        con.execute(
            f"create or replace temp table {SAMPLE} as select *, {', '.join(columns)} "
            f"from ({part.relation.sql}) limit {SAMPLED_ROWS}"
        )
    except duckdb.Error as error:
        raise part.explain(error) from None
    return con.execute(f"select 1 from {SAMPLE} limit 1").fetchone() is not None


def _check_expressions(
    con: duckdb.DuckDBPyConnection, findings: _Findings, table: Table, mapping: EntityMapping
) -> bool:
    """Try every piece of SQL of a mapping on its own, so that the wrong one can be named."""
    fits = [
        _check_expression(con, findings, table, f"entities.{mapping.entity}.{path}", expression)
        for path, expression in expressions(mapping)
    ]
    return all(fits)


def _check_expression(
    con: duckdb.DuckDBPyConnection, findings: _Findings, table: Table, path: str, expression: str
) -> bool:
    try:
        con.execute(f"select count({expression}) from {SAMPLE}")
    except duckdb.Error as error:
        findings.problem(table, path, fault(error))
    else:
        return True
    return False


def _check_mapping(
    con: duckdb.DuckDBPyConnection,
    findings: _Findings,
    table: Table,
    mapping: EntityMapping,
    rows: int,
    *,
    show_personal: bool,
) -> None:
    query = mapped_select(table, mapping, SAMPLE)
    path = f"entities.{mapping.entity}"
    columns = tuple(mapping.columns)
    counts = con.execute(
        f"select count(*), {', '.join(f'count({name})' for name in columns)} from ({query})"
    ).fetchone() or (0,)
    if counts[0] == 0:
        findings.note(table, path, "no row of the sample passes `where`")
        return
    names = f"select unnest(string_split(_uncast, ',')) as name from ({query})"
    uncast = con.execute(f"select name, count(*) from ({names}) group by name").fetchall()
    readable = dict(zip(columns, counts[1:], strict=True))
    for name, unread in sorted(uncast):
        given = unread + readable[name]
        text = f"{unread:,} of {given:,} values of the sample cannot be read as {_kind(mapping, name)}; see "
        text += "`format`, `date_order`, `decimal`, `missing` and `map`"
        tell = findings.problem if unread / given > UNREADABLE_SHARE else findings.note
        tell(table, f"{path}.columns.{name}", text)
    found = con.execute(f"select {', '.join(columns)} from ({query}) limit {rows}").fetchall()
    shown = tuple(_shown_row(mapping, columns, row, show_personal=show_personal) for row in found)
    findings.previews.append(Preview(named(table), mapping.entity, columns, shown))


def _kind(mapping: EntityMapping, name: str) -> str:
    return load_contract()[mapping.entity].columns[name].type


def _shown_row(
    mapping: EntityMapping, columns: Sequence[str], row: Sequence[object], *, show_personal: bool
) -> tuple[str, ...]:
    contract = load_contract()[mapping.entity].columns
    return tuple(
        _shown(value, None if show_personal else contract[name].personal, is_open=show_personal)
        for name, value in zip(columns, row, strict=True)
    )


def _shown(value: object, personal: str | None, *, is_open: bool) -> str:
    if value is None:
        return "·"
    # Ids may be mail addresses; a preview goes into tickets and chats.
    kind = personal or ("email" if "@" in str(value) and not is_open else None)
    if kind is not None:
        return f"‹{kind}›"
    text = " ".join(str(value).split())
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  " + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
