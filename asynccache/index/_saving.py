"""Saving rooms that would take long to build again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import anyio.to_thread

from asynccache._lifespan import to_its_end
from asynccache.index._staging import in_memory

if TYPE_CHECKING:
    from pathlib import Path

    from anyio import CapacityLimiter

    from asynccache._protocols import Clock
    from asynccache.index._counts import Counts
    from asynccache.index._room import Place, Room
    from asynccache.index._snapshot import Snapshots
    from asynccache.index._staging import Memory
    from asynccache.index._thread import IndexThread

__all__ = ["Saver"]

_T = TypeVar("_T")

SHARE: Final = 0.2
"""Of a room's vectors, changed since its last snapshot, that make another worth its while."""
BUILT: Final = 0.95
"""Of a room's vectors, to be in the graph first: the graph is what takes long to build."""
LITTLE: Final = 0.01
"""Of a room's vectors, to have come into the graph since the last snapshot if nothing else has changed."""
GRAPH: Final = ".graph"
"""The part that a library writes in one go."""
PAUSE: Final = 60.0
"""Seconds until saving is tried again after it failed."""


class _Written(NamedTuple):
    state: dict[str, Any]
    vectors: int
    in_graph: int
    graph: Memory | None


class _Draft:
    """A folder that one thread after another writes to. Given up, the last of them removes it.

    Nobody waits for a thread that is at it when saving is cancelled: it may take long, or hang.
    """

    def __init__(self, snapshots: Snapshots, place: Place) -> None:
        self._snapshots: Final = snapshots
        self._place: Final = place
        self._prefix: Path | None = None
        self._lock: Final = Lock()  # of the next two
        self._at_work = False
        self._given_up = False

    def work(self, function: Callable[[Path], _T]) -> _T:
        """Call a function with the prefix to write under; one at a time. Blocking."""
        with self._lock:
            if self._given_up:
                raise LookupError("the snapshot was given up")
            self._at_work = True
        try:
            if self._prefix is None:
                self._prefix = self._snapshots.begin(self._place)
            return function(self._prefix)
        finally:
            with self._lock:
                self._at_work = False
                doomed = self._given_up
            if doomed:
                self._remove()

    def give_up(self) -> None:
        """Have the folder removed, unless it was published. Blocking."""
        with self._lock:
            self._given_up = True
            at_work = self._at_work
        if not at_work:
            self._remove()

    def _remove(self) -> None:
        if self._prefix is not None:
            self._snapshots.abandon(self._prefix)


class Saver:
    """Saves rooms, one at a time.

    Args:
        above: vectors a room must have to be saved at all.
        every: changed vectors between two snapshots, at least.
    """

    def __init__(
        self,
        thread: IndexThread,
        snapshots: Snapshots,
        *,
        above: int,
        every: int,
        clock: Clock,
        counts: Counts,
        threads: CapacityLimiter,
    ) -> None:
        self._thread: Final = thread
        self._snapshots: Final = snapshots
        self._above: Final = above
        self._every: Final = every
        self._clock: Final = clock
        self._counts: Final = counts
        self._threads: Final = threads
        self._one: Final = asyncio.Lock()  # saving takes memory and the disk's time

    def worthwhile(self, room: Room) -> bool:
        """Whether a room is whole, large, and differs from its snapshot."""
        differs = room.changed > 0 or room.grown > LITTLE * room.size
        return room.live and not room.partial and room.size > self._above and differs

    def due(self, room: Room) -> bool:
        """Whether a room should be saved now, in the middle of its work."""
        return (
            self.worthwhile(room)
            and max(room.changed, room.grown) > max(self._every, SHARE * room.size)
            and room.graph >= BUILT * room.size
            and self._clock.monotonic() >= room.unsaved_until
        )

    async def save(self, room: Room, cursor: int | None) -> bool:
        """Save a room that has every change up to a cursor; False when that was not possible."""
        async with self._one:
            return await self._saved(room, cursor)

    async def _saved(self, room: Room, cursor: int | None) -> bool:
        if cursor is None:
            return False
        draft = _Draft(self._snapshots, room.place)
        try:
            # The folder first, and not by the index thread: that would have searches wait for the disk.
            await anyio.to_thread.run_sync(draft.work, lambda _: None, limiter=self._threads)
            # What is asked of the thread from here on is not in the snapshot.
            changed, room.changed = room.changed, 0
            try:
                written = await self._thread.run(lambda: draft.work(lambda prefix: _write(room, prefix)))
                await anyio.to_thread.run_sync(
                    draft.work,
                    lambda prefix: self._publish(room, prefix, written, cursor),
                    limiter=self._threads,
                )
            except BaseException:
                room.changed += changed
                raise
        except BaseException as error:
            await to_its_end(anyio.to_thread.run_sync(draft.give_up, limiter=self._threads))
            if not isinstance(error, Exception):
                raise
            # A snapshot less: the store has everything.
            self._counts.snapshot_failures += 1
            room.unsaved_until = self._clock.monotonic() + PAUSE
            return False
        room.saved_graph = written.in_graph
        self._counts.snapshots_saved += 1
        return True

    def _publish(self, room: Room, prefix: Path, written: _Written, cursor: int) -> None:
        self._snapshots.publish(
            prefix,
            room.place,
            dim=room.dim,
            state=written.state,
            count=written.vectors,
            cursor=cursor,
            staged={} if written.graph is None else {GRAPH: written.graph},
        )


def _write(room: Room, prefix: Path) -> _Written:
    """In the index thread: nothing changes meanwhile."""
    engine = room.engine
    if engine is None:
        raise LookupError("the engine was given up")
    if room.partial:  # since it was found worthwhile
        raise LookupError("the room is not whole any more")
    with in_memory(prefix.with_name(prefix.name + GRAPH), room.nbytes) as graph:
        state = engine.save_parts(prefix)
    return _Written(state, len(engine), engine.graph_size, graph)
