"""Kills the daily job again and again at random moments, and proves that nothing came of it.

    make chaos KILLS=100 SEED=1 CUSTOMERS=100

A demo company lives some days; an undisturbed installation runs the job after each, and its state before and after
is kept. Trials begin with a copy of such a state (an installation that has never run, or one that finds changes):
their runs are killed (SIGKILL, the whole process group) in each stage, each kill on what the ones before left, while
a reader queries what is published all the time. After every kill the published version must be whole and one
that the undisturbed installation had. Then a run is left alone, and the warehouse and the publication must hold the
same as the undisturbed ones, row by row, and nothing a killed run left may remain.

Belongs here: the plan of the kills, the checks after each, the verdict. Does not belong here: how a run is started
(`job.py`), what "the same" means (`compare.py`), reading (`reader.py`).
"""

from __future__ import annotations

import argparse
import filecmp
import multiprocessing
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import job
import reader
from compare import differences, parquet_differences

STAGES = ("start", "extraction", "guard", "unify", "model", "publish")
"""The stages of a run, and its start: opening everything, until the first piece of work is done."""

CONFIG = """\
company: Chaos Retail
reporting: {{time_zone: Asia/Tehran, currency: USD}}
engine: {{memory_limit: 1GB, threads: 1, disk_reserve: 1MB}}
identity: {{default_country: IR}}
publish: {{hash_key: the-key-of-all-installations}}
sources:
  - {{name: demo, kind: demo, customers: {customers}, seed: {seed}}}
"""

DAYS = (0, 8)
"""Days the company has lived since the end of its history when the job runs: new, changed, late, deleted records."""

KILLS_PER_TRIAL = 2 * len(STAGES)
"""Kills between two comparisons of everything. More are cheaper, for what is built stays built."""

PER_PLACE = ("dbt", "extensions")
"""What an installation prepares once and keeps between trials."""


class ChaosError(AssertionError):
    """A run that must succeed failed, or a check found something; the message says all of it."""


@dataclass(frozen=True)
class Reference:
    """What the undisturbed installation had on a day.

    Attributes:
        day: Age of the company.
        found: The whole installation as the job found it, with the company's systems.
        warehouse: Its warehouse afterwards.
        published: The marts it published.
        files: All of its files afterwards (`files_of`).
        pieces: Pieces of work of its run, in order, with the moments each was finished.
    """

    day: int
    found: Path
    warehouse: Path
    published: Path
    files: frozenset[str]
    pieces: list[job.Piece]


@dataclass
class Score:
    """What happened so far."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    compared: int = 0
    opens: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def add(self, other: Score) -> None:
        """Count what another one counted."""
        self.kills += other.kills
        self.runs += other.runs
        self.compared += other.compared
        self.opens += other.opens
        self.seconds += other.seconds
        self.problems += other.problems


def stage_of(pieces: Sequence[job.Piece], number: int) -> str:
    """The stage a piece of work counts for: the audit of the marts belongs to their publication."""
    piece = pieces[number]
    if number == 0:
        return "start"
    if piece.what in ("marts", "snapshot"):
        return "publish"
    return "extraction" if piece.stage == "extract" else piece.stage


def install(folder: Path, customers: int, seed: int = 3) -> Path:
    """An installation that has never run."""
    folder.mkdir(parents=True)
    (folder / "cem.yml").write_text(CONFIG.format(customers=customers, seed=seed))
    return folder


def succeed(folder: Path, *arguments: str) -> list[job.Piece]:
    """Run a command that must succeed."""
    started = job.start(folder, *arguments)
    pieces = started.pieces()
    if started.wait() != 0:
        raise ChaosError(f"cem {' '.join(arguments) or 'run'} failed:\n{started.text()}")
    return pieces


def prepared(folder: Path, customers: int) -> Path:
    """An installation with everything that `make setup` prepares: extensions, compiled suites, parsed models."""
    succeed(install(folder, customers), "prepare")
    return folder


def undisturbed(folder: Path, kept: Path, days: Iterable[int]) -> Iterator[Reference]:
    """Let an installation run after each day, and keep what it found and what it had then."""
    age = 0
    for day in days:
        if day > age:
            succeed(folder, "demo", "--days", str(day - age), *demo_arguments(folder))
            age = day
        elif not (folder / "var" / "demo").exists():
            succeed(folder, "demo", *demo_arguments(folder))
        place = kept / f"day_{day}"
        shutil.copytree(folder, place / "found", symlinks=True)
        pieces = succeed(folder)
        shutil.copy2(folder / "var" / "warehouse.duckdb", place / "warehouse.duckdb")
        shutil.copy2(folder / "var" / "published" / "cem.duckdb", place / "published.duckdb")
        yield Reference(
            day,
            place / "found",
            place / "warehouse.duckdb",
            place / "published.duckdb",
            files_of(folder / "var"),
            pieces,
        )


def put_back(found: Path, folder: Path) -> None:
    """Make a folder the installation that the job found on a day, whatever it was before."""
    home = folder / "var"
    kept = [name for name in PER_PLACE if (home / name).exists()]
    home.mkdir(parents=True, exist_ok=True)
    for path in (*folder.iterdir(), *home.iterdir()):
        if path != home and path.name not in kept:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.copytree(found, folder, symlinks=True, dirs_exist_ok=True, ignore=lambda _, names: {*names} & {*kept})


def demo_arguments(folder: Path) -> list[str]:
    """The size of the company of an installation, as the command takes it."""
    line = (folder / "cem.yml").read_text().splitlines()[-1]
    customers, seed = (line.split(f"{name}: ")[1].split(",")[0].rstrip("}") for name in ("customers", "seed"))
    return ["--customers", customers, "--seed", seed]


# Killing


def plan(pieces: list[job.Piece], stages: Sequence[str], chance: random.Random) -> list[tuple[int, float]]:
    """Moments to kill at, in the order of the work: number of the piece of work, and the share of it to wait for.

    Within a stage any moment is as likely as any other.
    """
    found = []
    for stage in stages:
        numbers = [number for number in range(len(pieces)) if stage_of(pieces, number) == stage]
        lengths = [end - begin for begin, end in (span(pieces, number) for number in numbers)]
        found.append((chance.choices(numbers, lengths)[0], chance.random()))
    return sorted(found)


def span(pieces: list[job.Piece], number: int) -> tuple[float, float]:
    """When a piece of work begins and ends; what lies between two pieces counts for the second one.

    Returns:
        Seconds after the start of the process.
    """
    return pieces[number - 1].at if number else 0.0, pieces[number].at


def kill_at(folder: Path, pieces: list[job.Piece], number: int, share: float) -> str | None:
    """Start the job and kill it within a piece of work; the stage it was in, None when it had ended before."""
    begin, end = span(pieces, number)
    started = job.start(folder)
    started.wait_for_lines(number)
    deadline = time.monotonic() + share * (end - begin)
    while time.monotonic() < deadline and started.is_alive() and len(started.lines()) <= number:
        time.sleep(job.POLL_SECONDS)
    done = len(started.lines())
    if started.kill():
        return stage_of(pieces, min(done, len(pieces) - 1))
    if started.process.exitcode != 0:
        raise ChaosError(f"a run after a kill failed by itself:\n{started.text()}")
    return None


def trial(folder: Path, today: Reference, before: Reference | None, stages: Sequence[str], seed: int | str) -> Score:
    """A day of an installation, in this folder: killed in each of the stages, then left alone, then compared.

    Args:
        folder: Where the installation is to be.
        today: The undisturbed installation on that day.
        before: The one whose publication readers have meanwhile; None when there is none yet.
        stages: Where to kill, one kill each.
        seed: Decides on the moments.
    """
    began = time.monotonic()
    put_back(today.found, folder)
    score = Score()
    with reading(folder, score):
        score.add(killed(folder, today, before, plan(today.pieces, stages, random.Random(seed))))
        if score.runs == score.kills.total():  # otherwise a run came through, and the day is done
            succeed(folder)
            score.runs += 1
    score.problems += problems_of(folder, today)
    score.compared += 1
    score.seconds = time.monotonic() - began
    say(f"  {folder.name}, day {today.day}: compared, {len(score.problems)} problems")
    return score


def killed(folder: Path, today: Reference, before: Reference | None, moments: Iterable[tuple[int, float]]) -> Score:
    """Runs that are killed at moments as `plan` gives them, each on what the ones before left."""
    score = Score()
    allowed = [each for each in (before, today) if each is not None]
    known: set[int] = set()
    for number, share in moments:
        stage = kill_at(folder, today.pieces, number, share)
        score.runs += 1
        say(f"  {folder.name}, day {today.day}: killed in {stage or 'nothing, it had ended'}")
        if stage is None:
            break
        score.kills[stage] += 1
        score.problems += published_problems(folder, allowed, known)
    return score


# Checking


def published_problems(folder: Path, allowed: list[Reference], known: set[int]) -> list[str]:
    """What is wrong with what readers have after a kill: it must be one of the versions allowed, whole.

    Args:
        folder: The installation.
        allowed: Whose publications readers may have.
        known: Times of the files that were looked through already, which grows.
    """
    published = folder / "var" / "published"
    if not (published / "cem.duckdb").exists():
        return [] if len(allowed) == 1 else ["nothing is published any more"]  # before the first publication
    try:
        reader.read(published)
        if (published / "parquet").exists():  # the first one may have been about to be linked
            reader.read_parquet(published)
    except (AssertionError, duckdb.Error) as error:
        return [f"published: {error}"]
    written = (published / "cem.duckdb").stat().st_mtime_ns
    if written in known:
        return []
    known.add(written)
    found = [differences(published / "cem.duckdb", reference.published, views=True) for reference in allowed]
    return [] if any(each == [] for each in found) else [f"published: {line}" for line in found[-1]]


def problems_of(folder: Path, reference: Reference) -> list[str]:
    """What is different from the undisturbed installation after a day, or was left behind by a killed run."""
    home = folder / "var"
    warehouse, published = home / "warehouse.duckdb", home / "published"
    found = [f"warehouse: {line}" for line in differences(warehouse, reference.warehouse)]
    marts = differences(published / "cem.duckdb", reference.published, views=True)
    found += [f"published: {line}" for line in marts]
    found += [f"Parquet: {line}" for line in parquet_differences(published)]
    found += [f"left behind: {name}" for name in sorted(files_of(home) - reference.files)]
    found += [f"file missing: {name}" for name in sorted(reference.files - files_of(home))]
    found += [f"Dagster believes that run {run} is {status}" for run, status in runs_under_way(home)]
    with duckdb.connect(str(warehouse), read_only=True) as con:
        for what, query in INVARIANTS.items():
            wrong = con.execute(query).fetchone()[0]
            found += [f"{wrong} {what}"] if wrong else []
        booked = con.execute("select max(version) from ops.publications").fetchone()[0]
    if not booked == reader.read(published) == reader.read_parquet(published):
        found.append(f"version {booked} is booked, another one is published")
    snapshot = max((home / "snapshots").iterdir())
    if not filecmp.cmp(snapshot, warehouse, shallow=False):
        found += [f"snapshot: {line}" for line in differences(snapshot, reference.warehouse)]
    return [f"day {reference.day}: {line}" for line in found]


INVARIANTS = {
    "loads whose rows are not conserved": "select count(*) from ops.loads "
    "where extracted <> promoted + quarantined + deduplicated",
    "candidates": "select count(*) from duckdb_tables() where schema_name like 'candidate%'",
    "tables of dbt or the guard that were meant to be temporary": "select count(*) from duckdb_tables() "
    "where table_name like '%\\_\\_dbt\\_%' escape '\\' or table_name like 'guard\\_%' escape '\\'",
    "rows in quarantine without a load": "select count(*) from quarantine.rows as bad "
    "anti join ops.loads as loads using (load_id, source, table_name)",
}


def files_of(home: Path) -> frozenset[str]:
    """Names of the files of an installation, but for sources and for what tells of each run, killed or not."""
    names = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_symlink() or path.is_file()}
    return frozenset(TIMED.sub("*", name) for name in names if not name.startswith(("demo/", *PER_RUN)))


PER_RUN = ("dagster/", "dbt/", "docs/")
"""Folders that tell of each run: the history of runs, what dbt compiled, the pages of audits."""

TIMED = re.compile(r"\d{8}T\d{12}")
"""A moment in the name of a file."""


def runs_under_way(home: Path) -> list[tuple[str, str]]:
    """Runs that Dagster does not know the end of, with what it believes: they would stop the queue."""
    storage = home / "dagster" / "history" / "runs.db"
    with closing(sqlite3.connect(f"file:{storage}?mode=ro", uri=True)) as con:
        return con.execute("select run_id, status from runs where status not in ('SUCCESS', 'FAILURE')").fetchall()


@contextmanager
def reading(folder: Path, score: Score) -> Iterator[None]:
    """A process that reads what is published all the time."""
    stop = folder / "stop"
    stop.unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__).with_name("reader.py")), str(folder / "var" / "published"), str(stop)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        stop.touch()
        out, err = process.communicate(timeout=600)
        if process.returncode:
            score.problems.append(f"the reader met an error:\n{err}")
        else:
            score.opens += int(out.split()[0])


# The command


def storm(folder: Path, *, kills: int, seed: int, customers: int, days: Sequence[int] = DAYS, jobs: int = 1) -> Score:
    """All of it, in a folder: the undisturbed installation, then trials until there were so many kills."""
    say(f"undisturbed runs of {customers} customers after days {', '.join(map(str, days))}")
    references = list(undisturbed(prepared(folder / "undisturbed", customers), folder / "kept", days))
    score, number = Score(), 0
    free = [folder / f"trial_{place}" for place in range(jobs)]
    under_way: dict[Future[Score], tuple[Path, Counter[str]]] = {}
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        while True:
            planned = sum((wanted for _, wanted in under_way.values()), Counter[str]())
            if free and not score.problems and (left := kills - (score.kills + planned).total()) > 0:
                stages = least_met(score.kills + planned, min(left, KILLS_PER_TRIAL))
                place, which = free.pop(), number % len(references)
                before = references[which - 1] if which else None
                future = pool.submit(trial, place, references[which], before, stages, f"{seed}/{number}")
                under_way[future] = (place, Counter(stages))
                number += 1
            elif under_way:
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    score.add(future.result())
                    free.append(under_way.pop(future)[0])
                say(f"{score.kills.total()} kills, {score.compared} times compared, {len(score.problems)} problems")
            else:
                return score


def least_met(kills: Counter[str], count: int) -> list[str]:
    """Stages for the next kills, such that all come to the same number."""
    wanted = Counter(kills)
    for _ in range(count):
        wanted[min(STAGES, key=lambda stage: wanted[stage])] += 1
    return list((wanted - kills).elements())


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def report(score: Score) -> str:
    lines = ["", "stage        kills", "-----------  -----"]
    lines += [f"{stage:<11}  {score.kills[stage]:>5}" for stage in STAGES]
    lines += [f"{'all':<11}  {score.kills.total():>5}", ""]
    lines.append(
        f"{score.runs} runs, {score.compared} times compared row by row, {score.opens:,} queries by the readers; "
        f"{score.seconds / max(1, score.kills.total()):.0f} s a kill, with what follows"
    )
    lines += score.problems or ["No difference: warehouse and publications are those of undisturbed runs."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill the daily job at random moments and compare what comes of it.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--customers", type=int, default=100)
    parser.add_argument("--days", type=int, nargs="+", default=DAYS, help="ages of the company at which the job runs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="installations at a time; default: one a core")
    parser.add_argument("--folder", type=Path, help="where to work and leave everything; default: a temporary folder")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cem-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    try:
        score = storm(
            folder,
            kills=options.kills,
            seed=options.seed,
            customers=options.customers,
            days=options.days,
            jobs=options.jobs,
        )
    except ChaosError as error:
        say(str(error))
        return 1
    say(report(score))
    say(f"{time.monotonic() - start:,.0f} s, seed {options.seed}")
    if score.problems:
        say(f"everything is left in {folder}")
        return 1
    if options.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
