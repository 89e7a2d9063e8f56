"""Keeping loaded rooms true to a store that others write to as well.

Told twice, or told of a state that has passed, a room ends up right: what has changed since will be told
as well. But what was learnt directly must be found at once, and a reading that was under way at that time
may not know of it. So a reading that contradicts what was learnt since it began is made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asynccache._models import VectorChange, VectorChanges, VectorRow
    from asynccache._protocols import Clock
    from asynccache.index._counts import Counts
    from asynccache.index._reading import Source
    from asynccache.index._room import Place, Room
    from asynccache.index._rooms import Rooms
    from asynccache.index._thread import IndexThread

__all__ = ["Follower"]

CHUNK: Final = 500  # rows handed to the thread at a time; a search may have to wait for one
READINGS: Final = 5  # of the same changes; each takes a millisecond, and a contradiction is rare
AHEAD: Final = 2000  # rows read ahead of the thread


class Follower:
    """Reads what has changed and tells the rooms.

    Args:
        on_gap: called when the store cannot tell any more what has changed in rooms that are live.
    """

    def __init__(
        self,
        source: Source,
        thread: IndexThread,
        rooms: Rooms,
        *,
        counts: Counts,
        clock: Clock,
        on_gap: Callable[[], None],
    ) -> None:
        self._source: Final = source
        self._thread: Final = thread
        self._rooms: Final = rooms
        self._counts: Final = counts
        self._clock: Final = clock
        self._on_gap: Final = on_gap
        # Held from a reading of changes until they are in: rooms that join meanwhile would miss them.
        self._reading: Final = asyncio.Lock()
        self.cursor: int | None = None
        """All live rooms have every change up to here; None when there are none."""

    async def catch_up(self) -> None:
        """Bring every live room up to date. Raises BackendError."""
        if not self._source.tells_changes:
            return
        async with self._reading:
            more = True
            while more:
                live = {room.place: room for room in self._rooms if room.live}
                if not live or self.cursor is None:
                    self.cursor = None
                    return
                page = await self._told(self.cursor, live)
                if page.gap:
                    self._counts.gaps += 1
                    self.cursor = None
                    self._on_gap()
                    return
                self.cursor, more = page.cursor, page.more

    async def advance(self, room: Room) -> bool:
        """Tell a room that is not live what has changed since its cursor; False: nobody knows any more."""
        more = True
        while more and not room.gone:
            page = await self._told(room.cursor, {room.place: room})
            if page.gap:
                return False
            room.cursor, more = page.cursor, page.more
        return True

    async def join(self, room: Room) -> bool:
        """Make a room live that has been told nearly all; False when the rest is not known any more."""
        async with self._reading:
            if not await self.advance(room):
                return False
            if not room.gone:
                room.live = True
                if self.cursor is None:
                    self.cursor = room.cursor
            return True

    async def feed(self, room: Room, rows: Iterable[VectorRow], removals: Collection[bytes] = ()) -> None:
        """Hand rows to a room, not faster than it can take them up."""
        now = self._clock.now()
        rows = list(rows)
        live = iter([row for row in rows if row.expires_at > now])
        gone = iter([*removals, *(row.key for row in rows if row.expires_at <= now)])
        while True:
            some, others = list(islice(live, CHUNK)), list(islice(gone, CHUNK))
            if room.gone or not (some or others):
                return
            while not self._thread.change(room, some, others):
                await self._thread.settled()  # too much waits already
            room.changed += len(some) + len(others)
            if self._thread.rows_waiting > AHEAD:
                await self._thread.settled()

    async def _told(self, cursor: int | None, rooms: Mapping[Place, Room]) -> VectorChanges:
        """Read what has changed after a cursor and tell these rooms, unless it is a gap."""
        readings = 0
        while True:
            for room in rooms.values():
                room.fresh.clear()
            page = await self._source.changes(cursor)
            readings += 1
            # At last it is believed: what it did not know, the next will.
            if page.gap or await self._tell(page, rooms, doubting=readings < READINGS):
                return page

    async def _tell(self, page: VectorChanges, rooms: Mapping[Place, Room], *, doubting: bool) -> bool:
        for place, rows in _by_place(page.changes).items():
            room = rooms.get(place)
            if room is None:
                continue
            if doubting and _contradicted(rows, room.fresh):
                return False
            held = [row for row in rows.values() if row is not None]
            await self.feed(room, held, [key for key, row in rows.items() if row is None])
        return True


def _contradicted(rows: Mapping[bytes, VectorRow | None], learnt: Mapping[bytes, bytes]) -> bool:
    told = ((rows[key], vector) for key, vector in learnt.items() if key in rows)
    return any(row is None or row.vector != vector for row, vector in told)


def _by_place(changes: Iterable[VectorChange]) -> dict[Place, dict[bytes, VectorRow | None]]:
    sorted_out: dict[Place, dict[bytes, VectorRow | None]] = {}
    for change in changes:
        sorted_out.setdefault((change.partition, change.space), {})[change.key] = change.row
    return sorted_out
