"""Follows what the feed of a store tells, for as long as somebody wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from asynccache._errors import BackendError
from asynccache._lifespan import Nursery, SharedLifespan

if TYPE_CHECKING:
    from asynccache._models import Change
    from asynccache._protocols import Feed

__all__ = ["FeedFollower"]

FIRST: Final = 1.0
"""Seconds that opening waits for the first cursor: with a store that is down one must be able to open."""
BETWEEN: Final = 0.005
"""Seconds between two reads at least: what has changed meanwhile is told at once."""
NEWS: Final = 1.0
"""Seconds after which to read though nothing was said to be new."""
SHORTEST: Final = 0.1
LONGEST: Final = 1.0
"""Seconds before the next try, after the first failure and after many."""


class FeedFollower:
    """Reads a feed in the background, on from where it was; after a failure it tries again.

    Args:
        feed: what to follow.
        on_changes: is told of changes, in order.
        on_start: is told that all that is known may be out of date and that every change from now on will be
            told: once there is a first cursor, and after a gap.
        on_end: is told that changes are not told any more.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        on_changes: Callable[[Sequence[Change]], None],
        on_start: Callable[[], Awaitable[None]],
        on_end: Callable[[], Awaitable[None]],
    ) -> None:
        self._feed: Final = feed
        self._on_changes: Final = on_changes
        self._on_start: Final = on_start
        self._on_end: Final = on_end
        self.gaps = 0
        """How many there were."""
        self._nursery: Final = Nursery()
        self._shared: Final = SharedLifespan(self._opening)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Follow for so long. The feed must be open."""
        return self._shared()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        tried = asyncio.Event()
        try:
            async with self._nursery.lifespan():
                self._nursery.start(lambda: self._follow(tried))
                with anyio.move_on_after(FIRST):
                    await tried.wait()
                yield
        finally:
            await self._on_end()

    async def _follow(self, tried: asyncio.Event) -> None:
        """Read again and again; ``tried`` is set after the first attempt, whatever came of it."""
        now = asyncio.get_running_loop().time
        cursor: int | None = None
        pause = SHORTEST
        while True:
            try:
                cursor, more = await self._read(cursor)
                pause = SHORTEST
                tried.set()
                if more:
                    await asyncio.sleep(0)
                    continue
                read_at = now()
                await self._feed.news(NEWS)
                await asyncio.sleep(max(0.0, read_at + BETWEEN - now()))
            except Exception as error:  # noqa: BLE001  (whatever it is, what comes after must be told)
                if not isinstance(error, BackendError) and pause == SHORTEST:
                    context = {"message": "following a store's changes failed", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(context)
                tried.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST)

    async def _read(self, cursor: int | None) -> tuple[int, bool]:
        """Tell what has changed after a cursor; after which to go on, and whether there is more."""
        told = await self._feed.changes(cursor)
        if cursor is None or told.gap:
            self.gaps += told.gap and cursor is not None
            await self._on_start()
        self._on_changes(told.changes)
        return told.cursor, told.more
