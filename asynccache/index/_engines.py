"""Which library holds the vectors of one partition."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from asynccache.index._graph import MakeGraph
from asynccache.index.hnsw import HnswIndex
from asynccache.index.partition import PartitionIndex
from asynccache.index.usearch import UsearchIndex

__all__ = ["Partitions"]


def installed_graph() -> MakeGraph | None:
    """hnswlib, else usearch, which needs no compiler; None when neither is installed."""
    if find_spec("hnswlib") is not None:
        return HnswIndex
    return UsearchIndex if find_spec("usearch") is not None else None


class Partitions:
    """Makes our own engines. Without a library for graphs every vector is compared, however many there are.

    Args:
        exact_up_to: vectors up to which no graph is made.
        graph: default what is installed.
    """

    def __init__(self, exact_up_to: int, *, graph: MakeGraph | None = None) -> None:
        graph = installed_graph() if graph is None else graph
        self._graph: Final[MakeGraph] = HnswIndex if graph is None else graph
        self._exact_up_to: Final = sys.maxsize if graph is None else exact_up_to

    def new(self, dim: int) -> PartitionIndex:
        """An empty one."""
        return PartitionIndex(dim, exact_up_to=self._exact_up_to, graph=self._graph)

    def load(self, prefix: Path, state: dict[str, Any], dim: int) -> PartitionIndex:
        """One that was saved. Raises ValueError when it does not fit."""
        index = PartitionIndex.load_parts(prefix, state, exact_up_to=self._exact_up_to, graph=self._graph)
        if index.dim != dim:
            raise ValueError("an index of another dim")
        return index
