"""What a full build and a night cost as companies grow, beside the floor and what somebody would do instead.

Everything is measured in one run on one machine: seconds, CPU seconds, memory and disk at most, and ratios of them; no
limit on a clock. `CEM_BENCH_SIZES` names the companies by their customers, `CEM_BENCH_COMPANY=plain` takes those of
`plain_company.py` instead of demo companies, `CEM_BENCH_CONTENDERS=none` leaves out the comparisons.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event, Thread

import dagster as dg
import duckdb
import plain_company
import pytest
from contenders import CONTENDERS
from results import Keep

from orchestration.defs.run import instance
from orchestration.settings import load_settings

SIZES = [int(size) for size in os.environ.get("CEM_BENCH_SIZES", "2000").split(",")]
COMPARED = [name for name in CONTENDERS if os.environ.get("CEM_BENCH_CONTENDERS", "all") in ("all", name)]
MEMORY = os.environ.get("CEM_BENCH_MEMORY", "6GB")
CEM = Path(sys.executable).with_name("cem")
NIGHTS = {"a night, one day": 1, "a night, one week": 7}
"""Days the company lives on before a night: of two years of history, one day is about a thousandth."""

LINE = re.compile(r"^(extract|guard|unify|model|publish) +(.+?) +([\d,]+) rows +([\d.]+) s")
NAMED = ("unify: ", "model: ", "guard: marts")
"""Parts of a run that are told apart; the rest of a stage is one for each source or table, which are added up."""

DEAREST = 12
"""Models that are named with what they took."""


@dataclass(frozen=True)
class Cost:
    """What a process cost.

    Attributes:
        seconds: Seconds of the clock.
        cpu_seconds: Seconds of the CPU.
        memory_gb: Memory at most.
        disk_gb: What the company's folder took at most, raw files, results and spilled rows together.
        spilled_gb: Spilled rows at most.
        stages: Seconds of the clock by part of a run.
        models: Seconds of the clock by model, of the dearest ones.
    """

    seconds: float
    cpu_seconds: float
    memory_gb: float
    disk_gb: float
    spilled_gb: float
    stages: dict[str, float] = field(default_factory=dict)
    models: dict[str, float] = field(default_factory=dict)


def cost_of(command: list[object], env: dict[str, str]) -> Cost:
    """Run a command to its end, and say on standard output what it cost: all the sizes together take hours."""
    start = time.perf_counter()
    with most_disk(Path(env["CEM_CONFIG"]).parent) as most:
        process = subprocess.Popen(
            [str(part) for part in command], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    assert status == 0, output[-3000:]
    stages: dict[str, float] = {}
    for found in map(LINE.match, output.splitlines()):
        if found:
            part = f"{found[1]}: {found[2]}"
            part = part if part.startswith(NAMED) else found[1]
            stages[part] = round(stages.get(part, 0.0) + float(found[4]), 1)
    models = model_seconds(env) if command[1] == "run" else {}
    cost = Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20, *most, stages, models)
    print(*(Path(str(part)).name for part in command), cost, file=sys.__stdout__, flush=True)
    return cost


@contextmanager
def most_disk(folder: Path) -> Iterator[list[float]]:
    """Look at a folder every second; the list holds what it took at most, and the most that was spilled, in GB."""
    most, is_over = [0.0, 0.0], Event()

    def watch() -> None:
        while not is_over.wait(1):
            most[:] = max(most[0], disk_gb(folder)), max(most[1], disk_gb(folder / "var" / "warehouse.duckdb.tmp"))

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        is_over.set()
        watcher.join()


def model_seconds(env: dict[str, str]) -> dict[str, float]:
    """Seconds that the dearest models of the last run took, by name, as Dagster keeps them."""
    with instance(load_settings(Path(env["CEM_CONFIG"]), Path(env["CEM_HOME"]))) as history:
        (run,) = history.get_runs(limit=1)
        records = history.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    made = [record.event_log_entry.asset_materialization for record in records]
    seconds = {each.asset_key.path[-1]: each.metadata["seconds"].value for each in made if "seconds" in each.metadata}
    dearest = sorted(seconds, key=seconds.get, reverse=True)[:DEAREST]
    return {name: round(seconds[name], 1) for name in dearest}


def records(home: Path, after: str = "") -> tuple[int, str]:
    """Records that loads after one brought, all loads when it is left out, and the id of the last load."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as con:
        tables = con.execute(
            "select schema_name, table_name from duckdb_tables() where starts_with(schema_name, 'raw_')"
        ).fetchall()
        union = " union all ".join(f'select _load_id from "{schema}"."{name}"' for schema, name in tables)
        return con.execute(f"select count(*) filter (_load_id > ?), max(_load_id) from ({union})", [after]).fetchone()


def disk_gb(folder: Path) -> float:
    """Size of the files of a folder, in GB; a second name of a file adds nothing."""
    files = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # what is spilled goes at any moment
            about = path.lstat()
            files[about.st_ino] = about.st_size
    return sum(files.values()) / 2**30


class Demo:
    """Files of the demo company."""

    compared = COMPARED
    sources = "\n  - {{name: demo, kind: demo, customers: {customers}}}\n"

    def __init__(self, customers: int, env: Mapping[str, str]) -> None:
        """Nothing is written yet."""
        self.customers, self.env, self.raw = customers, env, Path(env["CEM_HOME"]) / "demo"

    def live(self, days: int) -> None:
        """Write the files, or what some days more add to them."""
        begin = [CEM, "demo", "--customers", self.customers]
        cost_of([*begin, "--days", days] if days else begin, self.env)


class Plain:
    """Files of a plain company, a delivery a day. The scripts in pandas know none of them."""

    compared = tuple(name for name in COMPARED if name != "pandas scripts")
    sources = plain_company.SOURCES

    def __init__(self, customers: int, env: Mapping[str, str]) -> None:
        """Nothing is written yet."""
        self.customers, self.raw, self.deliveries = customers, Path(env["CEM_CONFIG"]).with_name("data"), 0

    def live(self, days: int) -> None:
        """Write the files of the first delivery, or of some more."""
        for _ in range(days or 1):
            plain_company.deliver(self.raw, self.customers, self.deliveries)
            self.deliveries += 1


COMPANY = os.environ.get("CEM_BENCH_COMPANY", "demo")
COMPANIES = {"demo": Demo, "plain": Plain}


def measure(customers: int, folder: Path) -> dict[str, object]:
    """All the costs of a company of one size."""
    home = folder / "var"
    env = {**os.environ, "CEM_HOME": str(home), "CEM_CONFIG": str(folder / "cem.yml")}
    company = COMPANIES[COMPANY](customers, env)
    (folder / "cem.yml").write_text(
        f"company: Bench\nidentity: {{default_country: IR}}\nengine: {{memory_limit: {MEMORY}, snapshots: 0}}\n"
        f"sources:{company.sources.format(customers=customers, folder=company.raw)}"
    )
    cost_of([CEM, "prepare"], env)
    company.live(0)
    raw_gb = disk_gb(company.raw)
    costs = {"full build": cost_of([CEM, "run"], env)}
    count, last = records(home)
    costs["nothing new"] = cost_of([CEM, "run"], env)
    for name in company.compared:
        out = folder / name.replace(" ", "_").replace(",", "")
        out.mkdir()
        contender = [sys.executable, Path(__file__).with_name("contenders.py"), name, home, company.raw, out, MEMORY]
        costs[name] = cost_of(contender, env)
        subprocess.run(["rm", "-rf", str(out)], check=True)
    changed = {}
    for name, days in NIGHTS.items():
        company.live(days)
        costs[name] = cost_of([CEM, "run"], env)
        brought, last = records(home, last)
        changed[name] = brought / count
    return {
        "customers": customers,
        "records": count,
        "raw_gb": raw_gb,
        "warehouse_gb": (home / "warehouse.duckdb").stat().st_size / 2**30,
        "published_gb": disk_gb(home / "published"),
        "changed": changed,
        "costs": {name: asdict(cost) for name, cost in costs.items()},
    }


def table(result: dict[str, object]) -> str:
    """The costs of one size, each against the full build and the floor."""
    costs = {name: Cost(**cost) for name, cost in result["costs"].items()}
    full, floor = costs["full build"], costs.get("floor")
    lines = [
        f"{result['customers']:,} customers, {result['records']:,} records, {result['raw_gb']:.2f} GB of raw files; "
        f"warehouse {result['warehouse_gb']:.2f} GB, published {result['published_gb']:.2f} GB",
        "",
        "| | seconds | of the full build | CPU s | of the full build | floors (CPU) | memory | disk | spilled |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, cost in costs.items():
        share = f" ({result['changed'][name]:.2%} of the records)" if name in result["changed"] else ""
        times = f"{cost.cpu_seconds / floor.cpu_seconds:.1f}" if floor else ""
        lines.append(
            f"| {name}{share} | {cost.seconds:,.1f} | {cost.seconds / full.seconds:.1%} | {cost.cpu_seconds:,.1f} | "
            f"{cost.cpu_seconds / full.cpu_seconds:.1%} | {times} | {cost.memory_gb:.1f} GB | {cost.disk_gb:.1f} GB | "
            f"{cost.spilled_gb:.1f} GB |"
        )
    for name in ("full build", *NIGHTS, "nothing new"):
        known = costs[name].stages
        rest = costs[name].seconds - sum(known.values())
        parts = [f"{stage} {seconds / costs[name].seconds:.0%}" for stage, seconds in known.items()]
        lines += ["", f"{name}: {', '.join(parts)}, the rest {rest / costs[name].seconds:.0%}"]
        dearest = [f"{model} {seconds:,.1f} s" for model, seconds in costs[name].models.items()]
        lines += [f"Dearest models: {', '.join(dearest)}"] if dearest else []
    return "\n".join(lines)


def growth(results: list[dict[str, object]]) -> str:
    """How the full build grows from each size to the next."""
    lines = []
    for small, large in itertools.pairwise(results):
        fulls = small["costs"]["full build"], large["costs"]["full build"]
        cpu, clock = (fulls[1][what] / fulls[0][what] for what in ("cpu_seconds", "seconds"))
        lines.append(
            f"{small['customers']:,} → {large['customers']:,} customers: "
            f"{large['records'] / small['records']:.1f} times the records, {cpu:.1f} times the CPU seconds, "
            f"{clock:.1f} times the seconds of the clock"
        )
    return "\n".join(lines)


@pytest.mark.benchmark
def test_what_it_costs_as_companies_grow(tmp_path: Path, keep: Keep):
    results = []
    for customers in SIZES:
        folder = tmp_path / str(customers)
        folder.mkdir()
        results.append(measure(customers, folder))
        subprocess.run(["rm", "-rf", str(folder)], check=True)
        text = "\n\n".join([*map(table, results), growth(results)])
        keep(f"{COMPANY} companies as they grow", results, text)
    for result in results:
        # Small companies cost hardly more in full than on a night; a run that finds nothing costs less than both.
        cpu = {name: cost["cpu_seconds"] for name, cost in result["costs"].items()}
        assert cpu["nothing new"] < min(cpu[name] for name in ("full build", *NIGHTS))
