"""A caching transport for blocking HTTP clients: the cache runs in the portal's thread, misses in others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from anyio import CapacityLimiter, to_thread

from asynccache._errors import AsyncCacheError, PipelineClosed
from asynccache._lifespan import to_its_end
from asynccache._portal import PORTAL, PortalClosed, Resident
from asynccache._wire.answer import Answer
from asynccache.integrations._library import Parts, Passage, headers_of

if TYPE_CHECKING:
    from asynccache._wire.answer import Events, Headers

__all__ = ["BlockingShell", "SyncBody"]

T = TypeVar("T")

_SYNC_CALLS: Final = 1000
"""Calls of blocking clients on their way at once: as many as the SDKs' own clients have connections."""


class BlockingShell:
    """Between a blocking client and the cache."""

    def __init__(self, parts: Parts) -> None:
        self._parts: Final = parts
        self._made: Any = None  # the inner transport, where none was given
        self._making: Final = threading.Lock()  # guards the step from None to one
        # Made and used in the portal only:
        self._resident: Resident | None = None
        self._threads: CapacityLimiter | None = None

    def handle(self, request: Any) -> Any:
        """Answer a request."""
        inner = self._inner()
        passage = Passage(self._parts, request)
        if not passage.cacheable:
            return inner.handle_request(request)
        content = request.read()

        async def send(body: bytes) -> _BlockingIncoming:
            response = await self._sent(inner, passage.outgoing(body))
            passage.received(response)
            return _BlockingIncoming(response, self._threads)

        handed: _Handover[Answer] = _Handover()

        async def work() -> None:
            answer = await passage.answered(content, self._ready, send)
            if answer is not None and not handed.give(answer):
                await _release(answer)

        try:
            PORTAL.run_blocking(work)
            answer = handed.given
            if answer is not None:
                return passage.response(answer, self._parts.library.blocking_body)
        except AsyncCacheError as error:
            passage.uncached(error)
        except BaseException:
            left = handed.leave()
            if left is not None:
                with suppress(PortalClosed):
                    PORTAL.start(lambda: _release(left))
            raise
        return inner.handle_request(request)

    async def _ready(self) -> None:
        if self._resident is None:
            if self._parts.pipeline.is_open:
                raise PipelineClosed("the pipeline is open elsewhere; give blocking clients one of their own")
            self._resident = Resident(PORTAL, lambda: self._parts.pipeline)
            self._threads = CapacityLimiter(_SYNC_CALLS)
        await self._resident.opened()

    async def _sent(self, inner: Any, outgoing: Any) -> Any:
        handed: _Handover[Any] = _Handover()

        def work() -> None:
            response = inner.handle_request(outgoing)
            if not handed.give(response):
                response.close()

        try:
            await to_thread.run_sync(work, limiter=self._threads, abandon_on_cancel=True)
        except BaseException:
            left = handed.leave()
            if left is not None:
                await to_its_end(to_thread.run_sync(left.close, limiter=self._threads))
            raise
        return handed.given

    def _inner(self) -> Any:
        if self._parts.transport is not None:
            return self._parts.transport
        with self._making:
            if self._made is None:
                self._made = self._parts.library.blocking_transport()
            return self._made

    def enter(self) -> None:
        """Enter the inner transport."""
        self._inner().__enter__()

    def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the inner transport; the pipeline stays open in the portal until the program ends."""
        self._inner().__exit__(kind, error, traceback)

    def close(self) -> None:
        """Close the inner transport; the pipeline stays open in the portal until the program ends."""
        inner = self._made if self._parts.transport is None else self._parts.transport
        if inner is not None:
            inner.close()


class _Handover(Generic[T]):
    """Passes one thing to another thread, which may have gone meanwhile."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()  # guards the two below against each other
        self._left = False
        self.given: T | None = None
        """For who has waited for it."""

    def give(self, thing: T) -> bool:
        """Pass it on; False when nobody waits any more: the giver has to release it."""
        with self._lock:
            if not self._left:
                self.given = thing
            return not self._left

    def leave(self) -> T | None:
        """Wait no longer. What has come by now is returned, and is for the caller to release."""
        with self._lock:
            self._left = True
            return self.given


async def _release(answer: Answer) -> None:
    if not isinstance(answer.body, bytes):
        await to_its_end(answer.body.aclose())


class _BlockingIncoming:
    """The response of a blocking inner transport, read in threads; see ``Incoming``."""

    def __init__(self, response: Any, threads: CapacityLimiter | None) -> None:
        self.status: int = response.status_code
        self.headers: Headers = headers_of(response)
        self._response: Final = response
        self._threads: Final = threads
        self._chunks: Iterator[bytes] = response.iter_bytes()
        # Each set by one thread before it looks at the other's:
        self._reading = False
        self._closed = False

    async def next_chunk(self) -> bytes | None:
        return await to_thread.run_sync(self._next, limiter=self._threads, abandon_on_cancel=True)

    def _next(self) -> bytes | None:
        self._reading = True
        try:
            return next(self._chunks, None)
        finally:
            self._reading = False
            if self._closed:  # meanwhile, while this read could not be stopped
                self._response.stream.close()

    async def aclose(self) -> None:
        await to_its_end(to_thread.run_sync(self._close, limiter=self._threads))

    def _close(self) -> None:
        self._closed = True
        try:
            self._response.close()
        except ValueError:  # of a generator that is at work in the thread that reads
            if not self._reading:
                self._response.stream.close()


class SyncBody:
    """Events as the body of a response.

    Args:
        events: closed with it.
        broken: makes the library's error of one of the cache's.
    """

    def __init__(self, events: Events, broken: Callable[[AsyncCacheError], Exception]) -> None:
        self._events: Final = events
        self._broken: Final = broken

    def __iter__(self) -> Iterator[bytes]:
        try:
            while (piece := PORTAL.run_blocking(self._next)) is not None:
                yield piece
        except AsyncCacheError as error:
            raise self._broken(error) from error

    async def _next(self) -> bytes | None:
        return await anext(self._events, None)

    def close(self) -> None:
        """Release what the answer holds; an interrupted caller does not stop that."""
        with suppress(PortalClosed, CancelledError):  # what lived there is gone with it
            PORTAL.start(self._events.aclose).result()
