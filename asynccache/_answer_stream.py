"""A streamed answer, as the caller sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from asynccache._models import Chunk, Response, Source
from asynccache._outcome import Outcome, addressed
from asynccache._registry import find_dialect
from asynccache._stream import Stream

if TYPE_CHECKING:
    from types import TracebackType

    from asynccache._exchange import Exchange
    from asynccache._models import Entry, Request
    from asynccache._turn import LoopTurn

__all__ = ["AnswerStream"]


class AnswerStream:
    """An answer to read chunk by chunk, within ``async with cache.stream(...) as stream``.

    A stored answer is replayed, a fresh one passed on as it arrives; both read alike. Entering raises what
    the upstream raises before its first byte; iterating raises what breaks the answer later. Leaving early
    closes the upstream call unless someone else is reading it.
    """

    def __init__(
        self,
        walk: Callable[[], Awaitable[Exchange]],
        settle: Callable[[Exchange, Response], Outcome],
        turn: LoopTurn,
    ) -> None:
        self._walk: Final = walk
        self._settle: Final = settle
        self._turn: Final = turn
        self._entered_before = False
        self._exchange: Exchange | None = None
        self._frames: AsyncIterator[bytes] | None = None
        self._stored: Iterator[bytes] | None = None  # the frames of an answer that is here already
        self._address: Callable[[bytes], bytes] | None = None  # for frames that another request is sent too
        self._read: list[bytes] = []
        self._complete = False
        self._broken: Exception | None = None  # why reading cannot go on

    async def __aenter__(self) -> Self:
        if self._entered_before:
            raise RuntimeError("this stream was entered before; call cache.stream(...) again")
        self._entered_before = True
        exchange = await self._walk()
        answer, request = exchange.answer, exchange.request
        dialect = find_dialect(request.dialect)
        foreign = exchange.source is not Source.UPSTREAM
        if isinstance(answer, Stream):
            self._frames = answer
            if dialect.repeats and foreign:
                self._address = partial(dialect.addressed, request.body)
        elif isinstance(answer, Response):
            if foreign:
                answer = addressed(request.dialect, request.body, answer)
                exchange = exchange._replace(answer=answer)
            self._stored = iter(dialect.replay(request.body, answer))
            self._frames = _each(self._stored)
        self._exchange = exchange
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._complete and self._broken is None:
            self._broken = RuntimeError("the stream was left before its end")
        if isinstance(self._frames, Stream):
            await self._frames.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        frame = await self.next_frame()
        document = orjson.loads(frame)
        return Chunk(frame, document, find_dialect(self._entered.request.dialect).delta(document))

    async def next_frame(self) -> bytes:
        """The next event's payload, unparsed: for servers that pass it on."""
        if self._frames is None:
            raise RuntimeError("use `async with cache.stream(...) as stream`, then iterate")
        if self._broken is not None:
            raise self._broken
        try:
            frame = await anext(self._frames)
        except StopAsyncIteration:
            self._complete = True
            raise
        except Exception as error:
            self._broken = error
            raise
        except BaseException:
            # A stream cancelled in the middle is closed; reading on must not look like its end.
            self._broken = RuntimeError("reading was cancelled, which closes the stream")
            raise
        if self._address is not None:
            frame = self._address(frame)
        self._read.append(frame)
        if self._turn.due():
            await asyncio.sleep(0)
        return frame

    async def next_frames(self, limit: int = 64 * 2**10) -> list[bytes]:
        """The payloads of the next events, at least one: as many as are here already, up to ``limit`` bytes.

        For servers: a stored answer goes out in few large pieces, a fresh one event by event.
        """
        frames = [await self.next_frame()]
        if self._stored is not None:
            size = len(frames[0])
            for frame in self._stored if size < limit else ():
                frames.append(frame)
                size += len(frame)
                if size >= limit:
                    break
        return frames

    @property
    def _entered(self) -> Exchange:
        if self._exchange is None:
            raise RuntimeError("use `async with cache.stream(...) as stream` first")
        return self._exchange

    @property
    def outcome(self) -> Outcome:
        """The whole answer, once the iteration has ended.

        Raises:
            RuntimeError: the stream has not been read to its end.
        """
        exchange = self._entered
        if not self._complete:
            raise RuntimeError("the outcome is known once the stream has been read to its end")
        if isinstance(exchange.answer, Response):
            return self._settle(exchange, exchange.answer)
        frames = tuple(self._read)
        return self._settle(
            exchange, Response(find_dialect(exchange.request.dialect).assemble(frames), frames)
        )

    async def collect(self) -> Outcome:
        """Read to the end; the whole answer."""
        async for _ in self:
            pass
        return self.outcome

    @property
    def source(self) -> Source:
        """Where the answer comes from."""
        return self._entered.source or Source.UPSTREAM

    @property
    def hit(self) -> bool:
        """True when it was stored before."""
        return self.source.hit

    @property
    def request(self) -> Request:
        """What was asked, as the cache understood it."""
        return self._entered.request

    @property
    def entry(self) -> Entry | None:
        """What was stored, with the question it was stored for; None when not a hit."""
        accepted = self._entered.accepted
        return None if accepted is None else accepted.entry

    @property
    def similarity(self) -> float | None:
        """As ``Outcome.similarity``."""
        accepted = self._entered.accepted
        return None if accepted is None else accepted.similarity

    @property
    def age(self) -> float | None:
        """Seconds since the answer was made; None when not a hit."""
        accepted = self._entered.accepted
        return None if accepted is None else accepted.age

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why stored answers were refused."""
        return self._entered.reasons

    def __repr__(self) -> str:
        state: Any = "not entered" if self._exchange is None else self.source.value
        return f"<AnswerStream {state}>"


async def _each(frames: Iterator[bytes]) -> AsyncIterator[bytes]:
    for frame in frames:
        yield frame
