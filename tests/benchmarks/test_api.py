"""An API into DuckDB: our pages on disk against dlt's own pipelines, CPU seconds of the reader, as ratios."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TICKETS = int(os.environ.get("CEM_BENCH_TICKETS", "100000"))
SIZE = 1000

SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
total, size = int(sys.argv[1]), int(sys.argv[2])
TEXT = "The customer writes that the parcel has not arrived. " * 8
def page(start):
    rows = [{"id": n, "subject": f"Ticket {n}", "description": TEXT, "status": "open", "priority": None,
             "tags": ["late", "parcel"], "via": {"channel": "web", "source": {"from": {}, "to": {}}},
             "custom_fields": [{"id": k, "value": f"v{k}"} for k in range(4)], "requester_id": n % 1000,
             "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-02T00:00:00Z"}
            for n in range(start, start + size)]
    following = start + size if start + size < total else None
    return json.dumps({"tickets": rows, "next": following and str(following)}).encode()
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        body = page(int(self.path.partition("cursor=")[2] or 0))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

OURS = """
import sys
from pathlib import Path
from orchestration.settings import load_settings
from orchestration.sources.extract import extract_table
from orchestration.warehouse import connect
url, folder = sys.argv[1], Path(sys.argv[2])
(folder / "cem.yml").write_text(f'''
sources:
  - name: desk
    kind: api
    url: {url}
    tables:
      - name: tickets
        path: /tickets
        records: tickets
        paging: {{type: cursor, next: next, parameter: cursor}}
        key: id
        cursor: updated_at
''')
settings = load_settings(folder / "cem.yml", folder / "home")
con = connect(folder / "ours.duckdb", settings.extensions, "2GB", 2)
extracted = extract_table(con, settings, settings.tables()[0], "load")
print(con.execute("select count(*) from candidate_desk.tickets").fetchone()[0])
"""

DLT = """
import os, sys
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
import dlt
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator
url, folder, form = sys.argv[1:4]
client = RESTClient(url, paginator=JSONResponseCursorPaginator("next", "cursor"), data_selector="tickets")
@dlt.resource(name="tickets", write_disposition="merge", primary_key="id", max_table_nesting=0)
def tickets():
    yield from client.paginate("/tickets")
pipeline = dlt.pipeline("bench", pipelines_dir=folder, destination=dlt.destinations.duckdb(f"{folder}/dlt.duckdb"))
pipeline.run(tickets(), **({"loader_file_format": form} if form != "default" else {}))
with pipeline.sql_client() as sql:
    print(sql.execute_sql("select count(*) from tickets")[0][0])
"""


def cpu_seconds(code, *arguments):
    """CPU seconds of a process, and the number of rows it says it has loaded."""
    before = os.times()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, int(result.stdout.split()[-1])


@pytest.mark.benchmark
def test_what_reading_an_api_costs(tmp_path, keep):
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(TICKETS), str(SIZE)], stdout=subprocess.PIPE, text=True
    )
    try:
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        costs = {}
        for name, code, form in (
            ("pages on disk, read by DuckDB", OURS, "-"),
            ("dlt pipeline, default", DLT, "default"),
            ("dlt pipeline, parquet", DLT, "parquet"),
        ):
            folder = tmp_path / form
            folder.mkdir()
            costs[name], rows = cpu_seconds(code, url, str(folder), form)
            assert rows == TICKETS
    finally:
        server.kill()
        server.wait()
    ours = costs["pages on disk, read by DuckDB"]
    lines = [f"{TICKETS:,} tickets over HTTP, CPU of the reader, imports included"]
    for name, used in costs.items():
        lines.append(f"  {used:7.1f} s  {TICKETS / used:9,.0f} rows/s  {used / ours:5.1f} ×  {name}")
    keep("reading an API", {"tickets": TICKETS, "cpu_seconds": costs}, "\n".join(lines))
