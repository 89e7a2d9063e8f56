"""An answer that was invalidated while it was made is not stored, whoever invalidated it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asynccache import BackendUnavailable, CachePipeline, Request
from asynccache._driver import StageDriver
from asynccache._exchange import Exchange
from asynccache._models import Control, Embedding, Entry, Mode, Neighbour
from asynccache.backends import MemoryBackend
from asynccache.stages import ExactLookup, MissHandler, Normalize, SingleFlight, Validate, Write
from asynccache.testing import FakeClock, FakeUpstream, make_entry
from tests.backends._fake_feed import FakeFeed, FakeStore, tier, until

pytestmark = pytest.mark.anyio

ASKED = [{"role": "user", "content": "q"}]


class Learned:
    """An index that only remembers what it was told of."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    async def nearest(
        self, partition: bytes, embedding: Embedding, k: int, *, vectors: int = 0
    ) -> list[Neighbour]:
        return []

    def learn(self, entry: Entry) -> None:
        self.entries.append(entry)

    def forget(self, partition: bytes, keys: Collection[bytes]) -> None:
        raise AssertionError("nothing was found")


@pytest.fixture
async def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def ask(cache: CachePipeline, mode: Mode, **control: Any) -> str:
    if mode == "fetch":
        return (await cache.ask("q", model="m", control=control)).text
    async with cache.stream(messages=ASKED, model="m", control=control) as stream:
        return "".join([chunk.text async for chunk in stream])


@pytest.mark.parametrize("mode", ["fetch", "stream"])
@pytest.mark.parametrize("control", [{}, {"no_cache": True}, {"max_age": 0}], ids=str)
@pytest.mark.parametrize("by_tag", [False, True])
async def test_answer_another_process_invalidated_meanwhile_is_not_stored(
    store: FakeStore, clock: FakeClock, mode: Mode, control: dict[str, Any], by_tag: bool
) -> None:
    upstream = FakeUpstream()
    one = CachePipeline(upstream, backend=tier(store, clock)[0], decision=None, clock=clock, strict=True)
    other = CachePipeline(upstream, backend=tier(store, clock)[0], decision=None, clock=clock)
    async with one, other:
        await ask(one, mode, tags=("t",))
        clock.advance(1)  # what is stored is too old for some
        if not control:
            await one.invalidate(tags=["t"])
        upstream.hold()
        asking = asyncio.create_task(ask(one, mode, tags=("t",), **control))
        await upstream.called(2)
        if by_tag:
            await other.invalidate(tags=["t"])
        else:
            await other.invalidate({"model": "m", "messages": ASKED})
        upstream.release()
        assert await asking == "answer 2"
        clock.advance(1)
        assert store.entries == {}
        assert one.stats().refused == {"invalidated while the upstream was thinking": 1}
        assert await ask(one, mode, tags=("t",)) == "answer 3"
        assert len(store.entries) == 1


async def test_answer_nobody_invalidated_is_stored(store: FakeStore, clock: FakeClock) -> None:
    cache = CachePipeline(FakeUpstream(), backend=tier(store, clock)[0], decision=None, clock=clock)
    async with cache:
        await cache.invalidate({"model": "m", "messages": ASKED})
        for control in ({}, {"no_cache": True}):
            text = await ask(cache, "fetch", **control)
            (entry,) = store.entries.values()
            assert text.encode() in entry.response.body
        assert cache.stats().stored == 2


@asynccontextmanager
async def learning(feed: FakeFeed, clock: FakeClock) -> AsyncIterator[tuple[CachePipeline, Learned]]:
    index = Learned()
    flight = SingleFlight(MissHandler(FakeUpstream()), Write(feed, index=index))
    stages: list[Any] = [Normalize(), ExactLookup(feed), Validate(), flight]
    async with CachePipeline(stages=stages, backend=feed, clock=clock, strict=True) as cache:
        yield cache, index


async def test_question_is_learnt_once_its_answer_is_stored(store: FakeStore, clock: FakeClock) -> None:
    feed = FakeFeed(store, clock, behind=True)
    async with learning(feed, clock) as (cache, index):
        await ask(cache, "fetch")
        assert index.entries == []
        feed.commit()
        await until(lambda: bool(index.entries))
        assert [entry.key for entry in index.entries] == list(store.entries)


async def test_flush_waits_for_what_is_learnt(store: FakeStore, clock: FakeClock) -> None:
    async with learning(FakeFeed(store, clock, behind=True), clock) as (cache, index):
        await ask(cache, "fetch")
        await cache.flush()
        assert len(index.entries) == 1


@pytest.mark.parametrize("error", [None, BackendUnavailable("the disk is gone")], ids=["voided", "failed"])
async def test_question_of_an_answer_that_was_not_stored_is_not_learnt(
    store: FakeStore, clock: FakeClock, error: Exception | None
) -> None:
    feed = FakeFeed(store, clock, behind=True)
    async with learning(feed, clock) as (cache, index):
        await ask(cache, "fetch", tags=("t",))
        await FakeFeed(store, clock).delete_tagged(["t"])
        feed.commit(error)
        await cache.flush()
        assert index.entries == []
        assert store.entries == {}
        feed.behind = False
        clock.advance(1)
        await ask(cache, "fetch", tags=("t",))
        assert len(index.entries) == 1


async def looked_up(backend: Any, key: bytes, **control: Any) -> Exchange:
    driver = StageDriver(clock=FakeClock(), ttl=None, strict=True, hooks=())
    request = Request(body={}, control=Control(**control)).identified(key, b"p" * 32, None)
    return await ExactLookup(backend)(Exchange(request, "fetch", driver, 0.0))


async def test_token_is_taken_whatever_is_found(store: FakeStore, clock: FakeClock) -> None:
    feed = FakeFeed(store, clock)
    entry = make_entry(created_at=clock.now())
    assert (await looked_up(feed, entry.key, no_cache=True)).since == 0  # nothing is known yet
    assert feed.calls["get"] == 0
    assert (await looked_up(feed, entry.key)).since == store.number  # told by the look itself
    await feed.put(entry)
    found = await looked_up(feed, entry.key)
    assert found.since == store.number - 1
    assert [candidate.entry for candidate in found.candidates] == [entry]
    assert found.answer is None
    memory = MemoryBackend()
    assert (await looked_up(memory, entry.key)).since is None
    assert (await looked_up(memory, entry.key, no_cache=True)).since is None
