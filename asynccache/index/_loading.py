"""Filling a room: from its snapshot and what has changed since, or from the store, page by page."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from asynccache._errors import BackendUnavailable
from asynccache.index._snapshot import Refused

if TYPE_CHECKING:
    from anyio import CapacityLimiter

    from asynccache.index._counts import Counts
    from asynccache.index._following import Follower
    from asynccache.index._reading import Source
    from asynccache.index._room import Engine, Engines, Room
    from asynccache.index._snapshot import Snapshot, Snapshots
    from asynccache.index._thread import IndexThread

__all__ = ["Loader"]

ATTEMPTS: Final = 3
"""Readings of one room: a store that forgets its changes while they are read is no basis for an index."""


class Loader:
    """Loads rooms. What is loaded is searched from the first page on by those who do not wait for the end."""

    def __init__(
        self,
        source: Source,
        thread: IndexThread,
        follower: Follower,
        *,
        engines: Engines,
        snapshots: Snapshots | None,
        counts: Counts,
        threads: CapacityLimiter,
    ) -> None:
        self._source: Final = source
        self._thread: Final = thread
        self._follower: Final = follower
        self._engines: Final = engines
        self._snapshots: Final = snapshots
        self._counts: Final = counts
        self._threads: Final = threads

    async def load(self, room: Room) -> None:
        """Fill a new room, and have it followed. Raises BackendError."""
        if not self._source.tells_changes:
            await self._fill(room)
            room.live = True
            return
        if await self._restored(room):
            if await self._followed(room):
                return
            self._counts.snapshots_refused += 1
        for _ in range(ATTEMPTS):
            # In this order nothing is lost: what changes from here on will be told.
            room.cursor = (await self._source.changes(None)).cursor
            await self._fill(room)
            if await self._followed(room):
                self._counts.loads += 1
                return
        raise BackendUnavailable("the backend forgets what has changed faster than the index can read it")

    async def _followed(self, room: Room) -> bool:
        # The bulk without keeping the other rooms waiting.
        return await self._follower.advance(room) and await self._follower.join(room)

    async def _fill(self, room: Room) -> None:
        await self._adopt(room, self._engines.new(room.dim))
        room.fresh.clear()
        async with aclosing(self._source.rows(room.place)) as pages:
            async for rows in pages:
                if room.lasting > room.limit:
                    room.partial = True
                if room.gone or room.partial:
                    return
                await self._follower.feed(room, [row for row in rows if row.key not in room.fresh])
                room.fresh.clear()

    async def _restored(self, room: Room) -> bool:
        if self._snapshots is None:
            return False
        try:
            found = await anyio.to_thread.run_sync(
                self._snapshots.find, room.place, room.dim, limiter=self._threads
            )
            if found is None:
                return False
            engine = await anyio.to_thread.run_sync(self._opened, found, room.dim, limiter=self._threads)
        except Exception:  # noqa: BLE001  (whatever is wrong with it: the store has everything)
            self._counts.snapshots_refused += 1
            return False
        await self._adopt(room, engine)
        room.cursor, room.saved_graph = found.cursor, room.graph
        self._counts.snapshots_loaded += 1
        return True

    def _opened(self, snapshot: Snapshot, dim: int) -> Engine:
        engine = self._engines.load(snapshot.prefix, snapshot.state, dim)
        if len(engine) != snapshot.vectors:
            raise Refused("another number of vectors")
        return engine

    async def _adopt(self, room: Room, engine: Engine) -> None:
        def adopt() -> None:
            room.engine, room.partial = engine, False
            room.note()

        await self._thread.run(adopt)
        room.changed = 0
