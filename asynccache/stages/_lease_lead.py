"""Asking for all processes: keeps the lease, and writes down for the others what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from anyio import CapacityLimiter, to_thread

from asynccache._models import Response
from asynccache._registry import find_dialect
from asynccache._stream import Stream
from asynccache.stages._lease_line import BODY, FAILED, FRAME, PASSED, REFUSED, WHOLE, Line
from asynccache.stages.single_flight import UNCACHEABLE
from asynccache.stages.write import ON_LOOP, refusal

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Request

__all__ = ["Lead", "is_stored"]

PACE: Final = 0.05
"""Seconds between two appends of a stream: nobody reads more often."""


class Lead:
    """The lead of one flight, from its boarding to its end.

    All state is touched on the event loop only. What the callers of this process get never waits for
    the store: ``run`` goes on behind them. A lead that is lost, or whose store fails, writes no more.

    Args:
        line: to the others.
        number: of the boarding.
        request: what is asked.
        lease: seconds the lead is held for at a time.
        window: bytes that may wait to be written.
        longest: bytes of an answer that is written down; a longer one is not shared.
        limiter: of the threads in which long answers are judged.
        report: told of the store's failures.
    """

    def __init__(
        self,
        line: Line,
        number: int,
        *,
        request: Request,
        lease: float,
        window: int,
        longest: int,
        limiter: CapacityLimiter,
        report: Callable[[Exception], None],
    ) -> None:
        self._line: Final = line
        self._number: Final = number
        self._request: Final = request
        self._lease: Final = lease
        self._window: Final = window
        self._longest: Final = longest
        self._limiter: Final = limiter
        self._report: Final = report
        self._waiting: list[bytes] = []  # not yet written, as they stand in the log
        self._waiting_size = 0
        self._frames: list[bytes] = []  # of a stream, all so far: its end is judged by them
        self._size = 0
        self._response: Response | None = None
        self._end: str | None = None  # may yet be refused; nothing is taken up any more
        self._moved = asyncio.Event()  # set when there is something to do
        self._ended = asyncio.Event()  # set with _end

    def answer(self, response: Response, *, stored: bool) -> None:
        """The whole answer has come."""
        if self._end is None:
            self._response = response
            self._finish(WHOLE if stored else PASSED)

    def fail(self) -> None:
        """There will be no answer, or not all of it. Does nothing once it has ended."""
        self._finish(FAILED)

    def refuse(self) -> None:
        """The answer must not be shared. Does nothing once it has ended."""
        self._finish(REFUSED)

    def copying(self, stream: Stream, *, stored: bool) -> Stream:
        """The same stream, written down for the others behind its reader."""
        frames = self._copied(stream, WHOLE if stored else PASSED)

        async def aclose() -> None:
            self.fail()  # unless it had ended
            try:
                await frames.aclose()
            finally:
                await stream.aclose()

        return Stream(frames, aclose=aclose)

    async def _copied(self, stream: Stream, end: str) -> AsyncGenerator[bytes, None]:
        try:
            async for frame in stream:
                self._add(frame)
                yield frame
        except BaseException:
            self.fail()
            raise
        self._finish(end)

    def _add(self, frame: bytes) -> None:
        if self._end is not None:
            return
        self._size += len(frame)
        self._waiting_size += len(frame)
        if self._size > self._longest or self._waiting_size > self._window:
            self.fail()
            return
        self._frames.append(frame)
        self._waiting.append(FRAME + frame)
        self._moved.set()

    def _finish(self, end: str) -> None:
        if self._end is None:
            self._end = end
            self._moved.set()
            self._ended.set()

    async def run(self) -> None:
        """Hold the lead and write, to the end."""
        try:
            await self._hold()
        except Exception as error:  # noqa: BLE001  (nobody waits for it)
            self._report(error)
            # Whether the last frames were written is not known, so none may follow them.
            with suppress(Exception):  # then the lease ends by itself
                await self._line.append(self._number, [], end=FAILED)
        finally:
            self._finish(FAILED)
            self._waiting, self._frames, self._response = [], [], None

    async def _hold(self) -> None:
        monotonic = asyncio.get_running_loop().time
        renew_at = monotonic() + self._lease / 3
        while self._end is None:
            if monotonic() >= renew_at:
                if not await self._renewed():
                    return
                renew_at = monotonic() + self._lease / 3
            elif self._waiting:
                if not await self._line.append(self._number, self._taken()):
                    return
                await _until(self._ended, PACE)
            else:
                self._moved.clear()
                await _until(self._moved, renew_at - monotonic())
        await self._settle(self._end)

    async def _renewed(self) -> bool:
        try:
            return await self._line.renew(self._number, seconds=self._lease)
        except Exception as error:  # noqa: BLE001  (there is time for another try)
            self._report(error)
            return True

    def _taken(self) -> list[bytes]:
        taken, self._waiting, self._waiting_size = self._waiting, [], 0
        return taken

    async def _settle(self, end: str) -> None:
        if end in (WHOLE, PASSED) and not await self._shareable():
            end = REFUSED
        frames = [] if end == FAILED else self._taken()
        if end != REFUSED and self._response is not None:
            frames = [BODY + self._response.body]
        alone = UNCACHEABLE if end == REFUSED else 0.0
        await self._line.append(self._number, frames, end=end, alone=alone)

    async def _shareable(self) -> bool:
        response = self._response or Response(b"", tuple(self._frames))
        size = self._size if self._response is None else len(response.body)
        if size > self._longest:
            return False
        judge = partial(_shareable, self._request, response)
        return judge() if size <= ON_LOOP else await to_thread.run_sync(judge, limiter=self._limiter)


def is_stored(exchange: Exchange) -> bool:
    """Whether the answer is, or will be, found in the store; of a stream as far as it is known yet."""
    ttl = exchange.request.control.ttl
    stores = (exchange.driver.ttl if ttl is None else ttl) != 0
    return stores and not any(reason.startswith("not stored") for reason in exchange.reasons)


def _shareable(request: Request, response: Response) -> bool:
    if not response.body:
        try:
            response = Response(find_dialect(request.dialect).assemble(response.frames), response.frames)
        except ValueError:
            return False
    return refusal(request, response) is None


async def _until(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
