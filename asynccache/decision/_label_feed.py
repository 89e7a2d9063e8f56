"""Labels on their way to the store and from it: other processes learn what this one does."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from asynccache._errors import BackendError, BackendUnavailable
from asynccache._events import StageFailed
from asynccache._judging import Label
from asynccache._lifespan import Nursery, SharedLifespan, entered, to_its_end
from asynccache._protocols import Labels

if TYPE_CHECKING:
    from asynccache._judging import Judgement, LabelKind
    from asynccache._models import Request
    from asynccache._protocols import Backend, Driver

__all__ = ["LabelFeed"]

POLL: Final = 2.0
"""Seconds between two looks at what others have learnt."""
RETRY: Final = 5.0
"""Seconds until the next try, when the store could not be read or written."""
WAITING: Final = 4096
"""Labels on their way to the store; when it cannot keep up, the oldest are let fall."""
BATCH: Final = 256
"""Labels written at a time."""
SLICE: Final = 64
"""Labels taken up at a time: a millisecond."""


class LabelFeed:
    """Hands on what is learnt here, and takes up what others have learnt, now and before.

    With a backend that keeps no labels, they live as long as this process.

    Args:
        backend: held open while the feed is.
        take: called for every label of others, on the event loop.
        patience: seconds that opening waits for what is stored to be read, and closing for what waits to be
            stored; the rest of the reading follows behind.
    """

    def __init__(
        self, backend: Backend | None, take: Callable[[Label], None], *, patience: float = 2.0
    ) -> None:
        self.dropped = 0
        """Labels that never reached the store, or that nobody could take up."""
        self.trouble: Exception | None = None
        """Why the store could not be read last time; None when it could."""
        self._backend: Final = backend
        self._take: Final = take
        self._patience: Final = patience
        self._cursor = 0
        self._told = False  # of the trouble
        self._waiting: deque[Label] = deque()  # filled by ``publish``, emptied by the writer
        self._new_life()
        self._nursery: Final = Nursery()
        self._lifespan: Final = SharedLifespan(self._opening)

    def _new_life(self) -> None:
        # Drawn at each opening: a worker that was forked is another one than its parent.
        self.origin = secrets.token_bytes(16)
        """Marks what was learnt here."""
        # Events belong to the loop that waits for them.
        self._stirred = asyncio.Event()
        self._settled = asyncio.Event()  # set while nothing waits
        self._settled.set()
        self._caught_up = asyncio.Event()  # set once all that was stored at the opening has been read

    @property
    def caught_up(self) -> bool:
        """Whether what was stored before the opening has been taken up."""
        return self._caught_up.is_set()

    def tell_trouble(self, driver: Driver) -> None:
        """Report, once, that what is known cannot be read."""
        if self.trouble is not None and not self._told:
            self._told = True
            driver.emit(StageFailed("LabelFeed", self.trouble))

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Read, and write what is learnt; closing writes what waits."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        self._new_life()
        self._waiting.clear()
        backend = self._backend
        async with entered(backend):
            if not isinstance(backend, Labels):
                self._caught_up.set()
                yield
                return
            try:
                async with self._nursery.lifespan():
                    self._nursery.start(lambda: self._follow(backend))
                    self._nursery.start(lambda: self._write(backend))
                    with suppress(TimeoutError):  # the owner asks ``caught_up``
                        async with asyncio.timeout(self._patience):
                            await self._caught_up.wait()
                    try:
                        yield
                    finally:
                        with suppress(BackendUnavailable):
                            await self.flush()
            finally:
                await to_its_end(self._last_try(backend))

    async def _last_try(self, backend: Labels) -> None:
        """Store what waits, now that the writer has gone; what cannot be stored is counted."""
        if self._waiting:
            with suppress(Exception):
                async with asyncio.timeout(self._patience):
                    await self._stored(backend)
            self.dropped += len(self._waiting)

    def label(
        self,
        request: Request,
        judgement: Judgement,
        *,
        family: bytes,
        same: bool,
        kind: LabelKind,
        missed: float,
        accepted: float,
        at: float,
    ) -> Label:
        """What has become known of a judgement, as a label of this feed."""
        return Label(
            key=judgement.candidate.entry.key,
            asked=request.key,
            family=family,
            version=judgement.version,
            score=judgement.score,
            calibrated=judgement.calibrated,
            same=same,
            kind=kind,
            missed=missed,
            accepted=accepted,
            at=at,
            origin=self.origin,
        )

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
        """Wait until all that was published is stored.

        Raises:
            BackendUnavailable: not in time; it is still tried.
        """
        try:
            async with asyncio.timeout(self._patience):
                await self._settled.wait()
        except TimeoutError as error:
            raise BackendUnavailable("what was learnt could not be stored in time") from error

    async def _follow(self, backend: Labels) -> None:
        while True:
            try:
                page = await backend.labels(self._cursor)
            except Exception as error:  # noqa: BLE001  (a border: the next try may succeed)
                self.trouble = error
                await asyncio.sleep(RETRY)
                continue
            self.trouble = None
            for number, label in enumerate(page.labels):
                if number % SLICE == SLICE - 1:
                    await asyncio.sleep(0)
                if label.origin != self.origin:
                    self._take_up(label)
            self._cursor = page.cursor
            if not page.more:
                self._caught_up.set()
                await asyncio.sleep(POLL)

    def _take_up(self, label: Label) -> None:
        try:
            self._take(label)
        except Exception:  # noqa: BLE001  (one that makes no sense must not hide those behind it)
            self.dropped += 1

    async def _write(self, backend: Labels) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self._waiting:
                try:
                    await self._stored(backend)
                except Exception:  # noqa: BLE001  (a border: the next try may succeed)
                    await asyncio.sleep(RETRY)
            self._settled.set()

    async def _stored(self, backend: Labels) -> None:
        """Store some of what waits. What can never be stored is left out; on other errors all still waits."""
        batch = list(islice(self._waiting, BATCH))
        try:
            await backend.put_labels(batch)
        except BackendUnavailable:
            raise
        except BackendError:
            if len(batch) > 1:
                for label in batch:
                    await self._stored_alone(backend, label)
            else:
                self.dropped += 1
        # Not more than there are: the oldest may have fallen meanwhile.
        for label in batch:
            if self._waiting and self._waiting[0] is label:
                self._waiting.popleft()

    async def _stored_alone(self, backend: Labels, label: Label) -> None:
        try:
            await backend.put_labels([label])
        except BackendUnavailable:
            raise
        except BackendError:
            self.dropped += 1
