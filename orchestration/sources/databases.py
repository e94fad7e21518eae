"""Tables of SQL databases as relations, through DuckDB's own extensions, read-only.

Belongs here: attaching, listing columns, the increment that is left to the server. Does not belong here:
keys and loads (`extract.py`).

SQLite keeps any value in any column, so there every value is a text as sent. PostgreSQL and MySQL give
their own types, but for numbers without a precision, which would lose digits, and for the times of MySQL, which
may be no times (`0000-00-00`) or of a zone that nobody said: they come as texts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from orchestration.engine_errors import pass_on_lack_of_room
from orchestration.settings import Source, Table
from orchestration.sources.conformity import closest
from orchestration.sources.errors import SourceError
from orchestration.sources.keys import cursor_form
from orchestration.sources.reading import Relation, column_names, first_line, named, without_secrets
from orchestration.sources.values import identifier, literal

EXTENSIONS: Mapping[str, str] = {
    "sqlite": "sqlite_scanner",
    "postgres": "postgres_scanner",
    "mysql": "mysql_scanner",
}

MYSQL_READING: Mapping[str, str] = {
    "mysql_session_time_zone": "'+00:00'",  # of columns of the type TIMESTAMP, which the server keeps in UTC
    "mysql_tinyint1_as_boolean": "false",  # TINYINT(1) may as well be a score
    "mysql_query_timeout_enabled": "false",  # a first read may take longer than five minutes
}
"""What the extension for MySQL is told before it attaches a database."""

BOUNDED = "numeric("
"""How the type of a decimal of PostgreSQL begins that has a precision."""

SYSTEM_SCHEMAS = ("information_schema", "mysql", "performance_schema", "pg_catalog", "sys")
"""What a server keeps for itself."""

TEXT_DAY = timedelta(days=1)
"""Times kept as text sort by their local form; a day behind the cursor covers every offset and spelling."""

NUMBER = re.compile(r"0*(\d+)\.(\d*)")
"""A number as `values.sortable` writes it."""


@dataclass(frozen=True)
class Database:
    """An attached database.

    Attributes:
        source: The source.
        alias: Its name in the connection.
    """

    source: Source
    alias: str

    @property
    def secret(self) -> str:
        """The connection string; never for errors or logs."""
        return self.source.connection.get_secret_value() if self.source.connection else ""

    @property
    def sqlite_path(self) -> Path:
        """The file of a SQLite database; a relative path counts from the configuration."""
        return self.source.folder / Path(self.secret.removeprefix("sqlite:///")).expanduser()


@contextmanager
def attached(con: duckdb.DuckDBPyConnection, source: Source) -> Iterator[Database]:
    """The database of a source, attached read-only for the time being.

    Raises:
        SourceError: It cannot be reached.
    """
    database = Database(source, f"source_{source.name}")
    target = str(database.sqlite_path) if source.engine == "sqlite" else database.secret
    if source.engine == "sqlite" and not database.sqlite_path.is_file():
        raise SourceError(
            f"{source.name}: no SQLite file at {database.sqlite_path}; correct `connection` in cem.yml",
            is_transient=True,
        )
    con.execute(f"load {EXTENSIONS[source.engine or '']}")
    if source.engine == "sqlite":
        con.execute("set sqlite_all_varchar = true")
    if source.engine == "mysql":
        for name, value in MYSQL_READING.items():
            con.execute(f"set {name} = {value}")
    try:
        con.execute(f"attach {literal(target)} as {database.alias} (type {source.engine}, read_only)")
    except duckdb.Error as error:
        raise SourceError(
            f"{source.name}: cannot reach the {source.engine} database; check `connection` in cem.yml and "
            f"the server: {without_secrets(first_line(error), target)}",
            is_transient=True,
        ) from None
    try:
        yield database
    finally:
        con.execute(f"detach {database.alias}")


def fingerprint(database: Database, table: Table) -> str | None:
    """Changes when a SQLite file, or the way it is read, changes; None for servers."""
    if database.source.engine != "sqlite":
        return None
    form = cursor_form(table)
    parts = [str((table.table, table.key, table.cursor, table.deleted, form.formats, form.date_order))]
    for path in (database.sqlite_path, Path(f"{database.sqlite_path}-wal")):
        if path.exists():
            stat = path.stat()
            parts.append(f"{stat.st_size}:{stat.st_mtime_ns}")
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def table_relation(
    con: duckdb.DuckDBPyConnection, database: Database, table: Table, since: str | None = None
) -> tuple[Relation, bool]:
    """The rows of a database table, and whether they are only those since the last increment.

    Args:
        con: The connection.
        database: The attached database.
        table: The table.
        since: Where the last increment ended, as `keys.cursor_state` gave it; None reads everything.

    Raises:
        SourceError: There is no such table, or it cannot be read.
    """
    table = _in_schema(con, database, table)
    types = _column_types(con, database, table)
    names = column_names(table, list(types), table.table or table.name)
    renamed = dict(zip(types, names, strict=True))
    condition = increment(database, table, types, since) if since else None
    if condition is None and not _has_nan(con, database, table, types):
        types = {column: "numeric" if kind.startswith(BOUNDED) else kind for column, kind in types.items()}
    lines = [_selected(database, column, kind, renamed[column]) for column, kind in types.items()]
    query = f"select {', '.join(lines)} from {_qualified(database, table)}"
    if condition is not None:
        query += f" where {condition}"
    is_plain = condition is None and lines == [identifier(column) for column in types]
    if database.source.engine == "postgres" and is_plain:
        # A whole table is read in parallel through the catalog; anything else is a query of the server's.
        reader = f"{database.alias}.{_qualified(database, table)}"
    else:
        reader = f"{database.source.engine}_query({literal(database.alias)}, {literal(query)})"
    sql = f"select *, cast(null as bigint) as _source_row from {reader}"
    try:
        described = {row[0]: row[1] for row in con.execute(f"describe select * from {reader}").fetchall()}
    except duckdb.Error as error:
        raise database_error(database, table, error) from None
    return Relation(sql, described, None), condition is not None


def _has_nan(con: duckdb.DuckDBPyConnection, database: Database, table: Table, types: Mapping[str, str]) -> bool:
    """Whether a decimal of PostgreSQL is NaN, which its client gives as 0; few are, and without any all is plain."""
    bounded = [identifier(column) for column, kind in types.items() if kind.startswith(BOUNDED)]
    if not bounded:
        return False
    tests = " or ".join(f"{column} = 'NaN'" for column in bounded)
    query = f"select 1 from {_qualified(database, table)} where {tests} limit 1"
    try:
        found = con.execute(f"select * from postgres_query({literal(database.alias)}, {literal(query)})").fetchone()
    except duckdb.Error as error:
        raise database_error(database, table, error) from None
    return found is not None


def key_select(con: duckdb.DuckDBPyConnection, database: Database, table: Table) -> str:
    """SELECT of the key columns of every row, as the rows themselves are read, to find out which records are gone."""
    table = _in_schema(con, database, table)
    types = _column_types(con, database, table)
    names = column_names(table, list(types), table.table or table.name)
    selected = ", ".join(
        _selected(database, column, kind, name)
        for (column, kind), name in zip(types.items(), names, strict=True)
        if _is_key(table, name)
    )
    query = f"select {selected} from {_qualified(database, table)}"
    return f"select * from {database.source.engine}_query({literal(database.alias)}, {literal(query)})"


def _is_key(table: Table, column: str) -> bool:
    return column.casefold() in {name.casefold() for name in table.key}


def database_error(database: Database, table: Table, error: duckdb.Error) -> SourceError:
    """An engine error about a table in words.

    Raises:
        duckdb.Error: Memory or disk ran out here, which no database is at fault for.
    """
    pass_on_lack_of_room(error)
    text = without_secrets(first_line(error), database.secret)
    hint = "; a text in it is not UTF-8" if "unicode" in text.lower() else ""
    return SourceError(f"{named(table)}: cannot read {table.table or table.name}{hint}: {text}", is_transient=not hint)


def _column_types(con: duckdb.DuckDBPyConnection, database: Database, table: Table) -> dict[str, str]:
    """Columns of a table with the types their database gives them."""
    schema, name = _split(database, table)
    if database.source.engine == "sqlite":
        query = f"select name, type from pragma_table_info({literal(name)})"
    else:
        # Too long a decimal comes as no exact text, nor does what MySQL compares by bytes.
        special = (
            "when collation_name like '%bin' or numeric_precision > 38 then 'unbounded' "
            if database.source.engine == "mysql"
            else "when data_type = 'numeric' and coalesce(numeric_precision, 39) > 38 then 'unbounded' "
            f"when data_type = 'numeric' then concat('{BOUNDED}', numeric_precision, ',', numeric_scale, ')') "
        )
        query = (
            f"select column_name, case {special}else data_type end from information_schema.columns "
            f"where table_name = {literal(name)} and table_schema = {schema} order by ordinal_position"
        )
    call = f"{database.source.engine}_query({literal(database.alias)}, {literal(query)})"
    try:
        found = {str(row[0]): str(row[1]).lower() for row in con.execute(f"select * from {call}").fetchall()}
    except duckdb.Error as error:
        raise database_error(database, table, error) from None
    if not found:
        raise _no_table(con, database, table)
    return found


def _in_schema(con: duckdb.DuckDBPyConnection, database: Database, table: Table) -> Table:
    """A table of PostgreSQL with the schema that its user's search path finds it in."""
    name = table.table or table.name
    if database.source.engine != "postgres" or "." in name:
        return table
    query = (
        "select nspname from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace "
        f"where pg_class.oid = to_regclass({literal(identifier(name))})"
    )
    try:
        found = con.execute(f"select * from postgres_query({literal(database.alias)}, {literal(query)})").fetchone()
    except duckdb.Error as error:
        raise database_error(database, table, error) from None
    return table if found is None else table.model_copy(update={"table": f"{found[0]}.{name}"})


def _split(database: Database, table: Table) -> tuple[str, str]:
    """The schema, as SQL, and the name of a table."""
    schema, _, name = (table.table or table.name).rpartition(".")
    if schema:
        return literal(schema), name
    return ("current_schema()" if database.source.engine == "postgres" else "database()"), name


def _qualified(database: Database, table: Table) -> str:
    """A table as its own database quotes it."""
    parts = (table.table or table.name).split(".")
    if database.source.engine == "mysql":
        return ".".join(f"`{part.replace('`', '``')}`" for part in parts)
    return ".".join(identifier(part) for part in parts)


def _no_table(con: duckdb.DuckDBPyConnection, database: Database, table: Table) -> SourceError:
    rows = con.execute(
        "select table_schema, table_name from information_schema.tables where table_catalog = ? "
        f"and table_schema not in ({', '.join(map(literal, SYSTEM_SCHEMAS))}) order by all",
        [database.alias],
    ).fetchall()
    plain = {"main", "public"}
    tables = [name if schema in plain else f"{schema}.{name}" for schema, name in rows]
    wanted = table.table or table.name
    close = closest(wanted, tables)
    hint = f" (did you mean '{close}'?)" if close else ""
    return SourceError(
        f"{named(table)}: the database has no table '{wanted}'{hint}; correct `table` in cem.yml; "
        f"it has: {', '.join(tables[:50]) or 'none that this user may see'}"
    )


def _selected(database: Database, column: str, kind: str, name: str) -> str:
    """A column in a query of the database itself."""
    if database.source.engine == "mysql":
        quoted, alias = f"`{column.replace('`', '``')}`", f"`{name.replace('`', '``')}`"
    else:
        quoted, alias = identifier(column), identifier(name)
    if database.source.engine == "sqlite" and kind.startswith("blob"):
        return f"hex({quoted}) as {alias}"
    if database.source.engine == "postgres" and kind.startswith(BOUNDED):
        return f"nullif({quoted}, 'NaN')::{kind} as {alias}"
    if database.source.engine == "postgres" and kind in {"unbounded", "array", "user-defined", "interval"}:
        return f"{quoted}::text as {alias}"
    if database.source.engine == "mysql" and kind == "timestamp":
        return f"concat({quoted}, '+00:00') as {alias}"
    if database.source.engine == "mysql" and kind in {"unbounded", "json", "date", "datetime"}:
        return f"cast({quoted} as char) as {alias}"
    return quoted if quoted == alias else f"{quoted} as {alias}"


# Increments


def increment(database: Database, table: Table, types: Mapping[str, str], since: str) -> str | None:
    """The condition that leaves out what was read before; None where the server cannot tell.

    Rows without a cursor are always read: nothing says that they did not change.
    """
    column = next((name for name in types if name.casefold() == (table.cursor or "").casefold()), None)
    if column is None:
        return None
    kind = types[column]
    quoted = f"`{column.replace('`', '``')}`" if database.source.engine == "mysql" else identifier(column)
    moment, number = _moment(since), NUMBER.fullmatch(since)
    if moment is not None:
        bound = _time_bound(database, table, kind, moment)
    elif number is not None:
        bound = _number_bound(database, kind, number)
    else:
        bound = None if cursor_form(table).formats else literal(since)
    if bound is None:
        return None
    is_loose = database.source.engine == "sqlite" and number is not None
    value = f"cast({quoted} as numeric)" if is_loose else quoted
    return f"{value} >= {bound} or {quoted} is null"


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if "T" in text else None
    except ValueError:
        return None


def _time_bound(database: Database, table: Table, kind: str, moment: datetime) -> str | None:
    start = moment - timedelta(minutes=table.overlap_minutes)
    form = cursor_form(table)
    if database.source.engine == "sqlite" or "char" in kind or kind == "text" or form.formats:
        return literal((start - TEXT_DAY).date().isoformat()) if form.begins_with_iso_date else None
    text = start.isoformat(sep=" ", timespec="microseconds")
    return literal(text if database.source.engine == "mysql" else f"{text}+00")


def _number_bound(database: Database, kind: str, number: re.Match[str]) -> str | None:
    if database.source.engine != "sqlite" and ("char" in kind or kind == "text"):
        return None  # numbers kept as text do not sort
    whole, fraction = number.groups()
    return f"{whole}.{fraction}" if fraction else whole
