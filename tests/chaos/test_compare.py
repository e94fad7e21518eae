"""The comparison finds what it is for, and only that."""

import duckdb
import pytest
from compare import differences

BEFORE = """
create schema raw_shop;
create schema identity;
create schema marts;
create table raw_shop.orders as
    select i::varchar as _key, i * 10 as amount, 'L' || (i // 3) as _load_id from range(9) as numbers (i);
create table identity.event as select i as customer, timestamp '2026-01-01' + interval (i) day as occurred_at
    from range(3) as numbers (i);
create table marts.mart_load_rule as select 'shop.orders 2026-01-01 not_empty' as load_rule_key,
    'shop' as source, 'orders' as table_name, date '2026-01-01' as load_date;
create view marts.mart_order as from raw_shop.orders;
"""


@pytest.fixture
def compared(tmp_path):
    """Differences between a file and one that some statements changed."""

    def compare(change, **options):
        ours, theirs = tmp_path / "ours.duckdb", tmp_path / "theirs.duckdb"
        for path, statements in ((ours, BEFORE + change), (theirs, BEFORE)):
            path.unlink(missing_ok=True)
            with duckdb.connect(str(path)) as con:
                con.execute(statements)
        return differences(ours, theirs, **options)

    return compare


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            "update raw_shop.orders set amount = 1 where _key = '4'",
            "raw_shop.orders: 1 rows only here, 1 missing; columns that differ: amount",
        ),
        (
            "delete from raw_shop.orders where _key = '4'",
            "raw_shop.orders: 0 rows only here, 1 missing; columns that differ: ",
        ),
        (
            "insert into raw_shop.orders from raw_shop.orders where _key = '4'",
            "raw_shop.orders: 1 rows only here, 0 missing; columns that differ: _key, amount, _load_id",
        ),
        (
            "update raw_shop.orders set _load_id = 'L9' where _key = '4'",
            "raw_shop.orders: 1 rows only here, 1 missing; columns that differ: _load_id",
        ),
        (
            "update identity.event set occurred_at = timestamp '2027-01-01' where customer = 0",
            "identity.event: 3 rows only here, 3 missing; columns that differ: ",
        ),
        ("alter table raw_shop.orders add column note text", "raw_shop.orders: other columns"),
        ("create table marts.mart_new (i int)", "marts.mart_new: only here"),
        ("drop table identity.event", "identity.event: missing"),
        (
            "create or replace view marts.mart_order as from raw_shop.orders where amount > 0",
            "marts.mart_order: only one side has this view, or another one",
        ),
    ],
    ids=["value", "row missing", "row twice", "load", "order of moments", "column", "new table", "no table", "view"],
)
def test_a_single_difference_is_found(compared, change, found):
    assert compared(change) == [found]


def test_the_rows_of_views_are_compared_where_they_can_be_read(compared):
    changed = "update raw_shop.orders set amount = 1 where _key = '4'"
    assert [line.split(":")[0] for line in compared(changed, views=True)] == ["marts.mart_order", "raw_shop.orders"]


def test_another_clock_is_no_difference(compared):
    later = """
    update raw_shop.orders set _load_id = 'M' || _load_id;
    update identity.event set occurred_at = occurred_at + interval 5 hour;
    update marts.mart_load_rule set
        load_date = date '2026-03-01', load_rule_key = 'shop.orders 2026-03-01 not_empty'
    """
    assert compared(later, views=False) == []
