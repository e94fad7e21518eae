"""Connected components in SQL: which records hang together by edges.

Hook and contract on integer ids (after Borůvka): each node points to its smallest neighbour, pointers are halved
until they are stable, every node is replaced by what it points to, edges within one component vanish, and so on
until no edge is left. The number of rounds grows with the logarithm of the longest path, not with the path.

Does not belong here: what an edge or a component means.
"""

from __future__ import annotations

import duckdb


def connect_components(con: duckdb.DuckDBPyConnection, edges: str, target: str) -> None:
    """Make temporary table `target` (record_id, component_id), one row per record that has an edge.

    Run it outside of a transaction: DuckDB takes a table made in the open transaction for empty when it orders
    joins, and may then join the pointers to each other.

    Args:
        con: The warehouse.
        edges: Relation with columns `record_a` and `record_b`; order and repetition do not matter.
        target: Name of the table to make; `component_id` is one of the component's record ids.
    """
    con.execute(f"""
        create or replace temp table id_left as
        select distinct least(record_a, record_b) as a, greatest(record_a, record_b) as b
        from {edges}
        where record_a != record_b
    """)
    con.execute(f"""
        create or replace temp table {target} as
        select a as record_id, a as component_id from id_left
        union
        select b as record_id, b as component_id from id_left
    """)
    while con.execute("select count(*) from id_left").fetchall()[0][0]:
        _hook(con)
        _halve_pointers(con)
        con.execute(f"""
            create or replace temp table {target} as
            select label.record_id, coalesce(pointer.target, label.component_id) as component_id
            from {target} as label
            left join id_pointer as pointer on label.component_id = pointer.node
        """)
        con.execute("""
            create or replace temp table id_left as
            with contracted as (
                select x.target as x, y.target as y
                from id_left
                inner join id_pointer as x on id_left.a = x.node
                inner join id_pointer as y on id_left.b = y.node
            )
            select distinct least(x, y) as a, greatest(x, y) as b
            from contracted
            where x != y
        """)
    con.execute("drop table id_left")
    con.execute("drop table if exists id_pointer")


def _hook(con: duckdb.DuckDBPyConnection) -> None:
    """Point every node to the smallest of itself and its neighbours; pointers only ever go down, so no cycles."""
    con.execute("""
        create or replace temp table id_pointer as
        select node, min(neighbour) as target
        from (
            select a as node, a as neighbour from id_left
            union all
            select b as node, a as neighbour from id_left
        )
        group by node
    """)


def _halve_pointers(con: duckdb.DuckDBPyConnection) -> None:
    """Let every pointer skip to its target's target, until it reaches a node that points to itself."""
    while True:
        con.execute("""
            create or replace temp table id_halved as
            select pointer.node, next.target, pointer.target != next.target as is_moved
            from id_pointer as pointer
            inner join id_pointer as next on pointer.target = next.node
        """)
        moved = con.execute("select count(*) from id_halved where is_moved").fetchall()[0][0]
        con.execute("create or replace temp table id_pointer as select node, target from id_halved")
        con.execute("drop table id_halved")
        if not moved:
            return
