"""HTTP APIs through extraction and the guard, against a real server on loopback with all its moods."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import indent
from typing import Any

import duckdb
import pytest
from api_server import Call, Reply, Server, serving

from orchestration.check import check
from orchestration.guard import guard_table
from orchestration.guard.results import Verdict
from orchestration.settings import Settings
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import Extracted, extract_table

SECRET = "canary-7f3a9c21"

LIMITS = "{first_wait_seconds: 0.01, longest_wait_seconds: 2, attempts: 4, timeout_seconds: 5}"

COLUMNS = "{ticket_id: id, subject: subject, status: status, created_at: created, person_id: requester.id}"

SIZE = 4
"""Records a page."""


def ticket(number: int, changed: int | None = None, **more: Any) -> dict[str, Any]:
    """A ticket that was changed so many minutes after the first of January."""
    moment = datetime(2024, 1, 1) + timedelta(minutes=number if changed is None else changed)
    return {
        "id": number,
        "subject": f"Subject {number}",
        "status": "open",
        "created": "2024-01-01T00:00:00Z",
        "changed": moment.isoformat() + "Z",
        "requester": {"id": number % 3},
        **more,
    }


class Desk:
    """A help desk behind HTTP, and the warehouse that it is loaded into."""

    def __init__(self, server: Server, con: duckdb.DuckDBPyConnection, write_config: Callable[[str], Settings]) -> None:
        self.server, self.con = server, con
        self.tickets = [ticket(number) for number in range(1, 11)]
        self._write, self._loads = write_config, 0
        self.configure()

    def configure(
        self, table: str = "", auth: str = "{type: none}", limits: str = LIMITS, columns: str = COLUMNS
    ) -> None:
        table = table or "path: /tickets\nrecords: tickets"
        key = "" if "\nkey:" in table else "key: id\n"
        cursor = "" if "cursor:" in table else "cursor: changed\n"
        lines = f"name: tickets\n{key}{cursor}entity: ticket\ncolumns: {columns}\n{table}"
        self.settings = self._write(
            f"""
sources:
  - name: desk
    kind: api
    url: {self.server.url}/api
    auth: {auth}
    limits: {limits}
    tables:
      -
{indent(lines, "        ")}
"""
        )

    def extract(self) -> Extracted:
        self._loads += 1
        return extract_table(self.con, self.settings, self.settings.tables()[0], f"load{self._loads}")

    def judge(self) -> tuple[Extracted, Verdict]:
        extracted = self.extract()
        verdict = guard_table(self.con, self.settings, self.settings.tables()[0], extracted)
        if verdict.status != "held":
            assert verdict.extracted == verdict.promoted + verdict.quarantined + verdict.deduplicated
        return extracted, verdict

    def load(self) -> Extracted:
        extracted, verdict = self.judge()
        assert verdict.status != "held", verdict.reason
        return extracted

    def live(self, columns: str = "id::int") -> list[Any]:
        rows = self.con.execute(
            f"select {columns} from raw_desk.tickets where _deleted_at is null order by id::int"
        ).fetchall()
        return [row[0] if len(row) == 1 else row for row in rows]

    def cursor(self) -> str | None:
        rows = self.con.execute("select value from ops.source_state where kind = 'cursor'").fetchall()
        return rows[0][0] if rows else None

    def pages_on_disk(self) -> list[dict[str, Any]]:
        path = max((self.settings.pages / "desk" / "tickets").glob("*.jsonl"))
        return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def desk(warehouse: duckdb.DuckDBPyConnection, write_config: Callable[[str], Settings]) -> Iterator[Desk]:
    with serving(lambda _: {}) as server:
        desk = Desk(server, warehouse, write_config)
        server.answer = lambda call: {"tickets": desk.tickets}
        yield desk


# Paging: one server function and one configuration for each kind, all giving the same ten tickets.


def by_cursor(desk: Desk, call: Call) -> Any:
    start = int(call.query.get("cursor", "c0")[1:])
    end = start + SIZE
    return {"tickets": desk.tickets[start:end], "meta": {"next": f"c{end}"}, "end": end >= len(desk.tickets)}


def by_cursor_in_body(desk: Desk, call: Call) -> Any:
    assert call.method == "POST" and call.body["fields"] == ["id"]
    return by_cursor(desk, Call("GET", call.path, call.body.get("page", {}), {}, None))


def by_next_url(desk: Desk, call: Call) -> Any:
    start = int(call.query.get("from", 0))
    more = start + SIZE < len(desk.tickets)
    url = f"{desk.server.url}/api/tickets?from={start + SIZE}" if more else ""
    return {"tickets": desk.tickets[start : start + SIZE], "@next": url}


def by_link_header(desk: Desk, call: Call) -> Any:
    start = int(call.query.get("from", 0))
    more = start + SIZE < len(desk.tickets)
    links = {"Link": f'</api/tickets?from={start + SIZE}>; rel="next"'} if more else {}
    return Reply(desk.tickets[start : start + SIZE], headers=links)


def by_page(desk: Desk, call: Call) -> Any:
    start = (int(call.query["page"]) - 1) * SIZE
    return {"tickets": desk.tickets[start : start + SIZE], "total": len(desk.tickets)}


def by_offset(desk: Desk, call: Call) -> Any:
    assert call.query["limit"] == "100"  # more than it gives: what came counts, not what was asked for
    start = int(call.query["offset"])
    return {"data": {"rows": desk.tickets[start : start + SIZE]}}


def by_key(desk: Desk, call: Call) -> Any:
    after = call.body["domain"][0][2]
    assert isinstance(after, int)
    return sorted((one for one in desk.tickets if one["id"] > after), key=lambda one: one["id"])[:SIZE]


def at_once(desk: Desk, call: Call) -> Any:
    return {"tickets": desk.tickets}


PAGING = {
    "cursor": (
        by_cursor,
        "path: /tickets\nrecords: tickets\npaging: {type: cursor, next: meta.next, parameter: cursor, stop: end}",
    ),
    "cursor in the body": (
        by_cursor_in_body,
        "path: /tickets\nrecords: tickets\nbody: {fields: [id]}\n"
        "paging: {type: cursor, next: meta.next, parameter: page.cursor, stop: end}",
    ),
    "next url": (by_next_url, "path: /tickets\nrecords: tickets\npaging: {type: next_url, next: '@next'}"),
    "link header": (by_link_header, "path: /tickets\npaging: {type: link_header}"),
    "page": (
        by_page,
        "path: /tickets\nrecords: tickets\npaging: {type: page, parameter: page, first: 1, total: total}",
    ),
    "offset": (
        by_offset,
        "path: /tickets\nrecords: data.rows\nparams: {limit: 100}\npaging: {type: offset, parameter: offset}",
    ),
    "key": (by_key, 'path: /tickets\nbody: {domain: [["id", ">", "{after}"]]}\npaging: {type: key}'),
    "none": (at_once, "path: /tickets\nrecords: tickets"),
}


@pytest.fixture(params=PAGING)
def paged(request: pytest.FixtureRequest, desk: Desk) -> Desk:
    answer, table = PAGING[request.param]
    desk.server.answer = lambda call: answer(desk, call)
    desk.configure(table)
    return desk


def test_every_way_of_paging_gives_every_record_once_and_in_order(paged: Desk) -> None:
    loaded = paged.load()

    assert (loaded.extracted, loaded.candidates, loaded.deduplicated) == (10, 10, 0)
    assert paged.live("id::int, subject, requester, _key, _source_file") == [
        (n, f"Subject {n}", f'{{"id":{n % 3}}}', str(n), "/tickets") for n in range(1, 11)
    ]
    assert paged.load().candidates == 0


def test_a_read_that_dies_goes_on_from_its_pages_and_gives_the_same(paged: Desk) -> None:
    answer, calls = paged.server.answer, []

    def fails_on_the_second_page(call: Call) -> Any:
        calls.append(call)
        return Reply("broken", 500) if len(calls) > 1 else answer(call)

    paged.server.answer = fails_on_the_second_page
    if len(paged.settings.tables()[0].paging.type) == len("none"):
        paged.server.answer = lambda call: Reply("broken", 500)
    with pytest.raises(SourceError) as caught:
        paged.extract()
    assert caught.value.is_transient and "answers 500, 4 times in a row" in str(caught.value)
    paged.server.answer = answer
    paged.server.calls.clear()

    assert paged.load().extracted == 10
    assert paged.live() == list(range(1, 11))
    kind = paged.settings.tables()[0].paging.type
    # Three pages; the last one may only show in an empty one. Where we count, the first one is read again.
    assert len(paged.server.calls) == {"none": 1, "page": 4, "offset": 4, "key": 3}.get(kind, 2)


# Values


def test_values_arrive_as_sent(desk: Desk) -> None:
    desk.tickets = [
        ticket(1, subject="", owner=False, tags=["a", "ب"], long=123456789012345678901234567890, note="two\nlines"),
        ticket(2, subject="علی 😀", owner="Zoë", long=-1, amount=9.99, requester={"id": 2**63 + 1}),
    ]
    desk.server.answer = lambda call: Reply(json.dumps({"tickets": desk.tickets}, indent=2).encode())
    desk.load()

    assert desk.live("subject, owner, tags, long, note, amount") == [
        ("", "false", '["a","ب"]', "123456789012345678901234567890", "two\nlines", None),
        ("علی 😀", "Zoë", None, "-1", None, "9.99"),
    ]
    query = "select requester->>'$.id' from raw_desk.tickets where id = '2'"
    assert desk.con.execute(query).fetchone() == (str(2**63 + 1),)


def test_pages_are_kept_as_they_came(desk: Desk) -> None:
    answer, table = PAGING["cursor"]
    desk.server.answer = lambda call: answer(desk, call)
    desk.configure(table)
    desk.load()

    pages = desk.pages_on_disk()
    assert [one["meta"]["next"] for one in pages] == ["c4", "c8", "c12"]
    assert [one for page in pages for one in page["tickets"]] == desk.tickets


def test_half_a_character_sends_its_record_to_quarantine_and_no_other(desk: Desk) -> None:
    desk.tickets = [ticket(1, subject="whole \U0001f44d"), ticket(2, subject="half \ud83d")]

    desk.load()

    assert desk.live("id::int, subject") == [(1, "whole \U0001f44d")]
    assert desk.con.execute("select key from quarantine.rows").fetchall() == [("2",)]


def test_empty_pages_do_not_end_a_read(desk: Desk) -> None:
    pages = {"": ([], "b"), "b": (desk.tickets[:1], "c"), "c": (None, "d"), "d": (desk.tickets[1:2], None)}

    def answer(call: Call) -> Any:
        tickets, following = pages[call.query.get("after", "")]
        return {"tickets": tickets, "next": following}

    desk.server.answer = answer
    desk.configure("path: /tickets\nrecords: tickets\npaging: {type: cursor, next: next, parameter: after}")

    assert desk.load().extracted == 2


# Increments


SINCE = """path: /tickets
records: tickets
params: {since: "{since}", page_size: 100}
since: {format: iso}
"""


def since_filter(desk: Desk) -> Callable[[Call], Any]:
    """A server that gives what was changed at or after `since`."""

    def answer(call: Call) -> Any:
        start = call.query["since"]
        return {"tickets": [one for one in desk.tickets if one["changed"] is None or one["changed"] >= start]}

    return answer


def test_increments_ask_for_what_changed_within_the_overlap_and_keep_records_without_a_cursor(desk: Desk) -> None:
    desk.configure(SINCE + "overlap_minutes: 3")
    desk.server.answer = since_filter(desk)
    desk.load()
    desk.tickets[2] = ticket(3, changed=30, subject="Changed")
    desk.tickets += [ticket(11, changed=31), ticket(12, changed=8, subject="Late"), ticket(13) | {"changed": None}]

    increment = desk.load()

    assert [call.query["since"] for call in desk.server.calls] == ["1970-01-01T00:00:00Z", "2024-01-01T00:07:00Z"]
    assert (increment.extracted, increment.candidates, increment.deduplicated) == (8, 4, 4)
    assert desk.live("id::int, subject")[2:3] == [(3, "Changed")]
    assert desk.live() == list(range(1, 14))
    desk.tickets.clear()
    assert desk.load().extracted == 0  # a quiet day is no empty delivery
    assert len(desk.live()) == 13


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("iso", "2024-01-01T00:07:00Z"),
        ("unix", "1704067620"),
        ("unix_ms", "1704067620000"),
        ("'%Y-%m-%d %H:%M', time_zone: Asia/Tehran", "2024-01-01 03:37"),
    ],
)
def test_the_moment_is_written_as_the_api_takes_it(desk: Desk, form: str, expected: str) -> None:
    desk.configure(SINCE.replace("iso", form) + "overlap_minutes: 3")
    desk.load()
    desk.load()

    assert desk.server.calls[1].query["since"] == expected


def test_a_number_as_cursor_needs_no_overlap_and_unix_time_has_one(desk: Desk) -> None:
    desk.tickets = [ticket(1, stamp=1704067200)]
    desk.configure(SINCE.replace("iso", "unix, start: 2024-01-01") + "cursor: stamp\noverlap_minutes: 1")
    desk.load()
    desk.load()
    assert [call.query["since"] for call in desk.server.calls] == ["1704067200", "1704067140"]
    desk.configure(SINCE.replace("iso", "number").replace("/tickets", "/changes") + "cursor: stamp")
    desk.load()
    desk.load()
    assert [call.query["since"] for call in desk.server.calls[2:]] == ["0", "1704067200"]


def test_a_number_as_cursor_is_no_time(desk: Desk) -> None:
    desk.tickets = [ticket(1, stamp=1704067200)]
    desk.configure(SINCE + "cursor: stamp")

    with pytest.raises(SourceError, match=r"desk\.tickets: `stamp` holds numbers, but since\.format is iso"):
        desk.load()


def test_a_cursor_ahead_of_the_clock_does_not_hide_what_comes(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.configure(SINCE)
    desk.tickets[0] = ticket(1) | {"changed": "2999-01-01T00:00:00Z"}
    with caplog.at_level(logging.WARNING):
        desk.load()

    assert desk.cursor() < "2999" and desk.cursor()[:4] >= "2026"
    assert "desk.tickets: its newest `changed` is later than the read began" in caplog.text


def test_the_clock_of_the_source_counts(desk: Desk) -> None:
    desk.configure(SINCE)
    now = (datetime.now(UTC) + timedelta(days=400)).strftime("%Y-%m-%dT%H:%M:%SZ")
    desk.tickets[0] = ticket(1) | {"changed": now}
    desk.load()
    assert desk.cursor() < now


def test_another_request_is_read_from_its_beginning(desk: Desk) -> None:
    desk.configure(SINCE)
    desk.server.answer = since_filter(desk)
    desk.load()
    desk.configure(SINCE.replace("page_size: 100", "page_size: 100, project: all"))
    desk.tickets = desk.tickets[:2]
    desk.load()

    assert [call.query["since"] for call in desk.server.calls] == ["1970-01-01T00:00:00Z"] * 2
    # How far the other request had come says nothing of this one.
    assert desk.cursor() == "2024-01-01T00:02:00.000000"


def test_the_cursor_moves_only_with_the_promotion(desk: Desk) -> None:
    desk.configure(SINCE)
    desk.extract()  # and no guard after it
    assert desk.cursor() is None
    desk.load()
    assert desk.cursor() == "2024-01-01T00:10:00.000000"


# Deletions


def test_records_that_say_they_are_deleted_are_deleted_softly_and_may_return(desk: Desk) -> None:
    desk.configure(SINCE + "deleted: status = 'deleted'")
    desk.tickets.append(ticket(11, status="deleted"))
    first = desk.load()
    assert (first.extracted, first.candidates, first.deduplicated) == (11, 10, 1)  # never known, so never shown
    desk.tickets = [ticket(3, changed=50, status="deleted"), ticket(4, changed=1, status="deleted")]

    told = desk.load()

    assert (told.extracted, told.deleted, told.candidates) == (2, 1, 0)  # the older version says nothing
    assert desk.live() == [1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert desk.con.execute("select subject from raw_desk.tickets where id = '3'").fetchone() == ("Subject 3",)
    desk.tickets = [ticket(3, changed=60, subject="Back")]
    desk.load()
    assert desk.live("id::int, subject")[2] == (3, "Back")


def test_a_full_read_sweeps(desk: Desk) -> None:
    desk.configure("path: /tickets\nrecords: tickets\ndeletes: sweep")
    desk.load()
    del desk.tickets[4:6]

    assert desk.load().deleted == 2
    assert desk.live() == [1, 2, 3, 4, 7, 8, 9, 10]


def test_increments_sweep_by_a_list_of_keys(desk: Desk) -> None:
    desk.configure(SINCE + "deletes: sweep\nsweep: {path: /ids, params: {fields: id}, records: ids}")
    filtered = since_filter(desk)

    def answer(call: Call) -> Any:
        if call.path == "/api/ids":
            return {"ids": [{"id": one["id"]} for one in desk.tickets]}
        return filtered(call)

    desk.server.answer = answer
    desk.load()
    del desk.tickets[1]
    desk.tickets[0] = ticket(1, changed=40)

    swept = desk.load()

    assert (swept.extracted, swept.candidates, swept.deleted) == (9, 1, 1)
    assert desk.live() == [1, 3, 4, 5, 6, 7, 8, 9, 10]
    assert [call.path for call in desk.server.calls] == ["/api/tickets", "/api/tickets", "/api/ids"]


# Who asks


@pytest.mark.parametrize(
    ("auth", "header", "query"),
    [
        (f"{{type: bearer, token: {SECRET}}}", f"Bearer {SECRET}", {}),
        (
            f"{{type: basic, user: agent, password: {SECRET}}}",
            f"Basic {base64.b64encode(f'agent:{SECRET}'.encode()).decode()}",
            {},
        ),
        (f"{{type: api_key, key: {SECRET}}}", SECRET, {}),
        (f"{{type: api_key, name: apikey, key: {SECRET}, location: query}}", None, {"apikey": SECRET}),
    ],
)
def test_who_asks_is_told_as_declared(desk: Desk, auth: str, header: str | None, query: dict[str, str]) -> None:
    desk.configure(auth=auth)
    desk.load()

    (call,) = desk.server.calls
    assert call.headers.get("Authorization") == header
    assert call.query == query


def oauth(desk: Desk, **more: str) -> str:
    given = {"token_url": f"{desk.server.url}/token", "client_id": "cem", "client_secret": SECRET, **more}
    return "{type: oauth2, " + ", ".join(f"{name}: '{value}'" for name, value in given.items()) + "}"


@pytest.mark.parametrize("more", [{"scope": "read"}, {"refresh_token": "again"}])
def test_an_access_token_that_expires_midway_is_renewed(desk: Desk, more: dict[str, str]) -> None:
    answer, table = PAGING["cursor"]
    valid: list[str] = []

    def guarded(call: Call) -> Any:
        if call.path == "/token":
            assert call.body["client_secret"] == SECRET
            assert more.items() <= call.body.items()
            valid.append(f"token{len(valid)}")
            return {"access_token": valid[-1], "expires_in": 3600}
        if call.headers.get("Authorization") != f"Bearer {valid[-1]}":
            return Reply({"message": "expired"}, 401)
        if len(valid) == 1 and call.query.get("cursor"):
            valid[-1] = "revoked"
            return Reply({"message": "expired"}, 401)
        return answer(desk, call)

    desk.server.answer = guarded
    desk.configure(table, auth=oauth(desk, **more))

    assert desk.load().extracted == 10
    assert len(valid) == 2


def test_a_refused_token_request_is_told(desk: Desk) -> None:
    desk.server.answer = lambda call: Reply({"error": "invalid_client"}, 401)
    desk.configure(auth=oauth(desk))

    with pytest.raises(
        SourceError, match=r"desk: no access token from 127\.0\.0\.1/token, which answers 401"
    ) as caught:
        desk.extract()
    assert not caught.value.is_transient


def test_a_token_that_expires_midway_is_told_and_the_pages_are_kept(desk: Desk) -> None:
    answer, table = PAGING["cursor"]
    desk.server.answer = lambda call: (
        Reply({"message": "token expired for a@b.example"}, 401) if call.query.get("cursor") else answer(desk, call)
    )
    desk.configure(table, auth=f"{{type: bearer, token: {SECRET}}}")
    with pytest.raises(SourceError) as caught:
        desk.extract()
    assert str(caught.value) == (
        "desk.tickets: /tickets, page 2: the source answers 401: the token or password is wrong or has expired; "
        "check `auth`; it says: token expired for ***"
    )
    assert not caught.value.is_transient
    desk.server.answer = lambda call: answer(desk, call)
    desk.server.calls.clear()

    assert desk.load().extracted == 10
    assert len(desk.server.calls) == 2


# Bad days


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_storm_that_ends_is_waited_for(paged: Desk, status: int) -> None:
    answer, calls = paged.server.answer, []

    def storm(call: Call) -> Any:
        calls.append(call)
        return answer(call) if len(calls) % 3 == 0 else Reply(b"<html>busy</html>", status)

    paged.server.answer = storm

    assert paged.load().extracted == 10
    assert paged.live() == list(range(1, 11))


def test_a_short_retry_after_is_kept_to(desk: Desk) -> None:
    moments: list[datetime] = []

    def answer(call: Call) -> Any:
        moments.append(datetime.now())
        return {"tickets": desk.tickets} if len(moments) > 1 else Reply({}, 429, {"Retry-After": "1"})

    desk.server.answer = answer
    desk.load()

    assert moments[1] - moments[0] >= timedelta(seconds=1)


@pytest.mark.parametrize("form", ["86400", "date"])
def test_a_retry_after_of_a_day_is_left_for_the_next_run(desk: Desk, form: str) -> None:
    answer, table = PAGING["cursor"]
    day = (datetime.now(UTC) + timedelta(days=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    header = {"Retry-After": day if form == "date" else form}
    desk.server.answer = lambda call: Reply({}, 429, header) if call.query.get("cursor") == "c8" else answer(desk, call)
    desk.configure(table)
    with pytest.raises(SourceError, match=r"/tickets, page 3: the source asks to wait 86,[34]\d\d s, longer") as caught:
        desk.extract()
    assert not caught.value.is_transient  # a retry in a moment cannot help
    assert desk.cursor() is None
    desk.server.answer = lambda call: answer(desk, call)
    desk.server.calls.clear()

    assert desk.load().extracted == 10
    assert [call.query for call in desk.server.calls] == [{"cursor": "c8"}]


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(b"<!DOCTYPE html><html>Log in</html>"), "a web page instead of JSON, at byte 0"),
        (Reply(b'{"tickets": [{"id": 1, "subj'), "not valid JSON at byte 23 of 28"),
        (Reply(b'{"tickets": [{"id": 1},'), "not valid JSON at byte 23 of 23; it is cut off"),
        (Reply(b'{"tickets": [{"id": "\xff"}]}'), "not UTF-8 at byte 21"),
        (Reply(b'{"tickets": [{"id": NaN}]}'), "not valid JSON: NaN"),
        (Reply({"tickets": [ticket(1)]}, cut=30), "the answer is cut off"),
        (Reply({"tickets": [], "count": 3}), "0 records where `count` says 3"),
    ],
)
def test_what_is_no_whole_page_is_asked_for_again_then_told(desk: Desk, reply: Reply, told: str) -> None:
    desk.configure("path: /tickets\nrecords: tickets\nparams: {key: x}\npaging: {type: none, count: count}")
    desk.server.answer = lambda call: reply
    with pytest.raises(SourceError) as caught:
        desk.extract()
    assert caught.value.is_transient
    assert str(caught.value).startswith(f"desk.tickets: /tickets, page 1: {told}")
    assert "4 times in a row" in str(caught.value) and "?" not in str(caught.value)
    assert len(desk.server.calls) == 4
    replies = [reply, Reply({"tickets": desk.tickets, "count": 10})]
    desk.server.answer = lambda call: replies.pop(0)

    assert desk.load().extracted == 10


def test_no_server_is_told(desk: Desk) -> None:
    desk.server.url = "http://127.0.0.1:9"
    desk.configure()
    with pytest.raises(SourceError, match=r"cannot be reached.*check `url` in cem\.yml") as caught:
        desk.extract()
    assert caught.value.is_transient


def test_a_server_that_is_silent_is_given_up(desk: Desk) -> None:
    done: list[bool] = []

    def slow(call: Call) -> Any:
        deadline = datetime.now() + timedelta(seconds=0.5)
        while datetime.now() < deadline and not done:
            pass_time()
        return {}

    desk.server.answer = slow
    desk.configure(limits="{first_wait_seconds: 0, attempts: 1, timeout_seconds: 0.2}")
    with pytest.raises(SourceError, match="does not answer in time, 1 times in a row"):
        desk.extract()
    done.append(True)


def pass_time() -> None:
    import time

    time.sleep(0.02)


def test_a_table_that_takes_too_long_is_continued_by_the_next_run(desk: Desk) -> None:
    answer, table = PAGING["cursor"]
    desk.server.answer = lambda call: answer(desk, call)
    desk.configure(table, limits="{minutes: 0.005, per_minute: 100}")
    with pytest.raises(SourceError, match=r"not read completely within limits\.minutes") as caught:
        desk.extract()
    assert not caught.value.is_transient
    desk.configure(table)

    assert desk.load().extracted == 10
    assert [call.query.get("cursor") for call in desk.server.calls] == [None, "c4", "c8"]


def test_a_place_that_the_source_has_forgotten_is_begun_anew(desk: Desk) -> None:
    answer, table = PAGING["cursor"]
    desk.server.answer = lambda call: Reply({}, 500) if call.query.get("cursor") else answer(desk, call)
    desk.configure(table)
    with pytest.raises(SourceError):
        desk.extract()
    stale = ["c4"]

    def answers(call: Call) -> Any:
        cursor = call.query.get("cursor")
        if cursor in stale:
            stale.remove(cursor)
            return Reply({"message": "unknown cursor"}, 422)
        return answer(desk, call)

    desk.server.answer = answers

    assert desk.load().extracted == 10
    assert desk.live() == list(range(1, 11))


def test_records_that_move_between_pages_while_a_read_is_cut_off_are_not_lost(desk: Desk) -> None:
    answer, table = PAGING["page"]
    desk.server.answer = lambda call: Reply({}, 500) if call.query["page"] == "3" else answer(desk, call)
    desk.configure(table.replace(", total: total", ""))
    with pytest.raises(SourceError):
        desk.extract()
    del desk.tickets[0]  # all others move up by one
    desk.server.answer = lambda call: answer(desk, call)

    assert desk.load().extracted == 9
    assert desk.live() == list(range(2, 11))


def test_a_page_that_comes_twice_and_records_that_shift_are_told_apart_by_their_keys(desk: Desk) -> None:
    pages = [[1, 2, 3], [1, 2, 3], [3, 4, 5], []]
    newer = ticket(3, changed=3, subject="Read later")
    desk.server.answer = lambda call: {
        "tickets": [newer if (n, at) == (3, 2) else ticket(n) for at in [int(call.query["page"])] for n in pages[at]]
    }
    desk.configure("path: /tickets\nrecords: tickets\npaging: {type: page, parameter: page}")

    loaded = desk.load()

    assert (loaded.extracted, loaded.candidates, loaded.deduplicated) == (9, 5, 4)
    assert desk.live("id::int, subject")[2] == (3, "Read later")


def test_a_source_that_ignores_the_page_number_is_stopped(desk: Desk) -> None:
    desk.configure("path: /tickets\nrecords: tickets\npaging: {type: page, parameter: pgae}")
    with pytest.raises(SourceError, match=r"the same records came 3 times in a row; does `paging\.parameter`"):
        desk.extract()
    assert len(desk.server.calls) == 3


def test_a_cursor_that_repeats_is_stopped(desk: Desk) -> None:
    desk.server.answer = lambda call: {"tickets": [ticket(len(desk.server.calls))], "next": "again"}
    desk.configure("path: /tickets\nrecords: tickets\npaging: {type: cursor, next: next, parameter: cursor}")
    with pytest.raises(SourceError, match="refers to a page that was read before"):
        desk.extract()
    assert len(desk.server.calls) == 2


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ({"tickets": [], "next": None, "end": False}, r"says that there are more pages, but `next` is empty"),
        ({"tickets": [], "next": "x"}, r"the response has no `end`"),
        ({"results": [], "next": None, "end": True}, r"the response has no `tickets`.*it has: results, next, end"),
        ({"tickets": {"id": 1}, "end": True}, r"`tickets` is no list of records"),
    ],
)
def test_a_page_that_is_not_as_declared_is_told(desk: Desk, reply: Any, told: str) -> None:
    desk.server.answer = lambda call: reply
    desk.configure("path: /tickets\nrecords: tickets\npaging: {type: cursor, next: next, parameter: cursor, stop: end}")
    with pytest.raises(SourceError, match=told) as caught:
        desk.extract()
    assert not caught.value.is_transient


def test_keys_out_of_order_are_told(desk: Desk) -> None:
    desk.server.answer = lambda call: [ticket(2), ticket(1)]
    desk.configure(PAGING["key"][1])
    with pytest.raises(SourceError, match="records do not come in the order of `id`; sort the request by it"):
        desk.extract()


def test_fewer_records_than_the_source_says_hold_the_load(desk: Desk) -> None:
    answer, table = PAGING["page"]
    desk.server.answer = lambda call: answer(desk, call) | {"total": 12}
    desk.configure(table)
    _, verdict = desk.judge()
    assert verdict.status == "held"
    assert verdict.reason == "10 records came, but `total` of the source says 12; run again"
    desk.server.answer = lambda call: answer(desk, call)

    assert desk.load().candidates == 10


def test_the_address_of_a_page_elsewhere_gets_no_secrets(desk: Desk) -> None:
    with serving(lambda _: {"tickets": []}) as other:
        desk.server.answer = lambda call: {"tickets": desk.tickets, "@next": f"{other.url}/x"}
        desk.configure(PAGING["next url"][1], auth=f"{{type: bearer, token: {SECRET}}}")
        with pytest.raises(SourceError, match=r"the next page is at http://127\.0\.0\.1, not at the `url`"):
            desk.extract()
        desk.server.answer = lambda call: Reply({}, 302, {"Location": f"{other.url}/login?to=x"})
        with pytest.raises(SourceError, match=r"the source refers to 127\.0\.0\.1/login; correct `url` or `auth`"):
            desk.extract()
        assert other.calls == []


# Secrets


def test_secrets_are_written_nowhere(
    desk: Desk, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESK_KEY", SECRET)
    pages = iter([(desk.tickets[:5], f"/api/tickets?apikey={SECRET}&from=5&echo={SECRET}"), (desk.tickets[5:], None)])

    def answer(call: Call) -> Any:
        assert call.query["apikey"] == call.query["also"] == SECRET if "from" not in call.query else True
        tickets, following = next(pages)
        return {"tickets": tickets, "@next": following, "you": f"said {SECRET}"}

    desk.server.answer = answer
    desk.configure(
        PAGING["next url"][1] + "\nparams: {also: '${DESK_KEY}'}",
        auth="{type: api_key, name: apikey, key: '${DESK_KEY}', location: query}",
    )
    told = [repr(desk.settings)]
    with caplog.at_level(logging.DEBUG):
        desk.load()
        for status in (400, 401, 404, 500):
            desk.server.answer = lambda call, status=status: Reply(
                f'{{"message": "bad key {SECRET}"}}'.encode(), status
            )
            with pytest.raises(SourceError) as caught:
                desk.extract()
            told.append(str(caught.value))
        desk.server.url = "http://127.0.0.1:9"
        desk.configure(auth="{type: api_key, name: apikey, key: '${DESK_KEY}', location: query}")
        with pytest.raises(SourceError) as caught:
            desk.extract()
        told += [str(caught.value), check(desk.settings).text()]
    own = [record.getMessage() for record in caplog.records if not record.name.startswith("urllib3")]
    printed = capfd.readouterr()
    assert all(SECRET not in text for text in (*told, *own, printed.out, printed.err))
    files = [path.read_bytes() for path in desk.settings.pages.rglob("*") if path.is_file()]
    assert len(files) >= 2 and all(SECRET.encode() not in content for content in files)
    assert '"you": "said ***"' in max((desk.settings.pages / "desk" / "tickets").glob("*.jsonl")).read_text()
    state = desk.con.execute("select * from ops.source_state").fetchall()
    assert SECRET not in str(state)


# The command


def test_check_previews_the_first_page_and_writes_nothing(desk: Desk) -> None:
    answer, table = PAGING["cursor"]
    desk.server.answer = lambda call: answer(desk, call)
    desk.configure(table + "\ndeleted: gone")

    report = check(desk.settings)

    assert len(desk.server.calls) == 1
    assert [preview.rows[0][:3] for preview in report.previews] == [("1", "‹text›", "open")]
    assert report.problems == ()
    assert [note.field for note in report.notes] == ["sources.desk.tables.tickets.deleted"]
    assert not desk.settings.pages.exists()


def test_check_names_the_line_of_what_the_api_says_no_to(desk: Desk) -> None:
    desk.configure("path: /tickets\nrecords: rows")
    (problem,) = check(desk.settings).problems
    line = Path(problem.place.file).read_text().splitlines()[problem.place.line - 1]
    assert "records: rows" in line
    assert "the response has no `rows`" in problem.text
    desk.server.answer = lambda call: Reply({"message": "no such user"}, 403)
    (problem,) = check(desk.settings).problems
    assert "it says: no such user" in problem.text


VICTIM = """
import sys
from pathlib import Path
from orchestration.settings import load_settings
from orchestration.sources.extract import extract_table
from orchestration.warehouse import connect
settings = load_settings(Path(sys.argv[1]), Path(sys.argv[2]))
con = connect(Path(sys.argv[3]), settings.extensions, "1GB", 1)
extract_table(con, settings, settings.tables()[0], "victim")
"""


@pytest.mark.parametrize("kind", ["cursor", "page"])
def test_a_killed_process_is_gone_on_from_by_the_next_one(desk: Desk, tmp_path: Path, kind: str) -> None:
    answer, table = PAGING[kind]
    desk.tickets = [ticket(number) for number in range(1, 41)]
    victims: list[subprocess.Popen[bytes]] = []

    def kills(call: Call) -> Any:
        if call.query.get("cursor") == "c20" or call.query.get("page") == "6":
            victims.pop().kill()
        return answer(desk, call)

    desk.configure(table)
    desk.server.answer = kills
    arguments = [desk.settings.config_path, desk.settings.home, tmp_path / "victim.duckdb"]
    with desk.server.lock:
        victims.append(subprocess.Popen([sys.executable, "-c", VICTIM, *arguments], cwd=Path(__file__).parents[2]))
        victim = victims[0]
    assert victim.wait() == -signal.SIGKILL
    asked = len(desk.server.calls)
    desk.server.answer = lambda call: answer(desk, call)

    assert desk.load().extracted == 40
    assert desk.live("id::int, subject") == [(number, f"Subject {number}") for number in range(1, 41)]
    assert asked == 6
    assert desk.server.calls[asked].query == ({"cursor": "c20"} if kind == "cursor" else {"page": "5"})


def test_an_api_is_imported_only_where_there_is_one_and_its_tools_do_not_call_home(tmp_path: Path) -> None:
    code = (
        "import sys, orchestration.sources.extract, orchestration.check\n"
        "assert not [name for name in sys.modules if name.startswith('dlt')]\n"
        "import orchestration.sources.api_client, os\n"
        "from dlt.common.configuration.container import Container\n"
        "from dlt.common.configuration.resolve import resolve_configuration\n"
        "from dlt.common.configuration.specs import RuntimeConfiguration\n"
        "assert resolve_configuration(RuntimeConfiguration()).dlthub_telemetry is False\n"
    )
    env = {**os.environ, "HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.iterdir()) == []
