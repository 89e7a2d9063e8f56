"""Ask once for all processes that ask the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread

from asynccache._errors import ConfigurationError, ForeignError, UpstreamStreamError
from asynccache._events import StageFailed
from asynccache._lifespan import Nursery, SharedLifespan, entered
from asynccache._models import FlightLog, Response, Source
from asynccache._protocols import Flights
from asynccache._registry import find_dialect
from asynccache._stream import Stream
from asynccache.stages._lease_follow import Following, LeaderLost, NothingNew, arriving, assembled, too_old
from asynccache.stages._lease_lead import Lead, is_stored
from asynccache.stages._lease_line import FRAME, PASSED, WHOLE, Line, flight_of
from asynccache.stages._lease_splice import LOST, ROUNDS, joined
from asynccache.stages.write import ON_LOOP

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._models import Boarding
    from asynccache._protocols import Driver, Stage

__all__ = ["Leased"]

DRAIN: Final = 1.0
"""Seconds that closing waits for what has yet to be told to others."""
NOTHING_YET: Final = FlightLog([], 0, None, led=True)


class _NoAnswer(Enum):
    """Why following brought no answer."""

    GONE = "whoever led is gone: somebody else may lead"
    ALONE = "there is none to be had from others"


class Leased:
    """Run inner stages in one process at a time per question; the others get the answer as it comes.

    Goes inside a ``SingleFlight``, which asks once per process. Best effort: when the store fails, or the
    process that asks is lost, others ask as well, and nobody waits longer than ``patience``. A stream that
    breaks off because its process was lost goes on if, asked for again, it says the same so far.

    Args:
        stages: what to run, usually ``MissHandler(upstream), Write(backend)``.
        flights: the backend through which processes agree; one that is no ``Flights`` just runs the
            stages. Opened and closed with the pipeline.
        lease: seconds after which a process that is not heard of counts as lost; default 5.
        patience: seconds without anything new after which a request asks for itself; default 60.
        window: bytes of a stream that may wait to be written down; default 4 MiB.
        longest: bytes of an answer that is shared with other processes; default 8 MiB.

    Raises:
        ConfigurationError: an option can never work.
    """

    def __init__(
        self,
        *stages: Stage,
        flights: object,
        lease: float = 5.0,
        patience: float = 60.0,
        window: int = 4 * 2**20,
        longest: int = 8 * 2**20,
    ) -> None:
        for name, seconds in (("lease", lease), ("patience", patience)):
            if not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
                raise ConfigurationError(f"{name}={seconds!r}: expected a positive number of seconds")
        self._stages: Final = stages
        self._flights: Final = flights if isinstance(flights, Flights) else None
        self._lease: Final = lease
        self._patience: Final = patience
        self._window: Final = window
        self._longest: Final = longest
        self._limiter: Final = anyio.CapacityLimiter(2)
        self._leads: Final[dict[asyncio.Task[None], Lead]] = {}  # each leaves by itself when done
        self._nursery: Final = Nursery()
        self._lifespan: Final = SharedLifespan(self._opening)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the inner stages and the backend open."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        async with entered(self._flights, *self._stages), self._nursery.lifespan():
            try:
                yield
            finally:
                with anyio.move_on_after(DRAIN):
                    for lead in self._leads.values():
                        lead.fail()
                    for task in tuple(self._leads):
                        await asyncio.wait([task])

    async def flush(self) -> None:
        """Wait for what the inner stages do behind their callers."""
        for stage in self._stages:
            flush = getattr(stage, "flush", None)
            if flush is not None:
                await flush()

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        if exchange.answer is not None:
            return exchange
        request, control = exchange.request, exchange.request.control
        alone = control.no_cache or control.no_store or control.only_if_cached
        if self._flights is None or not request.key or exchange.uncacheable is not None or alone:
            return await exchange.driver.run(exchange, self._stages)
        line = Line(self._flights, flight_of(exchange))
        for _ in range(ROUNDS):
            boarding = await self._boarded(exchange, line)
            if boarding is None or boarding.alone:
                break
            if boarding.leads:
                return await self._lead(exchange, line, boarding.number)
            answer = await self._followed(exchange, line, boarding.number)
            if not isinstance(answer, _NoAnswer):
                return exchange.answering(answer, Source.SHARED)
            if answer is _NoAnswer.ALONE:
                break
        return await exchange.driver.run(exchange, self._stages)

    async def _boarded(self, exchange: Exchange, line: Line) -> Boarding | None:
        request = exchange.request
        tags = (*request.control.tags, *exchange.notes.get("tags", ()))
        try:
            return await line.board(self._nursery, key=request.key, tags=tags, seconds=self._lease)
        except Exception as error:  # noqa: BLE001  (a failure to agree is none to ask)
            _failed(exchange.driver, error)
            return None

    async def _lead(self, exchange: Exchange, line: Line, number: int) -> Exchange:
        lead = Lead(
            line,
            number,
            request=exchange.request,
            lease=self._lease,
            window=self._window,
            longest=self._longest,
            limiter=self._limiter,
            report=partial(_report, exchange.driver),
        )
        task = self._nursery.start(lead.run)
        self._leads[task] = lead
        task.add_done_callback(lambda _: self._leads.pop(task, None))
        try:
            after = await exchange.driver.run(exchange, self._stages)
        except BaseException:
            lead.fail()
            raise
        answer, stored = after.answer, is_stored(after)
        if answer is None:
            lead.fail()
        elif after.uncacheable is not None:
            lead.refuse()
        elif isinstance(answer, Stream):
            return after._replace(answer=lead.copying(answer, stored=stored))
        else:
            lead.answer(answer, stored=stored)
        return after

    def _following(self, exchange: Exchange, line: Line, number: int) -> Following:
        driver = exchange.driver
        return Following(
            line,
            number,
            nursery=self._nursery,
            clock=driver.clock,
            patience=self._patience,
            report=partial(_report, driver),
        )

    async def _followed(self, exchange: Exchange, line: Line, number: int) -> Response | Stream | _NoAnswer:
        following = self._following(exchange, line, number)
        frames: list[bytes] = []
        try:
            while True:
                log = await following.more()
                if log.end is None and not log.led:
                    return _NoAnswer.GONE
                if log.end not in (None, WHOLE, PASSED) or (not frames and too_old(exchange, log)):
                    return _NoAnswer.ALONE
                frames += log.frames
                if exchange.mode == "stream" and frames and frames[0][:1] == FRAME:
                    return self._stream(exchange, line, following, log._replace(frames=frames))
                if log.end is not None:
                    return await self._assembled(exchange, frames) or _NoAnswer.ALONE
        except NothingNew:
            return _NoAnswer.ALONE
        except Exception as error:  # noqa: BLE001  (a failure to follow is none to ask)
            _failed(exchange.driver, error)
            return _NoAnswer.ALONE

    async def _assembled(self, exchange: Exchange, frames: list[bytes]) -> Response | None:
        if sum(map(len, frames)) <= ON_LOOP:
            return assembled(exchange, frames)
        return await to_thread.run_sync(assembled, exchange, frames, limiter=self._limiter)

    def _stream(self, exchange: Exchange, line: Line, following: Following, log: FlightLog) -> Stream:
        arrived = arriving(exchange.request, following, log, partial(_failed, exchange.driver))
        frames = joined(find_dialect(exchange.request.dialect), arrived, partial(self._again, exchange, line))
        return Stream(frames, aclose=frames.aclose)

    async def _again(self, exchange: Exchange, line: Line, lost: LeaderLost) -> AsyncGenerator[bytes, None]:
        """The frames of the answer from its first on, asked for by whoever leads now."""
        boarding = None if lost.alone else await self._boarded(exchange, line)
        request, driver = exchange.request, exchange.driver
        if boarding is not None and not boarding.leads and not boarding.alone:
            following = self._following(exchange, line, boarding.number)
            return arriving(request, following, NOTHING_YET, partial(_failed, driver))
        try:
            if boarding is not None and boarding.leads:
                asked = await self._lead(exchange, line, boarding.number)
            else:
                asked = await driver.run(exchange, self._stages)
        except ForeignError as foreign:
            raise foreign.error from None
        if asked.answer is None:
            raise UpstreamStreamError(LOST)
        return _read(exchange, asked.answer)


async def _read(exchange: Exchange, answer: Response | Stream) -> AsyncGenerator[bytes, None]:
    request = exchange.request
    if isinstance(answer, Response):
        for frame in find_dialect(request.dialect).replay(request.body, answer):
            yield frame
        return
    async with aclosing(answer):
        async for frame in answer:
            yield frame


def _report(driver: Driver, error: Exception) -> None:
    driver.emit(StageFailed("Leased", error))


def _failed(driver: Driver, error: Exception) -> None:
    """Report, or in strict mode raise."""
    if driver.strict:
        raise error
    _report(driver, error)
