"""Asking an API for pages: who asks, how often, how long, and what is wrong with an answer.

Belongs here: HTTP. Does not belong here: what to ask for and what becomes of the pages (`api.py`).

dlt does the requests, the authentication and the paging. Ours is what decides when to give up: dlt waits as
long as `Retry-After` says, or comes back before, and takes an error page for an empty one. Of dlt's loading
nothing is used: its `merge` doubles rows that come twice in a load, its `append` doubles them when a process
dies between data and state, a value of a changed type moves to another column, and the detour through its
own files costs several times the CPU of letting the engine read the pages.

Importing dlt takes longer than a small run, so this module is imported when an API is read, not before.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")  # before dlt looks

from dlt.common.configuration.specs import RuntimeConfiguration
from dlt.sources.helpers.requests import Client
from dlt.sources.helpers.requests.session import Session
from dlt.sources.helpers.rest_client.auth import (
    APIKeyAuth,
    AuthConfigBase,
    BearerTokenAuth,
    HttpBasicAuth,
    OAuth2ClientCredentials,
)
from dlt.sources.helpers.rest_client.client import RESTClient
from pydantic import SecretStr
from requests import PreparedRequest, RequestException, Response
from requests.structures import CaseInsensitiveDict

from orchestration.settings import Auth, Limits, Paging, Source
from orchestration.sources.api_paging import Fill, PagingError, Position, Positioned, dig, json_path, paginator
from orchestration.sources.errors import SourceError

CHUNK = 1 << 16

TRIED_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Answers that mean "not now"."""

MAX_REPEATS = 2
"""A page may come once more by a fault of the source; the third time in a row the paging goes in circles."""

LONGEST_MESSAGE = 200
"""Characters of what an API says about a request it refuses."""

MESSAGE_FIELDS = ("message", "error_description", "errorMessages", "error", "errors", "title", "detail", "description")


class RefusedError(SourceError):
    """The API refuses a request, so that asking again does not help.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        """Keep the status."""
        super().__init__(message, field="path")
        self.status = status


@dataclass(frozen=True)
class Asked:
    """What is asked for.

    Attributes:
        name: The table as errors call it.
        path: Endpoint.
        params: Query parameters.
        body: JSON to send; None for a GET.
        records: Place of the records in a page; None when the page is the list.
        paging: How pages follow.
        key: Places of the key in a record.
        fill: Makes the request for keys above one.
        secrets: Texts that must not be written anywhere.
    """

    name: str
    path: str
    params: dict[str, Any]
    body: dict[str, Any] | None
    records: str | None
    paging: Paging
    key: tuple[str, ...]
    fill: Fill
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        body: As it came, without secrets.
        records: Its records.
        total: Number of all records, where the source says so.
        position: Where the next page is; of a counting paginator, where this one is.
        is_counted: Whether positions are counted by us.
        is_last: Whether there is no next page.
        answered: When the source answered, by its own clock if it tells; UTC.
    """

    body: bytes
    records: list[dict[str, Any]]
    total: int | None
    position: Position
    is_counted: bool
    is_last: bool
    answered: datetime | None


def pages(source: Source, asked: Asked, start: Position, number: int) -> Iterator[Page]:
    """The pages of a table, one after the other.

    Args:
        source: The API.
        asked: What to ask for.
        start: Where to begin; None at the first page.
        number: Pages read before, for errors.

    Raises:
        SourceError: The API does not answer, refuses, or does not answer as declared.
    """
    session = _PageSession(source, asked, number)
    hidden = source.auth.name if source.auth.type == "api_key" and source.auth.location == "query" else None
    turner = paginator(
        asked.paging, start, in_body=asked.body is not None, hidden=hidden, fill=asked.fill, key=asked.key[0]
    )
    client = RESTClient(source.url or "", auth=session.login, session=session, config=RuntimeConfiguration())
    answers = client.paginate(
        asked.path,
        "GET" if asked.body is None else "POST",
        params=dict(asked.params),
        json=json.loads(json.dumps(asked.body)),
        paginator=turner,
        data_selector=json_path(asked.records),
        hooks={"response": []},
    )
    seen = {start}
    while True:
        try:
            answer = next(answers, None)
        except PagingError as error:
            raise SourceError(f"{asked.name}: {asked.path}, page {session.number}: {error}", field="paging") from None
        if answer is None:
            return
        is_last = not turner.has_next_page
        if not is_last and not turner.is_counting:
            _refuse_circle(asked, turner, seen, session.number)
        if answer.request.url and not is_last:
            _refuse_elsewhere(source, asked, str(answer.request.url))
        yield session.page(turner, is_last=is_last)
        session.number += 1


def _refuse_circle(asked: Asked, turner: Positioned, seen: set[Position], number: int) -> None:
    if turner.position in seen:
        raise SourceError(
            f"{asked.name}: {asked.path}, page {number}: the source refers to a page that was read before, so "
            "the read would never end; see `paging` in cem.yml (`stop` or `more` may say when to end)",
            field="paging",
        )
    seen.add(turner.position)


def _refuse_elsewhere(source: Source, asked: Asked, url: str) -> None:
    """An address of a next page must not carry the secrets to somebody else."""
    ours, theirs = urlsplit(source.url or ""), urlsplit(url)
    if theirs.scheme and (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
        raise SourceError(
            f"{asked.name}: {asked.path}: the next page is at {theirs.scheme}://{theirs.hostname}, not at the `url` of "
            "the source; correct `url` in cem.yml if that is where the API is"
        )


# Sessions


class _PageSession(Session):
    """Sends a request until it is answered by a whole page, within the limits."""

    def __init__(self, source: Source, asked: Asked, number: int) -> None:
        super().__init__(timeout=source.limits.timeout_seconds, raise_for_status=False)
        self.headers = CaseInsensitiveDict(
            {name: value.get_secret_value() for name, value in source.headers.items()}
            | {"Accept": "application/json", "User-Agent": "crm-to-cem"}
        )
        self.login = _login(source)
        self.number = number + 1
        self._source, self._asked, self._limits = source, asked, source.limits
        self._until = time.monotonic() + source.limits.minutes * 60
        self._next_at = 0.0
        self._body = b""
        self._document: Any = None
        self._answered: datetime | None = None
        self._last_keys: list[Any] = []
        self._repeats = 0

    # Called by dlt for every page.
    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:  # noqa: ANN401
        is_renewed = False
        reason, is_answered = "", True
        for attempt in range(1, self._limits.attempts + 1):
            wait = self._limits.first_wait_seconds * 2 ** (attempt - 1)
            self._keep_pace()
            try:
                response: Response = super().send(  # type: ignore[no-untyped-call]
                    request, **kwargs | {"stream": True, "allow_redirects": False}
                )
                self._body = self._content(response)
            except (RequestException, TimeoutError) as error:
                reason, is_answered = _plain(error), False
            else:
                is_answered = True
                if response.status_code == 401 and self._source.auth.type == "oauth2" and not is_renewed:
                    is_renewed = True
                    self._renew(request)
                    continue
                if response.ok and not response.is_redirect:
                    reason = self._fault(response)
                    if not reason:
                        return response
                else:
                    reason = self._unavailable(response)
                    wait = self._asked_wait(response) or wait
            if attempt < self._limits.attempts:
                self._wait(min(wait, self._limits.longest_wait_seconds))
        raise SourceError(
            f"{self._place()}: {reason}, {self._limits.attempts} times in a row; "
            + ("" if is_answered else "check `url` in cem.yml and the network; ")
            + "nothing was loaded, and the next run goes on from here",
            is_transient=True,
        )

    def page(self, turner: Positioned, *, is_last: bool) -> Page:
        """The page that was answered last."""
        records = dig(self._document, self._asked.records) or []
        self._note_repeat(records)
        body = self._body.removeprefix(b"\xef\xbb\xbf")
        for secret in self._asked.secrets:
            body = body.replace(secret.encode(), b"***")
        total: Any = dig(self._document, self._asked.paging.total) if self._asked.paging.total else None
        return Page(
            body,
            records,
            int(total) if str(total).isdigit() else None,
            turner.position,
            turner.is_counting,
            is_last,
            self._answered,
        )

    def _place(self) -> str:
        return f"{self._asked.name}: {self._asked.path}, page {self.number}"

    # Before and between requests

    def _keep_pace(self) -> None:
        if self._limits.per_minute:
            self._wait(self._next_at - time.monotonic())
            self._next_at = time.monotonic() + 60 / self._limits.per_minute
        if time.monotonic() > self._until:
            raise self._out_of_time()

    def _wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        if time.monotonic() + seconds > self._until:
            raise self._out_of_time()
        time.sleep(seconds)

    def _out_of_time(self) -> SourceError:
        return SourceError(
            f"{self._place()}: not read completely within limits.minutes ({self._limits.minutes:g}); "
            "what was read is kept, and the next run goes on from here"
        )

    def _renew(self, request: PreparedRequest) -> None:
        """Another access token for a request whose token has expired."""
        if isinstance(self.login, OAuth2ClientCredentials):
            self.login.access_token = None
            self.login(request)

    # Answers

    def _content(self, response: Response) -> bytes:
        """The whole body; a server that sends it drop by drop is not waited for longer than for a silent one."""
        until = time.monotonic() + self._limits.timeout_seconds
        chunks = []
        with response:
            for chunk in response.iter_content(CHUNK):
                chunks.append(chunk)
                if time.monotonic() > until:
                    raise TimeoutError
        return b"".join(chunks)

    def _fault(self, response: Response) -> str:
        """What is wrong with the body of an answer that says it is right; nothing when it is a page."""
        try:
            text = self._body.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return f"not UTF-8 at byte {error.start}"
        if text.lstrip()[:1] == "<":
            return "a web page instead of JSON, at byte 0; it may be a login or error page"
        try:
            document = json.loads(text, parse_constant=_no_number)
        except json.JSONDecodeError as error:
            position = len(text[: error.pos].encode())
            whole = len(self._body)
            return f"not valid JSON at byte {position:,} of {whole:,}" + ("; it is cut off" * (position >= whole - 1))
        except ValueError:
            return "not valid JSON: NaN, Infinity or an endless number"
        self._check_shape(document)
        expected = dig(document, self._asked.paging.count) if self._asked.paging.count else None
        came = len(dig(document, self._asked.records) or ())
        if isinstance(expected, int) and came != expected:
            return f"{came:,} records where `{self._asked.paging.count}` says {expected:,}"
        self._document, self._answered = document, _date(response.headers.get("Date"))
        # The paginators of dlt ask for it again.
        response.json = lambda **_: document  # type: ignore[method-assign]
        return ""

    def _check_shape(self, document: Any) -> None:  # noqa: ANN401 (a JSON tree)
        *outer, last = self._asked.records.split(".") if self._asked.records else [""]
        parent = dig(document, ".".join(outer)) if outer else document
        if self._asked.records and not (isinstance(parent, dict) and last in parent):
            has = ", ".join(document) if isinstance(document, dict) else "a list"
            raise SourceError(
                f"{self._place()}: the response has no `{self._asked.records}`; correct `records` in cem.yml; "
                f"it has: {has}",
                field="records",
            )
        records = parent[last] if self._asked.records else document
        if records is None and self._asked.records:
            return
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            what = f"`{self._asked.records}`" if self._asked.records else "the response"
            text = f"{self._place()}: {what} is no list of records; correct `records` in cem.yml"
            raise SourceError(text, field="records")

    def _unavailable(self, response: Response) -> str:
        """Why there is no page now.

        Raises:
            SourceError: There will be none later either.
        """
        status = response.status_code
        is_throttled = status == 403 and "Retry-After" in response.headers
        if status in TRIED_AGAIN or is_throttled:
            return f"the source answers {status}"
        if response.is_redirect:
            target = urlsplit(response.headers["Location"])
            where = f"{target.hostname or ''}{target.path}"
            raise RefusedError(f"{self._place()}: the source refers to {where}; correct `url` or `auth`", status)
        hint = {
            401: "the token or password is wrong or has expired; check `auth`",
            403: "the account of `auth` may not read this",
            404: "there is no such path; check `url` and `path`",
        }.get(status, "check `params`, `body` and `since`")
        said = self._message()
        raise RefusedError(
            f"{self._place()}: the source answers {status}: {hint}" + (f"; it says: {said}" if said else ""), status
        )

    def _message(self) -> str:
        """What the API says about a request that it refuses, which holds no records."""
        try:
            document = json.loads(self._body)
        except ValueError:
            return ""
        found = next(
            (document[name] for name in MESSAGE_FIELDS if isinstance(document, dict) and document.get(name)), ""
        )
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
        for secret in self._asked.secrets:
            text = text.replace(secret, "***")
        words = ["***" if "@" in word else word for word in text.split()]
        return " ".join(words)[:LONGEST_MESSAGE]

    def _asked_wait(self, response: Response) -> float | None:
        """Seconds that the source asks to wait.

        Raises:
            SourceError: Longer than we do.
        """
        header = response.headers.get("Retry-After", "").strip()
        date = _date(header)
        seconds = float(header) if header.isdigit() else (date - _now()).total_seconds() if date else None
        if seconds is not None and seconds > self._limits.longest_wait_seconds:
            raise SourceError(
                f"{self._place()}: the source asks to wait {seconds:,.0f} s, longer than "
                f"limits.longest_wait_seconds ({self._limits.longest_wait_seconds:g}); nothing was loaded, "
                "what was read is kept, and a run after that time goes on from here"
            )
        return seconds

    def _note_repeat(self, records: list[dict[str, Any]]) -> None:
        """Stop a source that gives the same page for ever, as one does that ignores the parameter."""
        keys = [[dig(record, place) for place in self._asked.key] for record in records]
        self._repeats = self._repeats + 1 if keys and keys == self._last_keys else 0
        self._last_keys = keys
        if self._repeats >= MAX_REPEATS:
            raise SourceError(
                f"{self._place()}: the same records came {self._repeats + 1} times in a row; does "
                "`paging.parameter` name what the API pages by?",
                field="paging",
            )


def _login(source: Source) -> AuthConfigBase | None:
    auth = source.auth
    if auth.type == "bearer":
        return BearerTokenAuth(token=_open(auth.token))
    if auth.type == "basic":
        return HttpBasicAuth(username=_open(auth.user), password=_open(auth.password))
    if auth.type == "api_key":
        return APIKeyAuth(name=auth.name, api_key=_open(auth.key), location=auth.location)
    return _TokenLogin(auth, source) if auth.type == "oauth2" else None


class _TokenLogin(OAuth2ClientCredentials):
    """An access token for client credentials or for a refresh token, fetched anew when it expires."""

    def __init__(self, auth: Auth, source: Source) -> None:
        more = {"scope": auth.scope} if auth.scope else {}
        if auth.refresh_token:
            more |= {"grant_type": "refresh_token", "refresh_token": _open(auth.refresh_token)}
        limits: Limits = source.limits
        super().__init__(
            access_token_url=auth.token_url,  # type: ignore[arg-type]
            client_id=_open(auth.client_id),
            client_secret=_open(auth.client_secret),
            access_token_request_data=more,
            session=Client(
                request_timeout=limits.timeout_seconds,
                raise_for_status=False,
                request_max_attempts=limits.attempts,
                request_backoff_factor=limits.first_wait_seconds,
                request_max_retry_delay=limits.longest_wait_seconds,
            ).session,
        )
        self._source_name = source.name

    def obtain_token(self) -> None:
        try:
            super().obtain_token()
        except (RequestException, ValueError) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            answer = f"answers {status}" if status else _plain(error)
            where = urlsplit(self.access_token_url)
            raise SourceError(
                f"{self._source_name}: no access token from {where.hostname}{where.path}, which {answer}; check "
                "`auth` in cem.yml",
                is_transient=status is None or status in TRIED_AGAIN,
            ) from None


def _open(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _plain(error: Exception) -> str:
    """A network error in words; its own text would show the address with its parameters."""
    name = type(error).__name__
    words = {
        "ConnectionError": "cannot be reached, or closed the connection",
        "SSLError": "its certificate is not trusted",
        "ProxyError": "the proxy cannot be reached",
        "ChunkedEncodingError": "the answer is cut off",
        "ContentDecodingError": "the answer is cut off or wrongly compressed",
    }
    return words.get(name, "does not answer in time" if "Timeout" in name else f"cannot be read ({name})")


def _no_number(text: str) -> None:
    raise ValueError(text)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _date(text: str | None) -> datetime | None:
    """A date of HTTP, in UTC without a zone."""
    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
