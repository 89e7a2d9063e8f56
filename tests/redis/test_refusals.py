"""What a Redis may refuse and its driver raise: callers see errors of one family."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import pytest
from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from asynccache._errors import BackendError, BackendUnavailable
from asynccache._models import Response
from asynccache.backends import MemoryBackend, RedisBackend, Tiered
from asynccache.backends._redis_pipe import Pipe
from asynccache.testing.entries import make_embedding, same
from asynccache.testing.redis_servers import RedisServer
from tests.redis._watched import ALL, entry, in_time, no_connection_is_left, opened, options_of, until

pytestmark = pytest.mark.anyio


STRANGE: Final[list[Exception]] = [
    TypeError("'NoneType' object is not callable"),
    AttributeError("no such thing"),
    RuntimeError("loop"),
    OSError(104, "reset"),
    TimeoutError(),
    asyncio.IncompleteReadError(b"", 5),
    ValueError("bad"),
    KeyError("key"),
    redis_errors.MaxConnectionsError("too many"),
    redis_errors.ClusterDownError("CLUSTERDOWN The cluster is down"),
    redis_errors.BusyLoadingError("LOADING"),
    redis_errors.InvalidResponse("Protocol Error"),
    redis_errors.RedisClusterException("no slots"),
    redis_errors.RedisError("anything"),
]


@pytest.mark.parametrize("strange", STRANGE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["send", "read", "handshake", "connect"])
async def test_whatever_the_driver_raises_is_a_backend_error(
    redis_server: RedisServer,
    own_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    strange: Exception,
    where: str,
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise strange

    async with opened(redis_server, prefix=own_prefix) as store:
        await store.get(entry().key)
        with monkeypatch.context() as patch:
            match where:
                case "send":
                    patch.setattr(Pipe, "send", broken)
                case "read":
                    patch.setattr(Pipe, "_take", broken)
                case "handshake":
                    patch.setattr(AbstractConnection, "read_response", broken)
                case _:
                    patch.setattr(AbstractConnection, "connect", broken)
            for name, asking in ALL.items():
                store.node.breaker._failures = -10  # it is the connection that is asked, not the breaker
                for lane in store.node.lanes:
                    if where in {"handshake", "connect"}:
                        lane.drop()
                try:
                    await asking(store)
                except BackendError:
                    continue
                assert name in {"put", "flush"}, f"{name} raised nothing"
        store.node.breaker._failures = 0
        found = None
        for _ in range(20):  # a machine that is busy may miss a deadline of 100 ms
            with suppress(BackendError):
                await store.put(entry(10))
                found = await store.get(entry(10).key)
            if found is not None:
                break
        assert found is not None


async def test_a_master_that_becomes_a_replica_refuses_writes_and_is_left(
    killable_server: RedisServer,
) -> None:
    async with opened(killable_server, write_behind=False) as store:
        await store.put(entry(1))
        await store.get(entry(1).key)
        numbers = set(_connections(killable_server))
        killable_server.command("REPLICAOF", "127.0.0.1", 1)
        with pytest.raises(BackendUnavailable, match="ReadOnlyError"):
            await store.put(entry(2))
        assert await store.get(entry(1).key) is not None
        killable_server.command("REPLICAOF", "NO", "ONE")
        await store.put(entry(2))
        assert numbers.isdisjoint(_connections(killable_server))
        assert await store.get(entry(2).key) is not None
    await no_connection_is_left(killable_server)


def _connections(server: RedisServer) -> list[bytes]:
    listed = server.command("CLIENT", "LIST")
    assert isinstance(listed, bytes)
    return [line.split()[0] for line in listed.splitlines() if b" name=asynccache " in line]


async def test_a_server_that_loads_its_data_is_waited_for() -> None:
    with RedisServer(
        config=("enable-debug-command local", "loading-process-events-interval-bytes 1024")
    ) as server:
        async with opened(server) as store:
            kept = entry()
            await store.put(kept)
            await store.flush()
            server.command("DEBUG", "POPULATE", 2000, "filler", 1000)
            server.command("CONFIG", "SET", "key-load-delay", 500)
            loading = asyncio.ensure_future(asyncio.to_thread(server.command, "DEBUG", "RELOAD", seconds=20))
            seen = set()
            while not loading.done():
                try:
                    await in_time(store.get(kept.key), 0.1)
                    await store.get(kept.key)
                except BackendUnavailable as error:
                    seen.add(str(error))
                await asyncio.sleep(0.005)
            await loading
            began = time.monotonic()
            while await in_time(store.get(kept.key), 0.1) is not None:
                await asyncio.sleep(0.01)
                assert time.monotonic() - began < 2.0
            assert same(await store.get(kept.key), kept)
            assert any("BusyLoadingError" in each for each in seen), seen


async def test_a_server_without_memory_refuses_writes_and_serves_on(killable_server: RedisServer) -> None:
    async with opened(killable_server, write_behind=False) as store:
        kept = entry()
        await store.put(kept)
        killable_server.command("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(BackendUnavailable, match="OutOfMemory"):
            await store.put(entry(1))
        assert (await store.measure())["write_errors"] == 1
        assert same(await store.get(kept.key), kept)
        assert not store.node.breaker.open
        killable_server.command("CONFIG", "SET", "maxmemory", 0)
        await store.put(entry(1))


async def test_a_server_without_memory_can_be_freed_of_entries(killable_server: RedisServer) -> None:
    async with opened(killable_server, write_behind=False) as store:
        for number in range(4):
            await store.put(entry(number))
        killable_server.command("CONFIG", "SET", "maxmemory", 1)
        assert await store.delete([entry(0).key]) == 1
        assert await store.delete_tagged(["tag-1"]) == 1
        assert await store.clear() == 2


async def test_a_server_that_lets_go_of_entries_goes_on_storing(killable_server: RedisServer) -> None:
    """Entries leave by eviction; what lists them must leave as well, or there is no room for new ones."""
    killable_server.command("CONFIG", "SET", "maxmemory", "12mb", "maxmemory-policy", "volatile-lru")
    async with opened(killable_server, write_behind=False, op_timeout=2.0) as store:
        refused, vector = [], make_embedding(1)
        for number in range(6000):
            body = Response(b"%04000d" % number)
            try:
                await store.put(replace(entry(number), response=body, embedding=vector, ttl=3600.0))
            except BackendUnavailable:
                refused.append(number)
                await asyncio.sleep(0.01)
        assert len(refused) < 200
        kept = await store.get_many([entry(number).key for number in range(5000, 6000)])
        assert sum(each is not None for each in kept) > 400
        base = store._client.names.shards[0].base
        held = killable_server.command("ZCARD", base + b"keys")
        assert isinstance(held, int)
        assert held < 4000
        assert sum([size for _, _, size in await store.vector_groups()]) <= held


async def test_a_server_that_forgets_its_scripts_is_told_again(
    redis_server: RedisServer, own_prefix: str
) -> None:
    async with opened(redis_server, prefix=own_prefix, write_behind=False) as store:
        for number in range(3):
            redis_server.command("SCRIPT", "FLUSH")
            await store.put(entry(number))
            await store.measure()
            assert await store.get(entry(number).key) is not None
        assert store._fills.errors == 0


async def test_a_server_that_is_emptied_is_a_gap_and_no_error(killable_server: RedisServer) -> None:
    async with opened(killable_server, write_behind=False) as store:
        await store.put(entry())
        await store.get(entry().key)
        position, cursor = store.position(entry().key), (await store.changes(None)).cursor
        killable_server.command("FLUSHALL")
        assert await store.get(entry().key) is None
        assert (await store.changes(cursor)).gap
        stored = await store.fill(entry(), since=position)
        assert await stored is None
        await store.put(entry())
        await store.get(entry().key)
        assert store.position(entry().key) > position


async def test_a_memory_forgets_what_a_server_that_was_emptied_had(killable_server: RedisServer) -> None:
    store = RedisBackend(**options_of(killable_server.url))
    tiered = Tiered(MemoryBackend(), store)
    async with tiered.lifespan():
        await tiered.put(entry())
        await tiered.flush()
        assert tiered.at_hand(entry().key) is not None
        killable_server.command("FLUSHALL")
        await until(lambda: tiered.at_hand(entry().key) is None, 2.0)
        assert await tiered.get(entry().key) is None
    await no_connection_is_left(killable_server)


async def test_a_wrong_password_is_an_error_that_says_so_and_not_what_it_is() -> None:
    with RedisServer(password="right") as server:
        where = f"redis://:wr0ng@127.0.0.1:{server.port}"
        async with opened(where) as store:
            for _ in range(6):
                error = await in_time(store.get(entry().key), 0.1)
                assert isinstance(error, BackendUnavailable)
                assert "refuses these credentials" in str(error)
                assert "wr0ng" not in repr(error) + repr(error.__cause__)
        async with opened(server.url.replace("redis://", "redis://")) as store:
            await store.put(entry())
            assert await store.get(entry().key) is not None
