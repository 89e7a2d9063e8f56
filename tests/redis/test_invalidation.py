"""Ten thousand invalidations, with links cut at random: nobody goes on serving what was invalidated."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from asynccache import BackendError
from asynccache._models import Entry, Response
from asynccache.backends import MemoryBackend, RedisBackend, Tiered
from asynccache.testing import FaultProxy, make_entry
from asynccache.testing.redis_servers import RedisServer

pytestmark = pytest.mark.anyio

PROCESSES = 3
KEYS = 50
INVALIDATIONS = 10_000
MOST = 40_000
HITS = 1_000
"""Until the readers had so many the invalidations go on, to a limit: a quick machine is far ahead of them."""
WORKERS = 8
READERS = 4


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class World:
    """What is true, what each process has to say, and how late it learns."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.keys = [make_entry(number, created_at=0.0).key for number in range(KEYS)]
        self.truth = [0] * KEYS
        self.settled = [(0, 0.0)] * KEYS  # the newest version whose invalidation was acknowledged, and when
        self.late: list[float] = []
        self.served = 0
        self.stale_though_strong = 0
        self.failed = 0
        self.done = 0
        self.over = False

    def entry(self, number: int, version: int) -> Entry:
        return make_entry(
            number,
            created_at=time.time(),
            ttl=600.0,
            response=Response(b"%d" % version),
            tags=(f"tag-{number % 10}",),
        )

    async def invalidate(self, store: Tiered) -> None:
        while self.done < INVALIDATIONS or (self.served <= HITS and self.done < MOST):
            self.done += 1
            number = self.chance.randrange(KEYS)
            self.truth[number] += 1
            version = self.truth[number]
            while True:  # as an application does that must be sure
                try:
                    await store.delete([self.keys[number]])
                    break
                except BackendError:
                    self.failed += 1
                    await asyncio.sleep(0.005)
            if version > self.settled[number][0]:
                self.settled[number] = version, time.perf_counter()
            await asyncio.sleep(0)

    async def read(self, store: Tiered, *, strong: bool) -> None:
        while not self.over:
            await asyncio.sleep(0)
            number = self.chance.randrange(KEYS)
            key = self.keys[number]
            known, since_when = self.settled[number]
            try:
                entry = (await store.confirmed([key]))[0] if strong else await store.get(key)
            except BackendError:
                continue
            if entry is not None:
                self.served += 1
                if int(entry.response.body) < known:
                    if strong:
                        self.stale_though_strong += 1
                    else:
                        self.late.append(time.perf_counter() - since_when)
                continue
            since = store.position(key)
            version = self.truth[number]
            await asyncio.sleep(self.chance.random() * 0.01)  # the upstream thinks
            with suppress(BackendError):
                await store.fill(self.entry(number, version), since=since)


@asynccontextmanager
async def processes(server: RedisServer, prefix: str) -> AsyncIterator[list[tuple[Tiered, FaultProxy]]]:
    """Stores that share nothing but the server, each behind a link of its own."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(PROCESSES):
            proxy = await stack.enter_async_context(FaultProxy("127.0.0.1", server.port))
            back = RedisBackend([("127.0.0.1", proxy.port)], prefix=prefix, op_timeout=1.0, write_timeout=2.0)
            store = Tiered(MemoryBackend(), back)
            await stack.enter_async_context(store.lifespan())
            made.append((store, proxy))
        yield made


async def test_nothing_stays_that_was_invalidated(redis_server: RedisServer, own_prefix: str) -> None:
    world = World(seed=11)

    async def cut(proxy: FaultProxy) -> None:
        while not world.over:
            await asyncio.sleep(world.chance.random() * 0.5)
            proxy.cut()

    async with processes(redis_server, own_prefix) as stores, asyncio.TaskGroup() as tasks:
        for store, proxy in stores:
            tasks.create_task(cut(proxy))
            for number in range(READERS):
                tasks.create_task(world.read(store, strong=number % 2 == 0))
        async with asyncio.TaskGroup() as work:
            for number in range(WORKERS):
                work.create_task(world.invalidate(stores[number % PROCESSES][0]))
        world.over = True
        await asyncio.sleep(1.5)  # the bound: a wake-up may have been lost, then they look by themselves
        left = 0
        for store, _ in stores:
            for number, key in enumerate(world.keys):
                entry = await store.get(key)
                left += entry is not None and int(entry.response.body) < world.truth[number]
    late = sorted(world.late) or [0.0]
    sys.stdout.write(
        f"\n{world.done} invalidations ({world.failed} tried again), {world.served} hits, of which "
        f"{len(world.late)} eventual ones late: p50 {late[len(late) // 2] * 1000:.1f} ms, "
        f"p99 {late[int(len(late) * 0.99)] * 1000:.1f} ms, most {late[-1] * 1000:.0f} ms; "
        f"strong ones late: {world.stale_though_strong}; stale for good: {left}\n"
    )
    assert world.stale_though_strong == 0
    assert left == 0
    assert world.served > HITS
