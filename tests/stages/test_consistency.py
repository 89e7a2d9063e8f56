"""What is served of a store that several processes change, to those who ask for strong consistency."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from asynccache import CachePipeline, ConfigurationError, InvalidRequest, Outcome, Source
from asynccache._models import Mode
from asynccache.testing import FakeClock, FakeDecision, FakeEmbedder, FakeJudge, FakeUpstream
from tests.backends._fake_feed import FakeStore, tier, until

pytestmark = pytest.mark.anyio

ASKED = [{"role": "user", "content": "q"}]
STRONG = {"consistency": "strong"}


class Process:
    """A pipeline over its own memory and its own connection to the store."""

    def __init__(self, store: FakeStore, upstream: Any, **options: Any) -> None:
        self.clock = clock = FakeClock()
        self.tiered, self.front, self.back = tier(store, clock)
        options = {"decision": None, "clock": clock, "hooks": [lambda _: None], **options}
        self.cache = CachePipeline(upstream, backend=self.tiered, **options)

    def deaf(self) -> None:
        """It is told of no change any more."""
        self.back.failing.update(("changes", "news"))


@pytest.fixture
async def store() -> FakeStore:
    return FakeStore()


async def ask(process: Process, **control: Any) -> Outcome:
    return await process.cache.ask("q", model="m", control=control or None)


async def invalidate(process: Process) -> None:
    await process.cache.invalidate({"model": "m", "messages": ASKED})


@pytest.mark.parametrize(
    ("options", "control", "strong"),
    [
        ({}, {}, False),
        ({}, STRONG, True),
        (STRONG, {}, True),
        (STRONG, {"consistency": "eventual"}, False),
        ({"consistency": "eventual"}, {"consistency": None, "max_age": 60}, False),
    ],
)
async def test_strong_hit_is_what_the_store_holds_now(
    store: FakeStore, options: dict[str, Any], control: dict[str, Any], strong: bool
) -> None:
    upstream = FakeUpstream()
    one, other = Process(store, upstream, **options), Process(store, upstream)
    async with one.cache, other.cache:
        await ask(one)
        one.deaf()
        before = one.back.calls["generations"]
        assert (await ask(one, **control)).source is Source.EXACT
        assert one.back.calls["generations"] == before + strong
        await invalidate(other)
        assert (await ask(one, **control)).text == ("answer 2" if strong else "answer 1")


async def test_strong_request_goes_upstream_when_the_store_fails(store: FakeStore) -> None:
    one = Process(store, FakeUpstream())
    async with one.cache:
        await ask(one)
        one.clock.advance(1)  # the flight is over
        one.back.failing.update(("generations", "get_many"))
        assert (await ask(one, **STRONG)).text == "answer 2"
        assert one.cache.stats().failed == {"ExactLookup": 1}


class Flight:
    """One process asks the upstream; another one invalidates the question meanwhile, or does not."""

    def __init__(self, store: FakeStore, **options: Any) -> None:
        self.upstream = FakeUpstream()
        self.one, self.other = Process(store, self.upstream, **options), Process(store, FakeUpstream())

    async def take_off(self, mode: Mode = "fetch", question: str = "q") -> asyncio.Task[str]:
        self.upstream.hold()
        first = asyncio.create_task(self.ask(mode, question))
        await self.upstream.called()
        return first

    async def ask(self, mode: Mode, question: str = "q", **control: Any) -> str:
        cache = self.one.cache
        if mode == "fetch":
            return (await cache.ask(question, model="m", control=control or None)).text
        asked = [{"role": "user", "content": question}]
        async with cache.stream(messages=asked, model="m", control=control or None) as stream:
            return "".join([chunk.text async for chunk in stream])


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("mode", ["fetch", "stream"])
@pytest.mark.parametrize("before", ["fetch", "stream"])
async def test_strong_request_shares_no_answer_asked_for_before_an_invalidation(
    store: FakeStore, mode: Mode, before: Mode
) -> None:
    flight = Flight(store)
    async with flight.one.cache, flight.other.cache:
        first = await flight.take_off(before)
        await invalidate(flight.other)
        strong = [asyncio.create_task(flight.ask(mode, **STRONG)) for _ in range(20)]
        eventual = asyncio.create_task(flight.ask(mode))
        await settle()
        flight.upstream.release()
        assert await first == "answer 1"
        assert await eventual == "answer 1"
        assert {await each for each in strong} == {"answer 2"}  # one of them has asked for all
    assert len(flight.upstream.calls) == 2


@pytest.mark.parametrize("mode", ["fetch", "stream"])
async def test_strong_request_shares_what_nobody_invalidated(store: FakeStore, mode: Mode) -> None:
    flight = Flight(store)
    async with flight.one.cache, flight.other.cache:
        first = await flight.take_off(mode)
        strong = [asyncio.create_task(flight.ask(mode, **STRONG)) for _ in range(5)]
        await settle()
        flight.upstream.release()
        assert await first == "answer 1"
        assert {await each for each in strong} == {"answer 1"}
    assert flight.one.back.calls["voided"] == 5


@pytest.mark.parametrize("mode", ["fetch", "stream"])
async def test_strong_request_asks_for_itself_when_the_store_cannot_tell(
    store: FakeStore, mode: Mode
) -> None:
    flight = Flight(store)
    async with flight.one.cache, flight.other.cache:
        first = await flight.take_off(mode)
        flight.one.back.failing.add("voided")
        strong, eventual = (asyncio.create_task(flight.ask(mode, **each)) for each in (STRONG, {}))
        await settle()
        flight.upstream.release()
        assert [await first, await eventual, await strong] == ["answer 1", "answer 1", "answer 2"]
        assert flight.one.cache.stats().failed == {"SingleFlight": 1}


@pytest.mark.parametrize("invalidated", [False, True])
async def test_strong_request_shares_no_answer_to_a_near_question_that_was_invalidated(
    store: FakeStore, invalidated: bool
) -> None:
    options = {"decision": FakeDecision(), "embedder": FakeEmbedder(), "judge": FakeJudge()}
    flight = Flight(store, **options)
    async with flight.one.cache, flight.other.cache:
        first = await flight.take_off(question="freeze my card")
        if invalidated:
            asked = [{"role": "user", "content": "freeze my card"}]
            await flight.other.cache.invalidate({"model": "m", "messages": asked})
        strong = asyncio.create_task(flight.ask("fetch", "card my freeze", **STRONG))
        await settle()
        await asyncio.sleep(0.02)  # the index searches in a thread
        await settle()
        flight.upstream.release()
        assert await first == "answer 1"
        assert await strong == ("answer 2" if invalidated else "answer 1")


async def test_strong_near_hit_is_what_the_store_holds_now(store: FakeStore) -> None:
    """Its entry was replaced; the memory has not been told."""
    options = {"decision": FakeDecision(), "embedder": FakeEmbedder(), "judge": FakeJudge()}
    one = Process(store, FakeUpstream("the old one"), **options)
    async with one.cache:
        await one.cache.ask("freeze my card", model="m")
        await one.cache.flush()
        one.deaf()
        (entry,) = store.entries.values()
        body = entry.response.body.replace(b"the old one", b"the new one")
        store.change(entry.key, replace(entry, response=replace(entry.response, body=body)))
        strong = await one.cache.ask("my card freeze", model="m", control=STRONG)
        assert (strong.text, strong.source) == ("the new one", Source.SEMANTIC)


async def test_eventual_hit_is_replaced_once_it_is_told(store: FakeStore) -> None:
    upstream = FakeUpstream()
    one, other = Process(store, upstream), Process(store, upstream)
    async with one.cache, other.cache:
        await ask(one)
        await invalidate(other)
        one.clock.advance(1)  # the flight is over
        await until(lambda: len(one.front._lru) == 0)
        assert (await ask(one)).text == "answer 2"


def test_what_is_no_consistency_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="consistency='weak'"):
        CachePipeline(FakeUpstream(), backend="memory://", consistency="weak")  # type: ignore[arg-type]  # wrong
    with pytest.raises(ConfigurationError, match="consistency"):
        CachePipeline(FakeUpstream(), backend="memory://", consistency=None)  # type: ignore[arg-type]  # wrong


async def test_request_that_asks_for_no_consistency_there_is_is_refused(store: FakeStore) -> None:
    one = Process(store, FakeUpstream())
    async with one.cache:
        with pytest.raises(InvalidRequest, match=r"control\.consistency"):
            await ask(one, consistency="weak")


async def test_a_store_without_a_feed_is_read_as_ever() -> None:
    upstream = FakeUpstream()
    async with CachePipeline(upstream, backend="memory://", decision=None, consistency="strong") as cache:
        first, second = (asyncio.create_task(cache.ask("q", model="m")) for _ in range(2))
        assert {(await first).text, (await second).text} == {"answer 1"}
        assert (await cache.ask("q", model="m")).source is Source.EXACT
