"""A small shop to guard, and a stand-in for extraction: candidates made straight from rows."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from orchestration.guard import Verdict, guard_table
from orchestration.guard.sql import identifier
from orchestration.settings import Settings, Table
from orchestration.sources.extract import Extracted, StateEntry

ORDER_COLUMNS = {
    "order_id": {"column": "no"},
    "person_id": {"column": "customer"},
    "ordered_at": {"column": "at"},
    "amount": {"column": "total"},
    "status": {"column": "state"},
    "currency": {"column": "currency"},
    "delivered_at": {"column": "delivered"},
}

PERSON_COLUMNS = {
    "person_id": {"column": "id"},
    "email": {"column": "mail"},
    "full_name": {"column": "name"},
    "phone": {"column": "phone"},
    "created_at": {"column": "since"},
}


class Shop:
    """A warehouse with a source `shop`, and deliveries to it."""

    def __init__(self, con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
        self.con = con
        self.settings = settings
        self.loads = 0

    def table(self, name: str = "orders") -> Table:
        return next(table for table in self.settings.tables() if table.name == name)

    def with_table(self, name: str = "orders", **changes: object) -> Shop:
        """The same warehouse with other settings of one table."""
        source = self.settings.sources[0]
        tables = tuple(table.model_copy(update=changes) if table.name == name else table for table in source.tables)
        changed = Shop(
            self.con,
            self.settings.model_copy(update={"sources": (source.model_copy(update={"tables": tables}),)}),
        )
        changed.loads = self.loads + 100
        return changed

    def deliver(
        self,
        rows: Sequence[dict[str, object]],
        name: str = "orders",
        *,
        types: dict[str, str] | None = None,
        columns: Sequence[str] | None = None,
        gone: Sequence[str] = (),
        skipped: bool = False,
        state: Sequence[StateEntry] = (),
    ) -> Extracted:
        """Land rows as a candidate, leaving out what is known, as extraction does."""
        self.loads += 1
        load_id = f"load{self.loads:04d}"
        table = self.table(name)
        names = list(columns if columns is not None else dict.fromkeys(key for row in rows for key in row))
        kinds = [(types or {}).get(column, "varchar") for column in names]
        fields = ", ".join(f"{identifier(column)} {kind}" for column, kind in zip(names, kinds, strict=True))
        self.con.execute("create schema if not exists candidate_shop")
        self.con.execute(f"create or replace temp table landed (_n integer{', ' if fields else ''}{fields})")
        if rows:
            self.con.executemany(
                f"insert into landed values ({', '.join('?' * (len(names) + 1))})",
                [[number, *[row.get(column) for column in names]] for number, row in enumerate(rows, 1)],
            )
        key = " || '|' || ".join(f'"{column}"::varchar' for column in table.key) if table.key else "'file.csv#' || _n"
        content = ", ".join(map(identifier, names)) or "_n"
        cursor = f'"{table.cursor}"::varchar' if table.cursor else "null::varchar"
        relation = f'candidate_shop."{name}"'
        self.con.execute(
            f"create or replace table {relation} as select * exclude (_n), {key} as _key, "
            f"hash({content}) as _row_hash, {cursor} as _cursor, 'file.csv' as _source_file, "
            f"_n::bigint as _source_row, '{load_id}' as _load_id, now()::timestamp as _loaded_at, "
            "null::timestamp as _deleted_at from landed"
        )
        known = "select key, row_hash from quarantine.rows where released_at is null and table_name = ?"
        if self.exists(name):
            known += f' union all select _key, _row_hash from raw_shop."{name}" where _deleted_at is null'
        self.con.execute(
            f"delete from {relation} where exists (select 1 from ({known}) as known "
            f"where known.row_hash = {name}._row_hash and coalesce({name}._key, known.key) = known.key) "
            f"or rowid in (select rowid from {relation} "
            "qualify row_number() over (partition by _key, _row_hash) > 1)",
            [name],
        )
        candidates = self.count(relation)
        if gone:
            kept = [column for column in names if self.exists(name)]
            picked = ", ".join(map(identifier, kept))
            self.con.execute(
                f"insert into {relation} by name select {picked}, "
                "_key, _row_hash, _cursor, _source_file, _source_row, "
                f"'{load_id}' as _load_id, now()::timestamp as _loaded_at, now()::timestamp as _deleted_at "
                f'from raw_shop."{name}" where _key in ?',
                [list(gone)],
            )
        return Extracted(
            source="shop",
            table_name=name,
            load_id=load_id,
            extracted=len(rows),
            deduplicated=len(rows) - candidates,
            candidates=candidates,
            deleted=len(gone),
            skipped=skipped,
            state=tuple(state),
        )

    def load(self, rows: Sequence[dict[str, object]], name: str = "orders", **options: object) -> Verdict:
        """Deliver rows and guard them."""
        delivery = self.deliver(rows, name, **options)
        return guard_table(self.con, self.settings, self.table(name), delivery)

    def exists(self, name: str = "orders", schema: str = "raw_shop") -> bool:
        return bool(
            self.con.execute(
                "select 1 from duckdb_tables() where schema_name = ? and table_name = ?", [schema, name]
            ).fetchone()
        )

    def count(self, relation: str) -> int:
        return self.con.execute(f"select count(*) from {relation}").fetchone()[0]

    def raw(self, *columns: str, name: str = "orders") -> list[tuple[object, ...]]:
        """Live promoted rows."""
        picked = ", ".join(map(identifier, columns))
        return self.con.execute(
            f'select {picked} from raw_shop."{name}" where _deleted_at is null order by all'
        ).fetchall()

    def quarantined(self) -> dict[str, list[str]]:
        """Reasons by key of the open rows."""
        return dict(self.con.execute("select key, reasons from quarantine.rows where released_at is null").fetchall())

    def status(self, load_id: str) -> tuple[str, str]:
        return self.con.execute("select status, reason from ops.loads where load_id = ?", [load_id]).fetchone()


def order(number: int, **changes: object) -> dict[str, object]:
    """A good order."""
    return {
        "no": f"o{number}",
        "customer": f"c{number % 7}",
        "at": "2024-03-01 10:00:00",
        "total": "12.50",
        "state": "paid",
        "currency": "EUR",
        "delivered": "2024-03-04 09:00:00",
    } | changes


def person(number: int, **changes: object) -> dict[str, object]:
    """A good person."""
    return {
        "id": f"p{number}",
        "mail": f"someone{number}@example.org",
        "name": "Ada Secret",
        "phone": "+491701234567",
        "since": "2023-01-01",
    } | changes
