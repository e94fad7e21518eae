"""What identity costs as records grow, and what a night costs on which ten thousand records changed.

Seconds and memory are printed, never judged; that the partial run gives what a run over everything gives is. Sizes come
from CEM_BENCH_RECORDS, such as `1000000,3000000`; what does not fit in 8 GB is spilled to disk.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from ground_truth import crowd, quality

from orchestration.identity import IdentityResult, resolve
from orchestration.settings import Identity

RECORDS = [int(each) for each in os.environ.get("CEM_BENCH_RECORDS", "100000").split(",")]
CHANGED = 10_000
"""Records a night: half have another phone, a quarter is gone, a quarter is new."""

MEMORY = "8GB"


def change(con: duckdb.DuckDBPyConnection, records: int) -> None:
    """What a night brings."""
    every = max(records // CHANGED, 20)
    con.execute(f"""
        update intermediate.int_person_record__collected
        set phone = '04' || lpad((hash(person_key) % 100000000)::text, 8, '0')
        where hash(person_key, 'changed') % {2 * every} = 0;
        delete from intermediate.int_person_record__collected where hash(person_key, 'gone') % {4 * every} = 0;
        insert into intermediate.int_person_record__collected
        select * replace (person_key || 'n' as person_key, person_id || 'n' as person_id)
        from intermediate.int_person_record__collected where hash(person_key, 'new') % {4 * every} = 0;
    """)


def measured(run: Callable[[], IdentityResult]) -> tuple[IdentityResult, float, float]:
    """A run, and the CPU and wall-clock seconds it took."""
    cpu, wall = time.process_time(), time.perf_counter()
    return run(), time.process_time() - cpu, time.perf_counter() - wall


@pytest.mark.benchmark
@pytest.mark.parametrize("records", RECORDS)
def test_a_night_costs_what_changed(records: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    con = duckdb.connect(
        str(tmp_path / "warehouse.duckdb"),
        config={"threads": 2, "memory_limit": MEMORY, "temp_directory": str(tmp_path / "spill")},
    )
    crowd(con, records)
    settings = Identity()
    first, full, full_wall = measured(lambda: resolve(con, settings))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found = quality(con, "(select person_key, customer_id as cluster from identity.member)")
    change(con, records)
    second, partial, partial_wall = measured(lambda: resolve(con, settings))
    con.execute("create temp table after_a_night as select person_key, customer_id from identity.member")
    with capsys.disabled():
        sys.stdout.write(
            f"\n{first.records:,} records, {first.customers:,} customers: {full:.0f} CPU s, {full_wall:.0f} s, "
            f"peak memory {peak:.1f} GB\n  {found}\n"
            f"  {second.delta:,} changed: {partial:.1f} CPU s, {partial_wall:.1f} s, {partial / full:.1%}\n"
        )
    resolve(con, settings, full=True)
    moved = con.execute("""
        select count(*)
        from after_a_night
        full outer join identity.member as member using (person_key, customer_id)
        where after_a_night.person_key is null or member.person_key is null
    """).fetchall()[0][0]
    assert moved == 0
    assert second.delta < 0.1 * records
    con.close()
