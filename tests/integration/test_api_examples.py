"""The ready examples of APIs, each against a server that pages and refuses as its vendor's documentation says.

These are replicas of documented behaviour on loopback, not the vendors' own servers: they show that an example
says what the documentation asks for, not that a vendor keeps to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from api_server import Call, Reply, Server, serving

from orchestration.guard import guard_table
from orchestration.settings import Settings, load_settings
from orchestration.sources.extract import extract_table

EXAMPLES = Path(__file__).parents[2] / "orchestration" / "sources" / "apis"

TOKEN = "token-of-the-example"

Answer = Callable[[Call], Any]


def moment(number: int) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=number)


class Vendor:
    """A vendor's records, its replica, and the warehouse that its example fills."""

    def __init__(self, name: str, replica: Callable[[Vendor], Answer], server: Server, con: duckdb.DuckDBPyConnection):
        self.name, self.server, self.con = name, server, con
        self.changes = {number: number for number in range(1, 451)}
        self.gone: set[int] = set()
        server.answer = replica(self)
        self.settings: Settings
        self._loads = 0

    def load(self) -> list[int]:
        """Load all tables; gives the number of candidates of each."""
        self._loads += 1
        self.server.calls.clear()
        counts = []
        for table in self.settings.tables():
            extracted = extract_table(self.con, self.settings, table, f"load{self._loads}")
            verdict = guard_table(self.con, self.settings, table, extracted)
            assert verdict.status != "held", verdict.reason
            assert verdict.quarantined == 0
            counts.append(extracted.candidates)
        return counts

    def live(self, table: str) -> int:
        query = f"select count(*) from raw_{self.name}.{table} where _deleted_at is null"
        return (self.con.execute(query).fetchone() or (0,))[0]


def zendesk(vendor: Vendor) -> Answer:
    def answer(call: Call) -> Any:
        assert call.headers["Authorization"].startswith("Basic ")
        start = int(call.query["cursor"]) if "cursor" in call.query else int(call.query["start_time"])
        kind = call.path.split("/")[4]
        stamps = {number: int(moment(hours).timestamp()) for number, hours in vendor.changes.items()}
        due = sorted((stamp, number) for number, stamp in stamps.items() if stamp >= start)
        page = due[:200]
        records = [
            {
                "id": number,
                "status": "deleted" if number in vendor.gone else "solved",
                "generated_timestamp": stamp,
                "created_at": moment(number).isoformat(),
                # System updates are not seen in updated_at.
                "updated_at": moment(vendor.changes[number] if kind == "users" else number).isoformat(),
                "requester_id": number % 7,
                "via": {"channel": "email"},
                "active": number not in vendor.gone,
                "role": "agent" if number % 100 == 0 else "end-user",
                "name": f"Name {number}",
            }
            for stamp, number in page
        ]
        after = str(page[-1][0] + 1) if page else str(start)
        return {kind: records, "after_cursor": after, "end_of_stream": len(due) <= 200}

    return answer


def hubspot(vendor: Vendor) -> Answer:
    def answer(call: Call) -> Any:
        assert call.method == "POST" and call.headers["Authorization"] == f"Bearer {TOKEN}"
        body = call.body
        if not {"after", "sorts"} <= body.keys() or body["limit"] > 200:
            return Reply({"message": "Invalid input JSON"}, 400)
        changed = "lastmodifieddate" if "contacts" in call.path else "hs_lastmodifieddate"
        since, above = 0, 0
        for one in body["filterGroups"][0]["filters"]:
            if one["propertyName"] == changed:
                since = int(one["value"])
            else:
                above = int(one["value"])
        found = [
            number
            for number, hours in vendor.changes.items()
            if number > above and number not in vendor.gone and moment(hours).timestamp() * 1000 >= since
        ]
        records = [
            {
                "id": str(number),
                "properties": {changed: moment(vendor.changes[number]).isoformat(), "email": f"c{number}@example.com"},
            }
            for number in sorted(found)[: body["limit"]]
        ]
        return {"total": len(found), "results": records, "paging": {"next": {"after": str(len(records))}}}

    return answer


def jira(vendor: Vendor) -> Answer:
    def answer(call: Call) -> Any:
        assert call.headers["Authorization"].startswith("Basic ")
        if not call.query.get("fields"):
            return Reply({"errorMessages": ["fields is required"]}, 400)
        jql, start = call.query["jql"], int(call.query.get("nextPageToken", "t0")[1:])
        since = jql.split('"')[1] if '"' in jql else "0"
        due = [
            number
            for number, hours in sorted(vendor.changes.items(), key=lambda item: item[1])
            if number not in vendor.gone and moment(hours).strftime("%Y-%m-%d %H:%M") >= since
        ]
        size = int(call.query["maxResults"])
        page = due[start : start + size]
        more = start + size < len(due)
        stamp = "%Y-%m-%dT%H:%M:%S.000+0000"
        issues = [
            {
                "id": str(number),
                "fields": {
                    "updated": moment(vendor.changes[number]).strftime(stamp),
                    "created": moment(number).strftime(stamp),
                    "summary": f"Request {number}",
                    "status": {"statusCategory": {"key": "indeterminate"}},
                    "priority": {"name": "Medium"},
                    "reporter": {"accountId": f"a{number % 9}"},
                    "assignee": None,
                },
            }
            for number in page
        ]
        return {"issues": issues, "isLast": not more} | ({"nextPageToken": f"t{start + size}"} if more else {})

    return answer


def odoo(vendor: Vendor) -> Answer:
    def answer(call: Call) -> Any:
        assert call.method == "POST" and call.headers["Authorization"] == f"Bearer {TOKEN}"
        conditions = {field: value for field, _, value in call.body["domain"]}
        assert isinstance(conditions["id"], int)
        since = conditions.get("write_date", "")
        found = [
            number
            for number, hours in sorted(vendor.changes.items())
            if number > conditions["id"]
            and number not in vendor.gone
            and moment(hours).strftime("%Y-%m-%d %H:%M:%S") >= since
        ]
        fields = {
            "name": "Name",
            "email": False,
            "phone": False,
            "partner_id": [7, "Somebody"],
            "stage_id": [2, "Won"],
            "user_id": False,
            "date_closed": False,
            "expected_revenue": 12.5,
            "active": True,
        }
        return [
            {"id": number}
            | {name: value for name, value in fields.items() if name in call.body["fields"]}
            | {
                name: moment(hours).strftime("%Y-%m-%d %H:%M:%S")
                for name, hours in (("create_date", number), ("write_date", vendor.changes[number]))
                if name in call.body["fields"]
            }
            for number in found[: call.body["limit"] // 10]
        ]

    return answer


VENDORS = {
    "zendesk": ("zendesk", zendesk, "/api/v2", [450, 450]),
    "hubspot": ("hubspot", hubspot, "", [450, 450]),
    "jira_service_management": ("jira", jira, "", [450]),
    "odoo": ("odoo", odoo, "", [450, 450]),
}


@pytest.fixture(params=VENDORS)
def vendor(
    request: pytest.FixtureRequest,
    warehouse: duckdb.DuckDBPyConnection,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Vendor]:
    name, replica, path, _ = VENDORS[request.param]
    with serving(lambda _: {}) as server:
        vendor = Vendor(name, replica, server, warehouse)
        for variable in ("TOKEN", "USER", "KEY"):
            monkeypatch.setenv(f"{name.upper()}_{variable}", TOKEN)
        monkeypatch.setenv(f"{name.upper()}_URL", f"{server.url}{path}")
        settings = load_settings(EXAMPLES / f"{request.param}.yml", home)
        # A test does not wait for a vendor's minute.
        hasty = settings.sources[0].limits.model_copy(update={"per_minute": None, "first_wait_seconds": 0})
        source = settings.sources[0].model_copy(update={"limits": hasty})
        vendor.settings = settings.model_copy(update={"sources": (source,)})
        yield vendor


def test_an_example_reads_all_then_what_changed_and_follows_deletions(vendor: Vendor) -> None:
    tables = vendor.settings.tables()
    assert vendor.load() == [450] * len(tables)
    assert len(vendor.server.calls) > 2 * len(tables)
    vendor.changes |= {3: 460, 451: 461}

    assert vendor.load() == [2] * len(tables)

    vendor.gone.add(5)
    vendor.changes[5] = 470
    vendor.load()
    follows = [table.name for table in tables if table.deletes == "sweep" or table.deleted]
    assert follows
    assert {vendor.live(name) for name in follows} == {450}
