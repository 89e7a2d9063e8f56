"""Server-sent events, as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["EventDecoder", "EventTooLarge"]

_BOM: Final = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event, or a line that never ends, is over the limit."""


class EventDecoder:
    """Cuts an event stream into the ``data`` of its events, byte for byte.

    Follows the WHATWG rules (LF, CRLF and CR end a line, several ``data`` lines join with LF, comments
    and other fields are skipped, an event cut off at the end of the stream is dropped). It works on
    bytes because a reader that decodes first (httpx2's ``EventSource`` among them) puts U+FFFD where
    the UTF-8 is wrong, trusts a charset parameter and loses the first event behind a byte order mark:
    a cache must not store what nobody sent.

    Args:
        limit: largest event in bytes; also bounds what is held of an unfinished one.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit: Final = limit
        self._data: list[bytes] = []  # data lines of the event in the making
        self._partial: list[bytes] = []  # pieces of the line in the making
        self._size = 0  # bytes in the two lists
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The events that end in ``chunk``; exhaust it before the next call.

        Raises:
            EventTooLarge: after the events before the large one.
        """
        if self._after_cr and chunk:  # the LF of a CRLF that was cut in two ends nothing
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._hold(piece)
            line = b"".join(self._partial)
            self._size -= len(line)
            self._partial.clear()
            if not line:
                if self._data:
                    yield b"\n".join(self._data)
                    self._data.clear()
                    self._size = 0
            else:
                self._take(line)
        self._hold(rest)

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._partial.append(piece)
            self._size += len(piece)
            if self._size > self._limit:
                raise EventTooLarge

    def _take(self, line: bytes) -> None:
        if self._at_start:
            line = line.removeprefix(_BOM)
            self._at_start = False
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._size += len(value) + 1
