"""The vectors of one partition: compared one and all while they are few, in a graph when they are many."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asynccache._models import Neighbour
from asynccache.index._graph import Graph, MakeGraph
from asynccache.index._parts import Parts, load_parts, save_parts
from asynccache.index._ranking import ranked
from asynccache.index._upkeep import PAGE, Upkeep
from asynccache.index._vectors import checked, checked_expiries, checked_keys
from asynccache.index.exact import ExactIndex
from asynccache.index.hnsw import HnswIndex

__all__ = ["PartitionIndex"]

_SWEEP: Final = 4096  # expired keys let go of in one call: a few milliseconds


class PartitionIndex:
    """A VectorIndex that fits its size, and knows when its vectors expire.

    Up to ``exact_up_to`` vectors all are compared. Above, most are in a graph and those added last in an
    exact tail, and a search asks both. Adding only ever fills the tail; moving vectors into the graph,
    making a new graph without those removed, and finding out how hard the graph must look is done by
    ``step``, in slices of a few milliseconds. One thread at a time may use it.

    While a new graph is being made there are two, and memory for both.

    Args:
        dim: length of the vectors.
        exact_up_to: vectors up to which none is put into a graph; below half of it the graph is given up.
        graph: makes the graph: ``HnswIndex``, or what else is called with a dim and a ``capacity``.
        clock: monotonic seconds.
        seed: of the random numbers that make up queries for the check of recall.
    """

    def __init__(
        self,
        dim: int,
        *,
        exact_up_to: int = 2000,
        graph: MakeGraph = HnswIndex,
        clock: Callable[[], float] = time.monotonic,
        seed: int = 0,
    ) -> None:
        self.dim: Final = dim
        self._clock: Final = clock
        self._parts: Final = Parts(ExactIndex(dim))
        self._upkeep: Final = Upkeep(self._parts, exact_up_to=exact_up_to, make_graph=graph, seed=seed)

    def __len__(self) -> int:
        return self.tail_size + self.graph_size

    def __contains__(self, key: bytes) -> bool:
        graph = self._parts.graph
        return key in self._parts.tail or (graph is not None and key in graph)

    def keys(self) -> Iterator[bytes]:
        """Every key. Do not change the index while iterating."""
        graph = self._parts.graph
        return chain(self._parts.tail.keys(), () if graph is None else graph.keys())

    @property
    def graph_size(self) -> int:
        """Vectors in the graph; 0 without one."""
        return 0 if self._parts.graph is None else len(self._parts.graph)

    @property
    def tail_size(self) -> int:
        """Vectors that every search compares."""
        return len(self._parts.tail)

    @property
    def ef(self) -> int:
        """Candidates a search of the graph keeps; 0 without a graph."""
        return 0 if self._parts.graph is None else self._parts.graph.ef

    @property
    def recall(self) -> float:
        """Share of sampled queries whose nearest the graph found at the last check; NaN before the first."""
        return self._upkeep.recall

    @property
    def settled(self) -> bool:
        """Whether there is nothing left for ``step`` to do."""
        return self._upkeep.job() is None

    def add(
        self, keys: Sequence[bytes], vectors: NDArray[np.float32], expires_at: Sequence[float] | None = None
    ) -> None:
        """Hold vectors, in place of earlier ones under these keys; the very same again costs little.

        Args:
            keys: 32 bytes each; of a key that comes several times the last vector counts.
            vectors: float32 array, shape (n, dim), rows of norm 1.
            expires_at: seconds since the epoch, for each; None: never.

        Raises:
            ValueError: something of the above does not hold; nothing has changed then.
        """
        rows = checked(vectors, self.dim)
        checked_keys(keys, len(rows))
        expiries = checked_expiries(expires_at, len(rows))
        graph = self._parts.graph
        if graph is not None:
            last = {key: number for number, key in enumerate(keys)}
            new = [number for key, number in last.items() if key not in graph]
            held = [number for key, number in last.items() if key in graph]
            for first in range(0, len(held), PAGE):
                new += self._changed(graph, held[first : first + PAGE], keys, rows, expiries)
            keys, rows, expiries = [keys[n] for n in new], rows[new], [expiries[n] for n in new]
            for each in self._parts.graphs():
                each.remove(keys)
        self._parts.tail.add(keys, rows, expiries)

    def remove(self, keys: Collection[bytes]) -> int:
        """Let go of keys; the number that were held. None of them is found any more.

        A vector in the graph leaves the memory when a new graph is made: see ``erase``.
        """
        removed = self._parts.tail.remove(keys)
        if self._parts.graph is not None:
            removed += self._parts.graph.remove(keys)
        if self._parts.successor is not None:
            self._parts.successor.remove(keys)
        return removed

    def sweep(self, now: float, *, limit: int = _SWEEP) -> int:
        """Let go of expired keys, at most so many: the number. When it is the limit, there may be more.

        Args:
            now: seconds since the epoch.
            limit: bounds the time it takes.
        """
        doomed = self._parts.tail.expired(now, limit)
        if self._parts.graph is not None:
            doomed += self._parts.graph.expired(now, limit - len(doomed))
        return self.remove(doomed)

    def erase(self) -> None:
        """Let removed vectors leave the memory: done as soon as ``step`` has nothing left to do."""
        self._upkeep.erase()

    def nearest(
        self, queries: NDArray[np.float32], k: int, now: float | None = None
    ) -> list[list[Neighbour]]:
        """The k nearest of each query, shape (m, dim), best first; fewer when fewer are held.

        Args:
            queries: float32 array, shape (m, dim), rows of norm 1.
            k: how many.
            now: seconds since the epoch; leaves out what has expired. None leaves out nothing.

        Raises:
            ValueError: queries that are no such array.
        """
        tail, graph = self._parts.tail, self._parts.graph
        if graph is None:
            return tail.nearest(queries, k, now)
        older = graph.nearest(queries, k, now)
        self._upkeep.note(queries)
        if not len(tail):
            return older
        recent = tail.nearest(queries, k, now)
        return [ranked(one + other)[:k] for one, other in zip(recent, older, strict=True)]

    def vectors_of(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """A copy of the vectors of keys, in their order, shape (n, dim).

        Raises:
            KeyError: one of them is not held.
        """
        rows = np.empty((len(keys), self.dim), dtype=np.float32)
        graph = self._parts.graph
        for row, key in zip(rows, keys, strict=True):
            home = self._parts.tail if graph is None or key in self._parts.tail else graph
            row[:] = home.vectors_of([key])[0]
        return rows

    def step(self, budget: float) -> bool:
        """Do background work for about so many seconds, a slice at least; True while there is more to do."""
        until = self._clock() + budget
        while (job := self._upkeep.job()) is not None:
            job()
            if self._clock() >= until:
                return not self.settled
        return False

    def save_parts(self, prefix: Path) -> dict[str, Any]:
        """Write what ``load_parts`` reads, as ``<prefix>.tail`` and, with a graph, ``.graph`` and ``.keys``.

        Nothing is synced, and a full disk may go unnoticed: compare what was written. Work of ``step``
        that is under way is not part of it.

        Returns:
            What ``load_parts`` needs beside the files, as JSON data; ``files`` lists the suffixes.

        Raises:
            OSError: a file could not be written.
        """
        return {**save_parts(prefix, self._parts), **self._upkeep.dump()}

    @classmethod
    def load_parts(
        cls,
        prefix: Path,
        state: Mapping[str, Any],
        *,
        exact_up_to: int = 2000,
        graph: MakeGraph = HnswIndex,
        clock: Callable[[], float] = time.monotonic,
        seed: int = 0,
    ) -> PartitionIndex:
        """The index that was saved.

        Only for files known to be the very ones that were written: a changed bit may end the process.

        Raises:
            ValueError: the parts do not fit together or are not whole.
            OSError: a file cannot be read.
        """
        parts = load_parts(prefix, state, graph)
        index = cls(parts.tail.dim, exact_up_to=exact_up_to, graph=graph, clock=clock, seed=seed)
        index._parts.tail, index._parts.graph = parts.tail, parts.graph
        index._upkeep.resume(state)
        return index

    def _changed(
        self,
        graph: Graph,
        numbers: list[int],
        keys: Sequence[bytes],
        rows: NDArray[np.float32],
        expiries: Sequence[float],
    ) -> list[int]:
        """Which of some keys in the graph come with another vector; of the others the expiry is renewed."""
        held = graph.vectors_of([keys[number] for number in numbers])
        changed = (held != rows[numbers]).any(axis=1).tolist()
        for number, other in zip(numbers, changed, strict=True):
            if not other:
                for each in self._parts.graphs():
                    each.renew(keys[number], expiries[number])
        return [number for number, other in zip(numbers, changed, strict=True) if other]

    @property
    def lasting_bytes(self) -> int:
        """Memory held once ``step`` is done, about and at most.

        A graph that is being made takes the place of another, and one that is given up leaves its vectors
        to the tail: only the larger of the two counts.
        """
        graph = 0 if self._parts.graph is None else self._parts.graph.nbytes
        tail = self._parts.tail.nbytes
        return (max(tail, graph) if self._upkeep.dissolving else tail + graph) + self._upkeep.nbytes

    # The last of the class: it hides the type of that name from what follows.
    @property
    def bytes(self) -> int:
        """Memory held, about."""
        graphs = sum(graph.nbytes for graph in self._parts.graphs())
        return self._parts.tail.nbytes + graphs + self._upkeep.nbytes
