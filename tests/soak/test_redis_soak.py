"""Minutes of a Redis that dies and freezes again and again: nobody notices, and nothing leaks."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from pathlib import Path
from typing import Final

import pytest

from asynccache.testing.redis_servers import RedisServer
from tests.redis._load import ASKERS, load
from tests.redis._watched import no_connection_is_left

pytestmark = [pytest.mark.anyio, pytest.mark.soak, pytest.mark.timeout(1200)]

SECONDS: Final = float(os.environ.get("ASYNCCACHE_SOAK_SECONDS", "300"))


async def afflict(server: RedisServer, seconds: float, chance: random.Random) -> int:
    """Kill it or freeze it for a while, as often as there is time for; how often that was."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    times = 0
    while loop.time() < end:
        await asyncio.sleep(chance.uniform(0.5, 2.0))
        times += 1
        if chance.random() < 0.5:
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(chance.choice([0.0, 0.3, 2.0]))
            await asyncio.to_thread(server.start)
        else:
            server.pause()
            await asyncio.sleep(chance.choice([0.05, 0.15, 0.5, 2.5]))
            server.resume()
    await asyncio.sleep(2.0)
    return times


def descriptors() -> int:
    """Open files of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_a_server_that_dies_and_freezes_leaves_nothing_behind(tmp_path: Path) -> None:
    seed = int(os.environ.get("ASYNCCACHE_SOAK_SEED", str(random.randrange(2**32))))
    print(f"ASYNCCACHE_SOAK_SEED={seed}")  # noqa: T201  (to run a failure again)
    with RedisServer(tmp_path, config=("maxmemory 512mb", "maxmemory-policy volatile-lru")) as server:
        async with load(server.url) as running:
            await afflict(server, SECONDS / 5, random.Random(seed))
            gc.collect()
            files, tasks = descriptors(), len(asyncio.all_tasks())
            times = await afflict(server, SECONDS, random.Random(seed + 1))
            gc.collect()
            began = asyncio.get_running_loop().time()
            while running.resumed(began) is None:
                waited = asyncio.get_running_loop().time() - began
                assert waited < 2.0, (running.plain.node.breaker.__dict__, running.plain.lookups[-20:])
                await asyncio.sleep(0.01)
            slowest, own = running.slowest()
            print(  # noqa: T201  (what a soak is for)
                f"{times} outages; slowest look-up {slowest * 1000:.1f} ms ({own * 1000:.1f} ms without the "
                f"loop's lag); {running.unavailable()} look-ups failed, {running.answers} answers, "
                f"{running.hits} hits"
            )
            # Connections come and go: some are made at this moment.
            assert descriptors() <= files + 4
            assert len(asyncio.all_tasks()) <= tasks + 2 * ASKERS
        running.check()
        await no_connection_is_left(server)
