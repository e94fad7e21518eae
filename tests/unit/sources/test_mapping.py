"""Rows as sent become rows of the contract; what cannot be read is told, not guessed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from orchestration.settings import Settings, Table
from orchestration.sources.contract import load_contract
from orchestration.sources.mapping import mapped_select, output_columns

BOOKED = (
    "'k' as _key, 1::ubigint as _row_hash, null::varchar as _cursor, 'l' as _load_id, "
    "timestamp '2024-01-01' as _loaded_at, null::timestamp as _deleted_at"
)

WriteConfig = Callable[[str], Settings]


def table_of(write_config: WriteConfig, entity: str, columns: str, options: str = "files: a.csv") -> Table:
    """The only table of a source `crm` that maps one entity."""
    settings = write_config(f"""
        sources:
          - name: crm
            kind: files
            tables:
              - name: things
                {options}
                entity: {entity}
                columns: {{{columns}}}
          - name: erp
            kind: files
            tables: [{{name: other, files: b.csv}}]
    """)
    return settings.tables()[0]


def mapped(table: Table, sent: str) -> list[dict[str, Any]]:
    """The mapped rows of a VALUES-like relation."""
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        con.execute(f"create table raw as select *, {BOOKED} from ({sent})")
        result = con.execute(mapped_select(table, table.entities[0], "raw"))
        names = [column[0] for column in result.description or []]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


ORDER = "order_id: id, person_id: {column: who, source: erp}, ordered_at: moment"


def test_every_column_of_the_contract_comes_typed_and_in_order(write_config: WriteConfig) -> None:
    for entity in load_contract().values():
        columns = ", ".join(f"{name}: x" for name in entity.required)
        table = table_of(write_config, entity.name, columns)
        with duckdb.connect() as con:
            con.execute(f"create table raw as select null::varchar as x, {BOOKED}")
            described = con.execute(f"describe {mapped_select(table, table.entities[0], 'raw')}").fetchall()
            found = {row[0]: row[1] for row in described}
        assert list(found)[: len(output_columns(entity))] == output_columns(entity)
        for column in entity.columns.values():
            assert found[column.name].lower() == column.duckdb_type
        assert list(found)[-1] == "_uncast"


def test_keys_carry_the_source_their_record_is_of(write_config: WriteConfig) -> None:
    table = table_of(write_config, "order", ORDER)

    (row,) = mapped(table, "select '۱' as id, 'p\u200b1' as who, '2024-01-01' as moment")

    assert (row["source"], row["order_key"], row["order_id"]) == ("crm", "crm:1", "1")
    assert (row["person_key"], row["person_id"]) == ("erp:p1", "p1")
    assert row["_uncast"] is None


def test_a_schedule_is_referred_to_by_its_own_id(write_config: WriteConfig) -> None:
    table = table_of(
        write_config, "business_schedule", "business_schedule_interval_id: id, schedule_id: s, time_zone: {value: UTC}"
    )

    (row,) = mapped(table, "select '7' as id, 'night' as s")

    assert (row["business_schedule_interval_key"], row["schedule_key"]) == ("crm:7", "crm:night")


def test_unreadable_values_are_named_and_missing_ones_are_not(write_config: WriteConfig) -> None:
    table = table_of(
        write_config,
        "order",
        ORDER + ", amount: {column: amount, missing: [n/a]}, promised_at: due",
        options='files: a.csv\n                missing: ["?"]',
    )

    rows = mapped(
        table,
        "select * from (values ('1', '?', '2024-01-01', 'n/a', ' '), ('2', 'b', 'soon', '1,5', '?')) "
        "as v(id, who, moment, amount, due)",
    )

    assert [row["_uncast"] for row in rows] == [None, "ordered_at,amount"]
    assert rows[0]["person_id"] is None and rows[0]["person_key"] is None


def test_words_are_mapped_and_those_of_closed_lists_tidied(write_config: WriteConfig) -> None:
    columns = "ticket_id: id, created_at: {value: 2024-01-01}, status: {column: s, map: {Offen: open, weg: ~}}"

    rows = mapped(
        table_of(write_config, "ticket", columns),
        "select * from (values ('1', 'Offen'), ('2', ' On Hold'), ('3', 'weg'), ('4', 'Neu'), ('5', null)) as v(id, s)",
    )

    # A word nobody mapped stays, so that the guard can refuse it by name.
    assert [row["status"] for row in rows] == ["open", "on_hold", None, "neu", None]


def test_a_default_takes_every_word_that_is_not_mapped(write_config: WriteConfig) -> None:
    columns = "ticket_id: id, created_at: {value: 2024-01-01}, status: {column: s, map: {Offen: open}, default: closed}"

    rows = mapped(
        table_of(write_config, "ticket", columns),
        "select * from (values ('1', 'Offen'), ('2', 'x'), ('3', null)) as v(id, s)",
    )

    assert [row["status"] for row in rows] == ["open", "closed", None]


def test_formats_of_the_source_and_of_a_column_are_followed(write_config: WriteConfig) -> None:
    table = table_of(
        write_config,
        "order",
        "order_id: id, person_id: id, ordered_at: moment, amount: amount, "
        "delivered_at: {column: got, time_zone: UTC, format: '%Y%m%d%H'}",
        options="files: a.csv\n                date_order: dmy\n                time_zone: Europe/Berlin\n"
        "                decimal: ','",
    )

    (row,) = mapped(table, "select '1' as id, '5/7/2016 10:00' as moment, '1.234,50' as amount, '2016070612' as got")

    assert row["ordered_at"] == datetime(2016, 7, 5, 8)
    assert row["delivered_at"] == datetime(2016, 7, 6, 12)
    assert row["amount"] == Decimal("1234.5000")


def test_native_types_need_no_format(write_config: WriteConfig) -> None:
    table = table_of(
        write_config,
        "order",
        "order_id: id, person_id: id, ordered_at: a, delivered_at: b, amount: c",
        options="files: a.parquet\n                time_zone: Asia/Tehran",
    )

    (row,) = mapped(
        table,
        "select 7::bigint as id, timestamp '2024-01-01 12:00' as a, "
        "timestamptz '2024-01-01 12:00:00+00' as b, 12.5::double as c",
    )

    assert row["order_id"] == "7"
    assert row["ordered_at"] == datetime(2024, 1, 1, 8, 30)
    assert row["delivered_at"] == datetime(2024, 1, 1, 12)
    assert row["amount"] == Decimal("12.5")
    assert row["_uncast"] is None


@pytest.mark.parametrize(
    "sent",
    [
        """select '{"id": 5, "names": [{"first": "Ada"}]}' as who""",
        "select {'id': 5, 'names': [{'first': 'Ada'}]} as who",
    ],
)
def test_a_path_reaches_into_nested_values(write_config: WriteConfig, sent: str) -> None:
    table = table_of(
        write_config,
        "person",
        "person_id: who.id, given_name: 'who.names[0].first', city: who.city",
        options="files: a.jsonl",
    )

    (row,) = mapped(table, sent)

    assert (row["person_id"], row["given_name"], row["city"]) == ("5", "Ada", None)


def test_a_dot_in_a_csv_name_is_only_a_dot(write_config: WriteConfig) -> None:
    (row,) = mapped(table_of(write_config, "person", "person_id: a.b"), "select '5' as \"a.b\"")

    assert row["person_id"] == "5"


def test_expressions_see_columns_as_sent_and_where_picks_rows(write_config: WriteConfig) -> None:
    table = table_of(
        write_config,
        "person",
        "person_id: {expression: upper(id) || '-' || given_name}, given_name: x",
        options="files: a.csv\n                where: given_name <> 'skip'",
    )

    rows = mapped(table, "select * from (values ('a', 'one', 'A'), ('b', 'skip', 'B')) as v(id, given_name, x)")

    assert [(row["person_id"], row["given_name"]) for row in rows] == [("A-one", "A")]


def test_names_and_texts_of_the_source_are_never_run(write_config: WriteConfig) -> None:
    table = table_of(
        write_config, "person", """person_id: '"; drop table raw; --', city: {value: "'; drop table raw; --"}"""
    )

    (row,) = mapped(table, 'select \'1\' as """; drop table raw; --"')

    assert (row["person_id"], row["city"]) == ("1", "'; drop table raw; --")
