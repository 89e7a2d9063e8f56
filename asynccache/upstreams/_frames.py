"""A streamed HTTP answer, as frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Protocol

import anyio

from asynccache._errors import UpstreamStreamError
from asynccache.upstreams._broken import from_transport
from asynccache.upstreams._progress import CheckedProgress
from asynccache.upstreams._sse import EventDecoder, EventTooLarge

__all__ = ["ByteSource", "EventFrames"]

_DONE: Final = b"[DONE]"

_LINGER: Final = 0.1
"""Seconds to wait after ``[DONE]`` for the end of the body, without which the connection cannot be used
again. The end nearly always came in the same packet; a new connection costs about as much as waiting."""


class ByteSource(Protocol):
    """A body that is still to be read."""

    async def next_chunk(self) -> bytes | None:
        """The next piece, of any size; None at its end."""
        ...


class EventFrames:
    """The payloads of an event stream, each checked before it is handed on.

    Ends after ``[DONE]`` or at the end of the body, if the answer is complete by then.

    Args:
        answer: the body of an open response; whoever opened it closes it.
        dialect: the protocol it is an answer of.
        limit: largest event in bytes.
        lenient: hand on what makes it no answer too, and what follows; the error comes at the end. Its
            ``body`` is then ``b"[DONE]"`` if that is how the stream ended.

    Raises:
        UpstreamStreamError: from the iteration, when the answer breaks off.
    """

    def __init__(self, answer: ByteSource, dialect: str, *, limit: int, lenient: bool = False) -> None:
        self._answer: Final = answer
        self._limit: Final = limit
        self._decoder: Final = EventDecoder(limit=limit)
        self._progress: Final = CheckedProgress(dialect)
        self._lenient: Final = lenient
        self._fault: UpstreamStreamError | None = None  # why it is no answer, in lenient mode
        self._decoded: Iterator[bytes] = iter(())  # events of the last chunk not yet handed on

    def __aiter__(self) -> EventFrames:
        return self

    async def __anext__(self) -> bytes:
        payload = await self._next_payload()
        if payload is None or payload == _DONE:
            self._check_complete(payload)
            if payload is not None:
                await self._read_to_the_end()
            raise StopAsyncIteration
        try:
            self._progress.note(payload)
        except UpstreamStreamError as error:
            if not self._lenient:
                raise
            self._fault = self._fault or error
        return payload

    def _check_complete(self, last: bytes | None) -> None:
        try:
            if self._fault is not None:
                raise self._fault
            self._progress.check_complete()
        except UpstreamStreamError as error:
            if not self._lenient:
                raise
            status, detail = error.status, error.detail
            raise UpstreamStreamError(str(error), status=status, detail=detail, body=last or b"") from None

    async def _next_payload(self) -> bytes | None:
        try:
            while True:
                for payload in self._decoded:
                    if payload:  # an event without data says nothing
                        return payload
                chunk = await self._answer.next_chunk()
                if chunk is None:
                    return None
                self._decoded = self._decoder.feed(chunk)
        except EventTooLarge:
            problem = f"the upstream sent an event of more than {self._limit} bytes (max_answer_bytes)"
            raise UpstreamStreamError(problem) from None
        except Exception as error:
            raise from_transport(error, streaming=True) from error

    async def _read_to_the_end(self) -> None:
        # The answer is complete: a connection that breaks now is merely not used again.
        with anyio.move_on_after(_LINGER), suppress(Exception):
            while await self._answer.next_chunk() is not None:
                pass
