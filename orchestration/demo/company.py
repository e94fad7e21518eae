"""Creates the demo company and moves it forward in time.

Belongs here: the parameters, the clock and the record of what a folder holds. Does not belong here: what
the company is (`sql/`), nor how its systems store it (`delivery.py`).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path

import duckdb

from orchestration.demo.delivery import deliver
from orchestration.demo.pools import load_pools
from orchestration.warehouse import install_extensions

HISTORY_END = date(2026, 6, 30)
"""Last day of the history. A constant, so that the same parameters give the same company on any day."""

HISTORY_MONTHS = 24

DAYS_AT_MOST = 3650
"""Ids hold 63 blocks of 91 days after the history, and the holidays are known for ten years."""

JOINS_PER_DAY = 0.0009
"""Customers who join on a day after the history, as a share of the customers at its end."""

MANIFEST = "company.json"

_SCRIPTS = ("functions", "calendar", "world", "crm", "support", "survey", "social", "web", "truth")


class DemoError(ValueError):
    """The folder holds another company, or none, or the parameters are out of range."""


@dataclass(frozen=True)
class DemoCompany:
    """What a folder holds.

    Attributes:
        folder: Where the company's systems are.
        customers: Humans who were customers by the end of the history.
        seed: Seed of all draws.
        days: Days the company has moved on since the end of the history.
        end: Last day of the history.
        rows: Rows written by the last call that wrote, by table (`crm.orders` …); changed rows count again.
        is_changed: Whether this call wrote anything.
    """

    folder: Path
    customers: int
    seed: int
    days: int
    end: date
    rows: dict[str, int] = field(default_factory=dict)
    is_changed: bool = False

    @property
    def today(self) -> date:
        """The last day the company has lived."""
        return self.end + timedelta(days=self.days)

    def __str__(self) -> str:
        """One line for an operator."""
        state = f"{sum(self.rows.values()):,} rows written" if self.is_changed else "nothing to do"
        size = f"{self.customers:,} customers (seed {self.seed})"
        return f"demo company of {size} up to {self.today} in {self.folder}: {state}"


def generate(
    folder: Path,
    customers: int = 2000,
    seed: int = 7,
    days: int = 0,
    *,
    end: date = HISTORY_END,
    extensions: Path | None = None,
    memory_limit: str = "4GB",
    threads: int = 2,
) -> DemoCompany:
    """Create the company if the folder holds none; advance it if it is behind; else change nothing.

    A company generated with `days` equals one generated without and advanced by as many.

    Args:
        folder: Where to write; created if missing.
        customers: Humans who are or were customers at the end of the history, from 100 to 10 million.
        seed: The same seed gives the same company.
        days: Days after the end of the history. A company that has lived longer stays as it is.
        end: Last day of the history of 24 months.
        extensions: DuckDB's extension folder; by default `extensions` beside `folder`.
        memory_limit: DuckDB's memory limit; what does not fit is spilled to the folder's disk.
        threads: DuckDB's threads.

    Raises:
        DemoError: The folder holds a company of other parameters, or parameters are out of range.
    """
    if not 100 <= customers <= 10_000_000:
        raise DemoError(f"customers is {customers:,}; allowed: 100 to 10,000,000")
    _check_days(days)
    company = read(folder)
    wanted = DemoCompany(folder, customers, seed, days, end)
    if company is None:
        return _write(wanted, since_days=None, extensions=extensions, memory_limit=memory_limit, threads=threads)
    if (company.customers, company.seed, company.end) != (customers, seed, end):
        raise DemoError(
            f"{folder} holds a company of {company.customers:,} customers, seed {company.seed}, history to"
            f" {company.end}, not {customers:,}, {seed}, {end}; delete the folder or name another one"
        )
    if company.days >= days:
        return company
    return _write(wanted, since_days=company.days, extensions=extensions, memory_limit=memory_limit, threads=threads)


def advance(
    folder: Path,
    days: int,
    *,
    extensions: Path | None = None,
    memory_limit: str = "4GB",
    threads: int = 2,
) -> DemoCompany:
    """Let the company live on: new, changed, late and deleted records; old files are not touched.

    Args:
        folder: The company's folder.
        days: Days to live, at least 1.
        extensions: As for `generate`.
        memory_limit: As for `generate`.
        threads: As for `generate`.

    Raises:
        DemoError: The folder holds no company, or `days` is out of range.
    """
    company = read(folder)
    if company is None:
        raise DemoError(f"{folder} holds no demo company; generate one first")
    if days < 1:
        raise DemoError(f"days is {days}; allowed: 1 or more")
    _check_days(company.days + days)
    return _write(
        replace(company, days=company.days + days),
        since_days=company.days,
        extensions=extensions,
        memory_limit=memory_limit,
        threads=threads,
    )


def read(folder: Path) -> DemoCompany | None:
    """The company a folder holds; None without one (an interrupted creation counts as none)."""
    try:
        known = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return DemoCompany(
        folder, known["customers"], known["seed"], known["days"], date.fromisoformat(known["end"]), known["rows"]
    )


def _check_days(days: int) -> None:
    if not 0 <= days <= DAYS_AT_MOST:
        raise DemoError(f"the company would be {days:,} days past its history; allowed: 0 to {DAYS_AT_MOST:,}")


def _write(
    company: DemoCompany, *, since_days: int | None, extensions: Path | None, memory_limit: str, threads: int
) -> DemoCompany:
    """Compute the world up to the company's clock and deliver what happened since the last delivery.

    The world is computed anew each time, from its parameters alone: nothing has to be kept between
    deliveries, and no delivery can differ from what a later one assumes.
    """
    folder = company.folder
    work = folder / "_work"
    if since_days is None:
        # Left-overs of an interrupted creation.
        (folder / "crm.db").unlink(missing_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    extensions = extensions or folder.parent / "extensions"
    install_extensions(extensions)
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "threads": threads,
        "extension_directory": str(extensions),
        "autoinstall_known_extensions": False,
        "temp_directory": str(work),
    }
    try:
        # In memory while it fits; DuckDB spills the rest to the folder.
        with duckdb.connect(config=config) as con:
            _set_parameters(con, company, since_days)
            load_pools(con)
            for script in _SCRIPTS:
                con.execute((Path(__file__).parent / "sql" / f"{script}.sql").read_text(encoding="utf-8"))
            rows = deliver(con, folder, first=since_days is None)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    written = replace(company, rows=rows, is_changed=True)
    _remember(written)
    return written


def _set_parameters(con: duckdb.DuckDBPyConnection, company: DemoCompany, since_days: int | None) -> None:
    ends = datetime.combine(company.end, time()) + timedelta(days=1)
    starts = datetime(ends.year - HISTORY_MONTHS // 12, ends.month, 1)
    values: dict[str, object] = {
        "seed": company.seed,
        "customers": company.customers,
        "starts": starts,
        "ends": ends,
        # Deliveries cover [since, clock).
        "since": datetime(1900, 1, 1) if since_days is None else ends + timedelta(days=since_days),
        "clock": ends + timedelta(days=company.days),
        "blocks": 1 + -(-company.days // 91),
        "joins_per_day": company.customers * JOINS_PER_DAY,
        "population": company.customers + int(company.days * company.customers * JOINS_PER_DAY) + 1,
        "accounts": max(3, company.customers // 60),
        "products": min(400, 60 + company.customers // 500),
        "strangers": max(20, company.customers // 8),
    }
    for name, value in values.items():
        literal = f"timestamp '{value}'" if isinstance(value, datetime) else str(value)
        con.execute(f"set variable {name} = {literal}")


def _remember(company: DemoCompany) -> None:
    """Written last and in one step: what it says has been delivered."""
    known = {name: value for name, value in asdict(company).items() if name not in {"folder", "is_changed"}}
    partial = company.folder / f".{MANIFEST}.partial"
    partial.write_text(json.dumps(known | {"end": company.end.isoformat()}, indent=2), encoding="utf-8")
    partial.replace(company.folder / MANIFEST)
