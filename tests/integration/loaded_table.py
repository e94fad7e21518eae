"""A database, and the warehouse that a table of it is loaded into."""

from __future__ import annotations

import socket
from typing import Any

import duckdb

from orchestration.guard import guard_table
from orchestration.settings import Settings
from orchestration.sources.extract import Extracted, extract_table


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Loaded:
    """The one table of a configuration, loaded into the warehouse as the daily job does.

    Args:
        con: The warehouse.
        settings: A configuration with one source and one table.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
        self.con, self.settings = con, settings
        (self.table,) = settings.tables()
        self._loads = 0

    def extract(self) -> Extracted:
        self._loads += 1
        return extract_table(self.con, self.settings, self.table, f"load{self._loads}")

    def load(self) -> Extracted:
        extracted = self.extract()
        verdict = guard_table(self.con, self.settings, self.table, extracted)
        assert verdict.status != "held", verdict.reason
        assert verdict.extracted == verdict.promoted + verdict.quarantined + verdict.deduplicated
        return extracted

    def live(self, columns: str) -> list[tuple[Any, ...]]:
        return self.con.execute(
            f"select {columns} from raw_{self.table.source}.{self.table.name} where _deleted_at is null order by _key"
        ).fetchall()


class Shop(Loaded):
    """The orders of a shop, changed by the statements of its own server.

    Args:
        engine: DuckDB's name of the kind of server: postgres or mysql.
        connection: How to reach it.
        con: The warehouse.
        settings: A configuration with the orders.
    """

    def __init__(self, engine: str, connection: str, con: duckdb.DuckDBPyConnection, settings: Settings) -> None:
        super().__init__(con, settings)
        self._engine, self._connection = engine, connection

    def change(self, *statements: str) -> None:
        with duckdb.connect(config={"extension_directory": str(self.settings.extensions)}) as writer:
            writer.execute(f"load {self._engine}_scanner")
            if self._engine == "mysql":
                writer.execute("set mysql_session_time_zone = '+00:00'")
            writer.execute(f"attach '{self._connection}' as shop (type {self._engine})")
            for statement in statements:
                writer.execute(f"call {self._engine}_execute('shop', ?)", [statement])
