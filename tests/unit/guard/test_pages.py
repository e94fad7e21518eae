"""The data docs as somebody meets them in a browser, without a network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest
from guarded_shop import Shop, order, person

from orchestration.guard import discard, held_loads, pages, release
from orchestration.guard.results import RuleResult
from orchestration.settings import Guard

SCRIPT = "<script>document.title = 'taken'</script>"
PERSIAN = "مبلغ نباید منفی باشد"
AXES = """() => [
    document.documentElement.lang ? '' : 'no language',
    document.title ? '' : 'no title',
    document.querySelectorAll('h1').length === 1 ? '' : 'not one h1',
    document.querySelectorAll('main').length === 1 ? '' : 'no main',
    ...[...document.querySelectorAll('table')].map(t => t.caption && t.querySelector('thead th[scope=col]')
        ? '' : 'a table without caption or header'),
    ...[...document.querySelectorAll('svg')].map(s => s.getAttribute('aria-label') ? '' : 'an unnamed picture'),
    ...[...document.querySelectorAll('[id]')].map(e => document.querySelectorAll('#' + CSS.escape(e.id)).length === 1
        ? '' : 'an id twice'),
    ...[...document.querySelectorAll('a[href^="#"]')].map(a => document.getElementById(a.hash.slice(1))
        ? '' : 'a link to nowhere'),
    document.documentElement.scrollWidth <= window.innerWidth ? '' : 'wider than the screen',
].filter(Boolean)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


class Reader:
    """A browser without a network that notes every request beyond the disk, and every script that ran."""

    def __init__(self, browser: object) -> None:
        context = browser.new_context(offline=True, viewport={"width": 1100, "height": 900})
        self.page = context.new_page()
        self.beyond: list[str] = []
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("dialog", lambda dialog: self.beyond.append(f"dialog {dialog.message}"))

    def _note(self, url: str) -> None:
        if urlparse(url).scheme != "file":
            self.beyond.append(url)

    def open(self, path: Path) -> str:
        self.page.goto(path.as_uri())
        return self.page.inner_text("body")


@pytest.fixture
def reader(browser: object) -> Reader:
    return Reader(browser)


def judge(shop: Shop, run: str, rows: list[dict[str, object]], table: str = "orders", **options: object) -> Path:
    """Deliver rows and write the page of the run that judged them."""
    verdict = shop.load(rows, table, **options)
    load = pages.JudgedLoad(shop.table(table), f"load{shop.loads:04d}", verdict)
    return pages.write_page(shop.con, shop.settings, run, [load])


def custom_rule(shop: Shop, description: str) -> None:
    folder = shop.settings.config_path.parent / "expectations" / "custom"
    folder.mkdir(parents=True)
    rule = {
        "type": "expect_column_values_to_match_regex",
        "kwargs": {"column": "state", "regex": "^[a-z]+$"},
        "severity": "warning",
        "description": description,
        "meta": {"rule": "state_plain"},
    }
    (folder / "shop__orders.json").write_text(json.dumps({"name": "custom", "expectations": [rule]}))


def test_a_page_says_what_was_judged_what_broke_and_what_to_do(shop: Shop, reader: Reader):
    judge(shop, "monday", [order(number) for number in range(1, 50)])
    page = judge(
        shop, "tuesday", [order(100), order(101, total="-1"), order(102, total="-2"), order(103, state="PAID")]
    )
    pages.write_page(
        shop.con,
        shop.settings,
        "tuesday",
        marts=[RuleResult("mart_kpi.n_given", "x", "n", "critical", "mart_kpi.n: must not be empty", 0, 40)],
    )
    text = reader.open(page)
    assert "No load is held." in text
    assert "4 rows read, 2 promoted, 2 quarantined" in text
    assert "2 of 4 rows (50 %), for example o101, o102 break it" in text
    assert "cem quarantine replay shop orders --rule order.amount_not_negative --by NAME" in text
    assert "In quarantine: 2 rows" in text
    assert "as shipped" in text
    assert "No critical rule is broken." in text
    assert reader.page.locator("svg g").count() == 2
    assert reader.page.evaluate(AXES) == []
    assert reader.beyond == []


def test_a_held_load_is_shown_with_the_commands_until_it_is_decided_on(shop: Shop, reader: Reader):
    judge(shop, "monday", [order(1)])
    page = judge(shop, "tuesday", [order(number, total="-1", note="new") for number in range(100, 160)])
    text = reader.open(page)
    assert "60 of 60 rows (100 %)" in text
    # What only is counted says what it found, and not why the load is held.
    assert "load load0002 of shop.orders breaks it: column 'note' is new, and not used until cem.yml maps it" in text
    assert "1 held load: nothing downstream is built" in text
    assert "cem load release load0002 shop orders --by NAME --reason WHY" in text
    assert "60 of 60 rows are bad" in text
    assert "1 held" in reader.open(pages.docs_folder(shop.settings) / "index.html")
    [held] = held_loads(shop.con)
    verdict = release(shop.con, shop.settings, held.load_id, "shop", "orders", "Ada", "refunds")
    decided = pages.write_decision(shop.con, shop.settings, "shop", "orders", verdict)
    assert decided.parent.name == "load0002-release"
    text = reader.open(pages.docs_folder(shop.settings) / "latest" / "index.html")
    assert "No load is held." in text
    assert reader.page.inner_text("h2#shop\\.orders").split() == ["shop.orders:", "released"]
    judge(shop, "wednesday", [order(number, total="-1") for number in range(200, 260)])
    [held] = held_loads(shop.con)
    discard(shop.con, shop.settings, held.load_id, "shop", "orders", "Ada", "a test")
    decided = pages.write_decision(shop.con, shop.settings, "shop", "orders", None)
    assert "No load is held." in reader.open(decided)


def test_nothing_that_came_from_outside_runs_or_loads(shop: Shop, reader: Reader):
    custom_rule(shop, f"{SCRIPT}<img src=x onerror=alert(1)> {PERSIAN}")
    odd = shop.settings.model_copy(update={"company": f"Acme {SCRIPT}"})
    shop.settings = odd
    judge(
        shop,
        "monday",
        [order(1, state="PAID", **{SCRIPT: "x"}), order(2, no=f"o2{SCRIPT}", total="-1", **{SCRIPT: "y"})],
    )
    verdict = shop.load([{**order(3), "gone <b>": "1"}])
    assert verdict.status == "held"
    load = pages.JudgedLoad(shop.table(), "load0002", verdict)
    page = pages.write_page(shop.con, odd, "monday" + SCRIPT.replace("/", ""), [load])
    for path in (page, pages.page_of(odd, "monday"), pages.docs_folder(odd) / "index.html"):
        text = reader.open(path)
        assert "taken" not in reader.page.title() or SCRIPT in reader.page.title()
        assert SCRIPT in text
        assert reader.page.locator("script").count() == 0
        assert reader.page.locator("img").count() == 0
    assert PERSIAN in reader.open(pages.page_of(odd, "monday"))
    assert reader.page.locator(f"td[dir=auto]:has-text('{PERSIAN}')").count() >= 1
    assert reader.beyond == []


def test_no_value_of_a_row_and_no_personal_key_is_on_a_page(shop: Shop):
    named = shop.with_table("people", key=("mail",))
    rows = [person(1), person(2, mail="zahra@canary.example", name="زهرا", since="never", phone="+44 79 canary")]
    verdict = named.load(rows, "people")
    load = pages.JudgedLoad(named.table("people"), f"load{named.loads:04d}", verdict)
    page = pages.write_page(named.con, named.settings, "monday", [load])
    written = page.read_text() + (page.parent / "record.json").read_text()
    assert "keys may be personal" in written
    for personal in ("zahra", "زهرا", "canary", "never", "Ada"):
        assert personal not in written


def test_only_the_latest_runs_are_kept_and_listed_latest_first(shop: Shop):
    shop.settings = shop.settings.model_copy(update={"guard": Guard(docs_keep=2)})
    for number, run in enumerate(("first", "second", "third")):
        judge(shop, run, [order(number)])
    docs = pages.docs_folder(shop.settings)
    assert sorted(path.name for path in docs.iterdir()) == ["index.html", "latest", "second", "third"]
    assert (docs / "latest").readlink().name == "third"
    listed = (docs / "index.html").read_text()
    assert listed.index("third/index.html") < listed.index("second/index.html")
    assert "first/index.html" not in listed


@pytest.mark.parametrize("left", [b"", b"\0" * 4096, b'{"run_id": "mon'])
def test_a_record_that_a_power_cut_damaged_is_named_and_stops_no_run(
    shop: Shop, left: bytes, caplog: pytest.LogCaptureFixture
):
    damaged = judge(shop, "monday", [order(1)]).with_name(pages.RECORD)
    damaged.write_bytes(left)
    page = judge(shop, "tuesday", [order(2)])
    assert f"{damaged} is damaged" in caplog.text
    listed = (pages.docs_folder(shop.settings) / "index.html").read_text()
    assert "tuesday/index.html" in listed and "monday/index.html" not in listed
    # The same run again makes it anew.
    judge(shop, "monday", [order(3)])
    assert json.loads(damaged.read_text())["tables"].keys() == {"shop.orders"}
    assert page.exists()
