"""Labels on their way to the store and from it: other processes learn what this one does."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from asynccache._lifespan import Nursery, SharedLifespan, entered
from asynccache._protocols import Labels

if TYPE_CHECKING:
    from asynccache._judging import Label
    from asynccache._protocols import Backend

__all__ = ["LabelFeed"]

POLL: Final = 2.0
"""Seconds between two looks at what others have learnt."""
RETRY: Final = 5.0
"""Seconds until the next try, when the store could not be read or written."""
WAITING: Final = 4096
"""Labels on their way to the store; when it cannot keep up, the oldest are let fall."""
BATCH: Final = 256
"""Labels written at a time."""


class LabelFeed:
    """Hands on what is learnt here, and takes up what others have learnt, now and before.

    With a backend that keeps no labels, they live as long as this process.

    Args:
        backend: held open while the feed is.
        take: called for every label of others, on the event loop.
        patience: seconds that opening waits for what is stored to be read; the rest follows behind.
    """

    def __init__(
        self, backend: Backend | None, take: Callable[[Label], None], *, patience: float = 2.0
    ) -> None:
        self.origin: Final = secrets.token_bytes(16)
        """Marks what was learnt here."""
        self.dropped = 0
        """Labels that never reached the store."""
        self._backend: Final = backend
        self._take: Final = take
        self._patience: Final = patience
        self._cursor = 0
        self._waiting: deque[Label] = deque()  # filled by ``publish``, emptied by the writer
        self._stirred = asyncio.Event()
        self._settled = asyncio.Event()  # set while nothing waits
        self._caught_up = asyncio.Event()  # set once all that was stored at the opening has been read
        self._nursery: Final = Nursery()
        self._lifespan: Final = SharedLifespan(self._opening)

    @property
    def caught_up(self) -> bool:
        """Whether what was stored before the opening has been taken up."""
        return self._caught_up.is_set()

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Read, and write what is learnt; closing writes what waits."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        # Events belong to the loop that waits for them.
        self._stirred, self._settled, self._caught_up = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._settled.set()
        backend = self._backend
        async with entered(backend), self._nursery.lifespan():
            if not isinstance(backend, Labels):
                self._caught_up.set()
                yield
                return
            self._nursery.start(lambda: self._follow(backend))
            self._nursery.start(lambda: self._write(backend))
            with suppress(TimeoutError):  # the owner asks ``caught_up``
                async with asyncio.timeout(self._patience):
                    await self._caught_up.wait()
            try:
                yield
            finally:
                await self.flush()

    def publish(self, label: Label) -> None:
        """Store a label behind the caller."""
        if not isinstance(self._backend, Labels):
            return
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(label)
        self._settled.clear()
        self._stirred.set()

    async def flush(self) -> None:
        """Wait until all that was published is stored, or the store has failed; some seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._settled.wait()

    async def _follow(self, backend: Labels) -> None:
        while True:
            try:
                page = await backend.labels(self._cursor)
            except Exception:  # noqa: BLE001  (a border: the next try may succeed, and ``caught_up`` tells)
                await asyncio.sleep(RETRY)
                continue
            for label in page.labels:
                if label.origin != self.origin:
                    self._take(label)
            self._cursor = page.cursor
            if page.more:
                await asyncio.sleep(0)
                continue
            self._caught_up.set()
            await asyncio.sleep(POLL)

    async def _write(self, backend: Labels) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                try:
                    await backend.put_labels(batch)
                except Exception:  # noqa: BLE001  (a border: ``dropped`` tells)
                    self.dropped += len(batch)
                    self._settled.set()
                    await asyncio.sleep(RETRY)
            self._settled.set()
