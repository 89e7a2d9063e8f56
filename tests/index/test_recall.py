"""How few candidates are enough, and which searches make do with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asynccache._models import Neighbour
from asynccache.index._graph import Graph
from asynccache.index._recall import RecallCheck
from asynccache.index.hnsw import HnswIndex
from asynccache.index.partition import PartitionIndex
from tests.index.test_partition import keys, near, recall, settled, unit


def graph_of(index: PartitionIndex) -> Graph:
    graph = index._parts.graph
    assert graph is not None
    return graph


class Lossy(HnswIndex):
    """Finds nothing with fewer candidates than ``needs``."""

    needs = 0

    def nearest(
        self, queries: NDArray[np.float32], k: int, now: float | None = None, *, ef: int | None = None
    ) -> list[list[Neighbour]]:
        if ef is not None and ef < self.needs:
            return [[] for _ in queries]
        return super().nearest(queries, k, now, ef=ef)


@pytest.mark.parametrize(("needs", "enough"), [(0, 25), (26, 40), (33, 50), (41, 64), (52, 64)])
def test_enough_is_a_step_more_than_what_lost_nothing(
    needs: int, enough: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lossy, "needs", needs)
    index = settled(unit(100, 8), graph=Lossy)
    assert (index.ef, index.recall) == (64, 1.0)
    assert graph_of(index).enough == enough


def test_nothing_is_enough_when_some_are_lost_at_best(monkeypatch: pytest.MonkeyPatch) -> None:
    index = settled(unit(100, 8), graph=Lossy)
    graph = graph_of(index)
    queries = near(unit(256, 8, seed=5), noise=0.1, seed=6)
    nearest, missed = graph.nearest, queries[:1]

    def losing(asked: NDArray[np.float32], k: int, **options: Any) -> list[list[Neighbour]]:
        found = nearest(asked, k, **options)
        return [
            [] if np.array_equal(one, missed[0]) else each for one, each in zip(asked, found, strict=True)
        ]

    monkeypatch.setattr(graph, "nearest", losing)
    check = RecallCheck(graph, queries, np.random.default_rng(0))
    while check.advance():
        pass
    assert 0.995 <= check.recall < 1.0
    assert (graph.ef, graph.enough) == (64, None)


def test_a_later_check_takes_back_what_an_earlier_one_found(monkeypatch: pytest.MonkeyPatch) -> None:
    index = settled(unit(100, 8), graph=Lossy)
    assert graph_of(index).enough == 25
    monkeypatch.setattr(Lossy, "needs", 33)
    index.add(keys(50, 100), unit(50, 8, seed=1))
    while index.step(0.01):
        assert graph_of(index).enough in (25, 50)  # until it is known that it is not enough
    assert graph_of(index).enough == 50


def test_what_was_enough_is_not_when_more_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    index = settled(unit(100, 8), graph=Lossy)
    monkeypatch.setattr(Lossy, "needs", 70)
    index.add(keys(50, 100), unit(50, 8, seed=1))
    while index.ef == 64:
        assert index.step(0.0)
    assert (index.ef, graph_of(index).enough) == (96, None)
    while index.step(0.01):
        pass
    assert (index.ef, graph_of(index).enough) == (96, 95)


def test_searches_keep_what_is_enough_and_some_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = unit(200, 8)
    index = settled(rows)
    graph = graph_of(index)
    kept: list[int] = []
    monkeypatch.setattr(graph, "_keep", kept.append)
    graph.enough = None
    index.nearest(rows[:1], 3)
    graph.enough = 25
    for k in (1, 3, 16, 100):
        index.nearest(rows[:1], k)
    graph.nearest(rows[:1], 1, ef=7)
    assert kept == [64, 25, 25, 32, 64, 7]


def test_near_questions_and_their_surroundings_are_found_with_what_is_enough() -> None:
    centres = unit(100, 64, seed=1)
    rows = near(np.repeat(centres, 50, axis=0), noise=0.5, seed=3)
    index = settled(rows, exact_up_to=2000)
    assert graph_of(index).enough in range(24, 64)
    queries = near(rows[::10], noise=0.3, seed=4)
    assert recall(index, rows, queries) >= 0.995
    sixteenth = np.sort(queries @ rows.T, axis=1)[:, -16].tolist()
    found = [
        each.similarity >= least - 1e-5
        for neighbours, least in zip(index.nearest(queries, 16), sixteenth, strict=True)
        for each in neighbours
    ]
    assert len(found) == 16 * len(queries)
    assert np.mean(found) >= 0.99


def test_what_is_enough_is_saved_and_need_not_be(tmp_path: Path) -> None:
    index = settled(unit(100, 8))
    state = json.loads(json.dumps(index.save_parts(tmp_path / "p")))
    loaded = PartitionIndex.load_parts(tmp_path / "p", state, exact_up_to=50)
    assert graph_of(loaded).enough == graph_of(index).enough == 25
    del state["graph"]["enough"]  # as a version wrote it that did not look for it
    loaded = PartitionIndex.load_parts(tmp_path / "p", state, exact_up_to=50)
    assert graph_of(loaded).enough is None
