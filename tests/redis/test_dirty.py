"""Replies that belong to no question, or to another: they end as an error or a miss, never as an answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest
from hiredis import pack_command

from asynccache import BackendError
from asynccache.backends._redis_pipe import Pipe
from asynccache.testing import Faults
from asynccache.testing.redis_servers import RedisCluster, RedisServer
from tests.redis._fuzz import soon
from tests.redis._proxied import Place, proxied
from tests.redis._stocked import CALLS, Stocked, stocked

pytestmark = pytest.mark.anyio

Call: TypeAlias = Callable[[], Awaitable[bool]]
Way: TypeAlias = Callable[[Stocked, Place, bytes, Call], Awaitable[bool]]


@pytest.fixture(params=["server", "cluster"])
def where(request: pytest.FixtureRequest) -> RedisServer | RedisCluster:
    name = f"redis_{request.param}"
    return request.getfixturevalue(name)  # type: ignore[no-any-return]  # pytest types it as Any


@pytest.fixture
async def place(where: RedisServer | RedisCluster) -> AsyncIterator[Place]:
    async with proxied(where, 1) as place:
        yield place


@pytest.fixture
async def store(where: RedisServer | RedisCluster, place: Place) -> AsyncIterator[Stocked]:
    async with stocked(where, place.options) as store:
        yield store


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def array(*parts: bytes) -> bytes:
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


def replies(store: Stocked) -> list[bytes]:
    """What may be left in a connection."""
    one, other = (store.raw(entry.key) for entry in store.entries[10:12])
    number = bulk(one[:16])
    label = array(bulk(b"1234567890123456-0"), array(bulk(b"v"), bulk(other)))
    return [
        bulk(other),
        array(number, bulk(other)),
        array(number, *[bulk(each) for each in (one, other, one, other, one, other, one)]),
        array(bulk(b"1"), number, bulk(b"")),
        array(bulk(b"1"), array(number, number, number, number, number, number)),
        array(label, label),
        array(),
        b":7\r\n",
        b"_\r\n",
        b"+OK\r\n",
        b"~2\r\n" + bulk(one[32:80]) + bulk(b"group"),
        b"-ERR something else went wrong\r\n",
        b">3\r\n" + bulk(b"message") + bulk(b"news") + bulk(other),
    ]


async def while_idle(store: Stocked, place: Place, reply: bytes, call: Call) -> bool:
    for proxy in place.proxies:
        await proxy.inject(reply)
    await asyncio.sleep(0.003)
    return await call()


async def at_the_same_time(store: Stocked, place: Place, reply: bytes, call: Call) -> bool:
    task = asyncio.ensure_future(call())
    for proxy in place.proxies:
        await proxy.inject(reply)
    return await task


async def after_the_question(store: Stocked, place: Place, reply: bytes, call: Call) -> bool:
    for proxy in place.proxies:
        proxy.requests = Faults(delay=0.008)
    task = asyncio.ensure_future(call())
    await asyncio.sleep(0.003)
    for proxy in place.proxies:
        await proxy.inject(reply)
        proxy.requests = Faults()
    return await task


async def before_the_reply(store: Stocked, place: Place, reply: bytes, call: Call) -> bool:
    left = [True]

    def begin(data: bytes) -> bytes:
        return reply + data if left and left.pop() else data

    for proxy in place.proxies:
        proxy.replies = Faults(corrupt=begin)
    try:
        return await call()
    finally:
        for proxy in place.proxies:
            proxy.replies = Faults()


WAYS = [while_idle, at_the_same_time, after_the_question, before_the_reply]


async def tried(call: Awaitable[bool]) -> str:
    try:
        return "right" if await call else "missed"
    except BackendError as error:
        return type(error).__name__


async def asks_all(store: Stocked) -> None:
    """Wait until no server is left alone for not letting us in: a reply may come in the middle of that.

    Nor may a server still owe a reply to a question of ours, behind which the next one would be asked.
    """
    nodes = store.backend._topology.nodes()
    assert await soon(lambda: not any(node.breaker.open for node in nodes))
    pipes = [lane._pipe for node in nodes for lane in node.lanes if lane._pipe is not None]
    assert await soon(lambda: not any(pipe.busy for pipe in pipes))


async def check(store: Stocked, place: Place, way: Way, name: str) -> Counter[str]:
    """Inject some of the replies into a call, one at a time; the next one has to be right."""
    ends: Counter[str] = Counter()
    call = store.calls()[name]
    every = 5 if isinstance(store.where, RedisCluster) else 3
    for reply in replies(store)[CALLS.index(name) % every :: every]:
        ends[await tried(way(store, place, reply, call))] += 1
        await asyncio.sleep(0.005)  # what was said to the other connections has arrived as well
        await asks_all(store)
        assert await call(), f"not right again after {reply[:40]!r}"
    assert store.positions_are_sound()
    return ends


@pytest.mark.parametrize("way", WAYS)
async def test_an_injected_reply_is_never_an_answer(store: Stocked, place: Place, way: Way) -> None:
    ends: Counter[str] = Counter()
    for name in CALLS:
        ends += await check(store, place, way, name)
    print(ends)  # noqa: T201  (shown when a test fails)
    assert ends["right"] > 0 or way is before_the_reply


def left_in_each(store: Stocked) -> list[tuple[bytes, ...]]:
    """Commands the replies to which nobody waits for."""
    name = store.name(store.entries[10].key)
    shard = store.backend._client.names.of(store.entries[10].key)
    return [
        (b"GET", name),
        (b"MGET", shard.sequence, name),
        (b"GETRANGE", name, b"0", b"15"),
        (b"SMEMBERS", shard.base + b"groups"),
        (b"ZCARD", shard.base + b"keys"),
        (b"XRANGE", shard.feed, b"-", b"+"),
        (b"XRANGE", shard.base + b"lasting", b"-", b"+"),
        (b"ZSCAN", shard.base + b"keys", b"0"),
    ]


@pytest.mark.parametrize("arrived", [False, True])
async def test_a_reply_left_in_our_own_connection_is_never_an_answer(store: Stocked, arrived: bool) -> None:
    ends: Counter[str] = Counter()
    for at, (name, call) in enumerate(store.calls().items()):
        for command in left_in_each(store)[at % 3 :: 3]:
            left = await leave(store, command)
            if arrived:
                await until_arrived(left)
            ends[await tried(call())] += 1
            await until_arrived(left)
            await asks_all(store)
            assert await call(), f"{name} not right again after {command!r}"
    print(ends)  # noqa: T201  (shown when a test fails)
    assert store.positions_are_sound()
    # What has arrived is found before the question is asked.
    assert (set(ends) == {"right"}) == arrived


async def leave(store: Stocked, command: tuple[bytes, ...]) -> list[Pipe]:
    """Send a command over each connection, the reply to which nobody waits for; these connections."""
    left = []
    for node in store.backend._topology.nodes():
        for lane in node.lanes:
            if lane._pipe is not None:
                lane._pipe._transport.write(pack_command(command))  # type: ignore[arg-type]  # takes any tuple
                left.append(lane._pipe)
    return left


async def until_arrived(left: list[Pipe]) -> None:
    """Wait until the reply was seen, which ends the connection."""
    for pipe in left:
        for _ in range(2000):
            if pipe.over:
                break
            await asyncio.sleep(0.001)


async def still(place: Place) -> None:
    """Wait until nothing comes any more: what a connection says when it is made is no reply to a call."""
    seen, now = -1, 0
    while seen != now:
        await asyncio.sleep(0.05)
        seen, now = now, sum(proxy.reply_bytes for proxy in place.proxies)


async def test_what_is_found_is_counted_and_ends_the_connection(store: Stocked, place: Place) -> None:
    entry, other = store.entries[:2]
    reply = array(bulk(store.raw(entry.key)[:16]), bulk(store.raw(other.key)))
    for found in range(1, 4):
        for _ in range(2):  # over each of the connections
            assert await store.get()
        await still(place)
        accepted = sum(proxy.accepted for proxy in place.proxies)
        assert await tried(before_the_reply(store, place, reply, store.get)) == "BackendUnavailable"
        assert (await store.backend.measure())["mismatches"] == found
        for _ in range(2):
            assert await store.get()
        assert sum(proxy.accepted for proxy in place.proxies) > accepted
    assert await store.get_many()


async def test_an_error_that_is_left_does_not_break_what_follows(store: Stocked, place: Place) -> None:
    reply = b"-ERR something else went wrong\r\n"
    await still(place)
    assert await tried(before_the_reply(store, place, reply, store.get)) == "BackendUnavailable"
    assert await store.get()


async def test_without_faults_every_call_is_right(store: Stocked) -> None:
    for name, call in store.calls().items():
        assert await call(), name
    assert (await store.backend.measure())["mismatches"] == 0
