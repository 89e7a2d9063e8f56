"""A store of flights in memory, each process with its own connection to it, that fails when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from asynccache import BackendUnavailable, CachePipeline, Request, Source, StageFailed, Stream
from asynccache._models import Boarding, FlightLog
from asynccache.backends import MemoryBackend
from asynccache.stages import ExactLookup, Leased, MissHandler, Normalize, SingleFlight, Validate, Write
from asynccache.testing import FakeClock, FakeUpstream

if TYPE_CHECKING:
    from asynccache.testing.upstream import Answer

__all__ = ["ASKED", "FakeFlights", "Fault", "Halting", "Process", "pipeline", "read", "settle", "until"]

_T = TypeVar("_T")

ASKED: Final = [{"role": "user", "content": "q"}]

Fault = Literal["before", "after", "hang"]
"""A call fails before it has had its effect, or after it, or never returns."""


@dataclass
class _Flight:
    number: int
    until: float
    frames: list[bytes] = field(default_factory=list)
    end: str | None = None


class FakeFlights:
    """What all processes share.

    Args:
        clock: leases expire by it.
    """

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock: Final = clock or FakeClock()
        self.flights: Final[dict[bytes, dict[int, _Flight]]] = {}
        self.lonely: Final[dict[bytes, float]] = {}  # flight -> monotonic seconds
        self.moved = asyncio.Event()

    def process(self) -> Process:
        return Process(self)

    @property
    def led(self) -> list[int]:
        """Numbers of the flights that are led now."""
        now = self.clock.monotonic()
        each = [flight for numbers in self.flights.values() for flight in numbers.values()]
        return [flight.number for flight in each if flight.end is None and flight.until > now]

    @property
    def ends(self) -> list[str | None]:
        return [flight.end for numbers in self.flights.values() for flight in numbers.values()]

    def move(self) -> None:
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()


class Process:
    """One process's way to the store: a ``Flights``."""

    def __init__(self, store: FakeFlights) -> None:
        self.store: Final = store
        self.calls: Final[list[str]] = []
        self.faults: dict[int, Fault] = {}  # of the n-th call from 1
        self.failing: set[str] = set()  # calls that always fail
        self.dead = False  # nothing it says arrives any more
        self.deaf = False  # wake-ups are lost
        self.gate = asyncio.Event()  # what is appended waits for it
        self.gate.set()

    async def _call(self, name: str, work: Callable[[], _T]) -> _T:
        self.calls.append(name)
        fault = self.faults.get(len(self.calls))
        await asyncio.sleep(0)
        if fault == "hang":
            await asyncio.Event().wait()
        if self.dead or fault == "before" or name in self.failing:
            raise BackendUnavailable("no connection")
        done = work()
        await asyncio.sleep(0)
        if fault == "after":
            raise BackendUnavailable("the reply was lost")
        return done

    def _led(self, flight: bytes, number: int) -> _Flight | None:
        numbers = self.store.flights.get(flight, {})
        found = numbers.get(number)
        now = self.store.clock.monotonic()
        holds = found is not None and number == max(numbers) and found.end is None and found.until > now
        return found if holds else None

    async def board(
        self,
        flight: bytes,
        *,
        key: bytes,
        tags: Collection[str],
        seconds: float,
    ) -> Boarding:
        def work() -> Boarding:
            now = self.store.clock.monotonic()
            if self.store.lonely.get(flight, now) > now:
                return Boarding(0, leads=False, alone=True)
            numbers = self.store.flights.setdefault(flight, {})
            number = max(numbers, default=0)
            over = numbers.get(number)
            if over is not None and over.end == "whole" and over.until > now:
                return Boarding(number, leads=False)
            if self._led(flight, number) is not None:
                return Boarding(number, leads=False)
            numbers[number + 1] = _Flight(number + 1, now + seconds)
            return Boarding(number + 1, leads=True)

        return await self._call("board", work)

    async def renew(self, flight: bytes, number: int, *, seconds: float) -> bool:
        def work() -> bool:
            led = self._led(flight, number)
            if led is None:
                return False
            led.until = self.store.clock.monotonic() + seconds
            return True

        return await self._call("renew", work)

    async def append(
        self,
        flight: bytes,
        number: int,
        frames: Sequence[bytes],
        *,
        end: str | None = None,
        alone: float = 0.0,
    ) -> bool:
        def work() -> bool:
            led = self._led(flight, number)
            if led is None:
                return False
            led.frames += frames
            led.end = end
            if end == "whole":
                led.until = self.store.clock.monotonic() + 1.0
            if alone:
                self.store.lonely[flight] = self.store.clock.monotonic() + alone
            self.store.move()
            return True

        await self.gate.wait()
        return await self._call("append", work)

    async def log(self, flight: bytes, number: int, *, after: int) -> FlightLog:
        def work() -> FlightLog:
            found = self.store.flights[flight][number]
            led = self._led(flight, number) is not None
            return FlightLog(found.frames[after:], len(found.frames), found.end, led)

        return await self._call("log", work)

    async def flight_news(self, flight: bytes, seconds: float) -> None:
        moved = self.store.moved
        await self._call("news", lambda: None)
        if self.deaf:
            await asyncio.sleep(seconds)
        else:
            async with asyncio.timeout(seconds):
                await moved.wait()


class Halting(FakeUpstream):
    """An upstream whose first stream halts.

    Args:
        answers: as those of ``FakeUpstream``.
        halt: frames after which it does; None never.
    """

    def __init__(self, *answers: Answer, halt: int | None) -> None:
        super().__init__(*answers)
        self._halt = halt
        self.resumed = asyncio.Event()

    async def stream(self, request: Request) -> Stream:
        stream = await super().stream(request)
        return Stream(self._halting(stream), aclose=stream.aclose) if len(self.calls) == 1 else stream

    async def _halting(self, stream: Stream) -> AsyncGenerator[bytes, None]:
        sent = 0
        while True:
            if sent == self._halt:
                await self.resumed.wait()
            try:
                frame = await anext(stream)
            except StopAsyncIteration:
                return
            yield frame
            sent += 1


def pipeline(
    upstream: FakeUpstream,
    flights: object,
    *,
    failures: list[Exception] | None = None,
    abandoned: Literal["close", "finish"] = "close",
    clock: FakeClock | None = None,
    **options: Any,
) -> CachePipeline:
    """One process: a store of answers of its own, so that only flights are shared.

    Args:
        upstream: who answers.
        flights: this process's.
        failures: takes those of the cache; None lets them reach the caller.
        abandoned: of ``SingleFlight``.
        clock: of the pipeline; default the real one.
        options: of ``Leased``.
    """
    backend = MemoryBackend()
    leased = Leased(MissHandler(upstream), Write(backend), flights=flights, **options)
    told = [] if failures is None else failures
    return CachePipeline(
        stages=[
            Normalize(),
            ExactLookup(backend),
            Validate(),
            SingleFlight(leased, abandoned=abandoned),
            MissHandler(upstream),
        ],
        strict=failures is None,
        clock=clock,
        hooks=[lambda event: told.append(event.error) if isinstance(event, StageFailed) else None],
    )


async def read(cache: CachePipeline, mode: str = "stream", **body: Any) -> tuple[str, Source]:
    """The text of an answer, and where it came from."""
    if mode == "fetch":
        outcome = await cache.chat(model="m", messages=ASKED, **body)
        return outcome.text, outcome.source
    async with cache.stream(model="m", messages=ASKED, **body) as stream:
        return "".join([chunk.text async for chunk in stream]), stream.source


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(40):
        await asyncio.sleep(0)


async def until(true: Callable[[], object], seconds: float = 1.5) -> None:
    """Wait until something has become so."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  (anything may be waited for, not only what has an event)
            await asyncio.sleep(0.005)
