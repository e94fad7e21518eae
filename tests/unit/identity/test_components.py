"""Components agree with those of an independent implementation."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from orchestration.identity.components import connect_components

PATH = [(n, n + 1) for n in range(500)]
ZIGZAG = [(n * 7919 % 1009, (n + 1) * 7919 % 1009) for n in range(1008)]


def random_edges(seed: int) -> list[tuple[int, int]]:
    generator = np.random.default_rng(seed)
    return [(int(a), int(b)) for a, b in generator.integers(0, 3000, size=(1500, 2))]


@pytest.mark.parametrize("edges", [[], [(5, 5)], [(2, 1), (1, 2)], PATH, ZIGZAG, random_edges(1), random_edges(2)])
def test_partition_is_that_of_scipy(edges: list[tuple[int, int]]) -> None:
    con = duckdb.connect()
    con.execute("create table edge (record_a bigint, record_b bigint)")
    if edges:
        con.executemany("insert into edge values (?, ?)", edges)
    connect_components(con, "edge", "component")
    found = {
        frozenset(members)
        for (members,) in con.execute("select list(record_id) from component group by component_id").fetchall()
    }
    proper = [(a, b) for a, b in edges if a != b]
    nodes = sorted({node for edge in proper for node in edge})
    place = {node: index for index, node in enumerate(nodes)}
    expected: set[frozenset[int]] = set()
    if nodes:
        rows, columns = zip(*[(place[a], place[b]) for a, b in proper], strict=True)
        matrix = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(nodes), len(nodes)))
        count, labels = connected_components(matrix, directed=False)
        expected = {frozenset(nodes[index] for index in np.flatnonzero(labels == label)) for label in range(count)}
    assert found == expected
