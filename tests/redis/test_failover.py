"""Servers that are killed or freeze under load: misses, and caching that goes on by itself."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any, Final

import pytest

from asynccache.backends._redis_topology import Cluster
from asynccache.testing.redis_servers import RedisCluster, RedisSentinel, RedisServer
from tests.redis._load import Load, load
from tests.redis._watched import no_connection_is_left, soon, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

AFTER_RETURN: Final = 2.0
"""Seconds from a server's return to the first hit."""
AFTER_FAILOVER: Final = 5.0
"""The same, from the moment at which the servers themselves have settled."""
PATIENCE: Final = 20.0
"""Until nothing is expected any more."""
WARM: Final = 0.4
FROZEN: Final = 0.8


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def on(*loops: str) -> pytest.MarkDecorator:
    """Say on which event loops: a failover takes seconds of real time."""
    return pytest.mark.parametrize("anyio_backend", loops, indirect=True)


async def hits_resume(
    running: Load, after: float, within: float, shards: frozenset[int] | None = None
) -> None:
    """Both pipelines use the store again in time, but for that in which the loop stood still."""
    first = await until(lambda: running.resumed(after, shards=shards), PATIENCE)
    other = await until(lambda: running.answered(after, shards=shards), PATIENCE)
    for took in (first, other):
        assert took - running.heart.lag(after, after + took) <= within
    slowest, own = running.slowest()
    print(  # noqa: T201  (the times are what is asked about)
        f"first hit after {first:.3f} s, behind a memory {other:.3f} s; slowest look-up "
        f"{slowest * 1000:.1f} ms ({own * 1000:.1f} ms without the loop's lag); "
        f"{running.unavailable()} look-ups failed, {running.answers} answers, {running.hits} hits"
    )


@on("asyncio", "uvloop")
async def test_a_server_that_is_killed_and_started_again(killable_server: RedisServer) -> None:
    async with load(killable_server.url) as running:
        await asyncio.sleep(WARM)
        await asyncio.to_thread(killable_server.kill)
        await asyncio.sleep(FROZEN)
        await asyncio.to_thread(killable_server.start)
        await hits_resume(running, time.monotonic(), AFTER_RETURN)
    running.check()
    assert running.unavailable()
    await no_connection_is_left(killable_server)


@pytest.mark.parametrize(
    ("anyio_backend", "seconds"),
    [("asyncio", 0.25), ("uvloop", 0.25), ("asyncio", 2.5)],
    indirect=["anyio_backend"],
)
async def test_a_server_that_freezes(killable_server: RedisServer, seconds: float) -> None:
    async with load(killable_server.url) as running:
        await asyncio.sleep(WARM)
        killable_server.pause()
        await asyncio.sleep(seconds)
        killable_server.resume()
        await hits_resume(running, time.monotonic(), AFTER_RETURN)
    running.check()
    assert running.unavailable()
    await no_connection_is_left(killable_server)


@on("asyncio")
@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_the_master_that_sentinels_watch(fresh_sentinel: RedisSentinel, how: str) -> None:
    victim = await asyncio.to_thread(fresh_sentinel.master)
    async with load(fresh_sentinel.url) as running:
        await asyncio.sleep(WARM)
        await asyncio.to_thread(getattr(victim, how))
        settled = await soon(lambda: fresh_sentinel.master() is not victim, 20)
        await hits_resume(running, settled, AFTER_FAILOVER)
        if how == "pause":
            victim.resume()
            await asyncio.sleep(1.0)
            await hits_resume(running, time.monotonic(), AFTER_RETURN)
    running.check()
    assert running.unavailable()
    await no_connection_is_left(*fresh_sentinel.servers)


@on("uvloop")
async def test_a_master_that_is_replaced_on_purpose(fresh_sentinel: RedisSentinel) -> None:
    former = await asyncio.to_thread(fresh_sentinel.master)
    async with load(fresh_sentinel.url) as running:
        await asyncio.sleep(WARM)
        await asyncio.to_thread(fresh_sentinel.sentinels[0].command, "SENTINEL", "FAILOVER", "mymaster")
        settled = await soon(lambda: fresh_sentinel.master() is not former, 20)
        await hits_resume(running, settled, AFTER_FAILOVER)
        await asyncio.sleep(1.5)
        before = _asked(former)
        await asyncio.sleep(0.3)
        assert _asked(former) == before
        assert fresh_sentinel.master().command("DBSIZE")
    running.check()
    await no_connection_is_left(*fresh_sentinel.servers)


def _asked(server: RedisServer) -> bytes:
    """How often it was asked for entries."""
    info = server.command("INFO", "commandstats")
    assert isinstance(info, bytes)
    return next(line for line in info.splitlines() if line.startswith(b"cmdstat_mget")).split(b",")[0]


def _has_moved(cluster: RedisCluster, victim: RedisServer, slot: int) -> bool:
    """Whether all others find the cluster sound and the slot with somebody else."""
    for node in cluster.nodes:
        if node is not victim and node.running:
            info = node.command("CLUSTER", "INFO", seconds=0.5)
            if not isinstance(info, bytes) or b"cluster_state:ok" not in info:
                return False
            slots: Any = node.command("CLUSTER", "SLOTS", seconds=0.5)
            for first, last, (_, port, *_), *_ in slots:
                if first <= slot <= last and port == victim.port:
                    return False
    return True


@on("uvloop")
async def test_masters_of_a_cluster(fresh_cluster: RedisCluster) -> None:
    async with load(fresh_cluster.url) as running:
        for how in ("pause", "kill"):
            await asyncio.sleep(WARM)
            topology = running.plain._topology
            assert isinstance(topology, Cluster)
            place = topology._places[0 if how == "pause" else 15]
            assert place is not None
            shards = frozenset(at for at, each in enumerate(topology._places) if each == place)
            slot = topology._slots[min(shards)]
            victim = next(node for node in fresh_cluster.nodes if node.port == place[1])
            await asyncio.to_thread(getattr(victim, how))
            settled = await soon(partial(_has_moved, fresh_cluster, victim, slot), 30)
            await hits_resume(running, settled, AFTER_FAILOVER, shards)
            if how == "pause":
                victim.resume()
                await asyncio.to_thread(fresh_cluster.wait_ok)
    running.check()
    assert running.unavailable()
    await no_connection_is_left(*fresh_cluster.nodes)
