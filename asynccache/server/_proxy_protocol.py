"""HTTP/1.1 and no other protocol, with limits on how long a client may take over a header or an answer."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["HEADER_SECONDS", "ProxyProtocol"]

HEADER_BYTES: Final = 64 * 2**10
"""For the header of a request; the parser takes time that grows with the square of a value's length."""
HEADER_SECONDS: Final = 15.0
"""For the header of a request, from its first byte, or from the connection's beginning for the first."""
STALL_SECONDS: Final = 120.0
"""For a client to take what waits for it, some hundred kilobytes: whoever takes nothing holds a place."""

_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class ProxyProtocol(HttpToolsProtocol):
    """Closes connections whose header is too large or does not come in time, or whose answer is not taken.

    A request for another protocol is answered in this one (RFC 9110, 7.8). The parser takes what follows
    its head for the other protocol, and so the body for the next request: the head is read once more without
    its wish.
    """

    parser: httptools.HttpRequestParser

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._head_is_whole = False
        self._head_bytes = 0  # of the head in the making, but its last piece
        self._head_again = b""
        self._cycles: list[RequestResponseCycle] = []  # requests that may still be answered, oldest first
        self._ends = False  # after a CONNECT: what follows is for a tunnel that there is not

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._await_header()

    def connection_lost(self, exc: Exception | None) -> None:
        self._header_came()
        self._taken()
        for cycle in self._cycles:  # uvicorn tells the last one only
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        rest: bytes | memoryview = data
        try:
            while rest and not self._ends:
                rest = self._read(rest)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if not self._head_is_whole:
            self._head_bytes += len(data)
            if self._head_bytes > HEADER_BYTES and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def _read(self, data: bytes | memoryview) -> bytes | memoryview:
        """What is left of the data behind a head that asks for another protocol."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            head, self._head_again = self._head_again, b""
            if head:
                self.parser.feed_data(head)
            return memoryview(data)[upgrade.args[0] :]
        return b""

    def on_message_begin(self) -> None:
        self._head_is_whole, self._head_bytes = False, 0
        super().on_message_begin()
        if self._header_timer is None:
            self._await_header()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_is_whole:  # what stands behind a body is no header (RFC 9110, 6.5.1)
            super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        self._header_came()
        self._head_is_whole = True
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            self._cycles = [cycle for cycle in self._cycles if not cycle.response_complete]
            self._cycles.append(self.cycle)
        elif self.parser.get_method() == b"CONNECT":
            if not self.url.startswith(b"/"):
                self.url = b"/"  # it names a host
            super().on_headers_complete()
            self.cycle.keep_alive = False
            self._ends = True
        else:
            self._head_again = self._plain_head()

    def on_message_complete(self) -> None:
        if not self._head_again:
            super().on_message_complete()

    def _plain_head(self) -> bytes:
        line = b"%b %b HTTP/%b" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        kept = [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([line, *kept, b"", b""])

    def _await_header(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self._too_late)

    def _header_came(self) -> None:
        timer, self._header_timer = self._header_timer, None
        if timer is not None:
            timer.cancel()

    def _taken(self) -> None:
        timer, self._stall_timer = self._stall_timer, None
        if timer is not None:
            timer.cancel()

    def _too_late(self) -> None:
        self._header_timer = None
        if not self.transport.is_closing():
            self.transport.close()
