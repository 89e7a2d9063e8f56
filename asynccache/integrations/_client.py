"""A caching transport for HTTP clients, whichever of the two libraries they are of."""

from __future__ import annotations

import asyncio
import math
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
from anyio import CapacityLimiter, to_thread

from asynccache._errors import AsyncCacheError, PipelineClosed
from asynccache._pipeline import CachePipeline
from asynccache._portal import PORTAL, Resident
from asynccache._wire.control import CONTROL_HEADERS
from asynccache._wire.drop_in import Call, DropIn

if TYPE_CHECKING:
    from asynccache._models import Scope
    from asynccache._wire.answer import Answer, Events, Headers

__all__ = ["AsyncBody", "Library", "Shell", "SyncBody"]

_SYNC_CALLS: Final = 1000
"""Calls of blocking clients on their way at once: as many as the SDKs' own clients have connections."""


class Library(NamedTuple):
    """What is needed of a client library; its objects are alike in all that is used here."""

    request: Callable[..., Any]
    response: Callable[..., Any]
    transport: Callable[[], Any]
    """Makes the inner transport of an async client."""
    blocking_transport: Callable[[], Any]
    """Makes the inner transport of a blocking client."""
    body: Callable[[Events], Any]
    """Makes the body of a response to an async client."""
    blocking_body: Callable[[Events], Any]
    read_timeout: Callable[..., Exception]


class Shell:
    """Between a client library and the cache.

    Args:
        library: whose objects come in and go out.
        pipeline: opened with the first call if it is not open by then.
        transport: the inner transport; None makes the library's own with the first call.
        scope: as for ``DropIn``.
        renew: as for ``DropIn``.
        secret: as for ``DropIn``.
    """

    def __init__(
        self,
        library: Library,
        pipeline: CachePipeline | None,
        transport: Any,
        *,
        scope: Scope | Mapping[str, Any] | None,
        renew: bool,
        secret: bytes | None,
    ) -> None:
        self._library: Final = library
        self._pipeline: Final = CachePipeline() if pipeline is None else pipeline
        self._drop_in: Final = DropIn(self._pipeline, scope=scope, renew=renew, secret=secret)
        self._given: Final = transport
        self._made: Any = None  # the inner transport, where none was given
        self._blocking_made: Any = None
        self._making: Final = threading.Lock()  # guards the step from None to one
        self._resident: Resident | None = None  # for blocking clients: opens the pipeline in the portal
        self._threads: CapacityLimiter | None = None  # belongs to the portal's loop
        self._opening: asyncio.Lock | None = None  # guards the step from closed to open
        self._owns = False  # whether it was opened here
        self._seen_open = False
        self._warned = False

    # For async clients

    async def handle(self, request: Any) -> Any:
        """Answer a request of an async client."""
        inner = self._inner()
        call = _call(request)
        if call.dialect is None:
            return await inner.handle_async_request(request)
        content = await request.aread()
        answer = None
        if await self._ready():
            answer = await self._answered(call, content, request, partial(self._send, inner))
        if answer is None:
            return await inner.handle_async_request(request)
        return self._response(answer, self._library.body)

    async def _answered(
        self, call: Call, content: bytes, request: Any, send: Callable[..., Any]
    ) -> Answer | None:
        # While another's call is waited for, this caller's own patience counts; once its own call goes out,
        # the inner transport keeps the time.
        with anyio.CancelScope() as waiting:
            waiting.deadline = anyio.current_time() + _patience(request)

            async def sending(body: bytes) -> Any:
                waiting.deadline = math.inf
                return await send(request, body)

            return await self._drop_in(call, content, sending)
        raise self._library.read_timeout("waited too long for an answer that is being made", request=request)

    async def _send(self, inner: Any, request: Any, body: bytes) -> _Incoming:
        return _Incoming(await inner.handle_async_request(self._outgoing(request, body)))

    def _outgoing(self, request: Any, body: bytes) -> Any:
        headers = [(name, value) for name, value in request.headers.raw if name.lower() not in _REWRITTEN]
        return self._library.request(
            request.method, request.url, headers=headers, content=body, extensions=request.extensions
        )

    def _response(self, answer: Answer, body: Callable[[Events], Any]) -> Any:
        if isinstance(answer.body, bytes):
            return self._library.response(answer.status, headers=answer.headers, content=answer.body)
        return self._library.response(answer.status, headers=answer.headers, stream=body(answer.body))

    def _inner(self) -> Any:
        if self._given is not None:
            return self._given
        if self._made is None:
            self._made = self._library.transport()
        return self._made

    async def _ready(self) -> bool:
        pipeline = self._pipeline
        if not pipeline.is_open and not self._seen_open:
            if self._opening is None:
                self._opening = asyncio.Lock()
            try:
                async with self._opening:
                    if not pipeline.is_open:
                        await pipeline.__aenter__()
                        self._owns = True
            except (AsyncCacheError, OSError) as error:
                self._warn(error)
                return False
        self._seen_open = True
        return True

    async def aclose(self) -> None:
        """Close the inner transport, and the pipeline if it was opened here."""
        if self._owns and self._pipeline.is_open:
            self._owns = False
            await self._pipeline.__aexit__(None, None, None)
        inner = self._given if self._given is not None else self._made
        if hasattr(inner, "aclose"):
            await inner.aclose()

    # For blocking clients

    def handle_blocking(self, request: Any) -> Any:
        """Answer a request of a blocking client; the cache runs in the portal's thread."""
        inner = self._blocking_inner()
        call = _call(request)
        if call.dialect is None:
            return inner.handle_request(request)
        content = request.read()
        try:
            answer = PORTAL.run_blocking(lambda: self._in_portal(call, content, request, inner))
        except AsyncCacheError as error:
            self._warn(error)
            answer = None
        if answer is None:
            return inner.handle_request(request)
        return self._response(answer, self._library.blocking_body)

    async def _in_portal(self, call: Call, content: bytes, request: Any, inner: Any) -> Answer | None:
        if self._resident is None:
            if self._pipeline.is_open:
                raise PipelineClosed("the pipeline is open elsewhere; give blocking clients one of their own")
            self._resident = Resident(PORTAL, lambda: self._pipeline)
            self._threads = CapacityLimiter(_SYNC_CALLS)
        await self._resident.opened()
        return await self._answered(call, content, request, partial(self._send_blocking, inner))

    async def _send_blocking(self, inner: Any, request: Any, body: bytes) -> _BlockingIncoming:
        outgoing = self._outgoing(request, body)
        response = await to_thread.run_sync(
            inner.handle_request, outgoing, limiter=self._threads, abandon_on_cancel=True
        )
        return _BlockingIncoming(response, self._threads)

    def _blocking_inner(self) -> Any:
        if self._given is not None:
            return self._given
        with self._making:
            if self._blocking_made is None:
                self._blocking_made = self._library.blocking_transport()
            return self._blocking_made

    def close(self) -> None:
        """Close the inner transport; the pipeline stays open in the portal until the program ends."""
        inner = self._given if self._given is not None else self._blocking_made
        if hasattr(inner, "close"):
            inner.close()

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            words = f"asynccache: requests go out uncached ({type(error).__name__}: {error})"
            warnings.warn(words, RuntimeWarning, stacklevel=2)


_REWRITTEN: Final = frozenset(
    name.encode() for name in (*CONTROL_HEADERS, "content-length", "transfer-encoding")
)


def _call(request: Any) -> Call:
    url = request.url
    return Call(
        method=request.method,
        origin=f"{url.scheme}://{url.netloc.decode('ascii')}",
        path=url.raw_path.decode("ascii").partition("?")[0],
        query=url.query.decode("ascii"),
        headers=request.headers.multi_items(),
    )


def _patience(request: Any) -> float:
    """Seconds this client waits for a response: the sum of its phases; infinite when one has no limit."""
    timeout = request.extensions.get("timeout", {})
    phases = [timeout.get(name) for name in ("pool", "connect", "write", "read")]
    return math.inf if None in phases else float(sum(phases))


class _Incoming:
    """The response of an async inner transport; see ``Incoming``."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status_code
        self.headers: Headers = response.headers.multi_items()
        self._response: Final = response
        self._chunks: AsyncIterator[bytes] = response.aiter_bytes()

    async def next_chunk(self) -> bytes | None:
        return await anext(self._chunks, None)

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._response.aclose()


class _BlockingIncoming:
    """The response of a blocking inner transport, read in threads; see ``Incoming``."""

    def __init__(self, response: Any, threads: CapacityLimiter | None) -> None:
        self.status: int = response.status_code
        self.headers: Headers = response.headers.multi_items()
        self._response: Final = response
        self._threads: Final = threads
        self._chunks: Iterator[bytes] = response.iter_bytes()

    async def next_chunk(self) -> bytes | None:
        return await to_thread.run_sync(
            next, self._chunks, None, limiter=self._threads, abandon_on_cancel=True
        )

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._response.close, limiter=self._threads)


class AsyncBody:
    """Events as the body of a response to an async client."""

    def __init__(self, events: Events) -> None:
        self._events: Final = events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._events:
            yield piece

    async def aclose(self) -> None:
        """Release what the answer holds."""
        await self._events.aclose()


class SyncBody:
    """Events as the body of a response to a blocking client."""

    def __init__(self, events: Events) -> None:
        self._events: Final = events

    def __iter__(self) -> Iterator[bytes]:
        while (piece := PORTAL.run_blocking(self._next)) is not None:
            yield piece

    async def _next(self) -> bytes | None:
        return await anext(self._events, None)

    def close(self) -> None:
        """Release what the answer holds."""
        PORTAL.run_blocking(self._events.aclose)
