"""What people decide, as jobs: the launchpad asks for what `cem load` and `cem quarantine` ask for, and does the same.

Every decision is booked in `ops.decisions` with who, why and when; the next run builds on it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import Field

from orchestration import guard
from orchestration.defs import hold
from orchestration.guard import pages
from orchestration.publication import current_staleness
from orchestration.settings import Settings
from orchestration.warehouse import writing


class Inspection(dg.Config):
    """What to list."""

    source: str = Field(default="", description="Only the quarantine of this source; empty: of all.")
    table: str = Field(default="", description="Only the quarantine of this table of it; empty: of all.")


class LoadDecision(dg.Config):
    """A decision on a held load."""

    load_id: str = Field(description="The held load, as the failed check and the job inspect_loads name it.")
    source: str = Field(description="Its source.")
    table: str = Field(description="Its table.")
    by: str = Field(min_length=1, description="Your name, for the record.")
    reason: str = Field(min_length=1, description="Why, for the record. Name no customer here.")


class Replay(dg.Config):
    """Which quarantined rows get a second chance."""

    source: str = Field(description="Source of the rows.")
    table: str = Field(description="Table of the rows.")
    keys: list[str] = Field(default=[], description="Only rows with these record keys; empty: of any key.")
    rule: str = Field(default="", description="Only rows that broke this rule, such as order.amount_not_negative.")
    changes: dict[str, str] = Field(
        default={},
        description="Values to put into columns of these rows first, by column as the source sends it. What is typed "
        "here stays in Dagster's records: mend personal columns with `cem quarantine replay --set` instead.",
    )
    by: str = Field(min_length=1, description="Your name, for the record.")
    reason: str = Field(default="", description="Why, for the record; by default which rows were picked.")


def build_operator_jobs(settings: Settings) -> list[dg.JobDefinition]:
    """The jobs by which people look at loads, release and discard held ones, and replay the quarantine."""

    @dg.op(description="Lists the last load of each table, every held one, and what is in quarantine.")
    def list_loads_and_quarantine(context: dg.OpExecutionContext, config: Inspection) -> None:
        with writing(settings) as con:
            loads = guard.describe_loads(con)
            quarantine = guard.describe_quarantine(con, settings, config.source or None, config.table or None)
            standing = current_staleness(con, settings)
        context.log.info(f"{loads}\n\n{quarantine}")
        context.add_output_metadata(
            {
                "loads": dg.MetadataValue.md(_preformatted(loads)),
                "quarantine": dg.MetadataValue.md(_preformatted(quarantine)),
                **(hold.metadata(standing) if standing else {}),
            }
        )

    @dg.op(description="Promotes a held load on a person's word; its bad rows still go to quarantine.")
    def release(context: dg.OpExecutionContext, config: LoadDecision) -> None:
        with writing(settings) as con, _refused():
            verdict = guard.release(
                con, settings, config.load_id, config.source, config.table, by=config.by, reason=config.reason
            )
            hold.tell_readers(con, settings)
            page = pages.write_decision(con, settings, config.source, config.table, verdict, context.run_id)
        _report(context, verdict, page)

    @dg.op(description="Throws a held load away; what the source still says is read again by the next run.")
    def discard(context: dg.OpExecutionContext, config: LoadDecision) -> None:
        with writing(settings) as con, _refused():
            guard.discard(
                con, settings, config.load_id, config.source, config.table, by=config.by, reason=config.reason
            )
            hold.tell_readers(con, settings)
            pages.write_decision(con, settings, config.source, config.table, None, context.run_id)
        context.log.info(f"Discarded load {config.load_id} of {config.source}.{config.table}.")

    @dg.op(description="Audits quarantined rows again, mended where asked, and promotes those that pass now.")
    def replay(context: dg.OpExecutionContext, config: Replay) -> None:
        with writing(settings) as con, _refused():
            verdict = guard.replay(
                con,
                settings,
                config.source,
                config.table,
                keys=config.keys or None,
                rule=config.rule or None,
                by=config.by,
                changes=config.changes or None,
                reason=config.reason or None,
            )
            page = pages.write_decision(con, settings, config.source, config.table, verdict, context.run_id)
        _report(context, verdict, page)

    @dg.job(description="Look first: the loads as they stand, the held ones with their reasons, the quarantine.")
    def inspect_loads() -> None:
        list_loads_and_quarantine()

    @dg.job(description="Release a held load: its good rows are promoted, and the next run goes on.")
    def release_load() -> None:
        release()

    @dg.job(description="Discard a held load: nothing of it is promoted, and the next run reads the source again.")
    def discard_load() -> None:
        discard()

    @dg.job(description="Replay quarantined rows after a rule, a mapping or the rows themselves were mended.")
    def replay_quarantine() -> None:
        replay()

    return [inspect_loads, release_load, discard_load, replay_quarantine]


@contextmanager
def _refused() -> Iterator[None]:
    """What the guard refuses is a failure that says what to do, not a bug with a trace."""
    try:
        yield
    except guard.GuardError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _report(context: dg.OpExecutionContext, verdict: guard.Verdict, page: Path) -> None:
    context.log.info(f"{verdict.promoted:,} rows are promoted, {verdict.quarantined:,} are in quarantine.")
    context.add_output_metadata(
        {
            "promoted": verdict.promoted,
            "quarantined": verdict.quarantined,
            "page": dg.MetadataValue.url(page.as_uri()),
        }
    )


def _preformatted(text: str) -> str:
    """Text as Markdown that keeps its columns and interprets nothing."""
    return "\n".join(f"    {line}" for line in text.splitlines())
