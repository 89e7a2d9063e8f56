"""usearch: the same search from a library that comes compiled, for machines without a compiler."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asynccache._errors import ConfigurationError
from asynccache.index._graph import Graph

__all__ = ["UsearchIndex"]

_LINK: Final = 5  # bytes usearch takes for the number of a neighbour
_ELEMENT_BYTES: Final = 8 + 64  # a label, and what the tables around an element come to


class UsearchIndex(Graph):
    """A graph of usearch, in float32. Needs the extra ``asynccache[usearch]``.

    Args:
        dim: length of the vectors.
        capacity: of no use here: usearch makes room by itself.
        m: links of a vector on each level above the lowest, which has twice as many.
        ef_construction: candidates looked at for the links of a new vector.
        ef: candidates a search keeps.

    Raises:
        ConfigurationError: usearch is not installed.
    """

    def __init__(
        self,
        dim: int,
        *,
        capacity: int = 1024,  # noqa: ARG002  (every graph is made with it)
        m: int = 16,
        ef_construction: int = 200,
        ef: int = 64,
    ) -> None:
        super().__init__(dim, ef=ef)
        self._m: Final = m
        self._index = _usearch_index(
            ndim=dim,
            metric="ip",  # rows have norm 1: the inner product is the cosine
            dtype="f32",
            connectivity=m,
            expansion_add=ef_construction,
            expansion_search=ef,
        )

    def _insert(self, first: int, rows: NDArray[np.float32]) -> None:
        self._index.add(np.arange(first, first + len(rows), dtype=np.uint64), rows, threads=1)

    def _hide(self, place: int) -> None:
        self._index.remove(place)

    def _keep(self, ef: int) -> None:
        self._index.expansion_search = ef

    def _search(
        self, queries: NDArray[np.float32], k: int
    ) -> list[tuple[NDArray[np.integer], NDArray[np.float32]]]:
        found = self._index.search(queries, k, threads=1)
        if len(queries) == 1:  # comes without its outer dimension, and without blanks
            return [(found.keys.astype(np.int64), 1.0 - found.distances)]
        return [
            (found.keys[row, :count].astype(np.int64), 1.0 - found.distances[row, :count])
            for row, count in enumerate(found.counts.tolist())
        ]

    def _vectors(self, places: Sequence[int]) -> NDArray[np.float32]:
        if not places:
            return np.empty((0, self.dim), dtype=np.float32)
        return np.vstack(self._index.get(np.asarray(places, dtype=np.uint64)))

    def _size(self) -> int:
        element = 4 * self.dim + _LINK * (2 * self._m + 1)
        return len(self._index) * (element + _ELEMENT_BYTES)

    def _write(self, path: Path) -> None:
        self._index.save(str(path))

    def _read(self, path: Path, used: int) -> None:
        try:
            self._index.load(str(path))
        except (RuntimeError, ValueError) as error:
            raise ValueError("the graph is not whole") from error
        if self._index.ndim != self.dim or len(self._index) > used:
            raise ValueError("the graph belongs to another index")


def _usearch_index(**options: Any) -> Any:
    try:
        usearch = import_module("usearch.index")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f'this index needs {error.name}; pip install "asynccache[usearch]"'
        ) from error
    return usearch.Index(**options)
