"""What the graph indexes share: keys, expiry and the rules; the libraries see numbers only."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from asynccache._models import Neighbour
from asynccache.index._key_table import KeyTable
from asynccache.index._ranking import neighbour, ranked
from asynccache.index._twins import Twins
from asynccache.index._vectors import checked, checked_expiries, checked_keys

__all__ = ["Graph", "MakeGraph", "Page"]

_SPARE: Final = 2  # times k: as many candidates, and the last of the k are found about as well as the first
_WIDER: Final = 4  # times as many are looked for when expired ones stood in the way
_WIDEST: Final = 1024
"""Looked for at most when expired ones stand in the way: about a millisecond. Beyond it they are left to the
sweep, or a graph in which nearly all have expired would be walked through at every search."""
_SHORT_LOOK: Final = 10  # candidates of a search for the very same vector, which is easy to find
_ROUNDING: Final = 1e-5  # a vector's cosine to itself may miss 1 by this


class Page(NamedTuple):
    """Some of what a graph holds."""

    keys: list[bytes]
    vectors: NDArray[np.float32]
    expires_at: list[float]
    after: int | None
    """Where to go on; None after the last."""


class MakeGraph(Protocol):
    """Makes an empty graph with room for so many vectors."""

    def __call__(self, dim: int, *, capacity: int) -> Graph: ...


class Graph(ABC):
    """Vectors in a graph of neighbours: search in logarithmic time, nearly exact.

    A VectorIndex that knows when its vectors expire. Every vector gets a number that is never given
    again, not even to the same key, and what was removed keeps its slot: memory shrinks, and removed
    vectors are gone, only when a new graph is made of the live ones (``page``). Keys with the very same
    vector share a node.

    Args:
        dim: length of the vectors.
        ef: candidates a search keeps.
    """

    def __init__(self, dim: int, *, ef: int) -> None:
        self.dim: Final = dim
        self.ef = ef
        """Candidates a search keeps: more find more, and take longer. May be set."""
        self.enough: int | None = None
        """As many find the nearest, as far as that was tried; None: nobody knows. May be set, to no more than
        ``ef``."""
        self._table = KeyTable()  # places are numbers; the library knows those that are nodes
        self._twins = Twins()
        self._nodes = 0  # those that stand for a key: what a search can find

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, key: bytes) -> bool:
        return key in self._table

    def keys(self) -> Iterator[bytes]:
        """Every key, the one added first first. Do not change the index while iterating."""
        return iter(self._table)

    @property
    def dead(self) -> int:
        """Numbers whose vectors were removed or replaced."""
        return self._table.used - len(self._table)

    @property
    def nodes(self) -> int:
        """Distinct vectors held."""
        return self._nodes

    @property
    def nbytes(self) -> int:
        """Memory held, about."""
        return self._table.nbytes + self._twins.nbytes + self._size()

    def add(
        self, keys: Sequence[bytes], vectors: NDArray[np.float32], expires_at: Sequence[float] | None = None
    ) -> None:
        """Hold vectors, in place of earlier ones under these keys. Takes a good part of a millisecond each.

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
        for number, (key, expiry) in enumerate(zip(keys, expiries, strict=True)):
            row = rows[number : number + 1]
            node = self._equal(row)
            if node is None:
                self._put_in(row)
            before = self._table.vacate(key)
            place = self._table.append(key, expiry)
            if node is not None:
                self._twins.join(place, node)
            if before is not None:
                self._release(before)  # last: it may be the node just joined

    def remove(self, keys: Collection[bytes]) -> int:
        """Let go of keys; the number that were held."""
        held = len(self)
        for key in keys:
            place = self._table.vacate(key)
            if place is not None:
                self._release(place)
        return held - len(self)

    def nearest(
        self, queries: NDArray[np.float32], k: int, now: float | None = None, *, ef: int | None = None
    ) -> list[list[Neighbour]]:
        """The k nearest of each query, shape (m, dim), best first; fewer when fewer are held.

        Args:
            queries: float32 array, shape (m, dim), rows of norm 1.
            k: how many.
            now: seconds since the epoch; leaves out what has expired, and what lies behind a thousand
                that have. None leaves out nothing.
            ef: candidates to keep. Default: ``ef``, or fewer where fewer are enough, and some to spare for k.

        Raises:
            ValueError: queries that are no such array.
        """
        rows = checked(queries, self.dim)
        if ef is None:
            ef = self.ef if self.enough is None else min(self.ef, max(self.enough, _SPARE * k))
        k = min(k, len(self))
        if k <= 0 or not len(rows):
            return [[] for _ in rows]
        self._keep(ef)
        at = -math.inf if now is None else now
        return [
            self._live(nodes, similarities, rows[number : number + 1], k, at)
            for number, (nodes, similarities) in enumerate(self._search(rows, min(k, self._nodes)))
        ]

    def vectors_of(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """A copy of the vectors of keys, in their order, shape (n, dim).

        Raises:
            KeyError: one of them is not held.
        """
        places = [self._table.place(key) for key in keys]
        held = [place for place in places if place is not None]
        if len(held) < len(places):
            raise KeyError("a key that is not held")
        return self._copies(held)

    def renew(self, key: bytes, expires_at: float) -> None:
        """Change when a key expires, in seconds since the epoch; a key that is not held stays so."""
        if key in self._table:
            self._table.renew(key, expires_at)

    def expired(self, now: float, limit: int) -> list[bytes]:
        """Keys that have expired, at most so many."""
        return self._table.expired(now, limit)

    def page(self, after: int, count: int) -> Page:
        """What is held, up to so many at a time; 0 is the beginning.

        What is removed between two pages does not show in the later one; what is added comes last.
        """
        expiries = self._table.expiries(after, after + count)
        live = np.flatnonzero(~np.isnan(expiries))
        places = (live + after).tolist()
        end = after + len(expiries)
        return Page(
            [self._table.key(place) for place in places],
            self._copies(places),
            expiries[live].tolist(),
            end if end < self._table.used else None,
        )

    def sample(self, count: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Vectors drawn at random, shape (n, dim): fewer than asked for when many were removed."""
        drawn = random.integers(0, max(1, self._table.used), size=count)
        expiries = self._table.expiries()
        return self._copies([place for place in drawn.tolist() if expiries[place] > -math.inf])

    def save(self, graph: Path, keys: Path) -> int:
        """Write two files; how many numbers were given, which ``load`` asks for. Neither is synced.

        Raises:
            OSError: no. A library may fail to notice: compare what was written.
        """
        with keys.open("wb") as file:
            places, rows, expiries = self._table.dump()
            for part in (places, rows, expiries, self._twins.nodes(places)):
                np.save(file, part, allow_pickle=False)
        self._write(graph)
        return self._table.used

    def load(self, graph: Path, keys: Path, used: int) -> None:
        """Take up what was saved, into an index that is empty.

        Only for files known to be the very ones that were written: a changed bit may end the process.

        Raises:
            ValueError: the files belong to another dim, to another state, or are not whole.
            OSError: a file cannot be read.
        """
        with keys.open("rb") as file:
            places, rows, expiries, nodes = (np.load(file, allow_pickle=False) for _ in range(4))
        table = KeyTable.restored(used, places, rows, expiries)
        twins = Twins.restored(places, nodes)
        if used:
            self._read(graph, used)
        try:
            self._vectors(nodes[-1:].tolist())
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError("the keys belong to another graph") from error
        self._table, self._twins, self._nodes = table, twins, len(np.unique(nodes))

    def _equal(self, row: NDArray[np.float32]) -> int | None:
        """The node of this very vector, if there is one and a short look finds it."""
        if not self._nodes:
            return None
        self._keep(_SHORT_LOOK)
        try:
            ((nodes, similarities),) = self._search(row, 1)
        finally:
            self._keep(self.ef)
        if not len(nodes) or similarities[0] < 1.0 - _ROUNDING:
            return None
        node = int(nodes[0])
        return node if np.array_equal(self._vectors([node]), row) else None

    def _put_in(self, row: NDArray[np.float32]) -> None:
        try:
            self._insert(self._table.used, row)
        except BaseException:
            self._table.skip(1)  # it may have got in all the same: its number must never mean a key
            raise
        self._nodes += 1

    def _release(self, place: int) -> None:
        """Hide the node of a vacated place when no other key needs it."""
        node = self._twins.leave(place)
        if all(math.isnan(self._table.expires_at(each)) for each in self._twins.members(node)):
            self._hide(node)
            self._nodes -= 1

    def _live(
        self,
        nodes: NDArray[np.integer],
        similarities: NDArray[np.float32],
        query: NDArray[np.float32],
        k: int,
        now: float,
    ) -> list[Neighbour]:
        """The k nearest keys that have not expired. Each node has a key, but it may have expired."""
        asked, most = len(nodes), min(self._nodes, _WIDEST)
        while True:
            found = [
                neighbour(self._table.key(place), similarity)
                for node, similarity in zip(nodes.tolist(), similarities.tolist(), strict=True)
                for place in self._unexpired(node, now, k)
            ]
            if len(found) >= min(k, len(nodes)) or asked >= most:
                return ranked(found)[:k]
            asked = min(asked * _WIDER, most)
            ((nodes, similarities),) = self._search(query, asked)

    def _unexpired(self, node: int, now: float, most: int) -> Iterable[int]:
        expires_at = self._table.expires_at
        if not self._twins.shared(node):  # by far the most
            return (node,) if expires_at(node) > now else ()
        return islice((place for place in self._twins.members(node) if expires_at(place) > now), most)

    def _copies(self, places: Sequence[int]) -> NDArray[np.float32]:
        return self._vectors([self._twins.node(place) for place in places])

    # What each library does in its own way:

    @abstractmethod
    def _insert(self, first: int, rows: NDArray[np.float32]) -> None:
        """Add rows under the numbers from ``first`` on."""

    @abstractmethod
    def _hide(self, place: int) -> None:
        """Find this number no more."""

    @abstractmethod
    def _keep(self, ef: int) -> None:
        """Let searches keep so many candidates, or k where that is more."""

    @abstractmethod
    def _search(
        self, queries: NDArray[np.float32], k: int
    ) -> list[tuple[NDArray[np.integer], NDArray[np.float32]]]:
        """For each query numbers and cosines, at most k; k is 1 or more and not above what is held."""

    @abstractmethod
    def _vectors(self, places: Sequence[int]) -> NDArray[np.float32]:
        """A copy of the vectors under these numbers, shape (n, dim)."""

    @abstractmethod
    def _size(self) -> int:
        """Memory of the library, about."""

    @abstractmethod
    def _write(self, path: Path) -> None: ...

    @abstractmethod
    def _read(self, path: Path, used: int) -> None: ...
