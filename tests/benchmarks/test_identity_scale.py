"""What identity costs as records grow, and what nights cost: ten thousand new records, or new, changed and gone ones.

Seconds and memory are kept, never judged; that the partial runs give what a run over everything gives is judged.
Sizes come from CEM_BENCH_RECORDS, such as `1000000,3000000`; what does not fit in CEM_BENCH_MEMORY is spilled to disk.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from ground_truth import crowd, quality
from results import Keep

from orchestration.identity import IdentityResult, resolve
from orchestration.identity.state import input_hash_sql
from orchestration.settings import Identity

RECORDS = [int(each) for each in os.environ.get("CEM_BENCH_RECORDS", "100000").split(",")]
CHANGED = 10_000
"""Records a night: all of them new, or half with another phone, a quarter gone and a quarter new."""

MEMORY = os.environ.get("CEM_BENCH_MEMORY", "8GB")


def arrive(con: duckdb.DuckDBPyConnection, records: int) -> None:
    """A night that brings new records only; each resembles one that is there."""
    every = max(records // CHANGED, 20)
    con.execute(f"""
        insert into intermediate.int_person_record__collected
        select * replace (person_key || 'a' as person_key, person_id || 'a' as person_id, null as input_hash)
        from intermediate.int_person_record__collected where hash(person_key, 'arrived') % {every} = 0;
        update intermediate.int_person_record__collected set input_hash = {input_hash_sql()} where input_hash is null;
    """)


def change(con: duckdb.DuckDBPyConnection, records: int) -> None:
    """A night that brings new records, changed ones and deletions; changed rows are replaced, as the model does."""
    every = max(records // CHANGED, 20)
    con.execute(f"""
        create or replace temp table changed as
        select * replace ('04' || lpad((hash(person_key) % 100000000)::text, 8, '0') as phone, null as input_hash)
        from intermediate.int_person_record__collected where hash(person_key, 'changed') % {2 * every} = 0;
        delete from intermediate.int_person_record__collected
        where hash(person_key, 'gone') % {4 * every} = 0 or hash(person_key, 'changed') % {2 * every} = 0;
        insert into intermediate.int_person_record__collected
        select * replace (person_key || 'n' as person_key, person_id || 'n' as person_id, null as input_hash)
        from intermediate.int_person_record__collected where hash(person_key, 'new') % {4 * every} = 0;
        insert into intermediate.int_person_record__collected from changed
        where hash(person_key, 'gone') % {4 * every} != 0;
        drop table changed;
        update intermediate.int_person_record__collected set input_hash = {input_hash_sql()} where input_hash is null;
    """)


NIGHTS = {"only new ones": arrive, "new, changed and gone ones": change}
"""What comes one night after the other, by its name in the results."""


@dataclass(frozen=True)
class Cost:
    """What a run cost: seconds of the CPU (children included) and of the clock, and how busy the machine was."""

    cpu_seconds: float
    seconds: float
    load: float
    changed: int


def cpu_seconds() -> float:
    """Seconds of the CPU so far, children included."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measured(run: Callable[[], IdentityResult]) -> tuple[IdentityResult, Cost]:
    """A run and what it cost."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = run()
    cost = Cost(
        round(cpu_seconds() - cpu, 1), round(time.perf_counter() - wall, 1), round(os.getloadavg()[0], 1), result.delta
    )
    return result, cost


def table(records: int, found: dict[str, Any]) -> str:
    """The results of one size, for a reader."""
    lines = ["| | records | CPU s | of the full run | s |", "|---|---:|---:|---:|---:|"]
    full = found["full"]
    for name in ("full", *NIGHTS):
        cost = found[name]
        changed = records if name == "full" else cost["changed"]
        share = cost["cpu_seconds"] / full["cpu_seconds"]
        lines.append(f"| {name} | {changed:,} | {cost['cpu_seconds']:.1f} | {share:.1%} | {cost['seconds']:.1f} |")
    peak = f"{found['customers']:,} customers; peak memory {found['peak_gb']:.1f} GB; {found['quality']}"
    return "\n".join([*lines, "", peak])


@pytest.mark.benchmark
@pytest.mark.parametrize("records", RECORDS)
def test_nights_cost_what_changed(records: int, tmp_path: Path, keep: Keep) -> None:
    con = duckdb.connect(
        str(tmp_path / "warehouse.duckdb"),
        config={"threads": 2, "memory_limit": MEMORY, "temp_directory": str(tmp_path / "spill")},
    )
    crowd(con, records)
    settings = Identity()
    first, full = measured(lambda: resolve(con, settings))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found = quality(con, "(select person_key, customer_id as cluster from identity.member)")
    nights = {}
    for name, bring in NIGHTS.items():
        bring(con, records)
        con.execute("checkpoint")  # as the stage before leaves its tables
        result, nights[name] = measured(lambda: resolve(con, settings))
        assert result.delta < 0.1 * records
    con.execute("create temp table after_the_nights as select person_key, customer_id from identity.member")
    costs = {
        "customers": first.customers,
        "full": asdict(full),
        **{name: asdict(cost) for name, cost in nights.items()},
        "peak_gb": round(peak, 2),
        "quality": str(found),
    }
    keep(f"identity of {records:,} records", costs, table(records, costs))
    resolve(con, settings, full=True)
    moved = con.execute("""
        select count(*)
        from after_the_nights
        full outer join identity.member as member using (person_key, customer_id)
        where after_the_nights.person_key is null or member.person_key is null
    """).fetchall()[0][0]
    assert moved == 0
    con.close()
