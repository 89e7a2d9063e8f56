"""Many callers at once through bad connections, cancelled at random: each answer is checked."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from asynccache import BackendError
from asynccache.backends import RedisBackend
from asynccache.testing import Faults
from asynccache.testing.fault_proxy import FaultProxy
from tests.redis._calls import Calls, ForeignEntryError, Store
from tests.redis._proxied import Place

CALLERS: Final = 50
ENTRIES: Final = 300
SECONDS: Final = 0.004
"""Within which a call is cancelled."""


@dataclass
class Tally:
    """What became of the calls."""

    right: int = 0
    missed: int = 0
    failed: int = 0
    cancelled: int = 0
    wrong: int = 0
    foreign: int = 0
    """Wrong answers that were another entry."""
    cuts: int = 0
    seconds: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)
    """The first wrong answers."""

    @property
    def completed(self) -> int:
        """Calls with an answer, be it right, wrong or none."""
        return self.right + self.missed + self.wrong

    def __str__(self) -> str:
        return (
            f"{self.completed} completed ({self.right} right, {self.missed} missed), "
            f"{self.wrong} wrong ({self.foreign} foreign), {self.cancelled} cancelled, {self.failed} failed, "
            f"{self.cuts} cuts, {self.seconds:.1f} s; "
            f"{dict(self.calls)}, {dict(self.errors)} {self.found}"
        )


class Fuzz:
    """Calls stores until enough calls have completed and enough been cancelled.

    Args:
        stores: of the same entries; each call goes to one of them, the more often the earlier it stands.
        proxies: what is between them and the servers.
        shards: of the stores: generations are numbers of a shard.
        seed: of all chances.
        broken: errors of the store that are no answer.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        proxies: Iterable[FaultProxy],
        *,
        shards: int,
        seed: int,
        broken: tuple[type[Exception], ...] = (BackendError,),
    ) -> None:
        self.tally: Final = Tally()
        self._stores: Final = stores
        self._proxies: Final = tuple(proxies)
        self._chance: Final = random.Random(seed)
        self._broken: Final = broken
        self._calls: Final = Calls(ENTRIES, shards=shards)

    async def run(self, *, completed: int, cancelled: int, within: float) -> Tally:
        """Call; after so many seconds no more."""
        began = time.monotonic()
        tally = self.tally

        def goes_on() -> bool:
            enough = tally.completed >= completed and tally.cancelled >= cancelled
            return not enough and time.monotonic() < began + within

        async def caller() -> None:
            while goes_on():
                await self._call()

        trouble = asyncio.create_task(self._trouble())
        try:
            await asyncio.gather(*(caller() for _ in range(CALLERS)))
        finally:
            trouble.cancel()
            await asyncio.wait([trouble])
            for proxy in self._proxies:
                proxy.requests = proxy.replies = Faults()
        tally.seconds = time.monotonic() - began
        return tally

    async def _trouble(self) -> None:
        """Change what the proxies do, and now and then cut what goes through one."""
        chance = self._chance

        def delay() -> float:
            return chance.uniform(0, 0.003) if chance.random() < 0.4 else 0.0

        while True:
            for proxy in self._proxies:
                proxy.requests = Faults(delay=delay, fragment=chance.choice([None, 4000]))
                proxy.replies = Faults(delay=delay, fragment=chance.choice([None, 6000, 2000, 700]))
            await asyncio.sleep(chance.uniform(0.02, 0.2))
            if chance.random() < 0.3:
                chance.choice(self._proxies).cut()
                self.tally.cuts += 1

    async def _call(self) -> None:
        chance, tally = self._chance, self.tally
        store = self._stores[min(int(chance.expovariate(1.6)), len(self._stores) - 1)]
        name = chance.choices(
            ["get", "get_many", "put", "fill", "add", "delete", "generations"], [40, 15, 8, 10, 8, 7, 12]
        )[0]
        some = chance.sample(self._calls.entries, chance.randint(1, 6))
        task = asyncio.create_task(getattr(self._calls, name)(store, some))
        if chance.random() < 0.5:
            asyncio.get_running_loop().call_later(chance.random() * SECONDS, task.cancel)
        await asyncio.wait([task])
        if task.cancelled():
            tally.cancelled += 1
            return
        error = task.exception()
        if isinstance(error, self._broken):
            tally.failed += 1
            tally.errors[f"{type(error).__name__}: {str(error)[:60]}"] += 1
            await asyncio.sleep(0.005)
        elif isinstance(error, AssertionError):
            tally.wrong += 1
            tally.foreign += isinstance(error, ForeignEntryError)
            tally.found += [f"{name}: {error}"] if len(tally.found) < 5 else []
        elif error is not None:
            raise error
        else:
            tally.calls[name] += 1
            if task.result():
                tally.right += 1
            else:
                tally.missed += 1


async def fuzz_redis(place: Place, *, number: int, seed: int, within: float) -> Tally:
    """Call two backends with the same entries, one of which is short of time; nothing may be left."""
    tasks = asyncio.all_tasks()
    prefix = f"fuzz-{secrets.token_hex(6)}"
    steady = RedisBackend(prefix=prefix, op_timeout=2.0, write_timeout=4.0, **place.options)
    hasty = RedisBackend(prefix=prefix, op_timeout=0.012, write_timeout=0.03, **place.options)
    fuzz = Fuzz([steady, hasty], place.proxies, shards=place.shards, seed=seed)
    async with steady.lifespan(), hasty.lifespan():
        tally = await fuzz.run(completed=number, cancelled=number, within=within)
        for backend in (steady, hasty):
            await backend.flush()
            nodes = backend._topology.nodes()
            assert [node.mismatches for node in nodes] == [0] * len(nodes)
        assert await soon(lambda: not any(node.breaker.open for node in steady._topology.nodes()))
    assert await soon(lambda: not any(proxy.connections for proxy in place.proxies))
    assert asyncio.all_tasks() == tasks
    for server in place.servers:
        clients = await asyncio.to_thread(server.command, "CLIENT", "LIST")
        assert isinstance(clients, bytes)
        assert b"name=asynccache" not in clients
    return tally


async def soon(check: Callable[[], bool]) -> bool:
    """Whether it comes true within some seconds."""
    for _ in range(500):
        if check():
            return True
        await asyncio.sleep(0.01)
    return False


def seeded() -> int:
    """Where chance begins; said, to run a failure again."""
    seed = int(os.environ.get("ASYNCCACHE_FUZZ_SEED", str(random.randrange(2**32))))
    print(f"ASYNCCACHE_FUZZ_SEED={seed}")  # noqa: T201  (shown when a test fails)
    return seed
