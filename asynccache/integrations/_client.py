"""A caching transport for async HTTP clients, whichever of the two libraries they are of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import anyio

from asynccache._errors import AsyncCacheError
from asynccache.integrations._holding import Holding
from asynccache.integrations._library import Parts, Passage, headers_of

if TYPE_CHECKING:
    from asynccache._wire.answer import Events, Headers

__all__ = ["AsyncBody", "Shell"]


class Shell:
    """Between an async client and the cache."""

    def __init__(self, parts: Parts) -> None:
        self._parts: Final = parts
        self._holding: Final = Holding(parts.pipeline)
        self._made: Any = None  # the inner transport, where none was given
        self._opened_elsewhere = False

    async def handle(self, request: Any) -> Any:
        """Answer a request."""
        inner = self._inner()
        passage = Passage(self._parts, request)
        if not passage.cacheable:
            return await inner.handle_async_request(request)

        async def send(body: bytes) -> _Incoming:
            response = await inner.handle_async_request(passage.outgoing(body))
            passage.received(response)
            return _Incoming(response)

        answer = await passage.answered(await request.aread(), self._ready, send)
        if answer is None:
            return await inner.handle_async_request(request)
        return passage.response(answer, self._parts.library.body)

    async def _ready(self) -> None:
        if not self._opened_elsewhere:
            self._opened_elsewhere = self._parts.pipeline.is_open and not self._holding.holds
        if not self._opened_elsewhere:
            await self._holding.opened()

    def _inner(self) -> Any:
        if self._parts.transport is not None:
            return self._parts.transport
        if self._made is None:
            self._made = self._parts.library.transport()
        return self._made

    async def enter(self) -> None:
        """Enter the inner transport."""
        await self._inner().__aenter__()

    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the pipeline if it was opened here, and leave the inner transport."""
        try:
            await self._holding.aclose()
        finally:
            with anyio.CancelScope(shield=True):
                await self._inner().__aexit__(kind, error, traceback)

    async def aclose(self) -> None:
        """Close the pipeline if it was opened here, and the inner transport."""
        try:
            await self._holding.aclose()
        finally:
            inner = self._made if self._parts.transport is None else self._parts.transport
            if inner is not None:
                with anyio.CancelScope(shield=True):
                    await inner.aclose()


class _Incoming:
    """The response of an async inner transport; see ``Incoming``."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status_code
        self.headers: Headers = headers_of(response)
        self._response: Final = response
        self._chunks: AsyncIterator[bytes] = response.aiter_bytes()

    async def next_chunk(self) -> bytes | None:
        return await anext(self._chunks, None)

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._response.aclose()


class AsyncBody:
    """Events as the body of a response.

    Args:
        events: closed with it.
        broken: makes the library's error of one of the cache's.
    """

    def __init__(self, events: Events, broken: Callable[[AsyncCacheError], Exception]) -> None:
        self._events: Final = events
        self._broken: Final = broken

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._events:
                yield piece
        except AsyncCacheError as error:
            raise self._broken(error) from error

    async def aclose(self) -> None:
        """Release what the answer holds."""
        await self._events.aclose()
