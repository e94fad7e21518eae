"""The Dagster UI as `cem ui` opens it: what it shows, that its daemon runs the schedule, and who hears of a failure."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("ui")  # one UI for all

DAILY = """
schedule: {{cron: "* * * * *"}}
notify: {{webhook: "http://127.0.0.1:{port}/"}}
"""
"""What the configuration of the shop gets besides."""

ASSETS = """
{ assetNodes { assetKey { path } groupName description kinds
    assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } }
    assetMaterializations(limit: 1) { metadataEntries { label ... on IntMetadataEntry { intValue } } } } }
"""
RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Ui:
    def __init__(self, folder, port, webhook):
        self.folder, self.url, self.webhook = folder, f"http://127.0.0.1:{port}", webhook

    def ask(self, query):
        request = urllib.request.Request(
            f"{self.url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def scheduled_runs(self, status):
        return [
            run
            for run in self.ask(RUNS)["runsOrError"]["results"]
            if run["status"] == status and any(tag["key"] == "dagster/schedule_name" for tag in run["tags"])
        ]


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(1)
    raise AssertionError(f"waited {seconds} s for {what}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def ui(shop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ui")
    home = shop.copy(folder)
    webhook = HTTPServer(("127.0.0.1", 0), Webhook)
    webhook.messages = []
    threading.Thread(target=webhook.serve_forever, daemon=True).start()
    with (folder / "cem.yml").open("a") as config:
        config.write(DAILY.format(port=webhook.server_port))
    environment = {**os.environ, "CEM_HOME": str(home), "CEM_CONFIG": str(folder / "cem.yml")}
    cem = str(Path(sys.executable).with_name("cem"))
    port = free_port()
    log = (folder / "ui.log").open("w")
    process = subprocess.Popen(
        [cem, "ui", "--port", str(port)],
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    opened = Ui(folder, port, webhook)
    try:
        wait_for(lambda: opened.ask("{ version }"), 120, "the UI")
        yield opened
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()
        webhook.shutdown()
        webhook.server_close()


def test_assets_show_stage_grain_kinds_rows_and_checks(ui):
    nodes = {"/".join(node["assetKey"]["path"]): node for node in ui.ask(ASSETS)["assetNodes"]}
    assert {node["groupName"] for node in nodes.values()} == {"extract", "guard", "unify", "model", "publish"}
    raw, order = nodes["raw_shop/orders"], nodes["marts/fct_order"]
    assert raw["description"].startswith("One row per `id`")
    assert order["description"].startswith("One row per order")
    assert set(order["kinds"]) == {"dbt", "duckdb"}
    for node in (raw, order):
        (latest,) = node["assetMaterializations"]
        assert 59 in [entry.get("intValue") for entry in latest["metadataEntries"] if "row_count" in entry["label"]]
    statuses = {
        check["name"]: check["executionForLatestMaterialization"] for check in raw["assetChecksOrError"]["checks"]
    }
    assert statuses["load_is_promoted"]["status"] == "SUCCEEDED"
    assert any("primary_key_fct_order_order_key" in check["name"] for check in order["assetChecksOrError"]["checks"])


def test_the_page_renders_in_a_browser(ui):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page()
        page.goto(f"{ui.url}/assets/marts/fct_order")
        page.get_by_text("One row per order").first.wait_for(timeout=60_000)
        page.get_by_text("Row count").first.wait_for(timeout=60_000)
        browser.close()


def test_the_daemon_runs_the_schedule_and_finds_nothing_new(ui):
    version = (ui.folder / "var" / "published" / "marts.duckdb").stat().st_ino
    wait_for(lambda: ui.scheduled_runs("SUCCESS"), 240, "a scheduled run that succeeds")
    assert (ui.folder / "var" / "published" / "marts.duckdb").stat().st_ino == version


def test_a_failed_run_reaches_the_webhook_without_personal_data(ui):
    orders = ui.folder / "in" / "orders_1.csv"
    lines = orders.read_text().splitlines()
    orders.write_text("\n".join(line.rsplit(",", 1)[0] for line in lines))
    (message, *_) = wait_for(lambda: ui.webhook.messages, 300, "the notification")
    assert "Test Shop" in message["subject"]
    assert "load_shop" in message["text"]
    assert "'total'" in message["text"]
    assert "sara" not in json.dumps(message)
