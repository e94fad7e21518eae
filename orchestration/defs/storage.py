"""Dagster's event log on SQLite, with connections that are kept and checks that are written many at once.

The stock storage makes a new engine for every event and waits for the disk at every commit, three times an event.
With a check for each rule of each table a run writes some four thousand events, and that alone took most of the time
of a run that finds nothing new. The files are the same, so the stock storage can read them.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from dagster import DagsterEventType, EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import bindparam, create_engine, event, inspect
from sqlalchemy.engine import Connection, Engine

BUSY_TIMEOUT_SECONDS = 60
"""How long a writer waits for another one: the UI, the daemon and a run share the files."""


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """The stock storage, one engine a file instead of one an event, and one statement for many checks.

    Evaluations of checks, of which a step yields hundreds one after another, wait for the next event of another kind
    or for whoever reads, and are written together then.

    Commits do not wait for the disk. A killed process loses the evaluations that wait; a power cut may take the last
    events of the history, never the file (the files are in WAL mode).
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Before the parent, whose initialisation connects already.
        self._engines: dict[str, Engine] = {}
        self._batch: dict[str, Connection] = {}
        self._evaluations: list[EventLogEntry] = []
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
            self._store_evaluations()
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

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event; evaluations of checks wait for the next that is none."""
        if not _is_check(event, DagsterEventType.ASSET_CHECK_EVALUATION):
            super().store_event(event)
            return
        with self._db_lock:
            self._evaluations.append(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in one transaction a file: all of them, or none when it fails."""
        planned = []
        with self._transactions({each.run_id for each in events}):
            for each in events:
                if _is_check(each, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED):
                    planned.append(each)
                else:
                    self.store_event(each)
            self._store_checks(planned)

    def _store_evaluations(self) -> None:
        """Store the evaluations that wait, if any."""
        if self._evaluations:
            evaluations, self._evaluations = self._evaluations, []
            with self._transactions({each.run_id for each in evaluations}):
                self._store_checks(evaluations)

    @contextmanager
    def _transactions(self, run_ids: set[str]) -> Iterator[None]:
        """One transaction for each file that events of these runs are written to."""
        with self._db_lock, ExitStack() as transactions:
            shards = {shard: transactions.enter_context(self._connect(shard)) for shard in (INDEX_SHARD_NAME, *run_ids)}
            before, self._batch = self._batch, shards
            try:
                yield
                self._store_evaluations()  # of this batch: they are part of its transactions
            finally:
                self._batch = before

    def _store_checks(self, events: Sequence[EventLogEntry]) -> None:
        """Store plans or evaluations of checks, in the rows in which the parent stores one.

        A plan is a row of the check's executions, and its evaluation becomes that row's.
        """
        if not events:
            return
        rows = [self._event_to_row(each) for each in events]
        for run_id in {each.run_id for each in events}:
            with self.run_connection(run_id) as connection:
                connection.execute(SqlEventLogStorageTable.insert(), [row for row in rows if row["run_id"] == run_id])
        with self.index_connection() as connection:
            stored = SqlEventLogStorageTable.insert().returning(
                SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
            )
            ids = connection.scalars(stored, rows).all()
            executions = [_execution(each, row, at) for each, row, at in zip(events, rows, ids, strict=True)]
            if events[0].dagster_event_type == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                connection.execute(AssetCheckExecutionsTable.insert(), executions)
            elif connection.execute(_EVALUATED, executions).rowcount != len(executions):
                for each, at in zip(events, ids, strict=True):  # some were not planned
                    self._update_asset_check_evaluation(each, at)

    def dispose(self) -> None:
        """Close the kept connections; Dagster calls it when the instance ends."""
        with self._db_lock:
            self._store_evaluations()
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()
        super().dispose()


_EVALUATED = (
    AssetCheckExecutionsTable.update()
    .where(
        AssetCheckExecutionsTable.c.asset_key == bindparam("of_asset_key"),
        AssetCheckExecutionsTable.c.check_name == bindparam("of_check_name"),
        AssetCheckExecutionsTable.c.run_id == bindparam("of_run_id"),
        AssetCheckExecutionsTable.c.partition.is_(None),
    )
    .values(
        execution_status=bindparam("execution_status"),
        evaluation_event=bindparam("evaluation_event"),
        evaluation_event_timestamp=bindparam("evaluation_event_timestamp"),
        evaluation_event_storage_id=bindparam("evaluation_event_storage_id"),
        materialization_event_storage_id=bindparam("materialization_event_storage_id"),
    )
)


def _is_check(event: EventLogEntry, kind: DagsterEventType) -> bool:
    """Whether an event is of this kind, and of a run and of no partition, as those are that runs yield."""
    if not event.run_id or event.dagster_event is None or event.dagster_event_type != kind:
        return False
    check: Any = event.dagster_event.event_specific_data
    return getattr(check, "partition", None) is None and getattr(check, "partitions_subset", None) is None


def _execution(event: EventLogEntry, row: Mapping[str, Any], storage_id: int) -> dict[str, Any]:
    """What the event of a check makes of the row of its execution."""
    check: Any = event.get_dagster_event().event_specific_data
    execution = {
        "evaluation_event": row["event"],
        "evaluation_event_timestamp": row["timestamp"],
        "evaluation_event_storage_id": storage_id,
    }
    key = {"asset_key": check.asset_key.to_string(), "check_name": check.check_name, "run_id": event.run_id}
    if event.dagster_event_type == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
        return execution | key | {"execution_status": AssetCheckExecutionRecordStatus.PLANNED.value}
    statuses = AssetCheckExecutionRecordStatus
    target = check.target_materialization_data
    return execution | {
        **{f"of_{name}": value for name, value in key.items()},
        "execution_status": (statuses.SUCCEEDED if check.passed else statuses.FAILED).value,
        "materialization_event_storage_id": target.storage_id if target else None,
    }


def _without_waiting_for_the_disk(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("pragma synchronous = normal")
