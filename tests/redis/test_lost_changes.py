"""A replica that takes its master's place may have missed the last changes: their numbers come again."""

from __future__ import annotations

import asyncio

import pytest

from asynccache import BackendUnavailable
from asynccache.backends import MemoryBackend, Tiered
from asynccache.testing import FaultProxy
from asynccache.testing.redis_servers import RedisServer
from tests.redis._watched import Watched, entry, options_of, until

pytestmark = pytest.mark.anyio


async def promoted(master: RedisServer, replica: RedisServer, proxy: FaultProxy) -> None:
    """From now on whoever asks is answered by the replica, which has not heard of what came last."""
    proxy.target = ("127.0.0.1", replica.port)
    proxy.cut()
    master.pause()


async def diverged(master: RedisServer, replica: RedisServer, store: Watched) -> None:
    """Let the replica have some entries, and the master some more."""
    replica.command("REPLICAOF", "127.0.0.1", master.port)
    for number in range(3):
        await store.put(entry(number))
    await until(lambda: b"master_link_status:up" in told(replica), 10.0)
    await until(lambda: replica.command("DBSIZE") == master.command("DBSIZE"), 10.0)
    replica.command("REPLICAOF", "NO", "ONE")
    for number in range(3, 8):
        await store.put(entry(number))


def told(server: RedisServer) -> bytes:
    info = server.command("INFO", "replication")
    assert isinstance(info, bytes)
    return info


async def test_answer_asked_for_before_is_not_stored_after_an_invalidation_at_the_new_master(
    killable_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with RedisServer(tmp_path_factory.mktemp("replica")) as replica:
        async with FaultProxy("127.0.0.1", killable_server.port) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}"
            store = Watched(**options_of(url, write_behind=False, op_timeout=1.0))
            async with store.lifespan():
                await diverged(killable_server, replica, store)
                late = entry(20)
                assert await store.get(late.key) is None
                since = store.position(late.key)
                await promoted(killable_server, replica, proxy)
                while True:
                    try:
                        await store.delete([late.key])
                        break
                    except BackendUnavailable:
                        await asyncio.sleep(0.05)
                for number in range(8, 20):  # past the number the master had come to
                    await store.put(entry(number))
                assert await (await store.fill(late, since=since)) is None
                assert await store.voided(late.key, late.tags, since)
                assert await store.get(late.key) is None
                again = store.position(late.key)
                assert await (await store.fill(late, since=again)) is not None
            killable_server.resume()


async def test_storing_goes_on_at_a_master_that_has_not_come_as_far(
    killable_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with RedisServer(tmp_path_factory.mktemp("replica")) as replica:
        async with FaultProxy("127.0.0.1", killable_server.port) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}"
            store = Watched(**options_of(url, write_behind=False, op_timeout=1.0))
            async with store.lifespan():
                await diverged(killable_server, replica, store)
                await store.get(entry(20).key)
                await promoted(killable_server, replica, proxy)
                kept = 0
                for number in range(20, 60):
                    try:
                        await store.get(entry(number).key)
                        since = store.position(entry(number).key)
                        kept += await (await store.fill(entry(number), since=since)) is not None
                    except BackendUnavailable:
                        await asyncio.sleep(0.05)
                assert kept > 25
            killable_server.resume()


async def test_memory_forgets_what_the_new_master_has_never_heard_of(
    killable_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with RedisServer(tmp_path_factory.mktemp("replica")) as replica:
        async with FaultProxy("127.0.0.1", killable_server.port) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}"
            store = Watched(**options_of(url, write_behind=False, op_timeout=1.0))
            tiered = Tiered(MemoryBackend(), store)
            async with tiered.lifespan():
                await diverged(killable_server, replica, store)
                assert await tiered.get(entry(7).key) is not None
                assert tiered.at_hand(entry(7).key) is not None
                await promoted(killable_server, replica, proxy)
                await until(lambda: tiered.at_hand(entry(7).key) is None, 5.0)
                assert (await tiered.measure())["feed_gaps"] >= 1
            killable_server.resume()
