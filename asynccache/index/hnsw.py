"""hnswlib: the fastest search, from a library that checks little. What it does not check is checked here.

What was learned of version 0.8.0, and is kept here: a number marked as deleted must not come back, a
NaN is taken and then found first, more results asked for than can be reached are an error, a full index
refuses to grow by itself, and a file is loaded whatever dim it was made for.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asynccache._errors import ConfigurationError
from asynccache.index._graph import Graph

__all__ = ["HnswIndex"]

_GROWTH: Final = 1.5  # times; room that is not used yet costs address space more than memory
_LEAST_CAPACITY: Final = 64
_DESPERATE: Final = 4  # times ef, for a search that reached too little
_HEADER: Final = struct.Struct("<6Q")  # offset of level 0, capacity, count, bytes an element, label's, data's

# hnswlib's own tables, beside an element's block: a mutex and a mark for each slot; for each element a
# node in the map of labels with its bucket, a level, and the links of the sixteenth that has upper levels.
_SLOT_BYTES: Final = 40 + 2
_ELEMENT_BYTES: Final = 48 + 12 + 8
_LINK: Final = 4
_LABEL: Final = 8


class HnswIndex(Graph):
    """A graph of hnswlib. Needs the extra ``asynccache[semantic]``.

    Some 2 kB for each vector of 384 dims.

    Args:
        dim: length of the vectors.
        capacity: vectors to make room for at first; it grows.
        m: links of a vector on each level above the lowest, which has twice as many.
        ef_construction: candidates looked at for the links of a new vector.
        ef: candidates a search keeps.

    Raises:
        ConfigurationError: hnswlib is not installed.
    """

    def __init__(
        self,
        dim: int,
        *,
        capacity: int = 1024,
        m: int = 16,
        ef_construction: int = 200,
        ef: int = 64,
    ) -> None:
        super().__init__(dim, ef=ef)
        self._capacity = max(capacity, _LEAST_CAPACITY)
        self._m: Final = m
        self._ef_construction: Final = ef_construction
        self._kept = ef  # the library's
        self._library: Final = _hnswlib()
        self._index = self._library.Index("ip", dim)  # rows have norm 1: the inner product is the cosine
        self._ready = False  # room is made with the first vector

    def _insert(self, first: int, rows: NDArray[np.float32]) -> None:
        needed = first + len(rows)
        if not self._ready:
            self._capacity = max(self._capacity, needed)
            self._index.init_index(self._capacity, M=self._m, ef_construction=self._ef_construction)
            self._index.set_ef(self._kept)
            self._ready = True
        elif needed > self._capacity:
            capacity = max(needed, int(self._capacity * _GROWTH))
            self._index.resize_index(capacity)
            self._capacity = capacity
        self._index.add_items(rows, np.arange(first, needed), num_threads=1)

    def _hide(self, place: int) -> None:
        self._index.mark_deleted(place)

    def _keep(self, ef: int) -> None:
        if ef != self._kept:
            self._index.set_ef(ef)
            self._kept = ef

    def _search(
        self, queries: NDArray[np.float32], k: int
    ) -> list[tuple[NDArray[np.integer], NDArray[np.float32]]]:
        try:
            places, distances = self._index.knn_query(queries, k=k, num_threads=1)
        except RuntimeError as error:
            if not _reached_too_few(error):
                raise
            if len(queries) == 1:
                return [self._reach(queries, k)]
            return [self._search(queries[row : row + 1], k)[0] for row in range(len(queries))]
        return list(zip(places, 1.0 - distances, strict=True))

    def _reach(self, query: NDArray[np.float32], k: int) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
        """As many as can be reached. Removed ones may have been the only way to others."""
        self._index.set_ef(max(k, self._kept) * _DESPERATE)
        try:
            while k:
                try:
                    places, distances = self._index.knn_query(query, k=k, num_threads=1)
                except RuntimeError as error:
                    if not _reached_too_few(error):
                        raise
                    k //= 2
                else:
                    return places[0], 1.0 - distances[0]
        finally:
            self._index.set_ef(self._kept)
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)

    def _vectors(self, places: Sequence[int]) -> NDArray[np.float32]:
        if not places:
            return np.empty((0, self.dim), dtype=np.float32)
        rows: NDArray[np.float32] = self._index.get_items(places, return_type="numpy")
        return rows

    def _size(self) -> int:
        if not self._ready:
            return 0
        element = 4 * self.dim + _LABEL + _LINK * (2 * self._m + 1)
        return self._capacity * _SLOT_BYTES + self._table.used * (element + _ELEMENT_BYTES)

    def _write(self, path: Path) -> None:
        # The library reports no failure: a missing folder is found here, a full disk by who compares.
        path.touch()
        if self._ready:
            self._index.save_index(str(path))

    def _read(self, path: Path, used: int) -> None:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            raise ValueError("the graph is not whole")
        _, _, count, _, label_offset, data_offset = _HEADER.unpack(head)
        if label_offset - data_offset != 4 * self.dim or count > used:
            raise ValueError("the graph belongs to another index")
        capacity = max(self._capacity, used)
        try:
            self._index.load_index(str(path), max_elements=capacity)
        except RuntimeError as error:
            raise ValueError("the graph is not whole") from error
        self._capacity = capacity
        self._ready = True
        self._index.set_ef(self._kept)


def _hnswlib() -> Any:
    try:
        import hnswlib
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f'the semantic index needs {error.name}; pip install "asynccache[semantic]"'
        ) from error
    return hnswlib


def _reached_too_few(error: RuntimeError) -> bool:
    return "contiguous" in str(error)
