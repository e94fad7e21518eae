"""What identity costs as records grow, and what a night costs on which one record in a hundred changed.

CPU seconds and memory are printed, never judged; that the partial run gives what a run over everything gives is.
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
from ground_truth import households

from orchestration.identity import IdentityResult, resolve
from orchestration.settings import Identity

RECORDS = [int(each) for each in os.environ.get("CEM_BENCH_RECORDS", "100000").split(",")]
RECORDS_PER_HUMAN = 13 / 6

CHANGES = """
    update intermediate.int_person_record__collected
    set phone = '04' || lpad((hash(person_key) % 100000000)::text, 8, '0')
    where hash(person_key, 'changed') % 200 = 0;
    delete from intermediate.int_person_record__collected where hash(person_key, 'gone') % 400 = 0;
    insert into intermediate.int_person_record__collected
    select * replace (person_key || 'n' as person_key, person_id || 'n' as person_id)
    from intermediate.int_person_record__collected where hash(person_key, 'new') % 400 = 0;
"""
"""One record in two hundred has another phone, one in four hundred is gone, one in four hundred is new."""


def measured(run: Callable[[], IdentityResult]) -> tuple[IdentityResult, float]:
    """A run and the CPU seconds it took."""
    start = time.process_time()
    return run(), time.process_time() - start


def groups(con: duckdb.DuckDBPyConnection) -> set[frozenset[str]]:
    """The partition of the records."""
    rows = con.execute("select list(person_key) from identity.member group by customer_id").fetchall()
    return {frozenset(keys) for (keys,) in rows}


@pytest.mark.benchmark
@pytest.mark.parametrize("records", RECORDS)
def test_a_night_costs_what_changed(records: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    con = duckdb.connect(str(tmp_path / "warehouse.duckdb"))
    households(con, round(records / RECORDS_PER_HUMAN), 5)
    settings = Identity()
    first, full = measured(lambda: resolve(con, settings))
    con.execute(CHANGES)
    second, partial = measured(lambda: resolve(con, settings))
    after = groups(con)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    resolve(con, settings, full=True)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{first.records:,} records, {first.customers:,} customers: {full:.1f} CPU s; "
            f"{second.delta:,} changed: {partial:.1f} CPU s, {partial / full:.1%}; peak memory {peak:.1f} GB\n"
        )
    assert groups(con) == after
    assert second.delta < 0.02 * records
    con.close()
