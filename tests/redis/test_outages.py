"""What callers see of a Redis that is not there, or that hangs."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import pytest

from asynccache import CachePipeline
from asynccache._errors import BackendError, BackendUnavailable
from asynccache.backends import MemoryBackend, RedisBackend, Tiered, _redis_news
from asynccache.testing import FaultProxy, Faults
from asynccache.testing.entries import same
from asynccache.testing.redis_servers import RedisServer
from tests.redis._load import echo
from tests.redis._watched import (
    DEADLINE,
    Watched,
    entry,
    in_time,
    no_connection_is_left,
    no_task_is_left,
    opened,
    options_of,
    timed,
    until,
)

pytestmark = pytest.mark.anyio

OPENING: Final = 1.5
"""Seconds that opening may take, whatever the server does."""
WRITING: Final = 1.0
"""The deadline of a change."""
GONE: Final = Faults(black_hole=True)


@pytest.mark.parametrize("from_the_start", [True, False])
async def test_a_server_that_never_answers_costs_the_deadline_and_then_nothing(
    redis_server: RedisServer, own_prefix: str, from_the_start: bool
) -> None:
    async with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        if from_the_start:
            proxy.requests = proxy.replies = GONE
        began = time.monotonic()
        async with opened(proxy, prefix=own_prefix) as store:
            assert time.monotonic() - began < OPENING
            proxy.requests = proxy.replies = GONE
            for _ in range(3):
                assert await in_time(store.get(entry().key), DEADLINE)
            assert store.node.breaker.open
            for _ in range(20):
                took, lag, error = await timed(store.get(entry().key))
                assert isinstance(error, BackendUnavailable)
                assert took - lag < 0.005
            proxy.requests = proxy.replies = Faults()
            sound = time.monotonic()
            await until(lambda: not store.node.breaker.open, 2.0)
            print(f"closed after {time.monotonic() - sound:.3f} s")  # noqa: T201
            kept = entry()
            await store.put(kept)
            assert same(await store.get(kept.key), kept)
        await until(lambda: not proxy.connections, 2.0)


@pytest.mark.parametrize("seconds", [0.3, 0.9, 1.4])
async def test_the_end_of_a_black_hole_is_noticed_whenever_it_comes(
    redis_server: RedisServer, own_prefix: str, seconds: float
) -> None:
    async with (
        FaultProxy("127.0.0.1", redis_server.port) as proxy,
        opened(proxy, prefix=own_prefix) as store,
    ):
        await store.put(entry())
        await store.flush()
        proxy.requests = proxy.replies = GONE
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            assert await in_time(store.get(entry().key), DEADLINE)
            await asyncio.sleep(0.01)
        proxy.requests = proxy.replies = Faults()
        sound = time.monotonic()
        while True:
            try:
                assert await store.get(entry().key) is not None
                assert await store.get(entry().key) is not None
                break
            except BackendUnavailable:
                await asyncio.sleep(0.01)
        took = time.monotonic() - sound
        print(f"sound again after {took:.3f} s")  # noqa: T201
        assert took < 2.0


async def test_a_lookup_does_not_wait_for_a_write_of_its_key_beyond_its_deadline(
    killable_server: RedisServer,
) -> None:
    async with opened(killable_server) as store:
        await store.put(entry())
        await store.flush()
        killable_server.pause()
        await store.put(entry())
        key = entry().key
        for look in (store.get(key), store.get_many([key]), store.generations([key])):
            assert isinstance(await in_time(look, DEADLINE), BackendUnavailable)
        killable_server.resume()


async def test_changes_are_heard_of_again_though_the_server_they_were_heard_from_has_frozen(
    killable_server: RedisServer, redis_server: RedisServer, own_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_redis_news, "SILENCE", 0.3)
    async with (
        FaultProxy("127.0.0.1", killable_server.port) as proxy,
        opened(redis_server, prefix=own_prefix) as writer,
    ):
        url = f"redis://127.0.0.1:{proxy.port}"
        reader = Tiered(MemoryBackend(), Watched(**options_of(url, prefix=own_prefix)))
        async with reader.lifespan():
            await asyncio.sleep(0.5)
            proxy.target = ("127.0.0.1", redis_server.port)
            killable_server.pause()
            await asyncio.sleep(1.8)
            kept = entry()
            await reader.put(kept)
            await reader.flush()
            await asyncio.sleep(0.05)
            assert reader.at_hand(kept.key) is not None
            await writer.delete([kept.key])
            await until(lambda: reader.at_hand(kept.key) is None, 0.25)
        killable_server.resume()


@pytest.mark.parametrize("kind", ["redis", "redis+sentinel", "redis+cluster"])
@pytest.mark.parametrize("memory", ["&memory=0", ""])
async def test_a_store_that_is_down_can_be_opened(
    killable_server: RedisServer, kind: str, memory: str
) -> None:
    killable_server.kill()
    path = "/mymaster" if kind == "redis+sentinel" else ""
    url = f"{kind}://127.0.0.1:{killable_server.port}{path}?prefix=down{memory}"
    before = asyncio.all_tasks()
    cache = CachePipeline(echo, backend=url, decision=None)
    began = time.monotonic()
    async with cache:
        assert time.monotonic() - began < OPENING
        outcome = await cache.ask("is anybody there?")
        assert outcome.text == "answer to is anybody there?"
        if kind == "redis":
            await asyncio.to_thread(killable_server.start)
            began = time.monotonic()
            while not (outcome := await cache.ask(f"again? {memory}")).hit:
                assert time.monotonic() - began < 2.0
                await asyncio.sleep(0.01)
    await no_task_is_left(before)


async def test_a_server_that_hangs_can_be_opened(killable_server: RedisServer) -> None:
    killable_server.pause()
    for kind in ("redis", "redis+sentinel", "redis+cluster"):
        path = "/mymaster" if kind == "redis+sentinel" else ""
        cache = CachePipeline(echo, backend=f"{kind}://127.0.0.1:{killable_server.port}{path}", decision=None)
        began = time.monotonic()
        async with cache:
            took = time.monotonic() - began
            print(f"{kind}: opened in {took:.3f} s")  # noqa: T201
            assert took < OPENING
            assert (await cache.ask("hm?")).text == "answer to hm?"


@pytest.mark.parametrize("how", ["kill", "pause"])
@pytest.mark.parametrize("write_behind", [True, False])
async def test_writes_during_an_outage_end_in_time(
    killable_server: RedisServer, how: str, write_behind: bool
) -> None:
    before = asyncio.all_tasks()
    store = RedisBackend(**options_of(killable_server.url, write_behind=write_behind))
    opening = store.lifespan()
    await opening.__aenter__()
    await store.put(entry())
    await store.flush()
    getattr(killable_server, how)()
    refused = 0
    for number in range(20):
        refused += await in_time(store.put(entry(number)), WRITING) is not None
    await in_time(store.flush(), WRITING)
    assert store._fills.errors == 20
    assert write_behind or refused == 20
    for change in (
        store.add(entry(1)),
        store.delete([entry(1).key]),
        store.delete_tagged(["all"]),
        store.clear(),
    ):
        assert isinstance(await in_time(change, WRITING), BackendUnavailable)
    assert await in_time(opening.__aexit__(None, None, None), WRITING) is None
    await no_task_is_left(before)


async def test_closing_during_an_outage_waits_no_longer_than_a_write(killable_server: RedisServer) -> None:
    store = RedisBackend(**options_of(killable_server.url))
    opening = store.lifespan()
    await opening.__aenter__()
    await store.put(entry())
    await store.flush()
    killable_server.pause()
    for number in range(300):
        await in_time(store.put(entry(number)), WRITING)
    assert await in_time(opening.__aexit__(None, None, None), WRITING) is None


async def test_what_was_put_is_stored_when_the_store_is_closed(
    redis_server: RedisServer, own_prefix: str
) -> None:
    entries = [entry(number) for number in range(2000)]
    async with opened(redis_server, prefix=own_prefix) as store:
        for each in entries:
            await store.put(each)
        assert store._fills.errors == 0
    async with opened(redis_server, prefix=own_prefix) as store:
        found = await store.get_many([each.key for each in entries])
        assert all(same(one, each) for one, each in zip(found, entries, strict=True))
    await no_connection_is_left(redis_server)


async def test_a_store_that_was_closed_during_an_outage_can_be_opened_again(
    killable_server: RedisServer,
) -> None:
    store = Watched(**options_of(killable_server.url))
    async with store.lifespan():
        await store.put(entry())
        killable_server.kill()
        while not store.node.breaker.open:
            assert await in_time(store.get(entry().key), DEADLINE)
    await asyncio.to_thread(killable_server.start)
    async with store.lifespan():
        await store.put(entry())
        assert await store.get(entry().key) is not None


async def test_a_store_that_was_closed_over_a_question_can_be_opened_again(
    redis_server: RedisServer, own_prefix: str
) -> None:
    store = Watched(**options_of(redis_server.url, prefix=own_prefix))
    for turns in range(6):
        async with store.lifespan():
            looks = [asyncio.ensure_future(store.get(entry(number).key)) for number in range(4)]
            for _ in range(turns):
                await asyncio.sleep(0)
        await asyncio.wait(looks)
        assert all(isinstance(look.exception(), BackendError | None) for look in looks)
    async with store.lifespan():
        assert not any(lane._waiting for lane in store.node.lanes)
        await store.put(entry())
        assert await store.get(entry().key) is not None
