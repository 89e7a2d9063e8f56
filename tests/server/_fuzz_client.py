"""A client that sends any bytes, and reads what HTTP comes back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import httptools

from tests.server._fuzz_case import Case

__all__ = ["Reply", "converse"]


@dataclass(slots=True)
class Reply:
    """One response."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    whole: bool = False

    def header(self, name: str) -> str:
        """Its first value; "" without it."""
        return next((value for given, value in self.headers if given == name), "")


class _Parser(Protocol):
    def feed_data(self, data: bytes) -> None: ...
    def get_status_code(self) -> int: ...


class _Replies:
    def __init__(self, *, bodiless: bool) -> None:
        self.found: Final[list[Reply]] = []
        self.parser: Final[_Parser] = httptools.HttpResponseParser(self)
        self._bodiless: Final = bodiless
        self._headers: list[tuple[str, str]] = []

    @property
    def complete(self) -> int:
        """How many have come to their end, those that only say "go on" not counted."""
        return sum(reply.whole and reply.status >= 200 for reply in self.found)

    def on_message_begin(self) -> None:
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        whole = self._bodiless
        self.found.append(Reply(self.parser.get_status_code(), self._headers, whole=whole))

    def on_body(self, body: bytes) -> None:
        self.found[-1].body += body

    def on_message_complete(self) -> None:
        self.found[-1].whole = True


async def converse(port: int, case: Case) -> tuple[list[Reply], str | None]:
    """What comes back until it is complete, the connection ends or patience does; and what was wrong."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    replies = _Replies(bodiless=case.method == "HEAD")
    problem: str | None = None
    try:
        for piece in case.pieces:
            if writer.is_closing():  # the server has refused, and reads no more
                break
            writer.write(piece)
            await asyncio.sleep(0.002 if len(case.pieces) > 1 else 0)  # so that each arrives alone
        if case.patience:
            problem = await _read(reader, replies, case)
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()  # what is still to be sent nobody will read
        with suppress(ConnectionError):
            await writer.wait_closed()
    return [reply for reply in replies.found if reply.status >= 200], problem


async def _read(reader: asyncio.StreamReader, replies: _Replies, case: Case) -> str | None:
    while replies.complete < case.asks:
        try:
            async with asyncio.timeout(case.patience):
                data = await reader.read(65536)
        except TimeoutError:
            return "no answer in time"
        if not data:
            return None
        try:
            replies.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            return f"the answer is no HTTP: {error!r}"
    return None
