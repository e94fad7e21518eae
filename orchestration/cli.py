"""The command `cem`, for operators. It only calls what Dagster calls.

Exit codes: 0 done; 1 the work failed (a load held, a model broken, another run under way); 2 the
configuration or the command line is wrong.
"""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

import duckdb

from orchestration.settings import Demo, SettingsError, load_settings
from orchestration.space import SpaceError, is_disk_full
from orchestration.warehouse import (
    MemoryLimitError,
    WarehouseBrokenError,
    WarehouseBusyError,
    install_extensions,
    run_lock,
    writing,
)

Command = Callable[[argparse.Namespace], int]

GARBAGE_THRESHOLDS = (100_000, 50, 50)
"""When Python looks for garbage: dbt and Dagster make hundreds of thousands of small objects that live as long as the
command, and looking at them as often as Python does by default takes a twentieth of a run."""

NAME_WIDTH = 33
"""Characters for the name of a figure in a list."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    parser = _parser()
    options = parser.parse_args(arguments)
    _log_progress(sys.stdout)
    try:
        command: Command = options.command
        return command(options)
    except SettingsError as error:
        _say(str(error), sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except OSError as error:
        # Without a file it is no matter of rights and paths.
        if error.filename is None and not is_disk_full(error):
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        _say(f"cem: {where}{error.strerror}", sys.stderr)
        return 1
    except Exception as error:
        # What an operator can act on is said in one line; anything else is a bug and shows its trace.
        if not isinstance(error, _operator_errors()):
            raise
        _say(f"cem: {error}", sys.stderr)
        return 1


def _operator_errors() -> tuple[type[Exception], ...]:
    from orchestration.guard import GuardError
    from orchestration.identity.decisions import DecisionError
    from orchestration.identity.model import ModelError
    from orchestration.identity.resolution import RecordIdError
    from orchestration.identity.training import TrainingError
    from orchestration.publication import PublicationError
    from orchestration.snapshots import SnapshotError
    from orchestration.sources.errors import SourceError
    from orchestration.transform import TransformError

    return (
        DecisionError,
        GuardError,
        MemoryLimitError,
        ModelError,
        PublicationError,
        RecordIdError,
        SnapshotError,
        SourceError,
        SpaceError,
        TrainingError,
        TransformError,
        WarehouseBrokenError,
        WarehouseBusyError,
        duckdb.Error,
    )


def _prepare(options: argparse.Namespace) -> int:
    from orchestration import guard, transform

    settings = load_settings()
    install_extensions(settings.extensions)
    # Great Expectations and dbt take as long as each other.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside:
        suites = beside.submit(guard.prepare, settings)
        transform.prepare(settings)
        suites.result()
    return 0


def _run(options: argparse.Namespace) -> int:
    from orchestration.defs.run import InstanceError, run_daily
    from orchestration.publication import current_publication
    from orchestration.report import failure_line, summary

    settings = load_settings()
    try:
        outcome = run_daily(settings)
    except InstanceError as error:
        _say(f"cem: {error}", sys.stderr)
        return 1
    if not outcome.is_success:
        _say("\nThe run failed.", sys.stderr)
        for failure in outcome.failures:
            _say(f"  {failure}", sys.stderr)
        with writing(settings) as con:
            published = current_publication(con, settings)
        _say(failure_line(published, outcome.run_id), sys.stderr)
        return 1
    _say("\n" + summary(settings))
    return 0


def _check(options: argparse.Namespace) -> int:
    from orchestration.check import check

    settings = load_settings()
    report = check(settings, rows=options.rows, show_personal=options.show_personal)
    _say(report.text())
    return 2 if report.problems else 0


def _demo(options: argparse.Namespace) -> int:
    from orchestration.demo import DemoError, advance, generate, read

    settings = load_settings()
    folder = Path(options.folder or settings.demo_folder).resolve()
    is_source = folder == settings.demo_folder.resolve()
    extensions, memory, threads = settings.extensions, settings.engine.memory_limit, settings.engine.threads
    try:
        # The company that runs read must not change under one of them, and has the size that they ask for.
        with run_lock(settings.home) if is_source else nullcontext():
            size = (None if is_source else read(folder)) or settings.demo or Demo()
            customers = size.customers if options.customers is None else options.customers
            seed = size.seed if options.seed is None else options.seed
            company = generate(
                folder, customers, seed, size.days, extensions=extensions, memory_limit=memory, threads=threads
            )
            if options.days:
                company = advance(folder, options.days, extensions=extensions, memory_limit=memory, threads=threads)
    except DemoError as error:
        _say(f"cem: {error}", sys.stderr)
        return 2
    _say(str(company))
    return 0


def _ui(options: argparse.Namespace) -> int:
    from orchestration.defs.run import dagster_home
    from orchestration.transform import prepare

    settings = load_settings()
    prepare(settings)
    os.environ["DAGSTER_HOME"] = str(dagster_home(settings))
    dagster = Path(sys.executable).with_name("dagster")
    workspace = Path(__file__).resolve().parents[1] / "workspace.yaml"
    arguments = ["dev", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(options.port)]
    os.execv(dagster, [str(dagster), *arguments])  # noqa: S606


_CHANGES_MODELS = frozenset({"build", "run", "run-operation", "retry", "clone"})
"""Commands of dbt that may change marts."""


def _dbt(options: argparse.Namespace) -> int:
    from orchestration import builds
    from orchestration.transform import command, prepare

    settings = load_settings()
    with run_lock(settings.home):
        with writing(settings) as con:  # which makes the bookkeeping tables that models read
            if _CHANGES_MODELS.intersection(options.arguments):
                builds.forget_models(con)
        prepare(settings)
        return 0 if command(settings, options.arguments) else 1


def _query(options: argparse.Namespace) -> int:
    from orchestration.publication import open_published

    with open_published(load_settings().published) as con:
        rows = con.sql(options.sql)
        if rows is not None:  # as of `set …`
            _say_rows(rows, is_csv=options.csv)
    return 0


def _metrics(options: argparse.Namespace) -> int:
    from orchestration.semantic import Question, SemanticError, SemanticLayer

    layer = SemanticLayer(load_settings())
    try:
        if not options.figures:
            _say("\n".join(f"{name:<{NAME_WIDTH}}  {label}" for name, label in layer.figures().items()))
        elif options.dimensions:
            _say("\n".join(layer.dimensions(options.figures)))
        else:
            question = Question(options.figures, options.by, options.where)
            if options.sql:
                _say(layer.sql(question))
            else:
                _say_rows(layer.answer(question), is_csv=options.csv)
    except SemanticError as error:
        _say(f"cem: {error}", sys.stderr)
        return 2
    return 0


def _loads(options: argparse.Namespace) -> int:
    from orchestration import guard
    from orchestration.guard import pages
    from orchestration.publication import mark
    from orchestration.report import staleness_line

    settings = load_settings()
    with writing(settings) as con:
        if options.action == "list":
            _say(guard.describe_loads(con))
        elif options.action == "release":
            verdict = guard.release(
                con, settings, options.load_id, options.source, options.table, options.by, options.reason
            )
            pages.write_decision(con, settings, options.source, options.table, verdict)
            _say("Released. The next run builds on it.")
        else:
            guard.discard(con, settings, options.load_id, options.source, options.table, options.by, options.reason)
            pages.write_decision(con, settings, options.source, options.table, None)
            _say("Discarded. The next run reads the source again.")
        standing = mark(con, settings)
    if standing is not None:
        _say(staleness_line(standing))
    return 0


def _validate(options: argparse.Namespace) -> int:
    from orchestration import guard
    from orchestration.guard.operators import find_table

    settings = load_settings()
    table = find_table(settings, options.source, options.table)
    with writing(settings) as con:
        pairs = guard.validate_with_gx(con, settings, table)
    differing = [pair for pair in pairs if pair.ours != pair.gx]
    for pair in differing:
        _say(f"{pair.rule_id}: we count {pair.ours:,} failures, Great Expectations {pair.gx:,}")
    _say(f"Great Expectations counts what we count for {len(pairs) - len(differing)} of {len(pairs)} rules.")
    return 1 if differing else 0


def _quarantine(options: argparse.Namespace) -> int:
    from orchestration import guard
    from orchestration.guard import pages

    settings = load_settings()
    with writing(settings) as con:
        if options.action == "list":
            text = guard.describe_quarantine(
                con, settings, options.source, options.table, show_personal=options.show_personal
            )
            _say(text)
        else:
            changes = dict(pair.split("=", 1) for pair in options.set)
            verdict = guard.replay(
                con,
                settings,
                options.source,
                options.table,
                keys=options.key,
                rule=options.rule,
                by=options.by,
                changes=changes or None,
                reason=options.reason,
            )
            pages.write_decision(con, settings, options.source, options.table, verdict)
            _say(f"{verdict.promoted:,} rows pass now and are promoted; {verdict.quarantined:,} stay in quarantine.")
    return 0


def _restore(options: argparse.Namespace) -> int:
    from orchestration import snapshots

    settings = load_settings()
    if options.list:
        found = snapshots.snapshots(settings)
        for each in found:
            _say(f"{each.path}  the warehouse of {each.taken_at:%Y-%m-%d %H:%M} UTC, publication {each.version}")
        if not found:
            _say("There is no snapshot that can be read; engine.snapshots says how many good runs keep one.")
        return 0
    snapshot, replaced = snapshots.restore(settings)
    _say(
        f"Restored the warehouse of {snapshot.taken_at:%Y-%m-%d %H:%M} UTC (publication {snapshot.version}) from "
        f"{snapshot.path}.\nWhat is published stays. The next `cem run` reads what the sources brought since; what "
        f"was decided by hand since ({snapshots.DECIDED}) has to be decided again."
    )
    if replaced:
        _say(f"The file it replaced is {replaced}; delete it when nobody needs to look at it.")
    return 0


def _identity(options: argparse.Namespace) -> int:
    from orchestration import builds
    from orchestration.identity import decisions, train_model

    settings = load_settings()
    with writing(settings) as con:
        if options.action == "review":
            pairs = decisions.waiting(con, options.limit)
            for one, other, probability in pairs:
                _say(f"{probability:7.2%}  {one}  {other}")
            if not pairs:
                _say("No pair of records waits for a decision.")
            return 0
        if options.action == "sample":
            links = decisions.sample(con, options.limit)
            for one, other, evidence in links:
                _say(f"{one}  {other}  {evidence}")
            if not links:
                _say("No link waits to be judged: all are, or identity has linked no two records yet.")
            return 0
        if options.action == "judge":
            decisions.judge(con, options.first, options.second, options.by, is_same=options.verdict == "same")
            builds.forget(con)
            _say("Kept; mart_identity_health counts it from the next run on.")
            return 0
        if options.action == "train":
            model = train_model(con, settings.identity_model)
            _say(f"Trained on {model.about['records']:,} records; review {settings.identity_model}.")
        else:
            decide = {"force": decisions.force, "forbid": decisions.forbid, "undo": decisions.undo}[options.action]
            decide(con, options.first, options.second, options.by, options.reason)
        builds.forget(con)
    _say("The next run applies it.")
    return 0


def _explain(options: argparse.Namespace) -> int:
    from orchestration.identity.explain import UnknownRecordError, explain
    from orchestration.identity.explain_page import page
    from orchestration.identity.model import current_model

    settings = load_settings()
    with writing(settings) as con:
        try:
            said = explain(con, options.first, options.second, current_model(settings.identity_model))
            if options.page:
                Path(options.page).write_text(page(said), encoding="utf-8")
            _say(str(said))
        except UnknownRecordError as error:
            _say(f"cem: {error}", sys.stderr)
            return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cem", description="The CRM-to-CEM warehouse, for operators.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    add("prepare", _prepare, "Install the DuckDB extensions and parse the dbt project for this cem.yml.")
    add("run", _run, "Run the daily job once.")
    check = add("check", _check, "Validate cem.yml against the sources and preview the first mapped rows.")
    check.add_argument("--rows", type=int, default=3, help="rows to preview of each table")
    check.add_argument("--show-personal", action="store_true", help="do not mask personal columns")
    demo = add("demo", _demo, "Write a demo company, or advance it by days.")
    demo.add_argument("--customers", type=int, help="100 to 10,000,000; default: as cem.yml says, or as they are there")
    demo.add_argument("--seed", type=int, help="default: as for --customers")
    demo.add_argument("--days", type=int, default=0, help="advance the company by so many days")
    demo.add_argument("--folder", help="where to write it; default: the state folder's demo/")
    ui = add("ui", _ui, "Open the Dagster UI with the daemon, on 127.0.0.1.")
    ui.add_argument("--port", type=int, default=3000)
    dbt = add("dbt", _dbt, "Run any dbt command on this project, e.g. cem dbt build -s mart_kpi.")
    dbt.add_argument("arguments", nargs=argparse.REMAINDER)
    query = add("query", _query, "Run a query on the published marts.")
    query.add_argument("sql")
    query.add_argument("--csv", action="store_true", help="write the rows as CSV")
    metrics = add("metrics", _metrics, "Ask the semantic layer of the warehouse; without figures, list them.")
    metrics.add_argument("figures", nargs="*", help="names, such as csat fcr_7d")
    metrics.add_argument("--by", action="append", default=[], help="dimension, such as metric_time__month")
    metrics.add_argument("--where", action="append", default=[], help="condition, in MetricFlow's words")
    metrics.add_argument("--dimensions", action="store_true", help="only list what these figures can be cut by")
    metrics.add_argument("--sql", action="store_true", help="only show the query")
    metrics.add_argument("--csv", action="store_true", help="write the rows as CSV")
    _add_guard_commands(add)
    restore = add("restore", _restore, "Put the last good snapshot in the place of a damaged warehouse.")
    restore.add_argument("--list", action="store_true", help="only list the snapshots that can be read")
    _add_identity_commands(add)
    explain = add("explain", _explain, "Say why two records are, or are not, one customer.")
    explain.add_argument("first", help="source:record id")
    explain.add_argument("second", help="source:record id")
    explain.add_argument("--page", metavar="FILE", help="also write it as a page, with the weights as a waterfall")
    return parser


def _add_identity_commands(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    identity = add("identity", _identity, "Train the model of identity, list doubtful pairs, decide on them.")
    actions = identity.add_subparsers(dest="action", required=True)
    actions.add_parser("train", help="learn the model anew from the records of the last run")
    review = actions.add_parser("review", help="pairs of records that may be one human, most probable first")
    review.add_argument("--limit", type=int, default=20)
    sample = actions.add_parser("sample", help="links to judge, in random order: how many of all are right?")
    sample.add_argument("--limit", type=int, default=20)
    judge = actions.add_parser("judge", help="say whether a link of the sample is right; changes no link")
    judge.add_argument("first", help="source:record id")
    judge.add_argument("second", help="source:record id")
    judge.add_argument("verdict", choices=("same", "different"))
    judge.add_argument("--by", required=True, help="your name, for the record")
    for action, text in (
        ("force", "two records are one human, whatever the rules say"),
        ("forbid", "two records are two humans; undoes a merge"),
        ("undo", "take back what was decided about two records"),
    ):
        sub = actions.add_parser(action, help=text)
        sub.add_argument("first", help="source:record id")
        sub.add_argument("second", help="source:record id")
        sub.add_argument("--by", required=True, help="your name, for the record")
        sub.add_argument("--reason", required=True, help="why, for the record")


def _add_guard_commands(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    validate = add("validate", _validate, "Let Great Expectations itself count what a table's loads are judged by.")
    validate.add_argument("source")
    validate.add_argument("table")
    load = add("load", _loads, "List loads; release or discard a held one.")
    actions = load.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="the last load of each table, and every held one")
    for action in ("release", "discard"):
        sub = actions.add_parser(action, help=f"{action} a held load")
        sub.add_argument("load_id")
        sub.add_argument("source")
        sub.add_argument("table")
        sub.add_argument("--by", required=True, help="your name, for the record")
        sub.add_argument("--reason", required=True, help="why, for the record")
    quarantine = add("quarantine", _quarantine, "List quarantined rows, or replay those that pass now.")
    actions = quarantine.add_subparsers(dest="action", required=True)
    for action in ("list", "replay"):
        sub = actions.add_parser(action)
        sub.add_argument("source", nargs="?" if action == "list" else None)
        sub.add_argument("table", nargs="?" if action == "list" else None)
        if action == "replay":
            sub.add_argument("--key", action="append", help="only these record keys")
            sub.add_argument("--rule", help="only rows that broke this rule")
            sub.add_argument(
                "--set",
                action="append",
                default=[],
                type=_change,
                metavar="COLUMN=VALUE",
                help="mend a column of these rows first, as the source would have sent it",
            )
            sub.add_argument("--by", required=True, help="your name, for the record")
            sub.add_argument("--reason", help="why, for the record; default: which rows were picked")
        else:
            sub.add_argument("--show-personal", action="store_true", help="show keys that may be personal")


def _change(text: str) -> str:
    if "=" not in text:
        raise argparse.ArgumentTypeError(f"'{text}' is not COLUMN=VALUE")
    return text


def _log_progress(stream: TextIO) -> None:
    """Show the progress lines, and only them, as they come."""
    logger = logging.getLogger("cem.progress")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]


def _say_rows(rows: duckdb.DuckDBPyRelation, *, is_csv: bool) -> None:
    from orchestration.answers import write_csv, write_table

    write = write_csv if is_csv else write_table
    write(rows, sys.stdout)


def _say(text: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
