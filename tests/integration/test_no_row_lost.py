"""Whatever files are delivered, in whatever order, with whatever decided in between: no row is lost or doubled.

Real files through the real extraction and guard. CI looks at a few histories; `--hypothesis-profile=deep` at hundreds.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from orchestration.guard import Verdict, discard, guard_table, held_loads, release, replay
from orchestration.guard.results import GuardError
from orchestration.settings import Settings, Table, load_settings
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import extract_table
from orchestration.sources.text_files import find_files
from orchestration.warehouse import connect, new_load_id

CONFIG = """
company: Shop
guard: {volume: off, columns: off}
sources:
  - name: shop
    kind: files
    folder: delivered
    time_zone: UTC
    tables:
      - name: orders
        files: orders*.csv
        optional: true
        key: no
        entity: order
        columns: {order_id: no, person_id: customer, ordered_at: at, amount: total, currency: currency}
      - name: people
        files: people*.jsonl
        optional: true
        key: [id, part]
        cursor: since
        entity: person
        columns: {person_id: id, email: mail, full_name: name, created_at: since}
      - name: visits
        files: visits*.parquet
        optional: true
        key: id
        entity: web_session
        columns: {web_session_id: id, person_id: who, started_at: began}
"""

EXAMPLES = settings().max_examples // 25
"""Histories: 4 where hypothesis looks at 100 examples, its default."""

KEYS = st.sampled_from(
    ["k1", "K1", " k1", "k1 ", "k1\u00a0", "é", "e\u0301", "ﻙ", "ك", "k|2", "k\\|2", "2", "02", "2.0"]
)

HOSTILE = st.one_of(
    st.sampled_from(
        [
            "", " ", "'", '"', '""', "\\", "a\nb", "a\r\nb", "a,b", "a;b", "\x00", "a\x00b", "\ufeff", "\ufdd0",
            "1e400", "-1", "9" * 40, "NaN", "null", "NULL", "12.5", "2024-03-01", "1900-01-01", "0001-01-01", "سارا",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)  # fmt: skip

TIMES = st.sampled_from(["2024-03-01 10:00:00", "2024-03-02 10:00:00", "2024-03-03 10:00:00", "soon", ""])

KINDS = {
    "orders": ("no", "customer", "at", "total", "currency"),
    "people": ("id", "part", "mail", "name", "since"),
    "visits": ("id", "who", "began"),
}
"""Columns of each table."""


def rows_of(kind: str) -> st.SearchStrategy[list[dict[str, str | None]]]:
    """Rows of a file: mostly good, with hostile values here and there."""
    fields: dict[str, st.SearchStrategy[str | None]] = {}
    for column in KINDS[kind]:
        usual = {
            "no": KEYS,
            "id": KEYS,
            "part": st.sampled_from(["a", "b"]),
            "at": TIMES,
            "since": TIMES,
            "began": TIMES,
        }
        fields[column] = st.one_of(usual.get(column, st.sampled_from(["7", "EUR"])), st.none(), HOSTILE)
    return st.lists(st.fixed_dictionaries(fields), max_size=8)


DELIVERIES = st.one_of(
    *[
        st.tuples(st.just(kind), rows_of(kind), st.integers(1, 3), st.sampled_from(["", "bom", "half", "ragged"]))
        for kind in KINDS
    ]
)

STEPS = st.lists(
    st.one_of(
        DELIVERIES,
        DELIVERIES,
        st.tuples(st.sampled_from(["release", "discard", "replay", "fix"]), st.sampled_from(sorted(KINDS))),
    ),
    min_size=1,
    max_size=7,
)


class Plant:
    """A folder of deliveries and the warehouse they are loaded into."""

    def __init__(self, con: duckdb.DuckDBPyConnection, settings: Settings, folder: Path) -> None:
        self.con, self.settings, self.folder = con, settings, folder
        self.written: dict[str, int] = {}

    def table(self, kind: str) -> Table:
        return next(table for table in self.settings.tables() if table.name == kind)

    def unread(self, kind: str) -> list[str]:
        """The files that no promoted or discarded load has brought as they are."""
        state = "select name, value from ops.source_state where kind = 'file' and table_name = ?"
        known = dict(self.con.execute(state, [kind]).fetchall())
        files = find_files(self.settings.source("shop"), self.table(kind))
        return [file.label for file in files if known.get(file.label) != file.fingerprint]

    def load(self, kind: str) -> Verdict | None:
        """Extract and guard; None where the file is refused as a whole, which must change nothing."""
        before, expected = state_of(self.con), sum(self.written[label] for label in self.unread(kind))
        try:
            extracted = extract_table(self.con, self.settings, self.table(kind), new_load_id())
        except SourceError:
            event(f"{kind} refused")
            assert state_of(self.con) == before
            return None
        assert extracted.extracted == extracted.candidates + extracted.deduplicated
        assert extracted.extracted == expected, "extraction lost or invented rows"
        verdict = guard_table(self.con, self.settings, self.table(kind), extracted)
        event(f"{kind} {verdict.status}{' with bad rows' if verdict.quarantined else ''}")
        if verdict.status == "promoted":
            self.check(kind, extracted.load_id, verdict)
        return verdict

    def check(self, kind: str, load_id: str, verdict: Verdict) -> None:
        """A promoted load is where its verdict says."""
        assert verdict.extracted == verdict.promoted + verdict.quarantined + verdict.deduplicated
        promoted = f"select count(*) from raw_shop.{kind} where _load_id = '{load_id}' and _deleted_at is null"
        quarantined = f"select count(*) from quarantine.rows where load_id = '{load_id}' and table_name = '{kind}'"
        found = [self.con.execute(query).fetchone()[0] for query in (promoted, quarantined)]
        assert found == [verdict.promoted, verdict.quarantined]

    def check_books(self) -> None:
        """Every booked load adds up; raw and quarantine hold nothing twice."""
        off = "extracted <> promoted + quarantined + deduplicated and status in ('promoted', 'released')"
        assert self.count(f"select 1 from ops.loads where {off}") == 0
        twice = "select 1 from quarantine.rows where released_at is null group by table_name, key, row_hash"
        assert self.count(f"{twice} having count(*) > 1") == 0
        booked = dict(self.con.execute("select load_id, promoted from ops.loads").fetchall())
        for kind in tables_of(self.con, "raw_shop"):
            assert self.count(f"select 1 from raw_shop.{kind} group by _key having count(*) > 1 or _key is null") == 0
            kept = self.con.execute(f"select _load_id, count(*) from raw_shop.{kind} group by all").fetchall()
            assert all(count <= booked[load_id] for load_id, count in kept)
            both = f"select 1 from quarantine.rows as bad inner join raw_shop.{kind} as raw on bad.key = raw._key "
            assert self.count(f"{both} and bad.row_hash = raw._row_hash where bad.table_name = '{kind}' "
                              "and bad.released_at is null and raw._deleted_at is null") == 0  # fmt: skip

    def count(self, query: str) -> int:
        return self.con.execute(f"select count(*) from ({query})").fetchone()[0]

    def decide(self, step: str, kind: str) -> None:
        """What an operator does between two loads."""
        held = [load for load in held_loads(self.con) if load.table_name == kind]
        try:
            if step in ("release", "discard") and held:
                act = release if step == "release" else discard
                act(self.con, self.settings, held[0].load_id, "shop", kind, "h", "h")
            elif step in ("replay", "fix"):
                column = KINDS[kind][-1]
                changes = {column: "EUR" if column == "currency" else "2024-03-01 10:00:00"} if step == "fix" else None
                replay(self.con, self.settings, "shop", kind, changes=changes)
        except GuardError as error:
            assert any(words in str(error) for words in ("no row in quarantine", "brought nothing", "has no column"))


def tables_of(con: duckdb.DuckDBPyConnection, schema: str) -> list[str]:
    found = con.execute(
        "select table_name from duckdb_tables() where schema_name = ? order by all", [schema]
    ).fetchall()
    return [name for (name,) in found]


def state_of(con: duckdb.DuckDBPyConnection) -> Counter[tuple[object, ...]]:
    """What is in raw, in open quarantine and in the books, without times and ids of loads."""
    state: Counter[tuple[object, ...]] = Counter()
    for kind in tables_of(con, "raw_shop"):
        state.update(
            con.execute(f"select '{kind}', _key, _row_hash, _deleted_at is null from raw_shop.{kind}").fetchall()
        )
    waiting = "select table_name, key, row_hash, reasons::varchar from quarantine.rows where released_at is null"
    books = (
        "select table_name, status, extracted, promoted, quarantined, deduplicated from ops.loads where promoted > 0"
    )
    state.update(con.execute(waiting).fetchall())
    state.update(con.execute(books).fetchall())
    return state


def write(folder: Path, kind: str, rows: Sequence[dict[str, str | None]], number: int, oddity: str) -> tuple[str, int]:
    """Write a file; its name, and how many records it holds."""
    columns = KINDS[kind]
    expected = len(rows)
    if kind == "visits":
        with duckdb.connect() as con:
            con.execute(f"create table visits ({', '.join(f'{column} varchar' for column in columns)})")
            for row in rows:
                con.execute("insert into visits values (?, ?, ?)", [row[column] for column in columns])
            con.execute(f"copy visits to '{folder}/visits_{number}.parquet' (format parquet)")
        return f"visits_{number}.parquet", expected
    if kind == "people":
        lines = [json.dumps(row, ensure_ascii=number % 2 == 0) for row in rows]
        if oddity == "half":
            lines = [*lines, '{"id": "h1", "part": "a", "mail": "\\ud83d", "name": "\\\\ud83d", "since": null}']
        text, expected = "".join(f"{line}\n" for line in lines), len(lines)
    else:
        target = io.StringIO()
        writer = csv.writer(target, quoting=csv.QUOTE_ALL, lineterminator="\r\n" if oddity == "half" else "\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([row[column] or "" for column in columns])
        if oddity == "ragged":
            # One more record, a line that does not fit the header.
            target.write("r1,too,few\n" if number % 2 else "r1,too,many,2024-03-01,EUR,7,8\n")
            expected = len(rows) + 1
        text = target.getvalue()
    mark = b"\xef\xbb\xbf" if oddity == "bom" else b""
    name = f"{kind}_{number}.{'csv' if kind == 'orders' else 'jsonl'}"
    (folder / name).write_bytes(mark + text.encode())
    return name, expected


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, extensions: Path) -> Callable[[], contextmanager[Plant]]:  # type: ignore[valid-type]
    compiled = tmp_path_factory.mktemp("compiled")

    @contextmanager
    def plant() -> Iterator[Plant]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "delivered").mkdir()
            (folder / "cem.yml").write_text(CONFIG, encoding="utf-8")
            (folder / "home").mkdir()
            (folder / "home" / "guard").symlink_to(compiled, target_is_directory=True)
            settings_ = load_settings(folder / "cem.yml", folder / "home")
            con = connect(settings_.warehouse, extensions, "1GB", 1)
            try:
                yield Plant(con, settings_, folder)
            finally:
                con.close()

    return plant


@given(steps=STEPS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_row_is_lost_or_doubled(opened, steps):
    with opened() as plant:
        for step in steps:
            if len(step) == 2:
                plant.decide(*step)
            else:
                kind, rows, number, oddity = step
                label, count = write(plant.folder / "delivered", kind, rows, number, oddity)
                plant.written[label] = count
                plant.load(kind)
            plant.check_books()
        # The same deliveries, read again as if never seen, any number of times: nothing changes any more.
        states = []
        for _ in range(3):
            plant.con.execute("delete from ops.source_state where kind = 'file'")
            for kind in KINDS:
                plant.load(kind)
            plant.check_books()
            states.append(state_of(plant.con))
        assert states[1] == states[2]
