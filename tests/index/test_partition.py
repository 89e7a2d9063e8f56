"""An index that fits its size, and the work it does between searches."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asynccache._protocols import VectorIndex
from asynccache.index._graph import MakeGraph
from asynccache.index.exact import ExactIndex
from asynccache.index.hnsw import HnswIndex
from asynccache.index.partition import PartitionIndex


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def keys(count: int, first: int = 0) -> list[bytes]:
    return [key(number) for number in range(first, first + count)]


def unit(count: int, dim: int, *, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def near(rows: NDArray[np.float32], *, noise: float, seed: int) -> NDArray[np.float32]:
    moved = rows + noise * unit(*rows.shape, seed=seed)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    return moved


def settle(index: PartitionIndex) -> None:
    while index.step(0.01):
        pass


def settled(
    rows: NDArray[np.float32], *, exact_up_to: int = 50, graph: MakeGraph = HnswIndex
) -> PartitionIndex:
    index = PartitionIndex(rows.shape[1], exact_up_to=exact_up_to, graph=graph)
    index.add(keys(len(rows)), rows)
    settle(index)
    return index


def hasty(dim: int, *, capacity: int) -> HnswIndex:
    return HnswIndex(dim, capacity=capacity, m=4, ef_construction=20, ef=1)


def recall(index: PartitionIndex, rows: NDArray[np.float32], queries: NDArray[np.float32]) -> float:
    best = (queries @ rows.T).max(axis=1).tolist()
    found = index.nearest(queries, 1)
    return float(
        np.mean([each[0].similarity >= cosine - 1e-5 for each, cosine in zip(found, best, strict=True)])
    )


def test_it_is_a_vector_index() -> None:
    assert isinstance(PartitionIndex(4), VectorIndex)


def test_few_vectors_are_compared_one_and_all() -> None:
    index = settled(unit(50, 8))
    assert (index.graph_size, index.tail_size, index.ef) == (0, 50, 0)
    assert index.settled
    assert index.step(1.0) is False


def test_many_vectors_go_into_a_graph() -> None:
    rows = unit(51, 8)
    index = settled(rows)
    assert (index.graph_size, index.tail_size) == (51, 0)
    assert index.settled
    assert recall(index, rows, rows) == 1.0


def test_adding_fills_the_tail_and_never_waits_for_the_graph() -> None:
    rows = unit(200, 8)
    index = settled(rows[:100])
    index.add(keys(100, 100), rows[100:])
    assert (index.graph_size, index.tail_size) == (100, 100)
    assert not index.settled
    assert recall(index, rows, rows) == 1.0


def test_the_oldest_go_into_the_graph_first() -> None:
    index = PartitionIndex(8, exact_up_to=10)
    index.add(keys(60), unit(60, 8))
    while index.graph_size < 30:
        index.step(0.0)
    graph = index._parts.graph
    assert graph is not None
    assert sorted(graph.keys()) == keys(index.graph_size)


def test_a_search_finds_everything_at_every_moment_of_the_move() -> None:
    rows = unit(60, 8)
    index = PartitionIndex(8, exact_up_to=10)
    index.add(keys(60), rows)
    sizes = set()
    more = True
    while more:
        more = index.step(0.0)
        sizes.add(index.graph_size)
        assert sorted(index.keys()) == keys(60)
        assert recall(index, rows, rows) == 1.0
        assert {each.key for each in index.nearest(rows[:1], 60)[0]} == set(keys(60))
    assert len(sizes) > 20


def test_a_step_ends_when_its_budget_is_spent() -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.001  # what a slice takes
        return now

    index = PartitionIndex(8, exact_up_to=10, clock=clock)
    index.add(keys(100), unit(100, 8))
    assert index.step(0.0) is True  # a slice at least: the graph is begun
    assert index.graph_size == 0
    assert index.step(0.0035) is True
    assert 0 < index.graph_size < 10
    assert index.step(10.0) is False
    assert index.settled


def test_a_shrunken_index_gives_up_its_graph() -> None:
    rows = unit(100, 8)
    index = settled(rows)
    index.remove(keys(75))
    assert index.settled is False or index.graph_size == 25
    settle(index)
    assert index.graph_size == 25  # exactly half: still a graph
    index.remove([key(75)])
    index.add([key(75)], rows[75:76])
    index.remove([key(76)])
    settle(index)
    assert (index.graph_size, index.tail_size, index.ef) == (0, 24, 0)
    assert recall(index, rows[[75, *range(77, 100)]], rows) == 1.0
    index.add(keys(100), rows)
    settle(index)
    assert index.graph_size == 100


def test_a_search_finds_everything_at_every_moment_of_giving_up_the_graph() -> None:
    rows = unit(500, 8)
    index = settled(rows, exact_up_to=400)
    index.remove(keys(310))
    while index.graph_size:
        index.step(0.0)
        assert sorted(index.keys()) == keys(190, 310)
        assert {each.key for each in index.nearest(rows[:1], 500)[0]} == set(keys(190, 310))
        assert recall(index, rows[310:], rows) == 1.0


def test_a_new_graph_looks_at_as_many_as_the_old_and_is_checked_afresh() -> None:
    rows = unit(600, 32)
    index = settled(rows, graph=hasty)
    ef, old = index.ef, index._parts.graph
    assert ef > 10
    index._upkeep.recall = math.nan
    index.remove(keys(200))
    while index._parts.graph is old:
        index.step(0.0)
    assert index.ef == ef
    settle(index)
    assert index.recall >= 0.995


def test_a_new_graph_is_made_when_too_many_have_died() -> None:
    rows = unit(400, 32)
    index = settled(rows)
    old, size = index._parts.graph, index.bytes
    index.remove(keys(100))
    settle(index)
    assert index._parts.graph is old  # a quarter is bearable
    index.remove(keys(100, 100))
    settle(index)
    graph = index._parts.graph
    assert graph is not None
    assert graph is not old
    assert graph.dead == 0
    assert index.bytes < size * 0.7
    assert recall(index, rows[200:], rows) == 1.0


def test_erase_makes_a_new_graph_for_a_single_removed_vector() -> None:
    rows = unit(100, 8)
    index = settled(rows)
    index.nearest(rows[:1], 1)
    index.remove([key(7)])
    assert index.settled
    index.erase()
    assert not index.settled
    settle(index)
    graph = index._parts.graph
    assert graph is not None
    assert graph.dead == 0
    index.remove([key(8)])
    assert index.settled  # erased is what was removed before
    index.erase()
    settle(index)
    index.erase()
    assert index.settled  # nothing to erase
    recent = index._upkeep._recent
    assert recent is not None
    assert len(recent.queries()) == 0


def test_erasing_again_while_a_new_graph_is_made_erases_what_has_died_since() -> None:
    rows = unit(100, 8)
    index = settled(rows)
    index.remove([key(7)])
    index.erase()
    for _ in range(20):
        index.step(0.0)
    assert index._parts.successor is not None
    index.remove([key(0)])  # already in the new graph
    index.erase()
    settle(index)
    graph = index._parts.graph
    assert graph is not None
    assert (len(graph), graph.dead) == (98, 0)


def test_changes_while_a_new_graph_is_made_are_all_in_it() -> None:
    rows = unit(100, 8)
    other = unit(10, 8, seed=3)
    index = settled(rows)
    index.remove([key(99)])
    index.erase()
    for _ in range(25):
        index.step(0.0)
    assert index._parts.successor is not None
    index.remove([key(0), key(90)])  # one has been copied, one has not
    index.add([key(1), key(91)], other[:2])
    index.add([key(2), key(92)], rows[[2, 92]], [5.0, 5.0])  # told again: they only expire now
    index.add([key(0), key(200)], other[2:4])
    check_changed(index, rows, other)
    while index.step(0.0):
        check_changed(index, rows, other)
    assert index.tail_size == 0
    check_changed(index, rows, other)
    assert index.sweep(5.0) == 2


def check_changed(index: PartitionIndex, rows: NDArray[np.float32], other: NDArray[np.float32]) -> None:
    truth = {key(number): rows[number] for number in range(99)}
    del truth[key(90)]
    truth.update({key(1): other[0], key(91): other[1], key(0): other[2], key(200): other[3]})
    assert set(index.keys()) == truth.keys()
    assert len(index) == len(truth)
    names = list(truth)
    assert np.array_equal(index.vectors_of(names), np.array([truth[name] for name in names]))
    found = index.nearest(np.array([truth[name] for name in names]), 1)
    assert [each[0].key for each in found] == names
    gone = {key(2), key(92)}
    assert {each.key for each in index.nearest(rows[:1], 200, now=5.0)[0]} == truth.keys() - gone


def test_the_very_same_again_leaves_the_graph_alone() -> None:
    rows = unit(200, 8)
    index = settled(rows)
    index.add(keys(200), rows, [9.0] * 200)
    graph = index._parts.graph
    assert graph is not None
    assert (graph.dead, index.tail_size) == (0, 0)
    assert index.settled
    assert index.nearest(rows[:1], 1, now=9.0) == [[]]  # though when they expire is taken up


def test_of_a_key_told_twice_at_once_the_last_vector_counts() -> None:
    rows = unit(100, 8)
    index = settled(rows)
    index.add([key(0), key(0), key(300), key(300)], rows[[5, 6, 7, 8]])
    assert np.array_equal(index.vectors_of([key(0), key(300)]), rows[[6, 8]])
    index.add([key(1), key(1)], rows[[5, 1]])
    assert np.array_equal(index.vectors_of([key(1)]), rows[[1]])
    assert len(index) == 101


def test_a_bad_vector_is_refused_and_nothing_changes() -> None:
    rows = unit(100, 8)
    index = settled(rows)
    bad = unit(3, 8, seed=1)
    bad[2, 0] = math.nan
    with pytest.raises(ValueError, match="norm 1"):
        index.add([key(0), key(500), key(501)], bad)
    with pytest.raises(ValueError, match="32 bytes"):
        index.add([key(0), b"", key(501)], rows[:3])
    with pytest.raises(ValueError, match="an expiry for each"):
        index.add([key(0)], bad[:1], [])
    assert set(index.keys()) == set(keys(100))
    assert np.array_equal(index.vectors_of([key(0)]), rows[:1])
    with pytest.raises(KeyError):
        index.vectors_of([key(500)])


def test_expired_ones_are_left_out_and_swept() -> None:
    rows = unit(120, 8)
    index = settled(rows[:100])
    index.add(keys(20, 100), rows[100:], [10.0] * 20)
    index.add(keys(10), rows[:10], [20.0] * 10)
    assert len(index.nearest(rows[:1], 200, now=9.0)[0]) == 120
    assert {each.key for each in index.nearest(rows[:1], 200, now=20.0)[0]} == set(keys(90, 10))
    assert index.sweep(9.0) == 0
    assert index.sweep(20.0, limit=25) == 25
    assert index.sweep(20.0, limit=25) == 5
    assert set(index.keys()) == set(keys(90, 10))


def test_a_graph_looks_at_more_until_it_finds_enough() -> None:
    rows = unit(600, 32)
    index = PartitionIndex(32, exact_up_to=50, graph=hasty)
    index.add(keys(600), rows)
    while index.tail_size:
        index.step(0.0)
    index.nearest(unit(300, 32, seed=8), 1)
    settle(index)
    assert index.ef > 10
    assert index.recall >= 0.995
    assert recall(index, rows, unit(300, 32, seed=8)) >= 0.99


def test_recall_is_checked_again_when_the_graph_has_grown() -> None:
    rows = unit(400, 8)
    index = settled(rows[:200])
    assert index.recall == 1.0
    index._upkeep.recall = math.nan
    index.add(keys(40, 200), rows[200:240])
    settle(index)
    assert math.isnan(index.recall)  # a fifth more
    index.add(keys(20, 240), rows[240:260])
    settle(index)
    assert index.recall == 1.0


def test_a_check_survives_the_removal_of_what_it_looks_for() -> None:
    rows = unit(300, 8)
    index = settled(rows)
    index._upkeep._checked = 0
    left = 300
    index.step(0.0)
    while index._upkeep._check is not None:
        index.step(0.0)
        if left > 220:
            left -= 2
            index.remove([key(left), key(left + 1)])
    assert index.recall == 1.0
    assert index.ef == 64


def test_clustered_vectors_are_found_as_well_as_promised() -> None:
    centres = unit(250, 64, seed=1)
    rows = near(centres[np.random.default_rng(2).integers(0, 250, size=5000)], noise=0.5, seed=3)
    queries = near(rows[::5], noise=0.4, seed=4)
    index = settled(rows, exact_up_to=2000)
    assert (index.graph_size, index.tail_size) == (5000, 0)
    assert index.recall >= 0.995
    assert recall(index, rows, queries) >= 0.995


def test_a_graph_that_fails_leaves_everything_in_the_tail() -> None:
    class Failing(HnswIndex):
        def _insert(self, first: int, rows: NDArray[np.float32]) -> None:
            raise MemoryError

    rows = unit(60, 8)
    index = PartitionIndex(8, exact_up_to=50, graph=Failing)
    index.add(keys(60), rows)
    with pytest.raises(MemoryError):
        index.step(1.0)
    assert (index.graph_size, index.tail_size) == (0, 60)
    assert recall(index, rows, rows) == 1.0


def saved(index: PartitionIndex, prefix: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(json.dumps(index.save_parts(prefix)))
    return state


def test_a_saved_index_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = unit(150, 8)
    index = settled(rows[:100], graph=hasty)
    index.add(keys(50, 100), rows[100:], [30.0] * 50)
    index.remove([key(0), key(149)])
    state = saved(index, tmp_path / "p")
    loaded = PartitionIndex.load_parts(tmp_path / "p", state, exact_up_to=50, graph=hasty)
    assert (loaded.graph_size, loaded.tail_size) == (index.graph_size, index.tail_size) == (99, 49)
    assert loaded.ef == index.ef
    assert loaded.dim == 8
    assert loaded.nearest(rows, 3) == index.nearest(rows, 3)
    assert loaded.sweep(30.0) == 49
    assert loaded.settled  # its recall has been checked


def test_a_small_index_is_saved_without_a_graph(tmp_path: Path) -> None:
    rows = unit(5, 8)
    state = saved(settled(rows), tmp_path / "p")
    assert [path.name for path in tmp_path.iterdir()] == ["p.tail"]
    loaded = PartitionIndex.load_parts(tmp_path / "p", state)
    assert loaded.nearest(rows, 5) == settled(rows).nearest(rows, 5)
    empty = saved(PartitionIndex(8), tmp_path / "q")
    assert len(PartitionIndex.load_parts(tmp_path / "q", empty)) == 0


def test_an_index_saved_while_a_new_graph_is_made_makes_it_again(tmp_path: Path) -> None:
    rows = unit(100, 8)
    index = settled(rows)
    index.remove(keys(45))
    for _ in range(10):
        index.step(0.0)
    assert index._parts.successor is not None
    loaded = PartitionIndex.load_parts(tmp_path / "p", saved(index, tmp_path / "p"), exact_up_to=50)
    assert not loaded.settled
    settle(loaded)
    assert sorted(loaded.keys()) == keys(55, 45)
    assert recall(loaded, rows[45:], rows) == 1.0


@pytest.mark.parametrize(
    "spoilt",
    [
        {"dim": 16},
        {"dim": None},
        {"tail": 0},
        {"stored": 0},
        {"graph": {}},
        {"graph": 7},
        {"graph": {"live": 1, "used": 100, "ef": 64}},
        {"graph": {"live": 100, "used": 5, "ef": 64}},
        {"checked": None},
    ],
    ids=json.dumps,
)
def test_a_state_that_does_not_fit_the_files_is_refused(tmp_path: Path, spoilt: dict[str, Any]) -> None:
    index = settled(unit(100, 8))
    index.add(keys(5, 100), unit(5, 8, seed=1))
    state = saved(index, tmp_path / "p")
    with pytest.raises(ValueError, match=r".+"):
        PartitionIndex.load_parts(tmp_path / "p", state | spoilt)
    for name in state.keys() - {"files"}:
        with pytest.raises(ValueError, match="does not say"):
            PartitionIndex.load_parts(tmp_path / "p", {k: v for k, v in state.items() if k != name})


def test_parts_of_two_indexes_are_refused_together(tmp_path: Path) -> None:
    index = settled(unit(100, 8))
    index.add(keys(5, 100), unit(5, 8, seed=1))
    state = saved(index, tmp_path / "p")
    other = PartitionIndex(8)
    other.add(keys(5), unit(5, 8))  # keys that are in the graph
    saved(other, tmp_path / "q")
    (tmp_path / "q.tail").rename(tmp_path / "p.tail")
    with pytest.raises(ValueError, match="belong together"):
        PartitionIndex.load_parts(tmp_path / "p", state)


def test_vectors_in_the_files_are_told_the_equal_ones_once(tmp_path: Path) -> None:
    rows = np.concatenate((np.repeat(unit(1, 8, seed=1), 40, axis=0), unit(80, 8)))
    index = settled(rows[:100])
    index.add(keys(20, 100), rows[100:])
    index.remove([key(0), key(99)])
    state = saved(index, tmp_path / "p")
    assert state["stored"] == 1 + 59 + 20
    loaded = PartitionIndex.load_parts(tmp_path / "p", state, exact_up_to=50)
    assert saved(loaded, tmp_path / "q")["stored"] == 80


@pytest.mark.parametrize("suffix", [".tail", ".graph", ".keys"])
def test_a_missing_file_is_an_error(tmp_path: Path, suffix: str) -> None:
    state = saved(settled(unit(100, 8)), tmp_path / "p")
    (tmp_path / f"p{suffix}").unlink()
    with pytest.raises(FileNotFoundError):
        PartitionIndex.load_parts(tmp_path / "p", state)


def test_memory_is_told(tmp_path: Path) -> None:
    index = PartitionIndex(384)
    assert index.bytes < 1000
    rows = unit(3000, 384)
    index.add(keys(3000), rows)
    tail = ExactIndex(384)
    tail.add(keys(3000), rows)
    assert index.bytes == tail.nbytes >= rows.nbytes
    settle(index)
    assert rows.nbytes * 1.1 < index.bytes < 3000 * 2300
