"""Dagster's history: complete whether events come one by one or in batches, readable by the stock storage."""

import sqlite3
import time
from contextlib import closing

import pytest
from dagster import AssetCheckKey, AssetKey, AssetMaterialization, DagsterEventType, EventLogEntry, MetadataValue
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluation,
    AssetCheckEvaluationPlanned,
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.events import DagsterEvent, StepMaterializationData
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from sqlalchemy.exc import IntegrityError

from orchestration.defs.storage import PooledSqliteEventLogStorage

RUN = "0b8f7f0a-5d7e-4a53-9c8e-1f3d2c4b5a69"
ORDERS = AssetKey(["raw", "orders"])
COLUMNS = (
    ("event_logs", "id, run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition"),
    ("asset_keys", "id, asset_key, last_run_id, last_materialization"),
    (
        "asset_check_executions",
        "id, asset_key, check_name, partition, run_id, execution_status, evaluation_event, "
        "evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id",
    ),
)


def planned(check):
    return entry(
        DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
        AssetCheckEvaluationPlanned(asset_key=ORDERS, check_name=check),
    )


def evaluated(check, passed):
    target = AssetCheckEvaluationTargetMaterializationData(storage_id=7, run_id=RUN, timestamp=1.5)
    return entry(
        DagsterEventType.ASSET_CHECK_EVALUATION,
        AssetCheckEvaluation(
            asset_key=ORDERS,
            check_name=check,
            passed=passed,
            metadata={"rows": MetadataValue.int(3)},
            target_materialization_data=target if passed else None,
        ),
    )


def materialized():
    return entry(DagsterEventType.ASSET_MATERIALIZATION, StepMaterializationData(AssetMaterialization(ORDERS)))


def entry(kind, data):
    event = DagsterEvent(event_type_value=kind.value, job_name="daily", event_specific_data=data)
    return EventLogEntry(
        error_info=None, level=10, user_message="", run_id=RUN, timestamp=time.time(), dagster_event=event
    )


def checks_of(storage):
    return sorted(
        record.event_log_entry.get_dagster_event().event_specific_data.check_name
        for record in storage.get_records_for_run(RUN).records
    )


@pytest.fixture
def storage(tmp_path):
    opened = PooledSqliteEventLogStorage(str(tmp_path))
    yield opened
    opened.dispose()


def test_a_batch_is_stored_whole_and_the_stock_storage_reads_it(storage, tmp_path):
    storage.store_event(planned("alone"))
    storage.store_event_batch([planned(f"check_{number}") for number in range(3)])
    wanted = ["alone", "check_0", "check_1", "check_2"]
    assert checks_of(storage) == wanted
    stock = SqliteEventLogStorage(str(tmp_path))
    assert checks_of(stock) == wanted
    assert (
        len(
            stock.get_asset_check_execution_history(
                planned("check_1").get_dagster_event().asset_check_planned_data.asset_check_key, 5
            )
        )
        == 1
    )
    stock.dispose()


def test_a_batch_that_fails_leaves_nothing_and_can_be_stored_one_by_one(storage, tmp_path):
    events = [planned("first"), planned("second")]
    with sqlite3.connect(tmp_path / "index.db") as index:
        index.execute("""
            create trigger refused before insert on asset_check_executions when new.check_name = 'second'
            begin select raise(abort, 'no'); end
        """)
    with pytest.raises(IntegrityError, match="no"):
        storage.store_event_batch(events)
    with sqlite3.connect(tmp_path / "index.db") as index:
        index.execute("drop trigger refused")
    assert checks_of(storage) == []
    for event in events:
        storage.store_event(event)
    assert checks_of(storage) == ["first", "second"]


def test_what_is_stored_at_once_is_row_for_row_what_the_stock_storage_stores(tmp_path):
    """Plans, evaluations of them in another order, one that was not planned, and what comes between."""
    plans = [planned(f"check_{number}") for number in range(5)]
    evaluations = [evaluated(f"check_{number}", passed=number != 3) for number in (4, 0, 3, 9)]
    events = [*evaluations, materialized(), evaluated("check_1", passed=True)]
    stock, ours = SqliteEventLogStorage(str(tmp_path / "stock")), PooledSqliteEventLogStorage(str(tmp_path / "ours"))
    for storage in (stock, ours):
        storage.store_event_batch(plans)
        for event in events:
            storage.store_event(event)
        storage.dispose()
    for file in ("index.db", f"{RUN}.db"):
        assert rows(tmp_path / "ours" / file) == rows(tmp_path / "stock" / file)
    assert len(rows(tmp_path / "ours" / "index.db")["asset_check_executions"]) == 6


def test_whoever_reads_finds_the_evaluations_that_wait(storage):
    storage.store_event_batch([planned("first"), planned("second")])
    for check in ("first", "second"):
        storage.store_event(evaluated(check, passed=check == "first"))
    statuses = {
        check: record.status.value
        for check in ("first", "second")
        for record in storage.get_asset_check_execution_history(AssetCheckKey(ORDERS, check), 5)
    }
    assert statuses == {"first": "SUCCEEDED", "second": "FAILED"}


def rows(file):
    """The rows of each table of a file that events are written to, but for the moments at which they were."""
    with closing(sqlite3.connect(file)) as db:
        return {
            table: db.execute(f"select {columns} from {table} order by id").fetchall() for table, columns in COLUMNS
        }
