"""Keys with the very same vector.

They are common: the same short reply in a thousand conversations. A graph of neighbours cannot bear them,
because a heap of equal vectors links to itself only, and nothing beyond it is found any more. So the first
of them alone is in the graph, as the node that stands for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

__all__ = ["Twins"]


class Twins:
    """Which places share the node of another. A place that never joined one is a node of its own."""

    def __init__(self) -> None:
        self._node_of: dict[int, int] = {}  # of twins only
        self._twins_of: dict[int, dict[int, None]] = {}  # in the order in which they joined

    @property
    def nbytes(self) -> int:
        """Memory held, about: two entries of a dict and a number for each twin, and a dict for each heap."""
        return len(self._node_of) * 250 + len(self._twins_of) * 250

    def node(self, place: int) -> int:
        """The node that stands for a place."""
        return self._node_of.get(place, place)

    def shared(self, node: int) -> bool:
        """Whether a node stands for other places beside its own."""
        return node in self._twins_of

    def members(self, node: int) -> Iterator[int]:
        """The node's own place and those of its twins."""
        return chain((node,), self._twins_of.get(node, ()))

    def join(self, place: int, node: int) -> None:
        """Let a node stand for a place, too."""
        self._node_of[place] = node
        self._twins_of.setdefault(node, {})[place] = None

    def leave(self, place: int) -> int:
        """Forget that a place is a twin, if it is; the node that stood for it."""
        node = self._node_of.pop(place, place)
        if node != place:
            twins = self._twins_of[node]
            del twins[place]
            if not twins:
                del self._twins_of[node]
        return node

    def nodes(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The node of each place: with the places all there is to keep."""
        return np.array([self.node(place) for place in places.tolist()], dtype=np.int64)

    @classmethod
    def restored(cls, places: NDArray[np.int64], nodes: NDArray[np.int64]) -> Twins:
        """What was kept of another.

        Raises:
            ValueError: not as many nodes as places.
        """
        twins = cls()
        for place, node in zip(places.tolist(), nodes.tolist(), strict=True):
            if place != node:
                twins.join(place, node)
        return twins
