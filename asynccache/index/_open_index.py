"""An index while it is open: its rooms, how they come, are kept up to date, and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from asynccache._errors import BackendError, BackendUnavailable
from asynccache._lifespan import Nursery
from asynccache.index._following import Follower
from asynccache.index._loading import Loader
from asynccache.index._room import Room
from asynccache.index._rooms import Rooms
from asynccache.index._saving import Saver
from asynccache.index._thread import IndexThread

if TYPE_CHECKING:
    from asynccache._models import VectorRow
    from asynccache.index._counts import Counts
    from asynccache.index._options import Options
    from asynccache.index._reading import Source
    from asynccache.index._room import Engines, Place

__all__ = ["OpenIndex"]

LOADS: Final = 4
"""Partitions read at the same time: more would only wait for each other."""
SWEEP: Final = 60.0
"""Seconds between searches for expired vectors to let go of. (They are never found, let go of or not.)"""
RESPITE: Final = 10.0
"""Seconds for which a partition whose engine failed is not loaded again: it may fail each time."""
CLOSING: Final = 30.0
"""Seconds that closing may take to save what is large, and as many for the thread to end."""


class OpenIndex:
    """Made when an index is opened, and used for that time only. On the event loop."""

    def __init__(self, source: Source, options: Options, engines: Engines, counts: Counts) -> None:
        self._source: Final = source
        self._options: Final = options
        self._counts: Final = counts
        self._clock: Final = options.clock
        self.rooms: Final = Rooms()
        self.thread: Final = IndexThread(
            clock=options.clock, on_change=self._changed, on_broken=self._broken, on_death=self._died
        )
        self.follower: Final = Follower(
            source,
            self.thread,
            self.rooms,
            counts=counts,
            clock=options.clock,
            on_gap=self._drop_live,
        )
        self._loader: Final = Loader(
            source,
            self.thread,
            self.follower,
            engines=engines,
            snapshots=options.snapshots,
            counts=counts,
            threads=options.threads,
        )
        self._saver: Final = (
            None
            if options.snapshots is None
            else Saver(
                self.thread,
                options.snapshots,
                above=options.exact_up_to,
                every=options.snapshot_every,
                clock=options.clock,
                counts=counts,
                threads=options.threads,
            )
        )
        self._nursery: Final = Nursery()
        self._loads: Final = asyncio.Semaphore(LOADS)
        self.nudged: Final = asyncio.Event()
        """Set to have changes looked for at once."""
        self._saving: asyncio.Task[None] | None = None
        self._swept = options.clock.monotonic()
        self._respite: dict[Place, float] = {}  # monotonic seconds until which a place is left alone

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Keep up with the store; at the end save what is large, and end the thread."""
        try:
            async with self._nursery.lifespan():
                self._nursery.start(self._keep_up)
                yield
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSING):
                    await self.save()
            for room in self.rooms:
                self.drop(room)
            await self.thread.close(CLOSING)

    def room(self, place: Place, dim: int) -> Room:
        """The room of a place, its load begun when it is new. Raises BackendUnavailable."""
        room = self.rooms.use(place)
        if room is None:
            if self._respite.get(place, 0.0) > self._clock.monotonic():
                raise BackendUnavailable("the index of this partition has failed; it is read again soon")
            ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            room = Room(place, dim, ready, limit=self._options.max_bytes)
            self.rooms.add(room)
            self._nursery.start(partial(self._load, room))
        return room

    def tell(self, room: Room, rows: Collection[VectorRow], removals: Collection[bytes]) -> None:
        """Hand on what was learnt directly; never waits."""
        room.changed += len(rows) + len(removals)
        if not self.thread.change(room, rows, removals):
            self._counts.overflows += 1
            self.drop(room)  # the store has everything

    def drop(self, room: Room) -> None:
        """Let go of a room. Who asks next has it read again."""
        if not room.gone:
            self.rooms.remove(room)
            self.thread.drop(room)

    async def save(self) -> int:
        """Save the large rooms that have changed; how many were saved."""
        saver = self._saver
        if saver is None:
            return 0
        worth = [room for room in self.rooms if saver.worthwhile(room)]
        return sum([await saver.save(room, self.follower.cursor) for room in worth])

    async def _load(self, room: Room) -> None:
        failure: BackendError | None = None
        try:
            async with self._loads:
                await self._loader.load(room)
        except BackendError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  (a border: mapped for those who wait)
            failure = BackendError(f"loading failed with {type(error).__name__}")
            failure.__cause__ = error
        finally:
            if not room.live:  # it failed, was let go of meanwhile, or the index is closing
                self.drop(room)
            if failure is None:
                self._changed(room)
                room.ready.set_result(None)
            else:
                self._counts.load_failures += 1
                room.ready.set_exception(failure)
                room.ready.exception()  # seen: perhaps nobody waits any more

    async def _keep_up(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.poll):
                    await self.nudged.wait()
            self.nudged.clear()
            try:
                await self.follower.catch_up()
                await self._sweep()
            except Exception:  # noqa: BLE001  (a border: it is tried again, and nobody waits)
                self._counts.follow_failures += 1
            self._save_due()

    async def _sweep(self) -> None:
        now = self._clock.monotonic()
        if now - self._swept >= SWEEP:
            self._swept = now
            for room in self.rooms:
                while await self.thread.run(partial(room.sweep, self._clock.now())):
                    pass
                self._changed(room)

    def _save_due(self) -> None:
        saver = self._saver
        if saver is not None and (self._saving is None or self._saving.done()):
            due = next((room for room in self.rooms if saver.due(room)), None)
            if due is not None:
                self._saving = self._nursery.start(partial(self._save, saver, due))

    async def _save(self, saver: Saver, room: Room) -> None:
        await saver.save(room, self.follower.cursor)

    async def _save_and_drop(self, saver: Saver, room: Room, cursor: int | None) -> None:
        try:
            await saver.save(room, cursor)
        finally:
            self.thread.drop(room)

    # Told by others:

    def _changed(self, room: Room) -> None:
        self.rooms.account(room)
        while self.rooms.bytes > self._options.max_bytes:
            oldest = self.rooms.oldest()
            if oldest is None:
                return
            self._counts.dropped += 1
            saver = self._saver
            if saver is not None and saver.worthwhile(oldest):
                self.rooms.remove(oldest)  # from here on nothing changes in it
                with suppress(RuntimeError):  # the index is closing
                    self._nursery.start(partial(self._save_and_drop, saver, oldest, self.follower.cursor))
                    continue
            self.drop(oldest)

    def _drop_live(self) -> None:
        for room in self.rooms:
            if room.live:
                self.drop(room)

    def _broken(self, room: Room, error: Exception) -> None:
        self._counts.broken += 1
        self.drop(room)
        now = self._clock.monotonic()
        self._respite = {place: until for place, until in self._respite.items() if until > now}
        self._respite[room.place] = now + RESPITE
        context = {"message": "an index of asynccache failed and will be read again", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)

    def _died(self) -> None:
        self._counts.broken += 1
        for room in self.rooms:
            self.drop(room)
