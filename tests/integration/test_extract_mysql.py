"""A real MySQL (MariaDB) through extraction: its own types, increments on the server, deletions, its errors.

Only where this system has a server (`mariadbd`); no wheel brings one. It listens on loopback only.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
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

pytestmark = pytest.mark.xdist_group("mysql")  # one server for all, not one a worker

CONFIG = """
    sources:
      - name: shop
        kind: sql
        engine: mysql
        connection: ${SHOP_DATABASE}
        time_zone: Europe/Berlin
        tables:
          - name: orders
            table: sales.orders
            key: [id, part]
            cursor: changed
            deletes: sweep
            entity: order
            columns: {order_id: id, person_id: "buyer.id", ordered_at: placed, amount: amount, updated_at: changed}
"""

START_SECONDS = 60
"""A server that is not there by then will not come."""


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A connection string of a running server without its database."""
    found = [shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("mariadbd", "mariadb-install-db")]
    if None in found:
        pytest.skip("no MySQL: this system has no MariaDB server (mariadbd and mariadb-install-db)")
    program, install = found
    folder = Path(tempfile.mkdtemp(prefix="cem-mysql-"))
    common = ["--no-defaults", f"--datadir={folder}/data", *(["--user=root"] if os.geteuid() == 0 else [])]
    subprocess.run(
        [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True,
        capture_output=True,
    )
    port = free_port()
    # A statement a line.
    (folder / "first.sql").write_text(
        "create user cem@localhost identified by 'hunter2';\ngrant all on *.* to cem@localhost;\n"
    )
    process = subprocess.Popen(
        [program, *common, f"--socket={folder}/socket", f"--pid-file={folder}/pid", f"--port={port}",
         "--bind-address=127.0.0.1", f"--init-file={folder}/first.sql", "--innodb-flush-log-at-trx-commit=0",
         # Rows of a zone that is neither ours nor that of the source, and dates that are none.
         "--default-time-zone=-07:00", "--sql-mode="],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(port)
        yield f"host=127.0.0.1 port={port} user=cem password=hunter2"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(port: int) -> None:
    for _ in range(START_SECONDS * 10):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the MariaDB server does not start")


@pytest.fixture
def shop(
    server: str,
    warehouse: duckdb.DuckDBPyConnection,
    write_config: Callable[[str], Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> Shop:
    connection = f"{server} database=mysql"
    monkeypatch.setenv("SHOP_DATABASE", connection)
    shop = Shop("mysql", connection, warehouse, write_config(CONFIG))
    shop.change(
        "drop database if exists sales",
        "create database sales character set utf8mb4",
        "create table sales.orders (id bigint unsigned, part timestamp, buyer json, placed datetime(6), "
        "amount decimal(40, 10), price decimal(10, 2), stars tinyint(1), paid bit(1), code varchar(9) collate "
        "utf8mb4_bin, note text, file blob, changed timestamp(3) null, primary key (id, part))",
        """insert into sales.orders values (18446744073709551615, '2024-07-01', '{"id": "p1"}', """
        "'2024-07-01 10:00:00.123456', 12345678901234567890.12, 9.99, 5, b'1', 'aB', 'سلام 👍', x'00ff', "
        "'2024-07-01 08:00:00.5')",
        """insert into sales.orders values (2, '2024-07-01', '{"id": "p2"}', '2024-07-02 10:00', 2.5, 1, 1, b'0', """
        "'', '', '', '2024-07-05 08:00')",
        """insert into sales.orders values (3, '2024-07-01', '{"id": "p3"}', '2024-07-03 10:00', 3.5, 1, null, null, """
        "null, null, null, '2024-07-09 08:00')",
    )
    return shop


def test_values_keep_their_types_and_all_their_digits(shop: Shop) -> None:
    shop.extract()

    (row,) = shop.con.execute(
        "select id, amount, price::varchar, stars, paid, code, note, file, placed, _key, _cursor "
        "from candidate_shop.orders where price = 9.99"
    ).fetchall()
    assert row == (
        18446744073709551615,
        "12345678901234567890.1200000000",
        "9.99",
        5,
        True,
        "aB",
        "سلام 👍",
        b"\x00\xff",
        "2024-07-01 10:00:00.123456",
        "18446744073709551615|2024-07-01 00:00:00+00:00",
        "2024-07-01T08:00:00.500000",
    )


def test_times_are_of_the_source_but_for_those_the_server_keeps_in_utc(shop: Shop) -> None:
    shop.extract()
    table = shop.settings.tables()[0]
    query = mapped_select(table, table.entities[0], "candidate_shop.orders")

    rows = shop.con.execute(
        f"select order_key, person_key, ordered_at, updated_at, _uncast from ({query}) where order_id = '2'"
    ).fetchall()

    assert rows == [("shop:2", "shop:p2", datetime(2024, 7, 2, 8), datetime(2024, 7, 5, 8), None)]


def test_increments_bring_new_changed_and_late_rows_and_deletions(shop: Shop) -> None:
    shop.change("update sales.orders set amount = 1.5 where price = 9.99")
    shop.load()
    again = shop.load()
    # Only what lies within the overlap is read; the others are seen by their keys alone.
    assert (again.extracted, again.deduplicated, again.candidates, again.deleted) == (3, 3, 0, 0)
    shop.change(
        "insert into sales.orders (id, part, placed, amount, changed) values "
        "(4, '2024-07-01', now(), 1, '2024-07-10 08:00'), (5, '2024-07-01', now(), 1, '2024-07-09 07:55')",
        # Changed without moving its cursor: only a read of everything could see it.
        "update sales.orders set amount = 99, changed = changed where price = 9.99",
        "update sales.orders set amount = 7, changed = '2024-07-10 08:00' where id = 2",
        "delete from sales.orders where id = 3",
    )

    increment = shop.load()

    assert (increment.candidates, increment.deleted) == (3, 1)
    kept = [(int(key), float(amount)) for key, amount in shop.live("id, amount")]
    assert kept == [(18446744073709551615, 1.5), (2, 7.0)]
    # The new ones name no buyer: they wait in quarantine.
    waiting = shop.con.execute("select key from quarantine.rows where released_at is null order by key").fetchall()
    assert [key.partition("|")[0] for (key,) in waiting] == ["4", "5"]


def test_a_date_that_is_none_is_quarantined_as_sent(shop: Shop) -> None:
    shop.change("update sales.orders set amount = 1.5", "update sales.orders set placed = '0000-00-00' where id = 2")
    shop.load()

    [(reasons, sent)] = shop.con.execute("select reasons, row->>'placed' from quarantine.rows").fetchall()
    assert sent == "0000-00-00 00:00:00.000000"
    assert any(reason.endswith("[order.values_readable]") for reason in reasons)


def test_errors_name_what_is_there_and_no_password(shop: Shop) -> None:
    shop.change("rename table sales.orders to sales.verkauf")
    with pytest.raises(SourceError, match=r"no table 'sales\.orders'.*sales\.verkauf"):
        shop.extract()

    source = shop.settings.sources[0]
    broken = source.model_copy(
        update={"connection": type(source.connection)("host=127.0.0.1 port=1 user=cem password=hunter2 database=x")}
    )
    settings = shop.settings.model_copy(update={"sources": (broken,)})
    with pytest.raises(SourceError, match="cannot reach the mysql database") as caught:
        extract_table(shop.con, settings, settings.tables()[0], "load")
    assert caught.value.is_transient
    assert "hunter2" not in str(caught.value)
