"""How much a graph finds of what is there, measured on the spot, and what it takes to find enough.

How many candidates a search must keep depends on the vectors, which nobody knows beforehand. So every
now and then some queries are answered twice, by the graph and by looking at every vector, and the graph
looks at more until the two agree. Then it looks at fewer and fewer, as long as none of the queries loses its
nearest: most searches need no more than that. The work comes in slices of a millisecond or two.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asynccache.index._graph import Graph
from asynccache.index._products import products

__all__ = ["QUERIES", "QueryRing", "RecallCheck", "perturbed"]

QUERIES: Final = 256
"""Asked in a check: one of them lost is 0.4 %."""

_FLOOR: Final = 0.995  # share of queries whose nearest must be found
_MOST_EF: Final = 512  # a search then takes some ten times as long as at first; more helps little
_LEAST_EF: Final = 24
"""Fewest candidates tried: what is asked may lie farther off than what is made up; below, little is saved."""

_MORE: Final = 1.5  # times more candidates at each trial
_FEWER: Final = 1.25  # times fewer
_ROUNDING: Final = 1e-5  # the graph adds up a product in another order
_PAGE: Final = 64  # vectors read from the graph at a time: about a millisecond with hnswlib
_AT_ONCE: Final = 8  # queries tried at a time: a millisecond or two
_COSINES: Final = (0.8, 0.99)  # of a made-up query to the stored vector it comes from: where paraphrases lie


class QueryRing:
    """The last queries that were asked.

    Args:
        dim: length of the vectors.
    """

    def __init__(self, dim: int) -> None:
        self._rows: Final = np.empty((QUERIES, dim), dtype=np.float32)
        self._seen = 0

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._rows.nbytes

    def add(self, queries: NDArray[np.float32]) -> None:
        """Remember queries, shape (m, dim)."""
        for row in queries[-QUERIES:]:
            self._rows[self._seen % QUERIES] = row
            self._seen += 1

    def queries(self) -> NDArray[np.float32]:
        """A copy of those remembered, shape (n, dim)."""
        return self._rows[: min(self._seen, QUERIES)].copy()

    def clear(self) -> None:
        """Forget them all."""
        self._rows[:] = 0.0
        self._seen = 0


def perturbed(graph: Graph, count: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Made-up queries, each near a vector of the graph, shape (n, dim); none for an empty graph."""
    chosen = graph.sample(count, random)
    noise = random.standard_normal(chosen.shape, dtype=np.float32)
    noise -= np.einsum("ij,ij->i", noise, chosen)[:, None] * chosen  # what is left is at right angles
    noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    cosines = random.uniform(*_COSINES, size=(len(chosen), 1)).astype(np.float32)
    queries = cosines * chosen + np.sqrt(1.0 - cosines**2) * noise
    made: NDArray[np.float32] = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    return made


class RecallCheck:
    """One check of a graph, the raising of its ``ef``, and the finding of what is ``enough``.

    The graph may lose keys meanwhile; it must not gain any.

    Args:
        graph: what to check.
        asked: queries that were asked, shape (n, dim), rows of norm 1, at most ``QUERIES``; what they lack
            of that many is made up.
        random: for what is made up.
    """

    def __init__(self, graph: Graph, asked: NDArray[np.float32], random: np.random.Generator) -> None:
        self._graph: Final = graph
        self._random: Final = random
        self._queries = asked
        self._lacking = QUERIES - len(asked)
        self._best: Final = np.full(QUERIES, -math.inf, dtype=np.float32)  # cosine of each one's true nearest
        self._keys: Final = [b""] * QUERIES  # and its key
        self._page: int | None = 0  # where to go on comparing; None: every vector has been seen
        self._ef = graph.ef  # candidates kept in this round of trials
        self._held: int | None = None  # the fewest that have lost nothing
        self._next = 0  # the query to try next
        self._asked = 0
        self._lost = 0
        self.recall = math.nan
        """Share of the queries whose nearest was found, at the graph's ``ef``; NaN until known."""

    def advance(self) -> bool:
        """Do a slice; True while there is more to do."""
        if self._lacking > 0:
            made_up = perturbed(self._graph, min(_PAGE, self._lacking), self._random)
            self._queries = np.concatenate((self._queries, made_up))
            self._lacking -= _PAGE  # where vectors were removed fewer are made: no matter
            return True
        if self._page is not None:
            self._compare(self._page)
            return True
        # Fewer than usual are tried for the sake of speed alone: a single loss tells enough.
        if self._next < len(self._queries) and not (self._lost and self._ef < self._graph.ef):
            self._try()
            return True
        self._ef = self._next_ef()
        self._next = self._asked = self._lost = 0
        return self._ef > 0

    def _next_ef(self) -> int:
        """How many to try after a round of trials; 0: what was to be found out is."""
        graph, ef = self._graph, self._ef
        if ef == graph.ef:
            self.recall = 1.0 - self._lost / self._asked if self._asked else math.nan
            if self.recall < _FLOOR and ef < _MOST_EF:
                graph.ef, graph.enough = min(_MOST_EF, math.ceil(ef * _MORE)), None
                return graph.ef
        if self._lost or not self._asked:
            # One step back from the edge: another sample might have lost one there, and the graph will grow.
            graph.enough = None if self._held is None else min(graph.ef, math.ceil(self._held * _FEWER))
            return 0
        self._held = ef
        fewer = int(ef / _FEWER)
        if fewer >= _LEAST_EF:
            return fewer
        graph.enough = ef
        return 0

    def _compare(self, after: int) -> None:
        page = self._graph.page(after, _PAGE)
        self._page = page.after
        if not page.keys:
            return
        similarities = products(self._queries, page.vectors)
        nearest = similarities.argmax(axis=1)
        highest = similarities[np.arange(len(nearest)), nearest]
        for query in np.flatnonzero(highest > self._best[: len(highest)]).tolist():
            self._best[query] = highest[query]
            self._keys[query] = page.keys[nearest[query]]

    def _try(self) -> None:
        first, self._next = self._next, self._next + _AT_ONCE
        found = self._graph.nearest(self._queries[first : self._next], 1, ef=self._ef)
        for query, neighbours in enumerate(found, start=first):
            if self._keys[query] not in self._graph:
                continue  # removed since: what is nearest now is not known
            self._asked += 1
            if not neighbours or neighbours[0].similarity < self._best[query] - _ROUNDING:
                self._lost += 1
