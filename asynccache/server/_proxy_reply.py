"""A response as ASGI messages."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

from asynccache._wire.answer import Answer, Events

if TYPE_CHECKING:
    from starlette.types import Send

    from asynccache.server._proxy_watch import Watch

__all__ = ["Reply"]

_SLICE: Final = 256 * 2**10
"""Bytes handed to a connection at once: what a slow client has not taken lies there in a copy."""


class Reply:
    """Sends one response; knows whether it has begun, for then it is too late to say anything else.

    Sending waits for a client that is slow to read, so nothing piles up.
    """

    __slots__ = ("_send", "started")

    def __init__(self, send: Send) -> None:
        self._send: Final = send
        self.started = False

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> Awaitable[None]:
        """Send status and headers."""
        self.started = True
        return self._send({"type": "http.response.start", "status": status, "headers": headers})

    def more(self, piece: bytes) -> Awaitable[None]:
        """Send a piece of the body."""
        return self._send({"type": "http.response.body", "body": piece, "more_body": True})

    def end(self, piece: bytes = b"") -> Awaitable[None]:
        """Send the last piece."""
        return self._send({"type": "http.response.body", "body": piece})

    async def whole(self, answer: Answer) -> None:
        """Send an answer whose body is at hand, with its length."""
        body = answer.body
        assert isinstance(body, bytes)  # noqa: S101  (see above)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        headers.append((b"content-length", b"%d" % len(body)))
        await self.start(answer.status, headers)
        if len(body) > _SLICE:
            await self._slices(body)
            body = b""
        await self.end(body)

    async def _slices(self, body: bytes) -> None:
        for place in range(0, len(body), _SLICE):
            await self.more(body[place : place + _SLICE])

    async def answer(self, answer: Answer, watch: Watch) -> None:
        """Send an answer of either kind.

        Args:
            answer: its events are closed here.
            watch: closed before the end, which looks like a client that leaves.
        """
        events = answer.body
        if not isinstance(events, Events):
            watch.close()
            await self.whole(answer)
            return
        try:
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
            await self.start(answer.status, headers)
            async for piece in events:
                await (self.more(piece) if len(piece) <= _SLICE else self._slices(piece))
            watch.close()
            await self.end()
        finally:
            await events.aclose()
