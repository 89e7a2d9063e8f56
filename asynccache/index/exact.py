"""Search by looking at every vector: exact, and for a few thousand vectors the fastest way there is."""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asynccache._models import Neighbour
from asynccache.index._key_table import KeyTable
from asynccache.index._products import products
from asynccache.index._ranking import neighbour, ranked
from asynccache.index._vectors import checked, checked_expiries, checked_keys

__all__ = ["ExactIndex"]

_FEWEST: Final = 16  # rows of the first block of an index that holds little; most tenants ask little
_BLOCK: Final = 1024  # rows; with 384 dims a block is 1.5 MB, which a core's own cache holds
_SIMILARITIES: Final = 2**20  # computed at a time: 4 MB, however many queries come together


class ExactIndex:
    """Vectors in blocks, compared one and all. A VectorIndex that knows when its vectors expire.

    What is removed is overwritten at once. Growing copies at most one block.

    Args:
        dim: length of the vectors.
    """

    def __init__(self, dim: int) -> None:
        self.dim: Final = dim
        self._table = KeyTable()  # places are rows, none is vacant
        # The first block grows from _FEWEST rows to _BLOCK; every other has _BLOCK. Rows beyond the last
        # key are zero.
        self._blocks: list[NDArray[np.float32]] = []

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, key: bytes) -> bool:
        return key in self._table

    def keys(self) -> Iterator[bytes]:
        """Every key, the one added first first. Do not change the index while iterating."""
        return iter(self._table)

    def oldest(self, count: int) -> list[bytes]:
        """The keys that were added first."""
        return list(islice(self._table, count))

    @property
    def nbytes(self) -> int:
        """Memory held, about."""
        return self._table.nbytes + sum(block.nbytes for block in self._blocks)

    def add(
        self, keys: Sequence[bytes], vectors: NDArray[np.float32], expires_at: Sequence[float] | None = None
    ) -> None:
        """Hold vectors, in place of earlier ones under these keys.

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
        for key, row, expiry in zip(keys, rows, expiries, strict=True):
            place = self._table.place(key)
            if place is None:
                self._grow(len(self._table) + 1)
                place = self._table.append(key, expiry)
            else:
                self._table.renew(key, expiry)
            self._blocks[place // _BLOCK][place % _BLOCK] = row

    def remove(self, keys: Collection[bytes]) -> int:
        """Let go of keys; the number that were held."""
        removed = 0
        for key in keys:
            pulled = self._table.pull_up(key)
            if pulled is None:
                continue
            place, last = pulled
            if place != last:
                self._row(place)[:] = self._row(last)
            self._row(last)[:] = 0.0
            removed += 1
        if removed:
            self._shrink()
        return removed

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
        rows = checked(queries, self.dim)
        held = len(self._table)
        k = min(k, held)
        if k <= 0:
            return [[] for _ in rows]
        expired = None if now is None else np.flatnonzero(self._table.expiries() <= now)
        found: list[list[Neighbour]] = []
        at_once = max(1, _SIMILARITIES // held)
        for first in range(0, len(rows), at_once):
            similarities = self._similarities(rows[first : first + at_once])
            if expired is not None and len(expired):
                similarities[:, expired] = -math.inf
            found += [self._best(each, k) for each in similarities]
        return found

    def vectors_of(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """A copy of the vectors of keys, in their order, shape (n, dim).

        Raises:
            KeyError: one of them is not held.
        """
        rows = np.empty((len(keys), self.dim), dtype=np.float32)
        for row, key in zip(rows, keys, strict=True):
            row[:] = self._row(self._held(key))
        return rows

    def expiries_of(self, keys: Sequence[bytes]) -> list[float]:
        """When keys expire, in seconds since the epoch.

        Raises:
            KeyError: one of them is not held.
        """
        return [self._table.expires_at(self._held(key)) for key in keys]

    def expired(self, now: float, limit: int) -> list[bytes]:
        """Keys that have expired, at most so many."""
        return self._table.expired(now, limit)

    def _held(self, key: bytes) -> int:
        place = self._table.place(key)
        if place is None:
            raise KeyError("a key that is not held")
        return place

    def _row(self, place: int) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self._blocks[place // _BLOCK][place % _BLOCK]
        return row

    def _similarities(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        held = len(self._table)
        similarities = np.empty((len(queries), held), dtype=np.float32)
        for number, block in enumerate(self._blocks):
            first = number * _BLOCK
            last = min(first + len(block), held)
            if first < last:
                similarities[:, first:last] = products(queries, block[: last - first])
        return similarities

    def _best(self, similarities: NDArray[np.float32], k: int) -> list[Neighbour]:
        count = len(similarities)
        if k < count:
            least = np.partition(similarities, count - k)[count - k]
            chosen = np.flatnonzero(similarities >= least)
            if len(chosen) > k:
                # Of those that tie for the last ranks the first rows: the same history finds the same.
                above = similarities[chosen] > least
                level = chosen[~above]
                chosen = np.concatenate((chosen[above], level[: k - np.count_nonzero(above)]))
        else:
            chosen = np.arange(count)
        return ranked(
            neighbour(self._table.key(place), similarity)
            for place, similarity in zip(chosen.tolist(), similarities[chosen].tolist(), strict=True)
            if similarity > -math.inf  # expired
        )

    def _grow(self, rows: int) -> None:
        first = len(self._blocks[0]) if self._blocks else 0
        if rows > first < _BLOCK:
            self._resize_first(min(_BLOCK, max(_FEWEST, 2 * first)))
        while rows > (len(self._blocks) - 1) * _BLOCK + len(self._blocks[0]):
            self._blocks.append(_block(_BLOCK, self.dim))

    def _shrink(self) -> None:
        held = len(self._table)
        # Not at the very edge of a block, where an index may waver.
        while len(self._blocks) > 1 and held <= (len(self._blocks) - 1) * _BLOCK - _BLOCK // 2:
            self._blocks.pop()
        if len(self._blocks) == 1 and len(self._blocks[0]) > _FEWEST and held * 4 <= len(self._blocks[0]):
            self._resize_first(max(_FEWEST, 2 * held))

    def _resize_first(self, rows: int) -> None:
        block = _block(rows, self.dim)
        held = min(len(self._table), rows)
        if held:
            block[:held] = self._blocks[0][:held]
        self._blocks[:1] = [block]


def _block(rows: int, dim: int) -> NDArray[np.float32]:
    if rows < _BLOCK:
        return np.zeros((rows, dim), dtype=np.float32)  # not what lay there before: it may have been erased
    # Pages of their own: when a graph has taken the vectors over, the system has them back at once. The
    # allocator would keep them, a second time the memory of the graph.
    size = rows * dim * np.dtype(np.float32).itemsize
    if sys.platform == "win32":
        pages = mmap.mmap(-1, size)
    else:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, dtype=np.float32).reshape(rows, dim)
