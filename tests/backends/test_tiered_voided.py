"""A put that a removal has overtaken: nobody fills the front with what it is about to replace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
import pytest

from asynccache._models import Alias, Entry, Response
from asynccache.backends import MemoryBackend, Tiered
from asynccache.testing import FakeClock, cancel_at_every_step, make_entry
from asynccache.testing.entries import ABSENT, SPACE

pytestmark = pytest.mark.anyio


class LatePut(MemoryBackend):
    """Holds every put back until it is let go."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.asked = anyio.Event()
        self.go_on = anyio.Event()

    async def put(self, entry: Entry) -> None:
        self.asked.set()
        await self.go_on.wait()
        await super().put(entry)


async def add(tiered: Tiered, back: LatePut, alias: Entry) -> None:
    assert await tiered.add(alias) is True


async def get(tiered: Tiered, back: LatePut, alias: Entry) -> None:
    back.keep(alias)  # as another process would
    assert await tiered.get(alias.key) == alias


async def get_many(tiered: Tiered, back: LatePut, alias: Entry) -> None:
    back.keep(alias)
    assert await tiered.get_many([alias.key]) == [alias]


@pytest.mark.parametrize("meanwhile", [add, get, get_many])
@pytest.mark.parametrize("puts", [1, 2])
async def test_put_overtaken_by_a_removal_is_not_hidden_by_what_it_replaces(
    clock: FakeClock, meanwhile: Callable[[Tiered, LatePut, Entry], Awaitable[None]], puts: int
) -> None:
    front, back = MemoryBackend(clock=clock), LatePut(clock)
    tiered = Tiered(front, back)
    answer = make_entry(created_at=clock.now(), ttl=None)
    alias = replace(answer, response=Response(b""), alias=Alias(ABSENT, 0.99, SPACE))
    async with anyio.create_task_group() as group:
        for _ in range(puts):
            group.start_soon(tiered.put, answer)
        await back.asked.wait()
        await tiered.delete([answer.key])
        await meanwhile(tiered, back, alias)
        assert not front.holds(alias.key)
        back.go_on.set()
    assert await tiered.get(answer.key) == answer
    assert tiered._claims == {}


async def test_cancelled_put_keeps_nobody_from_the_front(clock: FakeClock) -> None:
    front, back = MemoryBackend(clock=clock), LatePut(clock)
    tiered = Tiered(front, back)
    entry = make_entry(created_at=clock.now())

    async def check() -> None:
        front.drop([entry.key])
        back.keep(entry)
        assert await tiered.get(entry.key) == entry
        assert front.holds(entry.key)

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(tiered.put, entry)
            await back.asked.wait()
            scope.cancel()
    await check()
    back.go_on.set()
    await cancel_at_every_step(lambda: tiered.put(entry), check)
