"""Kills the daily job again and again at random moments, and proves that nothing came of it.

    make chaos KILLS=100 SEED=1 CUSTOMERS=200

A demo company lives some days; an undisturbed installation runs the job after each. Other installations of the
same company run it too, but are killed in the middle (SIGKILL, the whole process group), spread evenly over the
stages, while a reader queries what is published all the time. After every kill the published version must be
whole and one that the undisturbed installation had; after every day the warehouse and the publication must
hold the same as the undisturbed ones, row by row, and nothing a killed run left may remain.

Belongs here: the plan of the kills, the checks after each, the verdict. Does not belong here: how a run is started
(`job.py`), what "the same" means (`compare.py`), reading (`reader.py`).
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import job
import reader
from compare import differences

STAGES = ("extraction", "guard", "unify", "model", "publish")

CONFIG = """\
company: Chaos Retail
reporting: {{time_zone: Asia/Tehran, currency: USD}}
engine: {{memory_limit: 1GB, threads: 1, disk_reserve: 1MB}}
identity: {{default_country: IR}}
publish: {{hash_key: the-key-of-all-installations}}
sources:
  - {{name: demo, kind: demo, customers: {customers}, seed: {seed}}}
"""

DAYS = (0, 1, 8, 30)
"""Days the company has lived since the end of its history when the job runs: new, changed, late, deleted records."""


class ChaosError(AssertionError):
    """A run that must succeed failed, or a check found something; the message says all of it."""


@dataclass(frozen=True)
class Reference:
    """What the undisturbed installation had after a day.

    Attributes:
        day: Age of the company.
        sources: The company's systems as the job found them.
        warehouse: Its warehouse afterwards.
        published: The marts it published.
        pieces: Pieces of work of its run, in order, with the moments each was finished.
    """

    day: int
    sources: Path
    warehouse: Path
    published: Path
    pieces: list[job.Piece]


@dataclass
class Score:
    """What happened so far."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    checks: int = 0
    opens: int = 0
    problems: list[str] = field(default_factory=list)
    seen: set[tuple[int, int, int]] = field(default_factory=set)


def stage_of(piece: job.Piece) -> str:
    """The stage a piece of work counts for: the audit of the marts belongs to their publication."""
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


def deliver(sources: Path, folder: Path) -> None:
    """Bring the company's systems to an installation, with their times: a day has passed."""
    shutil.copytree(sources, folder / "var" / "demo", dirs_exist_ok=True)


def prepared(folder: Path, customers: int) -> Path:
    """An installation with everything that `make setup` prepares: extensions, compiled suites, parsed models."""
    succeed(install(folder, customers), "prepare")
    return folder


def sibling(folder: Path, other: Path) -> Path:
    """Another installation of the same company that has never run."""
    (folder / "var").mkdir(parents=True)
    shutil.copy2(other / "cem.yml", folder / "cem.yml")
    for name in ("extensions", "guard"):
        shutil.copytree(other / "var" / name, folder / "var" / name)
    return folder


def undisturbed(folder: Path, kept: Path, days: Iterable[int]) -> Iterator[Reference]:
    """Let an installation run after each day, and keep what it had."""
    age = 0
    for day in days:
        if day > age:
            succeed(folder, "demo", "--days", str(day - age), *demo_arguments(folder))
            age = day
        elif not (folder / "var" / "demo").exists():
            succeed(folder, "demo", *demo_arguments(folder))
        place = kept / f"day_{day}"
        shutil.copytree(folder / "var" / "demo", place / "sources")
        pieces = succeed(folder)
        shutil.copy2(folder / "var" / "warehouse.duckdb", place / "warehouse.duckdb")
        shutil.copy2(folder / "var" / "published" / "cem.duckdb", place / "published.duckdb")
        yield Reference(day, place / "sources", place / "warehouse.duckdb", place / "published.duckdb", pieces)


def demo_arguments(folder: Path) -> list[str]:
    """The size of the company of an installation, as the command takes it."""
    line = (folder / "cem.yml").read_text().splitlines()[-1]
    customers, seed = (line.split(f"{name}: ")[1].split(",")[0].rstrip("}") for name in ("customers", "seed"))
    return ["--customers", customers, "--seed", seed]


# Killing


def plan(pieces: list[job.Piece], kills: int, chance: random.Random, score: Score) -> list[tuple[int, float]]:
    """Moments to kill at: number of the piece of work, and how far into it, in the order of the work.

    The stages that were met least come first; within a stage any moment is as likely as any other.
    """
    wanted = Counter(score.kills)
    found = []
    for _ in range(kills):
        stage = min(STAGES, key=lambda each: (wanted[each], STAGES.index(each)))
        wanted[stage] += 1
        numbers = [number for number, piece in enumerate(pieces) if stage_of(piece) == stage]
        weights = [seconds(pieces, number) for number in numbers]
        found.append((chance.choices(numbers, weights)[0], chance.random()))
    return sorted(found)


def seconds(pieces: list[job.Piece], number: int) -> float:
    """How long a piece of work took."""
    return pieces[number].at - (pieces[number - 1].at if number else 0.0)


def kill_at(folder: Path, pieces: list[job.Piece], number: int, share: float) -> str | None:
    """Start the job and kill it within a piece of work; the stage it was in, None when it had ended before."""
    started = job.start(folder)
    started.wait_for_lines(number)
    deadline = time.monotonic() + share * seconds(pieces, number)
    while time.monotonic() < deadline and started.is_alive() and len(started.lines()) <= number:
        time.sleep(job.POLL_SECONDS)
    done = len(started.lines())
    if started.kill():
        return stage_of(pieces[min(done, len(pieces) - 1)])
    if started.process.exitcode != 0:
        raise ChaosError(f"a run after a kill failed by itself:\n{started.text()}")
    return None


def disturbed_day(
    folder: Path, today: Reference, before: Reference | None, kills: int, chance: random.Random, score: Score
) -> None:
    """One day of an installation: killed so many times, then left alone, then compared."""
    deliver(today.sources, folder)
    for number, share in plan(today.pieces, kills, chance, score):
        stage = kill_at(folder, today.pieces, number, share)
        score.runs += 1
        if stage is not None:
            score.kills[stage] += 1
        say(f"  day {today.day}: killed in {stage or 'nothing, it had ended'}")
        score.problems += published_problems(folder, [each for each in (before, today) if each is not None], score)
        score.checks += 1
    succeed(folder)
    score.runs += 1
    score.problems += problems_of(folder, today)
    score.checks += 1


# Checking


def published_problems(folder: Path, allowed: list[Reference], score: Score) -> list[str]:
    """What is wrong with what readers have after a kill: it must be one of the versions allowed, whole."""
    published = folder / "var" / "published"
    if not (published / "cem.duckdb").exists():
        return [] if len(allowed) == 1 else ["nothing is published any more"]  # before the first publication
    reader.read(published)
    stat = (published / "cem.duckdb").stat()
    mark = (stat.st_ino, stat.st_mtime_ns, len(allowed))
    if mark in score.seen:
        return []
    score.seen.add(mark)
    found = [differences(published / "cem.duckdb", reference.published, views=True) for reference in allowed]
    return [] if any(each == [] for each in found) else [f"published: {line}" for line in found[-1]]


def problems_of(folder: Path, reference: Reference) -> list[str]:
    """What is different from the undisturbed installation after a day, or was left behind by a killed run."""
    home = folder / "var"
    found = [f"warehouse: {line}" for line in differences(home / "warehouse.duckdb", reference.warehouse)]
    marts = differences(home / "published" / "cem.duckdb", reference.published, views=True)
    found += [f"published: {line}" for line in marts]
    found += [f"left behind: {path.relative_to(home)}" for path in leftovers(home)]
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as con:
        for what, query in INVARIANTS.items():
            wrong = con.execute(query).fetchone()[0]
            found += [f"{wrong} {what}"] if wrong else []
        booked = con.execute("select max(version) from ops.publications").fetchone()[0]
    if booked != reader.read(home / "published"):
        found.append(f"version {booked} is booked, another one is published")
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


def leftovers(home: Path) -> list[Path]:
    """Files that only a run under way may have."""
    found = [path for path in home.rglob("*") if path.suffix in (".tmp", ".wal", ".new", ".partial")]
    found += list((home / "unpacked").glob("*"))
    return sorted(path for path in found if "dagster" not in path.relative_to(home).parts)


@contextmanager
def reading(folder: Path, score: Score) -> Iterator[None]:
    """A process that reads what is published all the time."""
    stop = folder / "stop"
    command = [sys.executable, str(Path(__file__).with_name("reader.py")), str(folder / "var" / "published"), str(stop)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        stop.touch()
        out, err = process.communicate(timeout=120)
        if process.returncode:
            score.problems.append(f"the reader met an error:\n{err}")
        else:
            score.opens += int(out.split()[0])


# The command


def storm(folder: Path, *, kills: int, seed: int, customers: int, days: tuple[int, ...] = DAYS, rounds: int) -> Score:
    """All of it, in a folder: the undisturbed installation, then the disturbed ones."""
    chance, score = random.Random(seed), Score()
    say(f"undisturbed runs of {customers} customers after days {', '.join(map(str, days))} …")
    model = prepared(folder / "undisturbed", customers)
    places = [sibling(folder / f"round_{number}", model) for number in range(rounds)]
    references = list(undisturbed(model, folder / "kept", days))
    nights = rounds * len(days)
    shares = [kills // nights + (number < kills % nights) for number in range(nights)]
    for number, place in enumerate(places):
        say(f"round {number + 1} of {rounds}")
        with reading(place, score):
            before = None
            for today in references:
                disturbed_day(place, today, before, shares.pop(0), chance, score)
                before = today
                if score.problems:
                    return score
        shutil.rmtree(place)
    return score


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def report(score: Score) -> str:
    lines = ["", "stage        kills", "-----------  -----"]
    lines += [f"{stage:<11}  {score.kills[stage]:>5}" for stage in STAGES]
    lines += [f"{'all':<11}  {score.kills.total():>5}", ""]
    lines.append(f"{score.runs} runs, {score.checks} checks, {score.opens:,} opens by the reader")
    lines += score.problems or ["No difference: warehouse and publications are those of undisturbed runs."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill the daily job at random moments and compare what comes of it.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--customers", type=int, default=200)
    parser.add_argument("--days", type=int, nargs="+", default=DAYS, help="ages of the company at which the job runs")
    parser.add_argument("--rounds", type=int, help="fresh installations to spread the kills over; default: one for 50")
    parser.add_argument("--folder", type=Path, help="where to work and leave everything; default: a temporary folder")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cem-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    rounds = options.rounds or max(1, round(options.kills / 50))
    try:
        score = storm(
            folder,
            kills=options.kills,
            seed=options.seed,
            customers=options.customers,
            days=tuple(options.days),
            rounds=rounds,
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
