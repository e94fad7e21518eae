"""What a run costs and where it goes, in one run on one machine: shares of the whole, never a limit on a clock."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_scale import LINE

CUSTOMERS = int(os.environ.get("CEM_BENCH_CUSTOMERS", "2000"))
DBT = "dbt models and tests"


def seconds_of(*command, env=None):
    start = time.perf_counter()
    result = subprocess.run([str(part) for part in command], env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return time.perf_counter() - start, result.stdout


def by_part(output):
    """Seconds of the progress lines: extraction, guard, dbt and what else the lines name."""
    parts = {}
    for line in output.splitlines():
        if found := LINE.match(line):
            stage, what, _, seconds = found.groups()
            part = "dbt" if what.strip() == DBT else stage
            parts[part] = parts.get(part, 0.0) + float(seconds)
    return parts


@pytest.mark.benchmark
def test_where_the_time_of_a_run_goes(tmp_path, keep):
    (tmp_path / "cem.yml").write_text(
        f"company: Bench\nidentity: {{default_country: IR}}\n"
        f"sources:\n  - {{name: demo, kind: demo, customers: {CUSTOMERS}}}\n"
    )
    env = {**os.environ, "CEM_HOME": str(tmp_path / "var"), "CEM_CONFIG": str(tmp_path / "cem.yml")}
    python, cem = Path(sys.executable), Path(sys.executable).with_name("cem")
    prepare, _ = seconds_of(cem, "prepare", env=env)
    interpreter, _ = seconds_of(python, "-c", "pass")
    imports, _ = seconds_of(python, "-c", "import orchestration.definitions")
    location, _ = seconds_of(python, "-c", "import orchestration.definitions as d; d.defs()", env=env)
    full, full_output = seconds_of(cem, "run", env=env)
    empty, empty_output = seconds_of(cem, "run", env=env)

    result = {"customers": CUSTOMERS, "prepare_seconds": prepare, "code_location_seconds": location}
    for name, total, output in (("full", full, full_output), ("empty", empty, empty_output)):
        parts = {"interpreter and imports": imports, **by_part(output)}
        parts["the rest (Dagster, definitions, summary)"] = total - sum(parts.values())
        result[name] = {"seconds": total, "shares": {part: seconds / total for part, seconds in parts.items()}}
    result["empty_to_full"] = empty / full
    lines = [
        f"{CUSTOMERS:,} customers; prepare {prepare:.1f} s, code location {location:.1f} s, "
        f"interpreter alone {interpreter:.2f} s"
    ]
    for name in ("full", "empty"):
        lines.append(f"{name} run {result[name]['seconds']:.1f} s")
        lines += [f"  {share:6.1%}  {part}" for part, share in result[name]["shares"].items()]
    keep("where the time of a run goes", result, "\n".join([*lines, f"empty / full = {result['empty_to_full']:.2f}"]))
    assert by_part(empty_output).keys() >= {"extract", "guard", "dbt", "publish"}
