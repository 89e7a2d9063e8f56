"""Ask once for everybody who asks the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from weakref import WeakKeyDictionary

import anyio

from asynccache._errors import ConfigurationError, StageError
from asynccache._events import StageFailed
from asynccache._keys import to_json
from asynccache._lifespan import Nursery, SharedLifespan, entered
from asynccache._models import Source
from asynccache._protocols import Feed
from asynccache._stream import Stream
from asynccache._turn import LoopTurn
from asynccache.stages._flight import Flight
from asynccache.stages._twins import Twins, answers
from asynccache.stages._waits import Waits
from asynccache.stages.validate import lacking
from asynccache.stages.write import refusal

if TYPE_CHECKING:
    from asynccache._exchange import Exchange
    from asynccache._judging import Judgement
    from asynccache._models import Request, Response
    from asynccache._protocols import Comparing, Driver, Stage

__all__ = ["SingleFlight"]

_Key: TypeAlias = "tuple[bytes, float | None, tuple[str, ...], bytes]"

_above: Final[ContextVar[frozenset[Flight]]] = ContextVar("asynccache_flights_above", default=frozenset())
"""The flights in whose upstream calls this code runs: they must not come to wait for themselves."""

LINGER: Final = 1.0
"""Seconds a landed flight is kept for requests that began before it landed and are still looking up."""
UNCACHEABLE: Final = 5.0
"""Seconds for which a question whose answer could not be shared is asked by everyone at once."""
ROUNDS: Final = 3
"""Times that a near question is looked for in flight, when the one before came to nothing."""
LONELY_LIMIT: Final = 10_000
"""Questions so remembered; past it all are forgotten, which costs one shared wait each."""


class SingleFlight:
    """Run inner stages (the miss-handler and the writer) once per key, however many requests wait.

    One flight serves whole and streamed answers alike; a follower of a stream gets it from its first
    byte at its own speed. Cancelling any caller, the first included, harms no other. An upstream error
    reaches every caller once and is not kept. When the answer may not be stored, those who waited for it
    whole go on at once, side by side, and for a few seconds nobody waits for that question.

    Requests with ``no_cache`` or ``no_store`` fly alone. Whole requests with an upstream of their own share
    no stream that did not tell its usage: those who waited for it ask once more, together.

    A request that wants strong consistency shares an answer only if the store says, once it is there, that
    the question was not invalidated since the upstream was asked for it; otherwise it asks again. Of the
    answer to a near question only that question is looked at. Without ``feed`` it shares as others do.

    Args:
        stages: what to run once, usually ``MissHandler(upstream), Write(backend)``.
        abandoned: what happens to an upstream call nobody waits for any more: ``"close"`` it, or
            ``"finish"`` and store it.
        near: rules over questions in flight as over stored ones: a question whose answer is being made for
            another one waits for it, as it would be given it a moment later. None: only for its own.
        near_patience: seconds to wait for the answer to another question, above 0, before asking for one's
            own; default 30.
        window: bytes of a streamed answer kept for slower readers; default 16 MiB.
        drain: seconds that closing the pipeline waits for flights under way; default 5.
        feed: the backend that is written to, for strong consistency; one that is no ``Feed`` counts as None.
    """

    def __init__(
        self,
        *stages: Stage,
        abandoned: Literal["close", "finish"] = "close",
        near: Comparing | None = None,
        near_patience: float = 30.0,
        window: int = 16 * 2**20,
        drain: float = 5.0,
        feed: object = None,
    ) -> None:
        if abandoned not in ("close", "finish"):
            raise ConfigurationError(f"unknown abandoned={abandoned!r}; known: 'close', 'finish'")
        if not isinstance(near_patience, (int, float)) or not 0 < near_patience < float("inf"):
            raise ConfigurationError(
                f"near_patience={near_patience!r}: expected a positive number of seconds"
            )
        self._stages: Final = stages
        self._near_patience: Final = near_patience
        self._waits: Final = Waits()
        self._finish: Final = abandoned == "finish"
        self._window: Final = window
        self._drain: Final = drain
        self._feed: Final = feed if isinstance(feed, Feed) else None
        self._flights: dict[_Key, Flight] = {}
        self._lonely: dict[_Key, float] = {}  # key -> monotonic seconds until which nobody waits for it
        self._aloft: set[Flight] = set()
        # Who flies, and the store's position at the take-off; with a feed only.
        self._flown: WeakKeyDictionary[Flight, tuple[_Key, Exchange, int]] = WeakKeyDictionary()
        self._twins: Final = None if near is None else Twins(near)
        self._turn: Final = LoopTurn()
        self._nursery: Final = Nursery()
        self._lifespan: Final = SharedLifespan(self._opening)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Hold the inner stages open, and the tasks the flights run in."""
        return self._lifespan()

    @asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        async with entered(*self._stages), self._nursery.lifespan():
            try:
                yield
            finally:
                with anyio.move_on_after(self._drain):
                    for flight in tuple(self._aloft):
                        await flight.ended.wait()
                self._flights.clear()
                if self._twins is not None:
                    self._twins.clear()
                self._lonely.clear()

    async def flush(self) -> None:
        """Wait for what the inner stages do behind their callers."""
        for stage in self._stages:
            flush = getattr(stage, "flush", None)
            if flush is not None:
                await flush()

    async def __call__(self, exchange: Exchange, /) -> Exchange:
        if exchange.answer is not None:
            return exchange
        request = exchange.request
        control = request.control
        exchange = self._with_token(exchange)
        if exchange.uncacheable is not None or control.no_cache or control.no_store or control.only_if_cached:
            return await exchange.driver.run(exchange, self._stages)
        if not request.key:
            raise StageError("SingleFlight needs a key: put Normalize() before it")
        # ttl and tags are part of what is stored, and stream_options of what a stream carries, so only
        # requests that agree on them share.
        options = request.body.get("stream_options") if exchange.mode == "stream" else None
        key = (request.key, control.ttl, control.tags, to_json({"": options}) if options else b"")
        flight = self._joinable(key, exchange)
        if flight is None and self._twins is not None:
            shared = await self._with_twins(self._twins, exchange)
            if shared is not None:
                return shared
            flight = self._joinable(key, exchange)  # others have gone on meanwhile
        above = _above.get()
        for _ in range(ROUNDS):
            if flight is None:
                if self._goes_alone(key, exchange.driver):
                    break
                flight = self._take_off(key, exchange)
            elif above and self._waits.circular(above, flight):
                break
            with self._waits.waiting(above, flight):
                answered = await self._aboard(flight, key, exchange)
            if answered is not None:
                return answered
            before, flight = flight, self._joinable(key, exchange)
            if flight is before:
                break
        return await exchange.driver.run(exchange, self._stages)

    def _with_token(self, exchange: Exchange) -> Exchange:
        """With a fill token, though the lookup failed or there was none."""
        if self._feed is None or exchange.since is not None or not exchange.request.key:
            return exchange
        return exchange._replace(since=self._feed.position(exchange.request.key))

    def _joinable(self, key: _Key, exchange: Exchange) -> Flight | None:
        flight = self._flights.get(key)
        return flight if flight is not None and _open_to(flight, exchange) else None

    async def _with_twins(self, twins: Twins, exchange: Exchange) -> Exchange | None:
        """The answer to a near question in flight, where it may be had; None: none is to be had."""
        until = exchange.driver.clock.monotonic() + self._near_patience
        for _ in range(ROUNDS):
            flown = twins.flown
            found = await self._near(twins, exchange)
            if found is None:
                if twins.flown == flown:  # nobody took off meanwhile who might be one
                    return None
                continue
            flight, by, judgement = found
            with self._waits.waiting(_above.get(), flight):
                response = await self._awaited(flight, until - exchange.driver.clock.monotonic())
            if response is None and flight.failed:
                continue  # another of those who waited may fly for all
            if response is None or not self._shared(flight, by.request, response):
                return None
            if exchange.driver.generation != flight.generation or not answers(exchange, by, response):
                return None
            if not await self._current(flight, exchange):
                return None
            return exchange._replace(answer=response, source=Source.SHARED, judgement=judgement)
        return None

    async def _near(
        self, twins: Twins, exchange: Exchange
    ) -> tuple[Flight, Exchange, Judgement | None] | None:
        above = _above.get()

        def usable(flight: Flight) -> bool:
            return _open_to(flight, exchange) and not (above and self._waits.circular(above, flight))

        try:
            found = await twins.find(exchange, usable)
        except Exception as error:  # a failure to find a near question is none to find the very one
            if exchange.driver.strict:
                raise
            exchange.driver.emit(StageFailed("SingleFlight", error))
            return None
        # Looked at again: ruling may have taken a while.
        return found if found is not None and usable(found[0]) else None

    async def _awaited(self, flight: Flight, seconds: float) -> Response | None:
        """The whole answer of a flight; None when it has failed, is too long or does not come in time."""
        flight.board()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, seconds)):
                    await flight.settled.wait()
        finally:
            self._leave(flight)
        return flight.response() if flight.settled.is_set() and not flight.failed else None

    def _goes_alone(self, key: _Key, driver: Driver) -> bool:
        until = self._lonely.get(key)
        if until is None:
            return False
        if driver.clock.monotonic() < until:
            return True
        del self._lonely[key]
        return False

    def _take_off(self, key: _Key, exchange: Exchange) -> Flight:
        driver, monotonic = exchange.driver, exchange.driver.clock.monotonic
        flight = Flight(generation=driver.generation, window=self._window, turn=self._turn)

        async def ask() -> Exchange:
            _above.set(_above.get() | {flight})
            return await driver.run(exchange, self._stages)

        if self._feed is not None:
            self._flown[flight] = key, exchange, self._feed.position(exchange.request.key)
        # Entered first: an eager task may have landed when start returns.
        self._flights[key] = flight
        if self._twins is not None:
            self._twins.add(flight, exchange)
        self._aloft.add(flight)
        task = self._nursery.start(lambda: flight.run(ask, monotonic))
        flight.flown_by(task, monotonic)
        task.add_done_callback(lambda _: self._land(key, flight, exchange))
        return flight

    def _land(self, key: _Key, flight: Flight, exchange: Exchange) -> None:
        self._aloft.discard(flight)

        if flight.failed:
            self._forget(key, flight, exchange)
        else:
            asyncio.get_running_loop().call_later(LINGER, self._forget, key, flight, exchange)

    def _forget(self, key: _Key, flight: Flight, exchange: Exchange) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if self._twins is not None:
            self._twins.remove(flight, exchange)

    async def _current(self, flight: Flight, exchange: Exchange) -> bool:
        """Whether another's answer may be given to a request, as far as the store can tell."""
        if self._feed is None or not exchange.strong:
            return True
        key, by, since = self._flown[flight]
        request = by.request
        tags = (*request.control.tags, *by.notes.get("tags", ()))
        try:
            voided = await self._feed.voided(request.key, tags, since)
        except Exception as error:
            if exchange.driver.strict:
                raise
            exchange.driver.emit(StageFailed("SingleFlight", error))
            return False
        if voided:
            self._forget(key, flight, by)
        return not voided

    async def _aboard(self, flight: Flight, key: _Key, exchange: Exchange) -> Exchange | None:
        """What the flight answers to one caller; None when that is out of date for it."""
        first = flight.board()
        reading: Stream | None = None
        try:
            if exchange.mode == "stream":
                reading = flight.read(lambda: self._leave(flight), first=first)
            await flight.begun.wait()
            inner = flight.exchange
            if inner is not None and isinstance(inner.answer, Stream) and reading is not None:
                if not first and not await self._current(flight, exchange):
                    return None
                streaming, reading = reading, None
                return _answered(exchange, inner, streaming, first=first)
            await flight.settled.wait()
            flight.raise_error(first=first)
            if inner is None or inner.answer is None:
                return exchange
            response = flight.response()
            if response is not None and (first or self._shareable(flight, key, exchange, response)):
                if not first and lacking(exchange.request, response):
                    self._forget(key, flight, exchange)  # the next one flies for all who wait for it whole
                    return None
                if not first and not await self._current(flight, exchange):
                    return None
                return _answered(exchange, inner, response, first=first)
        finally:
            if reading is not None:
                await reading.aclose()
            elif exchange.mode == "fetch":
                self._leave(flight)
        return await exchange.driver.run(exchange, self._stages)

    def _leave(self, flight: Flight) -> None:
        flight.waiting -= 1
        if flight.waiting == 0 and flight.landed_at is None and not self._finish:
            flight.cancel()

    def _shareable(self, flight: Flight, key: _Key, exchange: Exchange, response: Response) -> bool:
        shared = self._shared(flight, exchange.request, response)
        if not shared:
            if len(self._lonely) >= LONELY_LIMIT:
                self._lonely.clear()
            self._lonely[key] = exchange.driver.clock.monotonic() + UNCACHEABLE
        return shared

    @staticmethod
    def _shared(flight: Flight, request: Request, response: Response) -> bool:
        """Whether the answer may be handed to others; ``request`` asked for it."""
        if flight.refused is None:
            flight.refused = refusal(request, response) is not None
        return not flight.refused


def _open_to(flight: Flight, exchange: Exchange) -> bool:
    """Whether a request may have the answer of a flight: it is to be had whole, and was not over before."""
    if not flight.joinable or flight.generation != exchange.driver.generation:
        return False
    return flight.landed_at is None or exchange.started <= flight.landed_at


def _answered(exchange: Exchange, inner: Exchange, answer: Response | Stream, *, first: bool) -> Exchange:
    """What one caller gets of the inner stages' result; only the first asked the upstream itself."""
    source = inner.source
    if first:
        return exchange._replace(answer=answer, source=source, accepted=inner.accepted, reasons=inner.reasons)
    shared = Source.SHARED if source is Source.UPSTREAM else source
    # What was thought of another answer says nothing of this one.
    return exchange._replace(answer=answer, source=shared, accepted=inner.accepted, judgement=None)
