"""Dagster's history: complete whether events come one by one or in batches, readable by the stock storage."""

import time

import pytest
from dagster import AssetKey, DagsterEventType, EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import DagsterEvent
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from orchestration.defs.storage import PooledSqliteEventLogStorage

RUN = "0b8f7f0a-5d7e-4a53-9c8e-1f3d2c4b5a69"


def planned(check):
    event = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
        job_name="daily",
        event_specific_data=AssetCheckEvaluationPlanned(asset_key=AssetKey(["raw", "orders"]), check_name=check),
    )
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


def test_a_batch_that_fails_leaves_nothing_and_can_be_stored_one_by_one(storage, monkeypatch):
    events = [planned("first"), planned("second")]
    stock, calls = SqliteEventLogStorage.store_event, []

    def fail_on_the_second(self, event):
        calls.append(event)
        if len(calls) == 2:
            raise OSError("no")
        stock(self, event)

    monkeypatch.setattr(SqliteEventLogStorage, "store_event", fail_on_the_second)
    with pytest.raises(OSError, match="no"):
        storage.store_event_batch(events)
    for event in events:
        storage.store_event(event)
    assert checks_of(storage) == ["first", "second"]
