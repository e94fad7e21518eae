"""What a publication costs after a change, as a share of one that writes everything: CPU seconds, never a clock.

`CEM_BENCH_OWNERS` sets the number of owners; each has ten rows in each of two marts that follow their owners, and one
row in a mart that does not.
"""

from __future__ import annotations

import os

import duckdb
import pytest

from orchestration.publication import MartColumn, MartSpec, publish
from orchestration.settings import Publish, Settings
from orchestration.warehouse import BOOKKEEPING

OWNERS = int(os.environ.get("CEM_BENCH_OWNERS", "20000"))
ROWS = """
select
    'e' || i as event_key, 'c' || i % {owners} as customer_id, 'person' || i % {owners} || '@x.org' as email,
    ['mail', 'phone', 'chat', 'web'][1 + i % 4] as channel, 'about order ' || hash(i) % 100000 as subject,
    timestamp '2020-01-01' + to_seconds(i * 20) as occurred_at, hash(i) % 10000 / 7.0 as amount,
from range({rows}) as t (i)
"""
COLUMNS = (
    MartColumn("event_key"),
    MartColumn("customer_id"),
    MartColumn("email", personal="email"),
    MartColumn("channel"),
    MartColumn("subject", personal="text"),
    MartColumn("occurred_at"),
    MartColumn("amount"),
)
MARTS = [
    MartSpec("fct_event", COLUMNS, owner="coalesce(customer_id, event_key)"),
    MartSpec("fct_order", COLUMNS, owner="coalesce(customer_id, event_key)"),
    MartSpec("mart_customer", COLUMNS),
]
CHANGES = {
    "everything": "delete from ops.published_file; update marts.mart_customer set amount = amount + 1",
    "1 % of the owners": "update marts.fct_event set amount = amount + 1 where hash(customer_id) % 100 = 1; "
    "update marts.fct_order set amount = amount + 1 where hash(customer_id) % 100 = 1",
    "1 % of the owners, and all rows of the small mart": "update marts.fct_event set amount = amount + 1 "
    "where hash(customer_id) % 100 = 2; update marts.fct_order set amount = amount + 1 "
    "where hash(customer_id) % 100 = 2; update marts.mart_customer set amount = amount + 1",
    "the small mart": "update marts.mart_customer set amount = amount + 1",
    "nothing": "select 1",
}


def cost(con: duckdb.DuckDBPyConnection, settings: Settings, change: str) -> float:
    """CPU seconds of the publication after a change."""
    con.execute(change)
    con.execute("checkpoint")
    before = os.times()
    publish(con, settings, "bench", MARTS)
    after = os.times()
    return after.user + after.system - before.user - before.system


@pytest.mark.benchmark
def test_what_a_publication_costs_after_a_change(tmp_path, keep):
    found: dict[str, dict[str, float]] = {}
    for parquet in (False, True):
        home = tmp_path / f"parquet-{parquet}"
        home.mkdir()
        settings = Settings(config_path=home / "cem.yml", home=home, publish=Publish(parquet=parquet), sources=())
        with duckdb.connect(str(home / "warehouse.duckdb"), config={"threads": 2}) as con:
            con.execute("set timezone = 'UTC'")
            con.execute(BOOKKEEPING)
            con.execute("create schema marts")
            for spec, each in zip(MARTS, (10, 10, 1), strict=True):
                con.execute(f"create table marts.{spec.name} as {ROWS.format(rows=each * OWNERS, owners=OWNERS)}")
            publish(con, settings, "first", MARTS)
            costs = {name: cost(con, settings, change) for name, change in CHANGES.items()}
        found["file and Parquet" if parquet else "file alone"] = costs
    lines = [f"{OWNERS:,} owners, {21 * OWNERS:,} rows; CPU against a publication of everything"]
    for form, costs in found.items():
        for name, seconds in costs.items():
            lines.append(f"  {seconds / costs['everything']:6.1%}  {seconds:5.1f} s  {form}: {name}")
    keep("a publication after a change", {"owners": OWNERS, "cpu_seconds": found}, "\n".join(lines))
    assert found["file alone"]["1 % of the owners"] < found["file alone"]["everything"]
