"""Dagster's event log on SQLite, with connections that are kept and batches that are one transaction.

The stock storage makes a new engine for every event and waits for the disk at every commit, three times an event.
With a check for each rule of each table a run writes two thousand events, and that alone took most of the time of a
run that finds nothing new. The files are the same, so the stock storage can read them.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from dagster import EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import create_engine, event, inspect
from sqlalchemy.engine import Connection, Engine

BUSY_TIMEOUT_SECONDS = 60
"""How long a writer waits for another one: the UI, the daemon and a run share the files."""


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """The stock storage, one engine a file instead of one an event.

    Commits do not wait for the disk. A killed process loses nothing by that; a power cut may take the last events
    of the history, never the file (the files are in WAL mode).
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Before the parent, whose initialisation connects already.
        self._engines: dict[str, Engine] = {}
        self._batch: dict[str, Connection] = {}
        self._tables: set[str] = set()
        super().__init__(base_dir=base_dir, inst_data=inst_data)
        self._db_lock = threading.RLock()  # type: ignore[assignment]  # a batch connects while it holds the lock

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PooledSqliteEventLogStorage:
        """What Dagster calls with the settings of dagster.yaml."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            if shard in self._batch:
                yield self._batch[shard]
                return
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            engine = create_engine(self.conn_string_for_shard(shard), connect_args={"timeout": BUSY_TIMEOUT_SECONDS})
            event.listen(engine, "connect", _without_waiting_for_the_disk)
            self._engines[shard] = engine
        return self._engines[shard]

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; asked for every event, so what was found once is remembered."""
        if table_name not in self._tables and inspect(self._engine(INDEX_SHARD_NAME)).has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in one transaction a file: all of them, or none when it fails."""
        with self._db_lock, ExitStack() as transactions:
            for shard in (INDEX_SHARD_NAME, *{each.run_id for each in events}):
                self._batch[shard] = transactions.enter_context(self._connect(shard))
            try:
                for each in events:
                    self.store_event(each)
            finally:
                self._batch.clear()

    def dispose(self) -> None:
        """Close the kept connections; Dagster calls it when the instance ends."""
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()
        super().dispose()


def _without_waiting_for_the_disk(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("pragma synchronous = normal")
