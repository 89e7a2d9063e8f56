"""What an index does for itself between searches, a slice of a few milliseconds at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asynccache.index._graph import Graph, MakeGraph
from asynccache.index._parts import Parts
from asynccache.index._recall import QueryRing, RecallCheck

__all__ = ["PAGE", "Upkeep"]

PAGE: Final = 64
"""Vectors read from a graph at a time: about a millisecond with hnswlib."""

_SLICE: Final = 2  # vectors put into a graph at a time: about a millisecond, for which a search may wait
_MOST_DEAD: Final = 0.3  # share of removed vectors, which a search walks through all the same
_GROWN: Final = 1.25  # times, since recall was last checked
_ROOM: Final = 1.25  # times what a new graph will hold at once


class Upkeep:
    """Moves vectors from the tail into the graph, renews the graph, and sees that it finds enough.

    Args:
        parts: what to look after. Others may add to the tail and remove from all between two slices.
        exact_up_to: vectors up to which there is no graph; below half of it the graph is given up.
        make_graph: makes an empty graph.
        seed: of the random numbers that make up queries.
    """

    def __init__(self, parts: Parts, *, exact_up_to: int, make_graph: MakeGraph, seed: int) -> None:
        self._parts: Final = parts
        self._exact_up_to: Final = exact_up_to
        self._make_graph: Final = make_graph
        self._random: Final = np.random.default_rng(seed)
        self._recent: QueryRing | None = None  # kept while there is a graph
        self._copied = 0  # the successor holds what is live of the graph's numbers below this one
        self._dissolving: int | None = None  # the graph is given up; it was emptied up to this number
        self._erasing = False  # a successor is due, however few have died
        self._check: RecallCheck | None = None
        self._checked = 0  # vectors in the graph when its recall was last checked
        self.recall = math.nan
        """Share of sampled queries whose nearest the graph found, at the last check; NaN before the first."""

    @property
    def nbytes(self) -> int:
        """Memory held, about."""
        return 0 if self._recent is None else self._recent.nbytes

    @property
    def dissolving(self) -> bool:
        """Whether the graph is being given up."""
        return self._dissolving is not None

    def note(self, queries: NDArray[np.float32]) -> None:
        """Queries that were asked, for later checks of the graph."""
        if self._recent is not None:
            self._recent.add(queries)

    def erase(self) -> None:
        """Make a new graph if any of the present one's vectors are dead, and forget what was asked."""
        self._erasing = self._parts.graph is not None
        self._check = None
        if self._recent is not None:
            self._recent.clear()

    def job(self) -> Callable[[], None] | None:
        """One slice of what is most urgent; None when all is done."""
        graph, tail = self._parts.graph, self._parts.tail
        if graph is None:
            return self._begin if len(tail) > self._exact_up_to else None
        if self._dissolving is not None or (len(graph) + len(tail)) * 2 < self._exact_up_to:
            return self._dissolve
        if self._parts.successor is not None or self._renewal_is_due(graph):
            return self._renew
        if self._check is not None or self._check_is_due(graph):
            return self._measure
        return self._move if len(tail) else None

    def dump(self) -> dict[str, Any]:
        """What to keep of it, as JSON data."""
        return {"checked": self._checked}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on where the one that was dumped was.

        Raises:
            ValueError: the state is not what was dumped.
        """
        try:
            self._checked = int(state["checked"])
        except (KeyError, TypeError) as error:
            raise ValueError("the state does not say what there was") from error
        if self._parts.graph is not None:
            self._recent = QueryRing(self._parts.tail.dim)

    def _begin(self) -> None:
        room = int(len(self._parts.tail) * _ROOM)
        self._parts.graph = self._make_graph(self._parts.tail.dim, capacity=room)
        self._recent = QueryRing(self._parts.tail.dim)
        self._checked = 0

    def _move(self) -> None:
        tail, graph = self._parts.tail, self._graph()
        for key in tail.oldest(_SLICE):  # one by one: if the graph fails, no key is in both
            graph.add([key], tail.vectors_of([key]), tail.expiries_of([key]))
            tail.remove([key])

    def _dissolve(self) -> None:
        self._parts.successor = self._check = None
        graph = self._graph()
        page = graph.page(self._dissolving or 0, PAGE)
        self._parts.tail.add(page.keys, page.vectors, page.expires_at)
        graph.remove(page.keys)
        self._dissolving = page.after
        if page.after is None:
            self._parts.graph = self._recent = None
            self._erasing = False
            self.recall = math.nan

    def _renewal_is_due(self, graph: Graph) -> bool:
        if self._erasing and graph.dead:
            return True
        return graph.dead > _MOST_DEAD * (graph.dead + len(graph))

    def _renew(self) -> None:
        graph, successor = self._graph(), self._parts.successor
        if successor is None:
            self._erasing = False
            self._copied = 0
            successor = self._make_graph(graph.dim, capacity=int(len(graph) * _ROOM))
            successor.ef = graph.ef
            self._parts.successor = successor
        page = graph.page(self._copied, _SLICE)
        successor.add(page.keys, page.vectors, page.expires_at)
        if page.after is not None:
            self._copied = page.after
            return
        self._parts.graph, self._parts.successor = successor, None
        self._check = None
        self._checked = 0

    def _check_is_due(self, graph: Graph) -> bool:
        if len(graph) < self._checked * _GROWN:
            return False
        # Not while the first vectors are still on their way: until then the tail has most of them.
        return len(graph) >= self._exact_up_to or not len(self._parts.tail)

    def _measure(self) -> None:
        graph = self._graph()
        if self._check is None:
            asked = self._recent or QueryRing(graph.dim)
            self._check = RecallCheck(graph, asked.queries(), self._random)
        if not self._check.advance():
            self.recall = self._check.recall
            self._checked = max(1, len(graph))
            self._check = None

    def _graph(self) -> Graph:
        graph = self._parts.graph
        if graph is None:
            raise RuntimeError("a slice for a graph that is not there")
        return graph
