from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asynccache.decision._trees import LEAVES, Trees

EVERY = (1 << LEAVES) - 1


def two() -> Trees:
    """x0 <= 1 ? (x1 <= 5 ? 1 : 2) : 4, and x1 <= 0 ? 10 : 20."""
    values = np.zeros((2, LEAVES), np.float32)
    values[0, :3], values[1, :2] = (1, 2, 4), (10, 20)
    return Trees(
        column=np.array([0, 1, 1], np.uint8),
        limit=np.array([1, 5, 0], np.float32),
        strikes=np.array([EVERY & ~0b011, EVERY & ~0b001, EVERY & ~0b001], np.uint16),
        starts=np.array([0, 2]),
        values=values,
    )


def test_every_row_reaches_its_leaf_in_every_tree() -> None:
    rows = np.array([[0, 0], [0, 6], [2, 0], [1, 5], [2, 9]], np.float32)
    assert two()(rows).tolist() == [11, 22, 14, 21, 24]


def test_no_trees_say_nothing() -> None:
    whole = two()
    empty = whole._replace(starts=whole.starts[:0], values=whole.values[:0])
    assert empty(np.ones((3, 2), np.float32)).tolist() == [0, 0, 0]


def test_random_trees_agree_with_walking_them() -> None:
    random = np.random.default_rng(0)
    rows = random.integers(0, 6, (50, 4)).astype(np.float32)
    columns: list[int] = []
    limits: list[int] = []
    strikes: list[int] = []
    starts: list[int] = []
    values: list[NDArray[np.float32]] = []
    walks: list[tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]] = []
    for _ in range(20):
        starts.append(len(columns))
        order = random.integers(0, 4, 15), random.integers(0, 6, 15)
        values.append(random.standard_normal(LEAVES).astype(np.float32))
        # A full tree of four levels: node k of level d leads away from the left half of its leaves.
        for node in range(15):
            depth = (node + 1).bit_length() - 1
            first = (node + 1 - (1 << depth)) * (LEAVES >> depth)
            left = sum(1 << leaf for leaf in range(first, first + (LEAVES >> (depth + 1))))
            columns.append(order[0][node])
            limits.append(order[1][node])
            strikes.append(EVERY & ~left)
        walks.append((order, values[-1]))
    trees = Trees(
        np.array(columns, np.uint8),
        np.array(limits, np.float32),
        np.array(strikes, np.uint16),
        np.array(starts),
        np.array(values),
    )

    def walked(row: NDArray[np.float32]) -> float:
        total = 0.0
        for (column, limit), leaves in walks:
            node = 0
            while node < 15:
                node = 2 * node + (1 if row[column[node]] <= limit[node] else 2)
            total += float(leaves[node - 15])
        return total

    assert np.allclose(trees(rows), [walked(row) for row in rows], atol=1e-5)
