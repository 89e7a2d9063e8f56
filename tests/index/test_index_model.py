"""Random histories of a partition's index, compared step by step with a plain dictionary."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from numpy.typing import NDArray

from asynccache.index._graph import MakeGraph
from asynccache.index.hnsw import HnswIndex
from asynccache.index.partition import PartitionIndex
from asynccache.index.usearch import UsearchIndex

pytestmark = pytest.mark.timeout(120)

DIM = 8
EXACT_UP_TO = 8  # so that there is a graph nearly all the time
TOLERANCE = 1e-5

numbers = st.integers(0, 39)
seeds = st.integers(0, 25)  # fewer than keys: some vectors are held twice
expiries = st.sampled_from([math.inf, math.inf, 5.0, 10.0, 20.0])
puts = st.lists(st.tuples(numbers, seeds, expiries), max_size=25)


def key(number: int) -> bytes:
    return bytes([7] * 31 + [number])


POOL = np.random.default_rng(1).standard_normal((61, DIM)).astype(np.float32)
POOL /= np.linalg.norm(POOL, axis=1, keepdims=True)


def vectors(chosen: Sequence[int]) -> NDArray[np.float32]:
    return POOL[list(chosen)]


class SmallHnsw(HnswIndex):
    """Starts with so little room that it grows, and looks at so few that it must look at more."""

    def __init__(self, dim: int, *, capacity: int) -> None:
        super().__init__(dim, capacity=1, m=4, ef_construction=20, ef=2)


class History(RuleBasedStateMachine):
    make_graph: MakeGraph = HnswIndex

    def __init__(self) -> None:
        super().__init__()
        self.index = self.made()
        self.model: dict[bytes, tuple[NDArray[np.float32], float]] = {}
        self.now = 0.0
        self.asked = self.found = 0

    def made(self) -> PartitionIndex:
        ticks = iter(range(10**9))  # each look at the clock is a second: a budget is a number of slices
        self.clock = lambda: float(next(ticks))
        return PartitionIndex(DIM, exact_up_to=EXACT_UP_TO, graph=self.make_graph, clock=self.clock)

    @rule(batch=puts)
    def add(self, batch: list[tuple[int, int, float]]) -> None:
        keys = [key(number) for number, _, _ in batch]
        rows = vectors([seed for _, seed, _ in batch])
        expires_at = [expiry for _, _, expiry in batch]
        self.index.add(keys, rows, expires_at)
        self.model.update(
            {name: (row, expiry) for name, row, expiry in zip(keys, rows, expires_at, strict=True)}
        )

    @rule(batch=puts.filter(bool), bad=st.sampled_from([math.nan, math.inf, 0.0]))
    def refuse(self, batch: list[tuple[int, int, float]], bad: float) -> None:
        rows = vectors([seed for _, seed, _ in batch])
        rows[-1] = bad
        with pytest.raises(ValueError, match="norm 1"):
            self.index.add([key(number) for number, _, _ in batch], rows)

    @rule(doomed=st.sets(numbers))
    def remove(self, doomed: set[int]) -> None:
        names = {key(number) for number in doomed}
        assert self.index.remove(names) == len(names & self.model.keys())
        for name in names:
            self.model.pop(name, None)

    @rule(slices=st.integers(0, 60))
    def step(self, slices: int) -> None:
        more = self.index.step(slices)
        assert more != self.index.settled

    @rule()
    def settle(self) -> None:
        while self.index.step(100.0):
            pass
        assert self.index.settled
        assert self.index.tail_size == 0 or self.index.graph_size == 0

    @rule()
    def erase(self) -> None:
        self.index.erase()

    @rule(seconds=st.sampled_from([1.0, 4.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @rule(limit=st.sampled_from([1, 3, 4096]))
    def sweep(self, limit: int) -> None:
        expired = {name for name, (_, expiry) in self.model.items() if expiry <= self.now}
        assert self.index.sweep(self.now, limit=limit) == min(limit, len(expired))
        for name in expired - set(self.index.keys()):
            del self.model[name]

    @rule()
    def save_and_load(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            prefix = Path(folder, "part-1.x")
            state = json.loads(json.dumps(self.index.save_parts(prefix)))
            assert {path.name for path in Path(folder).iterdir()} == {"part-1.x" + s for s in state["files"]}
            self.index = PartitionIndex.load_parts(
                prefix, state, exact_up_to=EXACT_UP_TO, graph=self.make_graph, clock=self.clock
            )

    @rule(
        seeds=st.lists(st.integers(0, 60), max_size=5),
        k=st.sampled_from([0, 1, 3, 10, 100]),
        timed=st.booleans(),
    )
    def search(self, seeds: list[int], k: int, timed: bool) -> None:
        now = self.now if timed else None
        queries = vectors(seeds)
        results = self.index.nearest(queries, k, now)
        assert len(results) == len(queries)
        live = {name: row for name, (row, expiry) in self.model.items() if now is None or expiry > now}
        for query, found in zip(queries, results, strict=True):
            self.check(query, [(each.key, each.similarity) for each in found], live, k)

    def check(
        self,
        query: NDArray[np.float32],
        found: list[tuple[bytes, float]],
        live: dict[bytes, NDArray[np.float32]],
        k: int,
    ) -> None:
        names = [name for name, _ in found]
        assert len(set(names)) == len(names) <= k
        assert set(names) <= live.keys()
        similarities = [similarity for _, similarity in found]
        assert similarities == sorted(similarities, reverse=True)
        for name, similarity in found:
            assert similarity == pytest.approx(float(live[name] @ query), abs=TOLERANCE)
            assert -1.0 <= similarity <= 1.0
        truth = sorted((float(row @ query) for row in live.values()), reverse=True)[:k]
        if not self.index.graph_size:
            assert similarities == pytest.approx(truth, abs=TOLERANCE)
        elif truth:
            self.asked += 1
            self.found += bool(similarities) and similarities[0] >= truth[0] - TOLERANCE

    @invariant()
    def same_keys(self) -> None:
        held = list(self.index.keys())
        assert len(held) == len(self.index) == self.index.tail_size + self.index.graph_size
        assert set(held) == self.model.keys()
        assert all(name in self.index for name in self.model)

    @rule(chosen=st.lists(numbers, max_size=5))
    def same_vectors(self, chosen: list[int]) -> None:
        names = [key(number) for number in chosen if key(number) in self.model]
        expected = [self.model[name][0] for name in names]
        assert np.array_equal(self.index.vectors_of(names), np.array(expected).reshape(-1, DIM))

    def teardown(self) -> None:
        assert self.found >= self.asked * 0.9


class HnswHistory(History):
    make_graph = HnswIndex


class SmallHnswHistory(History):
    make_graph = SmallHnsw

    def teardown(self) -> None:
        """So small a graph may miss much; it must never be wrong."""


class UsearchHistory(History):
    make_graph = UsearchIndex


def run(machine: type[History], examples: int) -> None:
    how = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(machine, settings=how)


def test_histories_on_hnswlib_agree_with_a_dictionary() -> None:
    run(HnswHistory, 120)


def test_histories_on_a_graph_that_grows_and_misses_agree_with_a_dictionary() -> None:
    run(SmallHnswHistory, 80)


def test_histories_on_usearch_agree_with_a_dictionary() -> None:
    pytest.importorskip("usearch")
    run(UsearchHistory, 80)
