"""From one page of an API to the next: dlt's paginators, told where to begin and when something is wrong.

Belongs here: where the next page is. Does not belong here: sending requests (`api_client.py`), keeping pages
(`api_pages.py`). Imports dlt, so only `api_client.py` imports this module, and only when an API is read.

Each paginator begins at a position, which a former read may have left, and says at which one it is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dlt.sources.helpers.rest_client.paginators import (
    BasePaginator,
    BaseReferencePaginator,
    HeaderLinkPaginator,
    JSONLinkPaginator,
    JSONResponseCursorPaginator,
    RangePaginator,
    SinglePagePaginator,
)
from requests import Request, Response

from orchestration.settings import Paging

Position = str | int | None

Fill = Callable[[Position], tuple[dict[str, Any], dict[str, Any] | None]]
"""Gives `params` and `body` of the request for keys above one."""


class PagingError(ValueError):
    """The API pages in a way that cannot end, or that would lose records."""


class Positioned(BasePaginator):
    """A paginator that can begin at a position; a former read gives it.

    Attributes:
        is_counting: Whether positions are counted by us, so that records that come or go shift them.
    """

    is_counting = False

    @property
    @abstractmethod
    def position(self) -> Position:
        """Where the next page is; of a counting paginator, where this one is."""


def paginator(
    paging: Paging, start: Position, *, in_body: bool, hidden: str | None, fill: Fill, key: str
) -> Positioned:
    """The paginator of a table.

    Args:
        paging: How the API pages.
        start: Position to begin at; None for the first page.
        in_body: Whether parameters go into the body.
        hidden: Query parameter with a secret, which addresses of pages must not keep.
        fill: Makes the request for keys above the last one.
        key: Place of the key in a record.
    """
    if paging.type == "cursor":
        return _Cursor(paging, start, in_body=in_body)
    if paging.type == "next_url":
        return _NextUrl(paging, start, hidden)
    if paging.type == "link_header":
        return _LinkHeader(start, hidden)
    if paging.type in {"page", "offset"}:
        return _Counting(paging, start, in_body=in_body)
    if paging.type == "key":
        return _AboveKey(paging, start, fill, key)
    return _Single()


def dig(document: Any, place: str | None) -> Any:  # noqa: ANN401 (a JSON tree)
    """The value at a dotted place of a JSON tree; None where there is none."""
    for step in place.split(".") if place else ():
        document = document.get(step) if isinstance(document, dict) else None
    return document


def json_path(place: str | None) -> str:
    """A dotted place as JSONPath, whatever letters are in it."""
    return ".".join(f"'{step}'" for step in place.split(".")) if place else "$"


def _goes_on(paging: Paging, document: Any) -> bool | None:  # noqa: ANN401 (a JSON tree)
    """What the page itself says about a next one; None when it need not say anything."""
    for place, wanted in ((paging.stop, False), (paging.more, True)):
        if place is None:
            continue
        said = dig(document, place)
        if said is None:
            raise PagingError(f"the response has no `{place}`, which says whether there is a next page")
        return (str(said).lower() in {"true", "1"}) is wanted
    return None


class _Single(SinglePagePaginator, Positioned):
    """All records in one response."""

    @property
    def position(self) -> Position:
        return None


class _Reference(BaseReferencePaginator, Positioned):
    """The response refers to the next page."""

    _start: Position = None

    @property
    def position(self) -> Position:
        return self._next_reference

    def init_request(self, request: Request) -> None:
        if self._start is not None:
            self._next_reference = str(self._start)
            self.update_request(request)

    def _end(self, paging: Paging, response: Response) -> None:
        goes_on = _goes_on(paging, response.json())
        if goes_on is False:
            self._next_reference = None
        elif goes_on and not self._next_reference:
            raise PagingError(f"the response says that there are more pages, but `{paging.next}` is empty")


class _Cursor(_Reference, JSONResponseCursorPaginator):
    """The response gives a token for the next page."""

    def __init__(self, paging: Paging, start: Position, *, in_body: bool) -> None:
        place = {"cursor_body_path" if in_body else "cursor_param": paging.parameter}
        JSONResponseCursorPaginator.__init__(self, json_path(paging.next), **place)  # type: ignore[arg-type]
        self._paging, self._start = paging, start

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        JSONResponseCursorPaginator.update_state(self, response, data)
        self._end(self._paging, response)


class _NextUrl(_Reference, JSONLinkPaginator):
    """The response gives the address of the next page."""

    def __init__(self, paging: Paging, start: Position, hidden: str | None) -> None:
        JSONLinkPaginator.__init__(self, json_path(paging.next))
        self._paging, self._start, self._hidden = paging, start, hidden

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        JSONLinkPaginator.update_state(self, response, data)
        self._next_reference = without_parameter(self._next_reference or "", self._hidden) or None
        self._end(self._paging, response)


class _LinkHeader(_Reference, HeaderLinkPaginator):
    """The header `Link` gives the address of the next page."""

    def __init__(self, start: Position, hidden: str | None) -> None:
        HeaderLinkPaginator.__init__(self)
        self._start, self._hidden = start, hidden

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        HeaderLinkPaginator.update_state(self, response, data)
        self._next_reference = without_parameter(self._next_reference or "", self._hidden) or None


class _Counting(RangePaginator, Positioned):
    """We count pages or records, up to an empty page or to the one that says that it is the last.

    An offset grows by the records that came, not by those asked for: an API may give fewer a page.
    """

    is_counting = True

    def __init__(self, paging: Paging, start: Position, *, in_body: bool) -> None:
        first = paging.first if start is None else int(start)
        super().__init__(
            None if in_body else paging.parameter,
            initial_value=first,
            value_step=1,
            param_body_path=paging.parameter if in_body else None,
        )
        self._paging, self._here = paging, first

    @property
    def position(self) -> Position:
        return self._here

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        self._here = self.current_value
        if self._paging.type == "offset":
            self.value_step = len(data or ())
        super().update_state(response, data)
        if _goes_on(self._paging, response.json()) is False:
            self._has_next_page = False


class _AboveKey(Positioned):
    """We ask for the keys above the last one, up to an empty page: nothing can shift."""

    def __init__(self, paging: Paging, start: Position, fill: Fill, key: str) -> None:
        super().__init__()
        self._paging, self._fill, self._key = paging, fill, key
        self._last: Position = paging.first if start is None else start

    @property
    def position(self) -> Position:
        return self._last

    def init_request(self, request: Request) -> None:
        self.update_request(request)

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        keys = [dig(record, self._key) for record in data or ()]
        for key in keys:
            if not isinstance(key, str | int) or not _is_above(key, self._last):
                raise PagingError(f"records do not come in the order of `{self._key}`; sort the request by it")
            self._last = key
        self._has_next_page = bool(keys) and _goes_on(self._paging, response.json()) is not False

    def update_request(self, request: Request) -> None:
        request.params, request.json = self._fill(self._last)


def _is_above(key: str | int, last: Position) -> bool:
    if str(key).isdigit() and str(last).isdigit():
        return int(key) > int(last or 0)
    return str(key) > str(last)


def without_parameter(url: str, name: str | None) -> str:
    """An address without one of its query parameters."""
    parts = urlsplit(url)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != name]
    is_there = name is not None and len(kept) < len(parse_qsl(parts.query, keep_blank_values=True))
    return urlunsplit(parts._replace(query=urlencode(kept))) if is_there else url
