"""An upstream for one request that came with a connection of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from asynccache._keys import to_json
from asynccache._models import Response
from asynccache._stream import Stream
from asynccache.upstreams._bodies import for_fetch, for_stream
from asynccache.upstreams._failures import check_document, from_status
from asynccache.upstreams._frames import EventFrames
from asynccache.upstreams._replay import each, replay
from asynccache.upstreams._retry import retry_after

if TYPE_CHECKING:
    from asynccache._models import Request
    from asynccache._wire.answer import Headers

__all__ = ["Incoming", "Received", "Relay", "Send"]

_EVENT_BYTES: Final = 256 * 2**20
"""Bytes of one event: without any limit, a line that never ends would fill the memory."""
_RECORD_BYTES: Final = 16 * 2**20
"""Bytes of a stream kept to be stored; a longer one reaches its caller and is not stored."""


class Incoming(Protocol):
    """A response whose body is still to be read. Whoever got it closes it."""

    status: int
    headers: Headers

    async def next_chunk(self) -> bytes | None:
        """The next piece of the body, decoded; None at its end."""
        ...

    async def aclose(self) -> None:
        """Release the connection. Safe to call twice."""
        ...


Send = Callable[[bytes], Awaitable[Incoming]]
"""Sends a body as the caller would have sent it, with the caller's own headers."""


class Received:
    """A response as it came, for the caller whose own request it answers."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, incoming: Incoming, body: bytes | None) -> None:
        self.status: Final = incoming.status
        self.headers: Final = incoming.headers
        self.body: Final = body
        """None for a stream that began well: its events are read elsewhere."""


class Relay:
    """Sends a request the way its caller would have, and remembers what came back.

    Whether it streams is as the pipeline asks, whatever the body says. What ``send`` raises is not wrapped.

    Args:
        body: the body as parsed.
        content: the same body as the caller wrote it: sent unless a stage has changed the body.
        send: the caller's way to the upstream.
        now: seconds since the epoch, for Retry-After dates.
    """

    def __init__(
        self, body: Mapping[str, Any], content: bytes, send: Send, *, now: Callable[[], float]
    ) -> None:
        self._body: Final = body
        self._content: Final = content
        self._send: Final = send
        self._now: Final = now
        self.sent = False
        """Whether it was used at all: a request may be answered from elsewhere."""
        self.received: Received | None = None
        """What came back; None while nothing has, and for a request answered from elsewhere."""

    async def fetch(self, request: Request) -> Response:
        """The whole answer.

        Raises:
            UpstreamError: the answer is none; ``received`` holds what came.
        """
        body = request.body
        incoming = await self._ask(for_fetch(body) if body.get("stream") is True else body)
        try:
            return Response(await self._document(incoming))
        finally:
            await incoming.aclose()

    async def stream(self, request: Request) -> Stream:
        """The answer as it arrives: every event as it came, those that make it no answer included.

        Raises:
            UpstreamError: as ``fetch``; from the iteration, ``UpstreamStreamError``, whose cause is the
                transport's own error where the connection broke.
        """
        body = for_stream(request.body)
        incoming = await self._ask(body)
        try:
            if _media_type(incoming.headers) == "text/event-stream":
                self.received = Received(incoming, None)
                frames = EventFrames(incoming, request.dialect, limit=_EVENT_BYTES, lenient=True)
                return Stream(frames, aclose=incoming.aclose, record_limit=_RECORD_BYTES)
            replayed = each(replay(request.dialect, body, await self._document(incoming)))
            await incoming.aclose()
            return Stream(replayed, aclose=replayed.aclose)
        except BaseException:
            await incoming.aclose()
            raise

    async def _ask(self, body: Mapping[str, Any]) -> Incoming:
        # As JSON, because the order of keys is part of what a model reads, and mappings know none.
        asked = to_json(body)
        self.sent, self.received = True, None
        incoming = await self._send(self._content if asked == to_json(self._body) else asked)
        if 200 <= incoming.status < 300:  # noqa: PLR2004  (success, RFC 9110, 15.3)
            return incoming
        try:
            content = await _read(incoming)
        finally:
            await incoming.aclose()
        self.received = Received(incoming, content)
        after = retry_after(dict(incoming.headers), now=self._now())
        raise from_status(incoming.status, content, retry_after=after)

    async def _document(self, incoming: Incoming) -> bytes:
        body = await _read(incoming)
        self.received = Received(incoming, body)
        check_document(body, status=incoming.status)
        return body


async def _read(incoming: Incoming) -> bytes:
    pieces: list[bytes] = []
    while (piece := await incoming.next_chunk()) is not None:
        pieces.append(piece)
    return b"".join(pieces)


def _media_type(headers: Headers) -> str:
    value = dict(headers).get("content-type", "")
    return value.partition(";")[0].strip().lower()
