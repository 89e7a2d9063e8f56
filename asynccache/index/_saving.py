"""Saving rooms that would take long to build again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio.to_thread

from asynccache.index._staging import in_memory

if TYPE_CHECKING:
    from pathlib import Path

    from anyio import CapacityLimiter

    from asynccache._protocols import Clock
    from asynccache.index._counts import Counts
    from asynccache.index._room import Room
    from asynccache.index._snapshot import Snapshots
    from asynccache.index._staging import Memory
    from asynccache.index._thread import IndexThread

__all__ = ["Saver"]

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
        """Whether a room is large and differs from its snapshot."""
        differs = room.changed > 0 or room.grown > LITTLE * room.size
        return room.live and room.size > self._above and differs

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
        prefix: Path | None = None
        try:
            prefix = await anyio.to_thread.run_sync(self._snapshots.begin, room.place, limiter=self._threads)
            # What is asked of the thread from here on is not in the snapshot.
            changed, room.changed = room.changed, 0
            try:
                written = await self._thread.run(lambda: _write(room, prefix))
                await anyio.to_thread.run_sync(
                    lambda: self._publish(room, prefix, written, cursor), limiter=self._threads
                )
            except BaseException:
                room.changed += changed
                raise
        except Exception:  # noqa: BLE001  (a snapshot less: the store has everything)
            self._counts.snapshot_failures += 1
            room.unsaved_until = self._clock.monotonic() + PAUSE
            if prefix is not None:
                await anyio.to_thread.run_sync(self._snapshots.abandon, prefix, limiter=self._threads)
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
    with in_memory(prefix.with_name(prefix.name + GRAPH), room.nbytes) as graph:
        state = engine.save_parts(prefix)
    return _Written(state, len(engine), engine.graph_size, graph)
