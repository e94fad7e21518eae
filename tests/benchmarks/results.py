"""What benchmarks found, kept together: one JSON and one page for all of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "var" / "benchmarks"

Keep = Callable[[str, object, str], None]
"""Takes the name of a benchmark, what it found as JSON can hold it, and the same as Markdown for a reader."""


def put(name: str, found: object, text: str) -> None:
    """Put what a benchmark found beside what others found, in the place of what it found before."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / "benchmarks.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    results[name] = {**circumstances(), "found": found, "text": text}
    file.write_text(json.dumps(results, indent=2))
    (RESULTS / "benchmarks.md").write_text("\n".join(map(section, results, results.values())))


def circumstances() -> dict[str, object]:
    """When, of which code and on what machine something is measured."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }


def section(name: str, result: dict[str, object]) -> str:
    """A benchmark's part of the page."""
    head = "Measured at {measured_at}, commit {commit}, {cpus} CPUs, {memory_gb} GB.".format(**result)
    text = str(result["text"])
    body = text if "|---" in text else f"```\n{text}\n```"
    return f"## {name}\n\n{head}\n\n{body}\n"
