"""The data docs: one static page for each run that judged anything, for whoever wants to know how the data is.

    $CEM_HOME/docs/index.html          all runs that are kept, the latest first
    $CEM_HOME/docs/latest              link to the folder of the latest
    $CEM_HOME/docs/<run>/index.html    verdicts, rules, counts, trends, held loads and what to do, the quarantine
    $CEM_HOME/docs/<run>/record.json   the same as data

The pages are files that open without a network: no script, no font, no style from elsewhere, and everything that
came from outside (names of columns, descriptions of rules, keys) is escaped. They hold counts, rules and keys
without personal data, and never a value of a row.

Great Expectations' own Data Docs are not used: they load scripts and styles from the network, and let markup in
a description through. Its own validation results come from `verdict.validate_with_gx`, which runs a suite in
Great Expectations itself and sets its counts beside ours; the guard does the same on its own whenever a suite
changed, and the page says when a suite was last proven so.

Belongs here: what a page shows. Does not belong here: the sentences about findings (`wording.py`), the verdicts.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import jinja2

from orchestration.guard.batches import compiled_folder, table_suites
from orchestration.guard.compiler import last_proven
from orchestration.guard.operators import find_table, held_loads, quarantine_kinds
from orchestration.guard.results import RuleResult, Verdict
from orchestration.guard.wording import consequence, held_text, load_finding, mart_finding, share_text
from orchestration.publication.files import switch_link
from orchestration.warehouse import utc_now
from orchestration.whole_files import write_whole

if TYPE_CHECKING:
    from datetime import datetime

    from orchestration.settings import Settings, Table

logger = logging.getLogger(__name__)

TEMPLATES = Path(__file__).with_name("page_templates")

TREND_LOADS = 20
"""Loads in the trend of a table: three weeks of nights."""

BAR_HEIGHT = 80
"""Height of the tallest bar of a trend, in pixels."""

RECORD = "record.json"

Record = dict[str, Any]


@dataclass(frozen=True)
class JudgedLoad:
    """A load of a source table and the verdict on it."""

    table: Table
    load_id: str
    verdict: Verdict


def docs_folder(settings: Settings) -> Path:
    """Where the pages are."""
    return settings.home / "docs"


def page_of(settings: Settings, run_id: str) -> Path:
    """The page of a run."""
    return docs_folder(settings) / run_id / "index.html"


def link_to(settings: Settings, run_id: str, part: str) -> str:
    """A link that a browser on this machine opens at a part of a run's page: `<source>.<table>`, or `marts`."""
    return f"{page_of(settings, run_id).as_uri()}#{part}"


def write_page(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    run_id: str,
    loads: Sequence[JudgedLoad] = (),
    marts: Sequence[RuleResult] | None = None,
) -> Path:
    """Write what a run judged to its page, beside what earlier steps of the run wrote there.

    Args:
        con: The warehouse.
        settings: The configuration.
        run_id: The run, or the id of the load that a decision made; names the folder.
        loads: Loads judged since the last call.
        marts: Results of the marts' rules, when they were judged.

    Returns:
        The page.
    """
    folder = docs_folder(settings) / run_id
    folder.mkdir(parents=True, exist_ok=True)
    now = utc_now()
    run = _read(folder) or {"run_id": run_id, "tables": {}, "marts": None}
    run |= {"company": settings.company, "updated_at": _moment(now), "order": now.isoformat()}
    run["held"] = [
        {
            "text": held_text(load.source, load.table_name, load.load_id, load.reason),
            "since": _moment(load.started_at),
        }
        for load in held_loads(con)
    ]
    for load in loads:
        run["tables"][_name(load.table)] = _table(con, settings, load)
    if marts is not None:
        run["marts"] = [_rule(rule, mart_finding(rule)) for rule in marts]
    write_whole(folder / RECORD, json.dumps(run, ensure_ascii=False, indent=1))
    write_whole(folder / "index.html", _render("run.html", run=_shown(run)))
    _write_index(settings)
    return folder / "index.html"


def write_decision(
    con: duckdb.DuckDBPyConnection,
    settings: Settings,
    source: str,
    table: str,
    verdict: Verdict | None,
    run_id: str | None = None,
) -> Path:
    """Write the page of what a person has just decided about a table.

    Args:
        con: The warehouse.
        settings: The configuration.
        source: Source of the load.
        table: Its table.
        verdict: What became of the load; None when it was discarded.
        run_id: The run that carried the decision out; None on the command line, where the load names the page.
    """
    row = con.execute(
        "select load_id, kind from ops.decisions where source = ? and table_name = ? order by decided_at desc limit 1",
        [source, table],
    ).fetchone()
    load_id, kind = row or ("none", "none")
    loads = [JudgedLoad(find_table(settings, source, table), load_id, verdict)] if verdict is not None else []
    return write_page(con, settings, run_id or f"{load_id}-{kind}", loads)


def _name(table: Table) -> str:
    return f"{table.source}.{table.name}"


def _table(con: duckdb.DuckDBPyConnection, settings: Settings, load: JudgedLoad) -> Record:
    table, verdict = load.table, load.verdict
    kinds = quarantine_kinds(con, settings, table.source, table.name)
    folder = compiled_folder(settings)
    return {
        "load_id": load.load_id,
        "status": _status(con, load),
        "extracted": verdict.extracted,
        "promoted": verdict.promoted,
        "quarantined": verdict.quarantined,
        "deduplicated": verdict.deduplicated,
        "reason": verdict.reason,
        "rules": [
            _rule(rule, load_finding(table.source, table.name, load.load_id, verdict, rule)) for rule in verdict.rules
        ],
        "trend": list(_trend(con, table)),
        "quarantine_open": _count_open(con, table),
        "quarantine": [
            {"reason": kind.reason, "count": kind.count, "sample_keys": list(kind.sample_keys)} for kind in kinds
        ],
        "suites": [
            {"name": each.suite.name, "proof": _proof(last_proven(folder, each.suite))}
            for each in table_suites(settings, table)
        ],
    }


def _status(con: duckdb.DuckDBPyConnection, load: JudgedLoad) -> str:
    """The status as booked, which tells a release from a promotion."""
    row = con.execute(
        "select status from ops.loads where load_id = ? and source = ? and table_name = ?",
        [load.load_id, load.table.source, load.table.name],
    ).fetchone()
    return str(row[0]) if row else load.verdict.status


def _rule(rule: RuleResult, finding: str) -> Record:
    return {
        "rule_id": rule.rule_id,
        "description": rule.description,
        "severity": rule.severity,
        "consequence": consequence(rule),
        "failed": rule.failed,
        "checked": rule.checked,
        "finding": finding,
    }


def _proof(moment: datetime | None) -> str:
    if moment is None:
        return "as shipped: the project's tests hold its counts equal to Great Expectations' own"
    return f"its counts equalled Great Expectations' own on {_moment(moment)} UTC"


def _trend(con: duckdb.DuckDBPyConnection, table: Table) -> Iterator[Record]:
    rows = con.execute(
        "select started_at, status, promoted, quarantined, "
        "case when status in ('held', 'discarded') then extracted - deduplicated else 0 end "
        "from ops.loads where source = ? and table_name = ? order by started_at desc, load_id desc limit ?",
        [table.source, table.name, TREND_LOADS],
    ).fetchall()
    for started_at, status, promoted, quarantined, held_back in reversed(rows):
        yield {
            "started_at": _moment(started_at),
            "status": status,
            "promoted": promoted,
            "quarantined": quarantined,
            "held_back": held_back,
        }


def _count_open(con: duckdb.DuckDBPyConnection, table: Table) -> int:
    row = con.execute(
        "select count(*) from quarantine.rows where released_at is null and source = ? and table_name = ?",
        [table.source, table.name],
    ).fetchone()
    return int(row[0]) if row else 0


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}"


def _shown(run: Record) -> Record:
    """A record with what the templates need beside it: names, sums, heights of bars."""
    tables = [
        {
            **table,
            "name": name,
            "rules": _ranked(table["rules"]),
            "broken": sum(rule["failed"] > 0 for rule in table["rules"]),
            "trend": _bars(table["trend"]),
        }
        for name, table in sorted(run["tables"].items())
    ]
    marts = run["marts"]
    return {
        **run,
        "tables": tables,
        "marts": None if marts is None else _ranked(marts),
        "is_unpublished": any(rule["failed"] and rule["severity"] == "critical" for rule in marts or ()),
        "extracted": sum(table["extracted"] for table in tables),
        "quarantined": sum(table["quarantined"] for table in tables),
        "broken": sum(table["broken"] for table in tables) + sum(rule["failed"] > 0 for rule in marts or ()),
    }


def _ranked(rules: Sequence[Record]) -> list[Record]:
    """Rules with their share of failures, those that matter most first."""
    shares = [rule["failed"] / rule["checked"] if rule["checked"] else 0.0 for rule in rules]
    ranked = [
        {
            **rule,
            "share": share_text(rule["failed"], rule["checked"]),
            "order": (rule["severity"] != "critical", -share, rule["rule_id"]),
        }
        for rule, share in zip(rules, shares, strict=True)
    ]
    return sorted(ranked, key=lambda rule: rule["order"])


def _bars(trend: Sequence[Record]) -> list[Record]:
    parts = ("promoted", "quarantined", "held_back")
    largest = max((sum(load[part] for part in parts) for load in trend), default=0) or 1
    return [
        {**load, **{f"{part}_height": round(BAR_HEIGHT * load[part] / largest, 1) for part in parts}} for load in trend
    ]


def _write_index(settings: Settings) -> None:
    """Keep the latest runs, list them, and point `latest` at the newest."""
    docs = docs_folder(settings)
    runs = [run for folder in docs.iterdir() if not folder.is_symlink() and (run := _read(folder)) is not None]
    runs.sort(key=lambda run: str(run["order"]), reverse=True)
    kept, old = runs[: settings.guard.docs_keep], runs[settings.guard.docs_keep :]
    index = _render("runs.html", company=settings.company, runs=[_shown(run) for run in kept])
    write_whole(docs / "index.html", index)
    switch_link(docs / "latest", docs / kept[0]["run_id"])
    for run in old:
        shutil.rmtree(docs / run["run_id"])


def _read(folder: Path) -> Record | None:
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        # No reason to fail a run: what the page says is in the warehouse.
        logger.warning("%s is damaged, so its run is not listed; delete its folder when nobody needs its page", path)
        return None
    return record


def _render(template: str, **values: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    return environment.get_template(template).render(**values)
