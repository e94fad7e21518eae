"""The settings: the only reader of cem.yml and of the environment.

Belongs here: every setting with its type, default and reason, and the errors a wrong one gives. Does not
belong here: what the settings cause. Nothing is read at import time.

A `kind: demo` source stands for the sources of the generated company: it is replaced here by
`demo/profile.yml`, so that the rest of the code only ever meets files, databases and APIs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Union, get_args, get_origin
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from orchestration.located_yaml import LocatedDict, LocatedList, Place, Problem, SecretText, read
from orchestration.sources.api_conformity import api_source_problems, api_table_problems
from orchestration.sources.conformity import allowed_names, mapping_problems

REPOSITORY = Path(__file__).parents[1]
DEMO_PROFILE = Path(__file__).with_name("demo") / "profile.yml"

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
"""Names of sources and tables become names of schemas, tables and models."""

FORMATS: Mapping[str, str] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".xlsx": "excel",
}
"""Format by the ending of a file name."""

DECIMAL_MARKS: Mapping[str, str] = {".": ".", ",": ",", "point": ".", "comma": ",", "dot": "."}


class SettingsError(ValueError):
    """The configuration is wrong. The text has one line per problem: `<file>:<line>: <field>: <problem>`.

    Attributes:
        problems: All problems, in the order of the lines.
    """

    def __init__(self, problems: list[Problem]) -> None:
        """Sort the problems by line and make the text of them."""
        self.problems = tuple(sorted(set(problems), key=lambda each: (each.place.file, each.place.line)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def _time_zone(name: str) -> str:
    if name not in available_timezones():
        hint = f"{_closest_zone(name)}allowed: IANA names such as Europe/Berlin"
        raise ValueError(f"unknown time zone '{name}'; {hint}")
    return name


def _closest_zone(name: str) -> str:
    city = name.rsplit("/", maxsplit=1)[-1].replace(" ", "_").lower()
    same = sorted(zone for zone in available_timezones() if zone.rsplit("/", maxsplit=1)[-1].lower() == city)
    return f"did you mean {same[0]}? " if same else ""


def _currency(code: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", code):
        raise ValueError("allowed: three capital letters of ISO 4217, such as EUR")
    return code


def _cron(text: str) -> str:
    from croniter import CroniterError, croniter  # only a written cron needs it

    hint = "allowed: five fields, minute (0-59) hour (0-23) day (1-31) month (1-12) weekday (0-7), such as '0 3 * * *'"
    if not _CRON.fullmatch(text):
        raise ValueError(hint)
    days_of_all_weeks = " ".join([*text.split()[:4], "*"])  # with a weekday, a day that never comes would not show
    try:
        croniter(text)
        croniter(days_of_all_weeks).get_next()
    except CroniterError:
        raise ValueError(f"there is no such time; {hint}") from None
    return text


_CRON = re.compile(r"([-\d*,/]+ ){2}[-\dL*,/]+( [-\dA-Za-z*,/]+){2}")
"""The signs of a cron: numbers, names of months and weekdays, L for the last day of a month."""


def _as_of(value: object) -> str | date:
    if isinstance(value, date) or value in ("latest", "now"):
        return value  # type: ignore[return-value]
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        allowed = "allowed: latest, now, or a date such as 2025-12-31"
        raise ValueError(f"'{value}' is not allowed; {allowed}") from None


def _decimal_mark(value: object) -> object:
    if str(value) not in DECIMAL_MARKS:
        raise ValueError(f"'{value}' is not allowed; allowed: '.' (or point), ',' (or comma)")
    return DECIMAL_MARKS[str(value)]


def _several(value: object) -> object:
    """One text where a list of texts is meant."""
    return (value,) if isinstance(value, str) else () if value is None else value


def _delimiter(text: str) -> str:
    if len(text) > 1 and text != "whitespace":
        allowed = 'allowed: one character (a tab is written "\\t", in double quotes), or whitespace'
        raise ValueError(f"'{text}' is not allowed; {allowed}")
    return text


TimeZone = Annotated[str, AfterValidator(_time_zone)]
Currency = Annotated[str, AfterValidator(_currency)]
DecimalMark = Annotated[Literal[".", ","], BeforeValidator(_decimal_mark)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_several)]
Share = Annotated[float, Field(ge=0, le=1)]
DateOrder = Literal["dmy", "mdy", "ymd"]
Calendar = Literal["gregorian", "jalali"]


class Part(BaseModel):
    """A part of the settings: frozen, without unknown names, silent about the values it refuses."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Reporting(Part):
    """How reports count time and money.

    Attributes:
        as_of: The moment reports look from: `latest` is the newest fact, `now` the clock, or a fixed date.
    """

    time_zone: TimeZone = "UTC"
    currency: Currency = "USD"
    as_of: Annotated[str | date, BeforeValidator(_as_of)] = "latest"
    week_start: Literal["monday", "saturday", "sunday"] = "monday"


class Kpis(Part):
    """Parameters of the KPIs.

    Attributes:
        suppressed_below: A value from fewer observations is not shown: single customers could be guessed.
        low_below: A value from fewer observations is marked as of low reliability.
        nps_window_days: Only the last answer of a customer within so many days counts.
        inactive_after_days: Without a contract, silence for so long is churn, at the least.
        inactive_gap_factor: … or for so many times the customer's own usual gap, whichever is longer.
        complaint_types: Ticket types that are complaints.
        complaint_tags: Ticket tags that make a complaint.
        complaint_texts: Texts that are complaints too when of negative sentiment: `comment` on a survey, `mention`.
        sla: Targets for replies and resolutions; none by default.
        fcr_headline_days: Window of the first contact resolution that the summary of a run shows.
        survey_fatigue_days: Invitations of so many days tell how often a customer was asked before.
        journey_gap_days: After so long a silence of the customer, the next touchpoint begins another journey.
        self_service_days: Help read without a ticket within so many days after it helped.
        feedback_contact_hours: A case of the feedback loop asks for a first contact within so many hours.
        feedback_close_days: … and is to be closed within so many days.
    """

    suppressed_below: int = Field(default=10, ge=1)
    low_below: int = Field(default=30, ge=1)
    nps_window_days: int = Field(default=90, ge=1)
    inactive_after_days: int = Field(default=180, ge=1)
    inactive_gap_factor: float = Field(default=3.0, gt=0)
    complaint_types: Texts = ("complaint",)
    complaint_tags: Texts = ("complaint",)
    complaint_texts: Annotated[tuple[Literal["comment", "mention"], ...], BeforeValidator(_several)] = ()
    sla: tuple[SlaTarget, ...] = ()
    fcr_headline_days: Literal[7, 14, 30] = 7
    survey_fatigue_days: int = Field(default=90, ge=1)
    journey_gap_days: int = Field(default=30, ge=1)
    self_service_days: int = Field(default=7, ge=1)
    feedback_contact_hours: int = Field(default=48, ge=1)
    feedback_close_days: int = Field(default=14, ge=1)


class SlaTarget(Part):
    """A promise to customers, judged for every ticket it applies to.

    Attributes:
        target: `first_reply`, from the start of the wait; `resolution`, from the creation of the ticket.
        minutes: Within so many minutes.
        clock: `business` counts the minutes of the ticket's schedule, `calendar` all.
        priority: Only tickets of this priority; a target without one is for the priorities that have none of their own.
    """

    target: Literal["first_reply", "resolution"]
    minutes: float = Field(gt=0)
    clock: Literal["business", "calendar"] = "business"
    priority: Literal["low", "normal", "high", "urgent"] | None = None


class Guard(Part):
    """When a load is held instead of promoted.

    Attributes:
        max_bad_share: A larger share of bad rows holds the load.
        max_bad_rows_floor: … but so few bad rows never do: small tables reach any share at once.
        docs_keep: Runs whose page of the data docs is kept.
        volume: `learnt`: a load far out of the range its table usually has is held; `off`: any number of rows is fine.
        volume_min_loads: … once so many loads (days, if there are several a day) have shown what is usual.
        columns: `learnt`: a load whose columns suddenly look different (more often empty, on another scale, naming
            records that are not here) is held; `off`: they may look as they like.
    """

    max_bad_share: Share = 0.05
    max_bad_rows_floor: int = Field(default=20, ge=0)
    docs_keep: int = Field(default=30, ge=1)
    volume: Literal["learnt", "off"] = "learnt"
    volume_min_loads: int = Field(default=14, ge=7)
    columns: Literal["learnt", "off"] = "learnt"


Strategy = Literal["most_recent", "most_frequent", "source_priority", "most_complete", "longest", "verified_first"]
"""Which of several values of an attribute survives: that of the record that changed last, that of most records, that of
the most trusted source, that of the record that knows most about its person, the longest one, or that of a record whose
source has verified its person."""


class Survivorship(Part):
    """Which of the values that a customer's records know survives, by attribute.

    What a strategy leaves open goes to the record that changed last.
    """

    name: Strategy = "most_recent"
    email: Strategy = "most_recent"
    phone: Strategy = "most_recent"
    gender: Strategy = "most_recent"
    birth_date: Strategy = "most_recent"
    city: Strategy = "most_recent"
    region: Strategy = "most_recent"
    country: Strategy = "most_recent"
    segment: Strategy = "most_recent"
    language: Strategy = "most_recent"
    account_key: Strategy = "most_recent"


class Identity(Part):
    """Limits of linking records to customers, and which of their values survive.

    Attributes:
        hub_max_records: A mail or phone shared by more records is a hub (a shop's phone) and links nobody.
        hub_max_names: … and so is one shared by more distinct names; a family has fewer.
        link_probability: Pairs of records at least so probably one human are linked. Of the pairs near it one in so
            many is wrong; of all, far fewer.
        review_probability: Pairs at least so probable, but not linked, wait for a person's look. Not above the other.
        max_customer_records: A group of more records is taken apart along its weakest ties; nobody has as many.
        survivorship: Which of several values of a customer survives.
        trusted_sources: Sources for the strategy `source_priority`, most trusted first; others come after them.
        default_country: Country of phone numbers written without one.
        role_mailboxes: Local parts of mail addresses that belong to a role, not to a human.
    """

    hub_max_records: int = Field(default=30, ge=2)
    hub_max_names: int = Field(default=6, ge=2)
    link_probability: float = Field(default=0.99, gt=0.5, lt=1)
    review_probability: float = Field(default=0.5, gt=0, lt=1)
    max_customer_records: int = Field(default=200, ge=2)
    survivorship: Survivorship = Survivorship()
    trusted_sources: Texts = ()
    default_country: str = Field(default="US", pattern=r"^[A-Z]{2}$")
    role_mailboxes: Texts = (
        "abuse",
        "accounting",
        "accounts",
        "admin",
        "billing",
        "contact",
        "customerservice",
        "enquiries",
        "finance",
        "hello",
        "help",
        "helpdesk",
        "hr",
        "info",
        "inquiries",
        "invoice",
        "it",
        "jobs",
        "mail",
        "marketing",
        "no-reply",
        "noreply",
        "office",
        "orders",
        "postmaster",
        "purchasing",
        "reception",
        "root",
        "sales",
        "service",
        "shop",
        "support",
        "team",
        "webmaster",
    )

    @field_validator("review_probability")
    @classmethod
    def _review_below_links(cls, review: float, info: ValidationInfo) -> float:
        """What is doubtful is looked for first: a pair below the review would not be linked, however probable."""
        link = info.data.get("link_probability")
        if link is not None and review > link:
            raise ValueError(
                f"{review} is above identity.link_probability ({link}), and pairs between the two would be forgotten; "
                f"allowed: up to {link}"
            )
        return review


class Clv(Part):
    """How customer lifetime value is computed."""

    observation_end: date | None = None
    horizon_months: int = Field(default=12, ge=1, le=120)
    annual_discount_rate: float = Field(default=0.10, ge=0, lt=1)


class Schedule(Part):
    """When the daily run starts."""

    cron: Annotated[str, AfterValidator(_cron)] = "0 3 * * *"
    time_zone: TimeZone = "UTC"
    enabled: bool = True


class Mail(Part):
    """A mail server that takes notifications; with user and password, and on port 465, it is spoken to over TLS."""

    host: str
    port: int = Field(default=587, ge=1, le=65535)
    user: str | None = None
    password: SecretStr | None = Field(default=None, validate_default=True)
    sender: str
    to: Annotated[Texts, Field(min_length=1)]

    @field_validator("password")
    @classmethod
    def _with_user(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        """Half a login would be no login, and the server's refusal known when a failure is to be told."""
        if (password is None) != (info.data.get("user") is None):
            raise ValueError("user and password belong together; allowed: both, or neither where nobody has to log in")
        return password


class Notify(Part):
    """Who hears of a failed run. A webhook address lets anybody post, so it is a secret."""

    webhook: SecretStr | None = None
    mail: Mail | None = None


class Publish(Part):
    """What readers get.

    Attributes:
        personal_data: `masked` hides personal data from the published marts.
        hash_key: Key of the published hashes; without it one is made and kept in the state folder.
        keep_versions: Versions of the Parquet copy that stay for readers still in them.
        parquet: Whether there is a Parquet copy.
    """

    personal_data: Literal["masked", "kept"] = "masked"
    hash_key: Annotated[SecretStr, Field(min_length=16)] | None = None
    keep_versions: int = Field(default=2, ge=1)
    parquet: bool = True


class Engine(Part):
    """What DuckDB may use, and what is kept for bad days.

    Attributes:
        disk_reserve: Room kept on the disk so that a run can end cleanly when the disk is full; `0MB` for none.
        snapshots: Copies of the warehouse after the last good runs to keep for `cem restore`; 0 for none.
    """

    memory_limit: str = Field(default="4GB", pattern=r"^\d+(\.\d+)? ?([KMGT]i?B|%)$")
    threads: int = Field(default=2, ge=1)
    disk_reserve: str = Field(default="256MB", pattern=r"^\d+(\.\d+)? ?([KMGT]i?)?B$")
    snapshots: int = Field(default=1, ge=0)


class ColumnMapping(Part):
    """Where the values of one contract column come from, and how they are written there.

    Attributes:
        column: Column of the source; `a.b` reaches into nested JSON.
        value: A constant.
        expression: DuckDB SQL over the columns as sent.
        map: Text as sent to the value wanted.
        default: Value for texts that `map` does not know; without it they stay as they are.
        format: How times are written (strptime), several are tried in turn; also `epoch_seconds`,
            `epoch_milliseconds`, `excel`.
        time_zone: Zone of times written without one.
        date_order: Order of day, month and year in dates that are not ISO.
        calendar: Calendar of dates without a `format`.
        decimal: Decimal mark of numbers.
        source: For a reference, the source whose records it names; by default its own.
        missing: Texts that mean "no value", besides those of the table.
    """

    column: str | None = None
    value: str | None = None
    expression: str | None = None
    map: dict[str, str | None] | None = None
    default: str | None = None
    format: Texts = ()
    time_zone: TimeZone | None = None
    date_order: DateOrder | None = None
    calendar: Calendar | None = None
    decimal: DecimalMark | None = None
    source: str | None = None
    missing: Texts = ()

    @property
    def has_default(self) -> bool:
        """Whether texts outside `map` get `default` (which may be NULL)."""
        return "default" in self.model_fields_set


class EntityMapping(Part):
    """How rows of a source table become rows of a contract entity.

    Attributes:
        entity: Name of the contract entity.
        where: DuckDB SQL over the columns as sent: which rows.
        one_per_key: Several rows make one record of the entity; the last one counts.
        order_by: Column that decides which row is last; by default the cursor of the table.
        columns: Contract column to its origin.
    """

    entity: str
    where: str | None = None
    one_per_key: bool = False
    order_by: str | None = None
    columns: dict[str, ColumnMapping]


class Auth(Part):
    """Who asks an API, as it wants to be told.

    Attributes:
        type: How.
        token: Of `bearer`.
        user: Of `basic`.
        password: Of `basic`.
        name: Of `api_key`: name of the header or of the query parameter.
        key: Of `api_key`.
        location: Of `api_key`: where it goes.
        token_url: Of `oauth2`: where client credentials, or a refresh token, are changed for an access token.
        client_id: Of `oauth2`.
        client_secret: Of `oauth2`.
        refresh_token: Of `oauth2`, where the API does not take client credentials alone.
        scope: Of `oauth2`, where the API asks for one.
    """

    type: Literal["none", "bearer", "basic", "api_key", "oauth2"] = "none"
    token: SecretStr | None = None
    user: SecretStr | None = None
    password: SecretStr | None = None
    name: str = "Authorization"
    key: SecretStr | None = None
    location: Literal["header", "query"] = "header"
    token_url: str | None = None
    client_id: SecretStr | None = None
    client_secret: SecretStr | None = None
    refresh_token: SecretStr | None = None
    scope: str | None = None


class Limits(Part):
    """How hard an API is asked, and how long it is waited for.

    Attributes:
        per_minute: Requests a minute at most; without it as many as it answers.
        attempts: How often a request is tried before the read stops, to go on in the next run.
        first_wait_seconds: Wait before the second attempt; it doubles from one attempt to the next.
        longest_wait_seconds: Longest wait; an API that asks for a longer one is left for the next run.
        timeout_seconds: A request must be answered completely within.
        minutes: A table must be read within; what was read by then is kept for the next run.
    """

    per_minute: float | None = Field(default=None, gt=0)
    attempts: int = Field(default=6, ge=1)
    first_wait_seconds: float = Field(default=1.0, ge=0)
    longest_wait_seconds: float = Field(default=300.0, ge=0)
    timeout_seconds: float = Field(default=120.0, gt=0)
    minutes: float = Field(default=240.0, gt=0)


class Paging(Part):
    """How an API hands out the pages of a table. Places in a response are dotted: `meta.next`.

    Attributes:
        type: `cursor`: the response gives a token for the next page; `next_url`: its whole address;
            `link_header`: its address in the header `Link`; `page`, `offset`: we count; `key`: we ask for
            keys above the last one, written `{after}` in `params` or `body`.
        next: Place of the token or address of the next page.
        parameter: Query parameter, or place in `body`, that takes the token, page number or offset.
        first: First page number, first offset, or the key that is below all others.
        stop: Place that is true on the last page; then nothing else ends the read.
        more: Place that is true on all pages but the last.
        total: Place of the number of all records; when fewer came, the load is held.
        count: Place of the number of records of the page; a page with fewer is asked for again.
    """

    type: Literal["none", "cursor", "next_url", "link_header", "page", "offset", "key"] = "none"
    next: str | None = None
    parameter: str | None = None
    first: int = 0
    stop: str | None = None
    more: str | None = None
    total: str | None = None
    count: str | None = None


class Since(Part):
    """How an API is told where the last read ended; it goes where `{since}` is written in `params` or `body`.

    Attributes:
        format: `iso`, `unix`, `unix_ms`, `number` (a cursor that is no time), or a form for strftime.
        time_zone: Zone the API takes times in, where the form does not say.
        start: Where the first read begins: a date, a time, or a number.
    """

    format: str = "iso"
    time_zone: TimeZone = "UTC"
    start: str | int = 0


class SweepRequest(Part):
    """The request that lists the keys of all records, where `deletes: sweep` goes with increments.

    Attributes:
        path: By default that of the table, as all others.
    """

    path: str | None = None
    params: dict[str, Any] | None = None
    body: dict[str, Any] | None = None
    records: str | None = None


class Table(Part):
    """One table, sheet, set of files or endpoint of a source.

    Attributes:
        source: Name of its source.
        name: Its name in the warehouse.
        files: Files, globs or `archive.zip/member` patterns, relative to the folder of the source.
        table: Table of the database, `schema.table` where needed; the name by default.
        rows: Rows written in the configuration itself.
        path: Endpoint of the API, below the `url` of the source.
        params: Query parameters; `{since}` and `{after}` in them are replaced.
        body: JSON to send; the request is a POST then. `{since}` and `{after}` in it are replaced.
        records: Place of the list of records in a response, dotted; by default the response is the list.
        paging: How the pages follow each other.
        since: How the API is told where the last read ended; without it every read is a full one.
        sweep: Request for all keys, for `deletes: sweep` with `since`.
        format: Format of the files, guessed from their names by default.
        delimiter: Field separator of CSV; `whitespace` for columns aligned by blanks; guessed by default.
        quote: Quotation mark of CSV.
        header: Whether the first line of CSV or the first row of a sheet holds the names.
        names: Names of the columns when there is no header.
        widths: Widths of fixed-width columns, in characters.
        sheet: Sheet of an Excel file, the first by default.
        encoding: Character encoding of text files.
        time_zone: Zone of times written without one; without it such times hold the load.
        date_order: Order of day, month and year in dates that are not ISO; without it only ISO is read.
        calendar: Calendar of dates; `jalali` is the Solar Hijri one, year first unless `date_order` says otherwise.
        decimal: Decimal mark of numbers; without it `1,234` is ambiguous and not read.
        missing: Texts that mean "no value".
        key: Columns that identify a record; empty: every row of a file is its own record.
        cursor: Column that grows with every change of a record.
        overlap_minutes: How far behind the cursor an increment starts again, for changes committed late.
        deletes: `sweep`: a record that is gone from the source is deleted (a full read); `keep`: it stays.
        deleted: DuckDB SQL over the columns as sent: rows that say their record was deleted.
        optional: Whether the table may be empty or its files absent.
        guard: When a load is held.
        entities: What the rows become.
    """

    source: str
    name: str = Field(pattern=NAME_PATTERN)
    files: Texts = ()
    table: str | None = None
    rows: tuple[dict[str, str | None], ...] | None = None
    path: str | None = None
    params: dict[str, Any] = {}
    body: dict[str, Any] | None = None
    records: str | None = None
    paging: Paging = Paging()
    since: Since | None = None
    sweep: SweepRequest | None = None
    format: Literal["csv", "jsonl", "parquet", "excel"] | None = None
    delimiter: Annotated[str, AfterValidator(_delimiter)] | None = None
    quote: str = Field(default='"', max_length=1)
    header: bool = True
    names: Texts = ()
    widths: tuple[int, ...] = ()
    sheet: str | None = None
    encoding: str = "utf-8"
    time_zone: TimeZone | None = None
    date_order: DateOrder | None = None
    calendar: Calendar = "gregorian"
    decimal: DecimalMark = "."
    missing: Texts = ()
    key: Texts = ()
    cursor: str | None = None
    overlap_minutes: int = Field(default=10, ge=0)
    deletes: Literal["keep", "sweep"] = "keep"
    deleted: str | None = None
    optional: bool = False
    guard: Guard = Guard()
    entities: tuple[EntityMapping, ...] = ()

    @property
    def is_database(self) -> bool:
        """Whether the rows come from a database table."""
        return not self.files and self.rows is None and self.path is None

    @property
    def is_incremental(self) -> bool:
        """Whether a read begins where the last one ended, and may therefore find nothing."""
        return self.since is not None or (self.is_database and self.cursor is not None)

    @property
    def has_nested_values(self) -> bool:
        """Whether a dot in a mapped column reaches into a nested value, instead of being part of a name."""
        return self.is_database or self.format in {"jsonl", "parquet"}


class Source(Part):
    """One system that data comes from.

    Attributes:
        kind: Files in a folder, a SQL database, or an HTTP API that answers in JSON.
        engine: Kind of database.
        connection: Path of a SQLite file, or a connection string; secret.
        folder: Where the files are.
        url: Address of the API; the paths of the tables are below it.
        auth: Who asks.
        headers: Headers of every request; secret.
        limits: How hard the API is asked.
    """

    name: str = Field(pattern=NAME_PATTERN)
    kind: Literal["files", "sql", "api"]
    engine: Literal["sqlite", "postgres", "mysql"] | None = None
    connection: SecretStr | None = None
    folder: Path
    url: str | None = None
    auth: Auth = Auth()
    headers: dict[str, SecretStr] = {}
    limits: Limits = Limits()
    encoding: str = "utf-8"
    time_zone: TimeZone | None = None
    date_order: DateOrder | None = None
    calendar: Calendar = "gregorian"
    decimal: DecimalMark = "."
    missing: Texts = ()
    tables: tuple[Table, ...]


class Demo(Part):
    """Size of the generated company.

    Attributes:
        customers: Number of humans.
        seed: The same seed gives the same company.
        days: By how many days the company is advanced after its first 24 months.
    """

    customers: int = Field(default=2000, ge=100, le=10_000_000)
    seed: int = 7
    days: int = Field(default=0, ge=0)


class Settings(Part):
    """All settings of one installation."""

    config_path: Path
    home: Path
    company: str = "Our company"
    reporting: Reporting = Reporting()
    kpis: Kpis = Kpis()
    guard: Guard = Guard()
    identity: Identity = Identity()
    clv: Clv = Clv()
    schedule: Schedule = Schedule()
    notify: Notify = Notify()
    publish: Publish = Publish()
    engine: Engine = Engine()
    demo: Demo | None = None
    sources: tuple[Source, ...]

    @property
    def warehouse(self) -> Path:
        """The DuckDB file that runs write."""
        return self.home / "warehouse.duckdb"

    @property
    def snapshots(self) -> Path:
        """Folder of the copies of the warehouse."""
        return self.home / "snapshots"

    @property
    def published(self) -> Path:
        """Folder of what readers open."""
        return self.home / "published"

    @property
    def extensions(self) -> Path:
        """Folder of DuckDB's extensions."""
        return self.home / "extensions"

    @property
    def demo_folder(self) -> Path:
        """Folder of the generated company."""
        return self.home / "demo"

    @property
    def pages(self) -> Path:
        """Folder of the pages that APIs answered with."""
        return self.home / "pages"

    @property
    def identity_model(self) -> Path:
        """The trained model of identity, a file to review."""
        return self.home / "identity" / "model.json"

    @property
    def dbt_models(self) -> Path:
        """Folder of the generated models."""
        return self.home / "dbt" / "models"

    @property
    def dbt_macros(self) -> Path:
        """Folder of the generated macros."""
        return self.home / "dbt" / "macros"

    def source(self, name: str) -> Source:
        """The source of that name.

        Raises:
            KeyError: There is none.
        """
        for source in self.sources:
            if source.name == name:
                return source
        raise KeyError(f"no source {name}; sources: {', '.join(source.name for source in self.sources)}")

    def tables(self) -> tuple[Table, ...]:
        """All tables of all sources."""
        return tuple(table for source in self.sources for table in source.tables)


def load_settings(config: Path | None = None, home: Path | None = None) -> Settings:
    """Read and check the configuration.

    Args:
        config: The file; by default what CEM_CONFIG says, else `cem.yml` in the working folder.
        home: Where state lives; by default what CEM_HOME says, else `var/` beside the package.

    Raises:
        SettingsError: Anything is wrong; its text names every problem with file and line.
    """
    config_path = Path(config or os.environ.get("CEM_CONFIG") or "cem.yml")
    home_path = Path(home or os.environ.get("CEM_HOME") or REPOSITORY / "var").resolve()
    problems: list[Problem] = []
    document = read(config_path, os.environ, problems)
    if problems and not document:
        raise SettingsError(problems)
    _expand_demo(document, home_path, problems)
    _normalise(document, config_path)
    problems += _source_problems(document)
    for name in ("config_path", "home"):
        if name in document:
            problems.append(Problem(document.places[name], name, _unknown(name, Settings)))
    document["config_path"], document["home"] = config_path.resolve(), home_path
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        problems += [_problem(document, details) for details in error.errors(include_url=False)]
        _refuse(problems)
    if problems:
        _refuse(problems)
    return settings


def place_of(settings: Settings, table: Table, field: str) -> tuple[Place, str]:
    """Where a setting of a table is written, and its dotted name.

    Args:
        settings: The settings.
        table: The table.
        field: Dotted path below the table, such as `entities.person.columns.email`.
    """
    document = read(settings.config_path, os.environ, [])
    _expand_demo(document, settings.home, [])
    _normalise(document, settings.config_path)
    steps: list[str | int] = ["sources"]
    node: Any = document.get("sources")
    for name in (table.source, "tables", table.name, *field.split(".")):
        step: str | int = name
        if isinstance(node, LocatedList):
            step = next((at for at, item in enumerate(node) if _item_name(item) == name), len(node))
            node = node[step] if step < len(node) else None
        else:
            node = node.get(name) if isinstance(node, LocatedDict) else None
        steps.append(step)
    place, _ = _locate(document, tuple(steps))
    return place, f"sources.{table.source}.tables.{table.name}.{field}".rstrip(".")


def _refuse(problems: list[Problem]) -> NoReturn:
    # Without the cause: pydantic's own error would show the values it refused, secrets among them.
    raise SettingsError(problems) from None


# Shorthand is written out before anything is typed, on values that know their lines.


def _expand_demo(document: LocatedDict, home: Path, problems: list[Problem]) -> None:
    """Replace a source of kind demo by the sources of the generated company, and keep its size as `demo`."""
    sources = document.get("sources")
    if "demo" in document:
        text = _unknown("demo", Settings) + "; the generated company is a source of kind demo"
        problems.append(Problem(document.places["demo"], "demo", text))
        del document["demo"]
    if not isinstance(sources, LocatedList):
        return
    expanded = LocatedList(sources.place)
    for source, place in zip(sources, sources.places, strict=True):
        if not (isinstance(source, LocatedDict) and source.get("kind") == "demo"):
            expanded.put(source, place)
            continue
        if "demo" in document:
            problems.append(Problem(place, "sources", "more than one source of kind demo; allowed: one"))
            continue
        options = LocatedDict(source.place)
        for key in source.keys() - {"name", "kind"}:
            options.put(key, source[key], source.places[key])
        document.put("demo", options, place)
        profile = read(DEMO_PROFILE, {**os.environ, "DEMO_FOLDER": str(home / "demo")}, problems)
        profiled = profile.get("sources")
        for item, item_place in zip(profiled or (), profiled.places if profiled else (), strict=True):
            expanded.put(item, item_place)
    document.put("sources", expanded, document.places["sources"])


INHERITED = ("encoding", "time_zone", "date_order", "calendar", "decimal")
"""What a table takes over from its source unless it says otherwise."""


def _normalise(document: LocatedDict, config_path: Path) -> None:
    for source in _dicts(document.get("sources")):
        folder = source.get("folder") or "."
        if isinstance(folder, str):
            source["folder"] = config_path.resolve().parent / Path(folder).expanduser()
        for table in _dicts(source.get("tables")):
            _normalise_table(document, source, table)


def _normalise_table(document: LocatedDict, source: LocatedDict, table: LocatedDict) -> None:
    if isinstance(source.get("name"), str):
        table["source"] = source["name"]
    for name in INHERITED:
        if name in source and name not in table:
            table[name] = source[name]
    if "missing" in source:
        table["missing"] = _listed(source["missing"]) + _listed(table.get("missing"))
    _merge_guard(document, table)
    if "path" in table:
        table.setdefault("format", "jsonl")
    elif "format" not in table and "files" in table:
        table["format"] = _guessed_format(_listed(table["files"]))
    if "entity" in table:
        _write_out_entity(table)
    for mapping in _dicts(table.get("entities")):
        columns = mapping.get("columns")
        if isinstance(columns, LocatedDict):
            _write_out_columns(columns)


def _write_out_columns(columns: LocatedDict) -> None:
    """`email: mail` is `email: {column: mail}`."""
    for name, given in columns.items():
        if isinstance(given, str | int | float):
            place = columns.places[name]
            columns[name] = LocatedDict(place)
            columns[name].put("column", str(given), place)


def _listed(value: object) -> list[Any]:
    several = _several(value)
    return list(several) if isinstance(several, tuple | list) else [several]


def _merge_guard(document: LocatedDict, table: LocatedDict) -> None:
    """The guard of the table over the guard of the whole configuration."""
    guards = [part for part in (document.get("guard"), table.get("guard")) if isinstance(part, LocatedDict)]
    if guards:
        merged = LocatedDict(guards[-1].place)
        for part in guards:
            for key, value in part.items():
                merged.put(key, value, part.places[key])
        table["guard"] = merged


def _write_out_entity(table: LocatedDict) -> None:
    """`entity` with `columns` directly on the table is the only member of `entities`."""
    mapping = LocatedDict(table.places.get("entity", table.place))
    for key in EntityMapping.model_fields:
        if key in table:
            mapping.put(key, table.pop(key), table.places[key])
    entities = table.get("entities")
    if not isinstance(entities, LocatedList):
        entities = LocatedList(table.place)
        table.put("entities", entities, table.places["entity"])
    entities.put(mapping, mapping.place)


def _guessed_format(files: list[Any]) -> str | None:
    for name in files:
        suffixes = [suffix for suffix in Path(str(name)).suffixes if suffix not in {".gz", ".zip"}]
        if suffixes and suffixes[-1].lower() in FORMATS:
            return FORMATS[suffixes[-1].lower()]
        if str(name).endswith(".zip"):
            return "csv"
    return None


# What the types alone cannot say.


def _source_problems(document: LocatedDict) -> Iterator[Problem]:
    sources = list(_dicts(document.get("sources")))
    names = {str(source["name"]) for source in sources if "name" in source}
    if document.get("sources") == []:
        yield Problem(document.places["sources"], "sources", "must have at least one source")
    yield from _duplicates(sources, "sources")
    yield from _trust_problems(document.get("identity"), names)
    for source in sources:
        field = f"sources.{source.get('name', '?')}"
        tables = list(_dicts(source.get("tables")))
        if source.get("tables") == []:
            yield Problem(source.places["tables"], f"{field}.tables", "must have at least one table")
        yield from _duplicates(tables, f"{field}.tables")
        yield from _kind_problems(source, field)
        for table in tables:
            path = f"{field}.tables.{table.get('name', '?')}"
            yield from _table_problems(source, table, path)
            for mapping in _dicts(table.get("entities")):
                yield from mapping_problems(mapping, f"{path}.entities.{mapping.get('entity', '?')}", names)


def _trust_problems(identity: object, sources: Collection[str]) -> Iterator[Problem]:
    """Trusted sources that there are not."""
    if not isinstance(identity, LocatedDict) or "trusted_sources" not in identity:
        return
    trusted = identity["trusted_sources"]
    places = trusted.places if isinstance(trusted, LocatedList) else [identity.places["trusted_sources"]]
    for name, place in zip(_listed(trusted), places, strict=False):
        if name not in sources:
            text = f"unknown source {_shown(name)}; {allowed_names(str(name), sorted(sources))}"
            yield Problem(place, "identity.trusted_sources", text)


def _duplicates(items: list[LocatedDict], field: str) -> Iterator[Problem]:
    first: dict[object, Place] = {}
    for item in items:
        name = item.get("name")
        if name in first:
            place = item.places["name"]
            yield Problem(place, f"{field}.{name}.name", f"given twice, first in line {first[name].line}")
        elif name is not None:
            first[name] = item.places.get("name", item.place)


def _kind_problems(source: LocatedDict, field: str) -> Iterator[Problem]:
    if source.get("kind") == "sql":
        for name, hint in (
            ("engine", "allowed: sqlite, postgres, mysql"),
            ("connection", "a path (sqlite) or a connection string, with secrets as ${VARIABLE}"),
        ):
            if source.get(name) is None:
                yield Problem(source.place, f"{field}.{name}", f"is required for kind sql; {hint}")
    elif source.get("kind") == "files":
        for name in ("engine", "connection"):
            if name in source:
                text = "is for sources of kind sql; this one is of kind files"
                yield Problem(source.places[name], f"{field}.{name}", text)
    yield from api_source_problems(source, field)


def _table_problems(source: LocatedDict, table: LocatedDict, field: str) -> Iterator[Problem]:
    origins = [name for name in ("files", "table", "path", "rows") if table.get(name) is not None]
    allowed = (_ORIGINS.get(str(source.get("kind")), "table"), "rows")
    for name in origins:
        if name not in allowed:
            text = f"is not for a source of kind {source.get('kind')}; allowed: {', '.join(allowed)}"
            yield Problem(table.places.get(name, table.place), f"{field}.{name}", text)
    if source.get("kind") in {"files", "api"} and not origins:
        yield Problem(table.place, field, f"says nothing to read; allowed: {', '.join(allowed)}")
    if len(origins) > 1:
        yield Problem(table.place, field, f"says {' and '.join(origins)}; allowed: one of them")
    if "files" in origins and table.get("format") is None:
        text = "not clear from the file names; allowed: csv, jsonl, parquet, excel"
        yield Problem(table.place, f"{field}.format", text)
    if source.get("kind") == "sql" and "rows" not in origins and not table.get("key"):
        text = "is required for a database table; name the columns of its primary key"
        yield Problem(table.place, f"{field}.key", text)
    yield from api_table_problems(table, field)


_ORIGINS: Mapping[str, str] = {"files": "files", "sql": "table", "api": "path"}
"""What says where the rows of a table are, by kind of source; `rows` always may."""


# From pydantic's errors to file, line, field and the allowed values.


def _problem(document: LocatedDict, details: Any) -> Problem:  # noqa: ANN401 (pydantic's own error shape)
    place, field = _locate(document, details["loc"])
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        name = str(details["loc"][-1])
        return Problem(place, field, _unknown(name, _model_at(details["loc"][:-1])))
    if kind == "missing":
        return Problem(place, field, "is required")
    if kind == "literal_error":
        allowed = context["expected"].replace("'", "").replace(" or ", ", ")
        return Problem(place, field, f"{_shown(details['input'])} is not allowed; allowed: {allowed}")
    if kind == "value_error":
        return Problem(place, field, str(context["error"]))
    if kind == "string_pattern_mismatch" and context["pattern"] == NAME_PATTERN:
        allowed = "allowed: a-z, 0-9 and _, a letter first"
        return Problem(place, field, f"{_shown(details['input'])} is no name; {allowed}")
    text = _PLAIN_WORDS.get(kind, details["msg"].replace("Input should be", "must be"))
    return Problem(place, field, text)


_PLAIN_WORDS: Mapping[str, str] = {
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping of settings",
    "string_type": "must be a text",
    "too_short": "must have at least one item",
}


def _shown(value: object) -> str:
    """A refused value for an error text; what came from the environment stays as it was written."""
    return f"'{value.raw if isinstance(value, SecretText) else value}'"


def _locate(document: LocatedDict, location: tuple[Any, ...]) -> tuple[Place, str]:
    """The nearest known place of a location, and its dotted name; items of lists go by their names."""
    node: Any = document
    place, field = document.place, ""
    for step in location:
        name = str(step)
        if isinstance(node, LocatedDict):
            place = node.places.get(step, node.place)
            node = node.get(step)
        elif isinstance(node, LocatedList) and isinstance(step, int) and step < len(node):
            place, node = node.places[step], node[step]
            name = _item_name(node) or name
        field = f"{field}.{name}" if field else name
    return place, field


def _item_name(node: object) -> str | None:
    name = (node.get("name") or node.get("entity")) if isinstance(node, LocatedDict) else None
    return str(name) if name else None


def _model_at(location: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model that the settings have at a location."""
    kind: Any = Settings
    for step in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = _bare(kind.model_fields[step].annotation) if step in kind.model_fields else None
        elif get_origin(kind) is tuple:
            kind = _bare(get_args(kind)[0])
        elif get_origin(kind) is dict:
            kind = _bare(get_args(kind)[1])
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _bare(annotation: Any) -> Any:  # noqa: ANN401 (annotations are of any type)
    """An annotation without `Annotated` and `| None`."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return _bare(inner[0]) if len(inner) == 1 else annotation
    return annotation


_SET_BY_CODE: Mapping[type[BaseModel], frozenset[str]] = {
    Settings: frozenset({"config_path", "home", "demo"}),
    Table: frozenset({"source"}),
}


def _unknown(name: str, model: type[BaseModel] | None) -> str:
    if model is None:
        return "unknown setting"
    fields = [field for field in model.model_fields if field not in _SET_BY_CODE.get(model, frozenset())]
    return f"unknown setting '{name}'; {allowed_names(name, fields)}"


def _dicts(items: object) -> Iterator[LocatedDict]:
    for item in items if isinstance(items, LocatedList) else ():
        if isinstance(item, LocatedDict):
            yield item
