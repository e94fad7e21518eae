"""Whatever is fed, in whatever order: no row is ever lost, doubled or promoted against a rule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import duckdb
from guarded_shop import Shop, order
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.guard import discard, held_loads, release, replay
from orchestration.guard.results import GuardError
from orchestration.settings import Settings
from orchestration.warehouse import BOOKKEEPING

EXAMPLES = settings().max_examples // 6
"""Histories: 16 where hypothesis looks at 100 examples, its default."""

TEXTS = st.one_of(
    st.none(),
    st.sampled_from(["o1", "o2", "o3", "o4", "", " ", "\x00", "'", '"', "NaN", "-1", "12.5", "2024-01-01", "سارا"]),
    st.text(max_size=8),
)

ROWS = st.fixed_dictionaries(
    {
        "no": st.one_of(st.sampled_from(["o1", "o2", "o3", "o4", "o5"]), TEXTS),
        "customer": st.sampled_from(["c1", "c2", None]),
        "at": st.sampled_from(["2024-03-01", "2024-03-02", "2190-01-01", "soon", None]),
        "total": st.one_of(st.sampled_from(["1", "2", "3", "-1"]), TEXTS),
        "state": st.sampled_from(["paid", "returned", "?", None]),
        "currency": st.sampled_from(["EUR", "??", None]),
        "delivered": st.sampled_from(["2024-03-04", "2020-01-01", None]),
    }
)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("load"), st.lists(ROWS, max_size=12)),
        st.tuples(st.sampled_from(["again", "release", "discard", "replay", "mend"]), st.none()),
    ),
    min_size=1,
    max_size=6,
)


def check_books(shop: Shop) -> None:
    """Every booked load adds up, and raw and quarantine hold what the books say and nothing twice."""
    con = shop.con
    off = "extracted <> promoted + quarantined + deduplicated and status in ('promoted', 'released')"
    assert shop.count(f"(select 1 from ops.loads where {off})") == 0
    if not shop.exists():
        return
    assert shop.count("(select _key from raw_shop.orders group by _key having count(*) > 1)") == 0
    assert shop.count("(select 1 from raw_shop.orders where _key is null)") == 0
    twice = "select key, row_hash from quarantine.rows where released_at is null group by all having count(*) > 1"
    assert shop.count(f"({twice})") == 0
    both = (
        "select 1 from quarantine.rows as bad inner join raw_shop.orders as raw "
        "on bad.key = raw._key and bad.row_hash = raw._row_hash where bad.released_at is null"
    )
    assert shop.count(f"({both})") == 0
    promoted = Counter(dict(con.execute("select _load_id, count(*) from raw_shop.orders group by all").fetchall()))
    booked = dict(con.execute("select load_id, promoted from ops.loads").fetchall())
    assert all(count <= booked[load_id] for load_id, count in promoted.items())
    quarantined = con.execute("select load_id, count(*) from quarantine.rows group by all").fetchall()
    counted = dict(con.execute("select load_id, quarantined from ops.loads").fetchall())
    assert all(count == counted[load_id] for load_id, count in quarantined)


def check_rows(shop: Shop, delivered: list[dict[str, object]]) -> None:
    """Each row of the delivery just promoted is promoted or in quarantine, and nothing bad is promoted."""
    if not shop.exists():
        return
    raw = {row[0] for row in shop.con.execute("select _row_hash from raw_shop.orders").fetchall()}
    waiting = {row[0] for row in shop.con.execute("select row_hash from quarantine.rows").fetchall()}
    for row in delivered:
        values = [row[column] for column in order(1)]
        [digest] = shop.con.execute(f"select hash({', '.join(['?::varchar'] * len(values))})", values).fetchone()
        assert digest in raw or digest in waiting
    bad = "total::varchar like '-%' and state is distinct from 'returned' and try_cast(total as decimal(18, 4)) < 0"
    assert shop.count(f"(select 1 from raw_shop.orders where {bad})") == 0


def act(shop: Shop, step: str) -> None:
    held = held_loads(shop.con)
    try:
        if step == "release" and held:
            release(shop.con, shop.settings, held[0].load_id, "shop", "orders", "h", "h")
        elif step == "discard" and held:
            discard(shop.con, shop.settings, held[0].load_id, "shop", "orders", "h", "h")
        elif step == "replay":
            replay(shop.con, shop.settings, "shop", "orders")
        elif step == "mend":
            replay(shop.con, shop.settings, "shop", "orders", changes={"total": "1", "currency": "EUR"})
    except GuardError as error:
        assert any(words in str(error) for words in ("no row in quarantine", "brought nothing", "has no column"))


@given(steps=STEPS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_row_is_lost_or_doubled(settings: Settings, compiled: Path, steps: list[tuple[str, object]]):
    with duckdb.connect() as con:
        con.execute("set threads = 1")
        con.execute(BOOKKEEPING)
        shop = Shop(con, settings)
        last: list[dict[str, object]] = []
        for step, rows in steps:
            if step in ("load", "again"):
                last = rows if rows is not None else last
                verdict = shop.load(last, columns=list(order(1)))
                if verdict.status == "promoted":
                    assert verdict.extracted == verdict.promoted + verdict.quarantined + verdict.deduplicated
                    check_rows(shop, last)
                if verdict.status == "held":
                    assert held_loads(con)
            else:
                act(shop, step)
            check_books(shop)
