"""One partition and space in memory, and what is asked of the engine that holds its vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np

from asynccache.index._searching import UNKNOWN

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from asynccache._models import Neighbour, VectorRow

__all__ = ["Engine", "Engines", "Place", "Room", "fitting"]

Place: TypeAlias = "tuple[bytes, bytes]"
"""Partition and space: vectors of two places never meet in one engine."""

Key: TypeAlias = bytes
Vector: TypeAlias = bytes

OVERHEAD: Final = (
    4096  # bytes a room takes beside its engine's own count: objects, dicts, the smallest arrays
)

TAKEN: Final = 256  # rows taken up between two looks at the limit
SWEPT: Final = 1000  # expired keys let go of at a time: searches wait meanwhile

_KEY: Final = 32  # bytes
_NORM_TOLERANCE: Final = 1e-3  # of the squared norm; a float32 vector of norm 1 is within 1e-6


class Engine(Protocol):
    """What a room needs of ``PartitionIndex``."""

    def __len__(self) -> int: ...

    @property
    def graph_size(self) -> int:
        """Vectors found through a graph."""
        ...

    @property
    def lasting_bytes(self) -> int:
        """Memory that will not be given back when background work is done, approximately."""
        ...

    @property
    def settled(self) -> bool:
        """Whether no background work is left."""
        ...

    def add(
        self, keys: Sequence[bytes], vectors: NDArray[np.float32], expires_at: Sequence[float] | None = None
    ) -> None:
        """Hold vectors in place of earlier ones."""
        ...

    def remove(self, keys: Collection[bytes]) -> int:
        """Let go of keys."""
        ...

    def nearest(
        self, queries: NDArray[np.float32], k: int, now: float | None = None
    ) -> list[list[Neighbour]]:
        """The k nearest of each query that have not expired."""
        ...

    def vectors_of(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """The vectors of keys just found, in their order, shape (n, dim)."""
        ...

    def sweep(self, now: float, *, limit: int) -> int:
        """Let go of what has expired, at most so many; how many they were."""
        ...

    def step(self, budget: float) -> bool:
        """Some background work; True while there is more."""
        ...

    def save_parts(self, prefix: Path) -> dict[str, Any]:
        """Write files whose names begin with the prefix; what else ``load_parts`` needs, JSON-able.

        ``stored`` in it: vectors in the files, where they are fewer than those held.
        """
        ...

    # The last of the class: it hides the type of that name from what follows.
    @property
    def bytes(self) -> int:
        """Memory, approximately."""
        ...


class Engines(Protocol):
    """Makes engines."""

    def new(self, dim: int) -> Engine:
        """An empty one."""
        ...

    def load(self, prefix: Path, state: dict[str, Any], dim: int) -> Engine:
        """One that was saved. Raises anything when it cannot be."""
        ...


@dataclass(eq=False, slots=True)
class Room:
    """The vectors of one place. The event loop's, except what is marked as the index thread's."""

    place: Place
    dim: int
    ready: asyncio.Future[None]
    """Done when the first load has ended, well or badly."""
    limit: int
    """Lasting bytes past which nothing more is taken up."""
    live: bool = False
    """Loaded, and kept up to date by the changes the follower reads."""
    gone: bool = False
    """No longer in use: what is still on its way to it is let fall. Read by the index thread."""
    cursor: int | None = None
    """While loading: the changes up to here are in."""
    fresh: dict[Key, Vector] = field(default_factory=dict)
    """What was learnt since the reading under way began: what was read may know less about it."""
    changed: int = 0
    """Rows changed since the last snapshot."""
    counted: int = 0
    """Bytes of it in the owner's sum."""
    saved_graph: int = 0
    """Vectors in the graph of the last snapshot."""
    unsaved_until: float = 0.0
    """Monotonic seconds before which saving is not tried again."""

    # Written by the index thread, read by both:
    engine: Engine | None = None
    """The index thread's alone."""
    nbytes: int = OVERHEAD
    lasting: int = OVERHEAD
    """Bytes that background work will not give back."""
    size: int = 0
    graph: int = 0
    refused: int = 0
    """Rows that hold no usable vector."""
    left_out: int = 0
    """Rows not taken up because of the limit."""
    search_seconds: float = UNKNOWN
    """What a lone search takes, about; written by whoever has just made one."""
    judged: int = 0
    """Vectors there were when this was last unknown."""
    partial: bool = False
    """The store has more than was taken up: no basis for a snapshot. Only a new load makes up for it."""

    @property
    def grown(self) -> int:
        """Vectors that came into the graph, or left it, since the last snapshot."""
        return abs(self.graph - self.saved_graph)

    def note(self) -> None:
        """Tell the loop how large the engine is. In the index thread."""
        engine = self.engine
        if engine is not None:
            self.nbytes, self.size, self.graph = OVERHEAD + engine.bytes, len(engine), engine.graph_size
            self.lasting = OVERHEAD + engine.lasting_bytes
            if 2 * self.size > 3 * self.judged:  # what searches took while it was small says nothing now
                self.search_seconds, self.judged = UNKNOWN, self.size

    def sweep(self, now: float) -> bool:
        """Let go of some that has expired; True when there may be more. In the index thread."""
        if self.engine is None:
            return False
        swept = self.engine.sweep(now, limit=SWEPT)
        self.note()
        return swept == SWEPT

    def change(self, puts: Collection[VectorRow], removals: Collection[bytes]) -> None:
        """Apply to the engine. In the index thread."""
        engine = self.engine
        if engine is None or self.gone:
            return
        if removals:
            engine.remove(removals)
        rows = iter(puts)
        while some := list(islice(rows, TAKEN)):
            self._take(engine, some)
        self.note()

    def _take(self, engine: Engine, rows: list[VectorRow]) -> None:
        if self.lasting > self.limit:
            self.left_out += len(rows)
            self.partial = True
            engine.remove([row.key for row in rows])  # an old vector must not stand for a new one
            return
        keys, vectors, expires_at = fitting(rows, self.dim)
        if len(keys) < len(rows):
            self.refused += len(rows) - len(keys)
            engine.remove({row.key for row in rows}.difference(keys))
        if keys:
            engine.add(keys, vectors, expires_at)
            self.note()


def fitting(rows: Collection[VectorRow], dim: int) -> tuple[list[bytes], NDArray[np.float32], list[float]]:
    """Keys, vectors and expiry of those rows that hold a vector of this dim and of norm 1."""
    size = 4 * dim
    fit = [row for row in rows if len(row.vector) == size and len(row.key) == _KEY]
    vectors = np.frombuffer(b"".join([row.vector for row in fit]), dtype="<f4").reshape(len(fit), dim)
    with np.errstate(over="ignore", invalid="ignore"):
        good = np.abs(np.einsum("ij,ij->i", vectors, vectors) - 1.0) <= _NORM_TOLERANCE  # False for NaN
    if not good.all():
        fit = [row for row, is_good in zip(fit, good.tolist(), strict=True) if is_good]
        vectors = vectors[good]
    return [row.key for row in fit], vectors.astype(np.float32, copy=False), [row.expires_at for row in fit]
