"""Whether what cem.yml says about an API fits together: who asks, how pages follow, where increments begin.

Works on located values, before anything is typed, so that every mistake is shown with its line. Does not
ask the API: that is `check.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestration.located_yaml import LocatedDict, Problem

SINCE = "{since}"
"""Stands in `params` and `body` for the moment or number that the last read ended with."""

AFTER = "{after}"
"""Stands in `params` and `body` for the last key read, where pages follow by key."""

SOURCE_FIELDS = ("url", "auth", "headers", "limits")

TABLE_FIELDS = ("params", "body", "records", "paging", "since", "sweep")

AUTH_FIELDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "none": ((), ()),
    "bearer": (("token",), ()),
    "basic": (("user", "password"), ()),
    "api_key": (("key",), ("name", "location")),
    "oauth2": (("token_url", "client_id", "client_secret"), ("refresh_token", "scope")),
}
"""Fields of each kind of `auth`: needed, and allowed besides."""

PAGING_FIELDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "none": ((), ()),
    "cursor": (("next", "parameter"), ("stop", "more")),
    "next_url": (("next",), ("stop", "more")),
    "link_header": ((), ()),
    "page": (("parameter",), ("first", "stop", "more")),
    "offset": (("parameter",), ("first", "stop", "more")),
    "key": ((), ("first", "stop", "more")),
}
"""Fields of each kind of `paging`: needed, and allowed besides `total` and `count`."""


def api_source_problems(source: LocatedDict, field: str) -> Iterator[Problem]:
    """What is wrong with the part of a source that only an API has."""
    if source.get("kind") != "api":
        for name in SOURCE_FIELDS:
            if name in source:
                text = f"is for sources of kind api; this one is of kind {source.get('kind')}"
                yield Problem(source.places[name], f"{field}.{name}", text)
        return
    url = source.get("url")
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        text = "is required for kind api; the address its paths are below, such as https://api.example.com/v2"
        yield Problem(source.places.get("url", source.place), f"{field}.url", text)
    for name in ("engine", "connection"):
        if name in source:
            text = "is for sources of kind sql; this one is of kind api"
            yield Problem(source.places[name], f"{field}.{name}", text)
    yield from _kind_problems(source, "auth", AUTH_FIELDS, (), field)


def api_table_problems(table: LocatedDict, field: str) -> Iterator[Problem]:
    """What is wrong with the part of a table that only an endpoint has."""
    if table.get("path") is None:
        for name in TABLE_FIELDS:
            if name in table:
                text = "is for tables of an API, which have a `path`"
                yield Problem(table.places[name], f"{field}.{name}", text)
        return
    if not table.get("key"):
        text = "is required for a table of an API; name the fields that identify a record"
        yield Problem(table.place, f"{field}.key", text)
    if table.get("format") != "jsonl":
        yield Problem(table.places["format"], f"{field}.format", "is for files; an API answers in JSON")
    yield from _kind_problems(table, "paging", PAGING_FIELDS, ("total", "count"), field)
    yield from _placeholder_problems(table, field)
    yield from _sweep_problems(table, field)


def _kind_problems(
    owner: LocatedDict,
    name: str,
    kinds: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]],
    always: tuple[str, ...],
    field: str,
) -> Iterator[Problem]:
    """Fields that a kind of `auth` or `paging` lacks, or has in vain."""
    given = owner.get(name)
    if not isinstance(given, LocatedDict) or given.get("type", "none") not in kinds:
        return  # the models report a wrong shape or type
    kind = str(given.get("type", "none"))
    needed, optional = kinds[kind]
    for missing in needed:
        if given.get(missing) is None:
            yield Problem(owner.places[name], f"{field}.{name}.{missing}", f"is required for type {kind}")
    allowed = ("type", *needed, *optional, *always)
    every = {one for parts in kinds.values() for part in parts for one in part}
    for other in given.keys() & every - set(allowed):
        text = f"is not for type {kind}; allowed: {', '.join(allowed)}"
        yield Problem(given.places[other], f"{field}.{name}.{other}", text)


def _placeholder_problems(table: LocatedDict, field: str) -> Iterator[Problem]:
    has_since = table.get("since") is not None
    if has_since and not _holds(table, SINCE):
        text = f"goes nowhere; write {SINCE} in `params` or `body` where the API takes it"
        yield Problem(table.places["since"], f"{field}.since", text)
    if not has_since and _holds(table, SINCE):
        text = f"is required, because {SINCE} is used; say how the API takes it, such as {{format: iso}}"
        yield Problem(table.place, f"{field}.since", text)
    if has_since and table.get("cursor") is None:
        text = "is required for `since`; name the field that grows with every change of a record"
        yield Problem(table.places["since"], f"{field}.cursor", text)
    paging = table.get("paging")
    is_by_key = isinstance(paging, LocatedDict) and paging.get("type") == "key"
    if is_by_key and not _holds(table, AFTER):
        text = f"of type key needs {AFTER} in `params` or `body`, where the API takes the last key"
        yield Problem(table.places["paging"], f"{field}.paging", text)
    if not is_by_key and _holds(table, AFTER):
        yield Problem(table.place, f"{field}.paging", f"of type key is required, because {AFTER} is used")


def _sweep_problems(table: LocatedDict, field: str) -> Iterator[Problem]:
    is_sweep, has_request = table.get("deletes") == "sweep", table.get("sweep") is not None
    if is_sweep and table.get("since") is not None and not has_request:
        text = "with `since` needs `sweep`, a request for all keys; without it nothing tells what is gone"
        yield Problem(table.places["deletes"], f"{field}.deletes", text)
    if has_request and not (is_sweep and table.get("since") is not None):
        text = "is for `deletes: sweep` with `since`; any other read sees all keys, or needs none"
        yield Problem(table.places["sweep"], f"{field}.sweep", text)


def _holds(table: LocatedDict, placeholder: str) -> bool:
    return any(placeholder in text for name in ("params", "body") for text in texts(table.get(name)))


def texts(value: Any) -> Iterator[str]:  # noqa: ANN401 (a JSON tree)
    """All texts within a JSON tree, names aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)
