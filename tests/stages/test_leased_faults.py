"""A store that fails at any call, and walks that are cancelled at any step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import count
from typing import Literal

import pytest

from asynccache import Request, Response, Source, Stream
from asynccache._driver import StageDriver
from asynccache._exchange import Exchange
from asynccache.backends import MemoryBackend
from asynccache.stages import Leased, MissHandler, Write
from asynccache.stages._lease_line import FRAME, WHOLE, flight_of
from asynccache.testing import FakeClock, FakeUpstream, cancel_at_every_step
from tests.stages._fake_flights import ASKED, FakeFlights, Fault, Halting, pipeline, read, settle, until

pytestmark = pytest.mark.anyio

ANSWER = "one two three four"

Mode = Literal["fetch", "stream"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are short, so that every call and every step can be tried."""
    monkeypatch.setattr("asynccache.stages._lease_follow.PACE", 0.005)
    monkeypatch.setattr("asynccache.stages._lease_follow.POLL", 0.02)
    monkeypatch.setattr("asynccache.stages._lease_lead.PACE", 0.005)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that hangs is given up soon."""
    monkeypatch.setattr("asynccache.stages._lease_line.CALL_SECONDS", 0.2)


@pytest.fixture
async def no_tasks_left() -> AsyncIterator[None]:
    """What the stage runs behind its callers has ended with it."""
    yield
    running = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    assert [name for name in running if "TestRunner" not in name] == []


async def ask_twice(mode: Mode, *, faulty: int, number: int, fault: Fault) -> int:
    """A leader and a follower, one of whose calls fails; how many calls that process made."""
    store, upstream = FakeFlights(), Halting(*[ANSWER] * 4, halt=3)
    processes = [store.process(), store.process()]
    processes[faulty].faults = {number: fault}
    failures: list[Exception] = []
    if mode == "fetch":
        upstream.hold()
    async with (
        pipeline(upstream, processes[0], failures=failures, lease=0.06) as one,
        pipeline(upstream, processes[1], failures=failures, lease=0.06) as two,
    ):
        first = asyncio.create_task(read(one, mode))
        await upstream.called()
        second = asyncio.create_task(read(two, mode))
        await asyncio.sleep(0.06)
        upstream.release()
        upstream.resumed.set()
        await asyncio.sleep(0.01)
        store.clock.advance(0.1)  # a lease that nobody renews has run out
        assert [(await first)[0], (await second)[0]] == [ANSWER, ANSWER]
    assert upstream.in_flight == 0
    assert len(upstream.calls) <= 2
    return len(processes[faulty].calls)


@pytest.mark.usefixtures("no_tasks_left", "impatient")
@pytest.mark.parametrize("fault", ["before", "after", "hang"])
@pytest.mark.parametrize("faulty", [0, 1], ids=["leader", "follower"])
@pytest.mark.parametrize("mode", ["fetch", "stream"])
async def test_a_call_that_fails_costs_nobody_the_answer(mode: Mode, faulty: int, fault: Fault) -> None:
    numbers = range(1, 30)
    calls = await asyncio.gather(
        *(ask_twice(mode, faulty=faulty, number=number, fault=fault) for number in numbers)
    )
    assert max(calls) < len(numbers)  # each of them has failed once


@pytest.mark.usefixtures("no_tasks_left")
@pytest.mark.parametrize("call", ["board", "append", "renew", "log", "news"])
@pytest.mark.parametrize("mode", ["fetch", "stream"])
async def test_a_call_that_always_fails_costs_nobody_the_answer(mode: Mode, call: str) -> None:
    store, upstream = FakeFlights(), FakeUpstream(*[ANSWER] * 3)
    processes = [store.process(), store.process()]
    for process in processes:
        process.failing.add(call)
    failures: list[Exception] = []
    upstream.hold()
    async with (
        pipeline(upstream, processes[0], failures=failures, lease=0.03) as one,
        pipeline(upstream, processes[1], failures=failures, lease=0.03) as two,
    ):
        both = asyncio.gather(read(one, mode), read(two, mode))
        await upstream.called()
        await asyncio.sleep(0.03)
        upstream.release()
        await asyncio.sleep(0.01)
        store.clock.advance(0.1)
        assert [text for text, _ in await both] == [ANSWER, ANSWER]
    assert failures


@pytest.mark.parametrize(("mode", "end"), [("fetch", "refused"), ("stream", "failed")])
async def test_an_answer_that_is_too_long_is_not_shared(mode: Mode, end: str) -> None:
    store, upstream = FakeFlights(), FakeUpstream(ANSWER)
    async with pipeline(upstream, store.process(), longest=200) as cache:
        assert (await read(cache, mode))[0] == ANSWER
        await until(lambda: store.ends == [end])


@pytest.mark.parametrize(("window", "end"), [(2000, "failed"), (100_000, "whole")])
async def test_a_slow_store_never_slows_the_reader_down(window: int, end: str) -> None:
    store, upstream = FakeFlights(), FakeUpstream(" ".join(["word"] * 50))
    process = store.process()
    process.gate.clear()
    async with pipeline(upstream, process, window=window) as cache:
        assert (await read(cache))[0].count("word") == 50
        process.gate.set()
        await until(lambda: store.ends == [end])


class Walks:
    """Walks through the stage alone, each with a question of its own."""

    def __init__(self, upstream: FakeUpstream) -> None:
        self.upstream = upstream
        self.store = FakeFlights()
        self.failures: list[object] = []
        self.driver = StageDriver(clock=FakeClock(), ttl=None, strict=False, hooks=(self.failures.append,))
        self.process = self.store.process()
        self.leased = Leased(MissHandler(upstream), Write(MemoryBackend()), flights=self.process)
        self._keys: Iterator[int] = count()

    def exchange(self, mode: Mode) -> Exchange:
        key = sha256(b"%d" % next(self._keys)).digest()
        body = {"model": "m", "messages": ASKED}
        return Exchange(Request(body=body, key=key, partition=key), mode, self.driver, 0.0)

    async def walk(self, exchange: Exchange) -> tuple[bytes, ...]:
        """The frames or the body of the answer."""
        answer = (await self.leased(exchange)).answer
        if isinstance(answer, Response):
            return (answer.body,)
        assert isinstance(answer, Stream)
        try:
            return tuple([frame async for frame in answer])
        finally:
            await answer.aclose()

    async def nothing_left(self) -> None:
        await until(lambda: self.store.led == [])
        await settle()
        assert self.upstream.in_flight == 0
        assert not self.leased._nursery._children

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with self.leased.lifespan():
            yield
        assert self.leased._leads == {}


@pytest.mark.usefixtures("no_tasks_left")
@pytest.mark.parametrize("mode", ["fetch", "stream"])
async def test_a_leader_cancelled_at_any_step_keeps_no_lease(mode: Mode) -> None:
    walks = Walks(FakeUpstream())
    async with walks.opened():
        steps = await cancel_at_every_step(lambda: walks.walk(walks.exchange(mode)), walks.nothing_left)
    assert steps >= 2
    assert walks.store.ends[-1] == "whole"


FRAMES = [
    FRAME + b'{"choices": [{"index": 0, "delta": {"content": "%s"}, "finish_reason": null}]}' % word
    for word in (b"one", b" two", b" three")
]
LAST = FRAME + b'{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}'


@pytest.mark.usefixtures("no_tasks_left")
@pytest.mark.parametrize("mode", ["fetch", "stream"])
async def test_a_follower_cancelled_at_any_step_leaves_nothing(mode: Mode) -> None:
    walks = Walks(FakeUpstream())
    other = walks.store.process()

    async def followed() -> None:
        exchange = walks.exchange(mode)
        flight = flight_of(exchange)
        number = (await other.board(flight, key=b"", tags=(), seconds=5)).number
        await other.append(flight, number, FRAMES[:2])

        async def lead() -> None:
            await asyncio.sleep(0.01)
            await other.append(flight, number, FRAMES[2:])
            await asyncio.sleep(0.005)
            await other.append(flight, number, [LAST], end=WHOLE)

        leading = asyncio.create_task(lead())
        try:
            got = await walks.walk(exchange)
            assert len(got) == (1 if mode == "fetch" else 4)
        finally:
            leading.cancel()

    async def check() -> None:
        walks.store.clock.advance(6)  # the other's lease
        await walks.nothing_left()
        assert walks.upstream.calls == []

    async with walks.opened():
        assert await cancel_at_every_step(followed, check) >= 5


@pytest.mark.usefixtures("no_tasks_left")
async def test_a_reader_that_takes_the_lead_in_mid_stream_and_is_cancelled_keeps_no_lease() -> None:
    walks = Walks(FakeUpstream(*["one two 3"] * 1000))
    other = walks.store.process()

    async def followed() -> None:
        exchange = walks.exchange("stream")
        flight = flight_of(exchange)
        await other.board(flight, key=b"", tags=(), seconds=5)
        await other.append(flight, 1, FRAMES[:2])
        after = await walks.leased(exchange)
        assert after.source is Source.SHARED
        assert isinstance(after.answer, Stream)
        try:
            frames = [await anext(after.answer), await anext(after.answer)]
            walks.store.clock.advance(6)
            frames += [frame async for frame in after.answer]
        finally:
            await after.answer.aclose()
        assert len(frames) == 4

    async def check() -> None:
        await until(lambda: 2 not in walks.store.led)  # the reader's own
        walks.store.clock.advance(6)  # the lost leader's
        await walks.nothing_left()

    async with walks.opened():
        assert await cancel_at_every_step(followed, check) >= 8


@pytest.mark.usefixtures("no_tasks_left")
@pytest.mark.parametrize("read_first", [True, False])
async def test_closing_tells_the_others_that_a_stream_will_not_end(*, read_first: bool) -> None:
    walks = Walks(FakeUpstream())
    async with walks.opened():
        answer = (await walks.leased(walks.exchange("stream"))).answer
        assert isinstance(answer, Stream)
        if read_first:
            await anext(answer)
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 0.5
    assert walks.store.ends == ["failed"]
    await answer.aclose()


async def test_a_stream_that_is_closed_unread_gives_the_lead_back() -> None:
    walks = Walks(FakeUpstream())
    async with walks.opened():
        answer = (await walks.leased(walks.exchange("stream"))).answer
        assert isinstance(answer, Stream)
        await answer.aclose()
        await walks.nothing_left()
    assert walks.store.ends == ["failed"]


@pytest.mark.parametrize("end", ["refused", "whole", "failed"])
async def test_an_end_without_an_answer_is_no_end_of_a_stream(end: str) -> None:
    walks = Walks(FakeUpstream("own words"))
    other = walks.store.process()
    exchange = walks.exchange("stream")
    flight = flight_of(exchange)
    silent = FRAME + b'{"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": null}]}'
    async with walks.opened():
        await other.board(flight, key=b"", tags=(), seconds=5)
        await other.append(flight, 1, [silent])
        reading = asyncio.create_task(walks.walk(exchange))
        await until(lambda: "log" in walks.process.calls)
        await other.append(flight, 1, [], end="failed")
        await other.board(flight, key=b"", tags=(), seconds=5)
        await until(lambda: walks.process.calls.count("board") == 2)
        await other.append(flight, 2, [], end=end)
        frames = await reading
    assert b" words" in b"".join(frames)
    assert len(walks.upstream.calls) == 1
