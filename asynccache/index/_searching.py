"""How a room is searched, and how long that takes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Sequence
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from asynccache._models import Neighbour
    from asynccache.index._room import Engine, Room

__all__ = ["AT_ONCE", "UNKNOWN", "Query", "Search", "lone", "together"]

AT_ONCE: Final = 0.0001
"""Seconds that a search may hold the event loop, and all searches of one of its turns: a thread and the way
there and back take as long."""
UNKNOWN: Final = 2 * AT_ONCE
"""Seconds that a search is taken to take, before there were some."""
_MOST: Final = 10 * AT_ONCE  # that a sample counts for: a few searches behind it are left to the thread
# The time spent at it: others may have had the processor, or Python, meanwhile. (Windows counts in ticks.)
_clock: Final = perf_counter if sys.platform == "win32" else thread_time
_SMOOTHING: Final = 8  # lone searches, about, that an estimate looks back on


class Query(NamedTuple):
    """What is looked for in a room."""

    vector: bytes
    k: int
    """How many."""
    vectors: int = 0
    """Of so many of the first, the vectors too."""


class Search:
    """A query to a room, and who waits for the answer."""

    __slots__ = ("future", "k", "room", "vector", "vectors")

    def __init__(
        self, room: Room, vector: bytes, k: int, vectors: int, future: asyncio.Future[list[Neighbour]]
    ) -> None:
        self.room, self.vector, self.k, self.vectors, self.future = room, vector, k, vectors, future

    def joins(self, other: object) -> bool:
        """Whether the other can be searched for together with this one."""
        return isinstance(other, Search) and other.room is self.room and len(other.vector) == len(self.vector)


def lone(room: Room, query: Query, now: float) -> list[Neighbour]:
    """The answer to a query, best first; empty when the room has no engine. Notes how long it takes.

    Raises:
        ValueError: a vector that cannot be searched for; anything else: the engine failed.
    """
    engine = room.engine
    if engine is None:
        return []
    began = _clock()
    (near,) = engine.nearest(_rows((query.vector,), room.dim), query.k, now)
    answer = _with_vectors(engine, near, query.vectors)
    taken = min(_clock() - began, _MOST)
    room.search_seconds += (taken - room.search_seconds) / _SMOOTHING
    return answer


def together(room: Room, searches: Sequence[Search], now: float) -> list[list[Neighbour]]:
    """The answers to several, each distinct vector searched for once. Raises as ``lone``, for all of them."""
    if len(searches) == 1:
        (one,) = searches
        return [lone(room, Query(one.vector, one.k, one.vectors), now)]
    engine = room.engine
    if engine is None:
        return [[] for _ in searches]
    numbers: dict[bytes, int] = {}  # of the distinct vectors
    for each in searches:
        numbers.setdefault(each.vector, len(numbers))
    found = engine.nearest(_rows(numbers, room.dim), max(each.k for each in searches), now)
    return [_with_vectors(engine, found[numbers[each.vector]][: each.k], each.vectors) for each in searches]


def _rows(vectors: Collection[bytes], dim: int) -> NDArray[np.float32]:
    rows = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), dim)
    return rows.astype(np.float32, copy=False)


def _with_vectors(engine: Engine, near: list[Neighbour], count: int) -> list[Neighbour]:
    if not count:
        return near
    rows = engine.vectors_of([each.key for each in near[:count]]).astype("<f4", copy=False)
    first = [each._replace(vector=row.tobytes()) for each, row in zip(near, rows, strict=False)]
    return first + near[count:]
