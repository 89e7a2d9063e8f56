"""Reads through a memory that are answered only with what the store behind it holds at that moment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from asynccache import BackendUnavailable
from asynccache._models import Entry
from asynccache.backends import Tiered
from asynccache.testing import FakeClock, make_entry
from tests.backends._fake_feed import FakeFeed, FakeStore, caught_up, held, tier

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def tiered(store: FakeStore, clock: FakeClock) -> AsyncIterator[Tiered]:
    made = tier(store, clock)[0]
    async with made.lifespan():
        yield made


@pytest.fixture
def back(tiered: Tiered) -> FakeFeed:
    assert isinstance(tiered._back, FakeFeed)
    return tiered._back


@pytest.fixture
def entry(clock: FakeClock) -> Entry:
    return make_entry(created_at=clock.now(), ttl=None)


async def test_what_the_store_still_holds_is_served_from_the_front(
    tiered: Tiered, back: FakeFeed, entry: Entry
) -> None:
    await tiered.put(entry)
    kept = held(tiered._front, entry.key)
    before = back.calls.copy()
    assert (await tiered.confirmed([entry.key]))[0] is kept
    assert back.calls["generations"] == before["generations"] + 1
    assert back.calls["get_many"] == before["get_many"]


async def test_what_was_replaced_without_being_told_is_read_from_the_store(
    tiered: Tiered, store: FakeStore, back: FakeFeed, entry: Entry
) -> None:
    back.failing.update(("changes", "news"))
    second, third = (make_entry(n, created_at=entry.created_at, ttl=None) for n in (1, 2))
    for each in (entry, second, third):
        await tiered.put(each)
    newer = replace(entry, version="newer")
    store.change(entry.key, newer)
    store.change(second.key, None)
    absent = b"a" * 32
    keys = [second.key, entry.key, absent, third.key, entry.key]
    assert await tiered.confirmed(keys) == [None, newer, None, third, newer]
    assert held(tiered._front, entry.key) == newer
    assert held(tiered._front, second.key) is None
    assert await tiered.confirmed([]) == []


async def test_what_is_not_known_to_be_stored_is_not_confirmed(
    tiered: Tiered, back: FakeFeed, entry: Entry
) -> None:
    back.failing.add("fill")
    with pytest.raises(BackendUnavailable):
        await tiered.put(entry)
    assert await tiered.get(entry.key) == entry
    assert await tiered.confirmed([entry.key]) == [None]


@pytest.mark.parametrize("call", ["generations", "get_many"])
async def test_failure_of_the_store_is_raised(
    tiered: Tiered, back: FakeFeed, entry: Entry, call: str
) -> None:
    await tiered.put(entry)
    back.failing.add(call)
    with pytest.raises(BackendUnavailable):
        await tiered.confirmed([entry.key, b"a" * 32])
    assert tiered._claims == {}


async def test_a_memory_before_a_memory_confirms_by_the_store(
    store: FakeStore, clock: FakeClock, entry: Entry
) -> None:
    inner = tier(store, clock)[0]
    outer = Tiered(tier(store, clock)[1], inner)
    async with outer.lifespan():
        await outer.put(entry)
        newer = replace(entry, version="newer")
        inner._back.failing.update(("changes", "news"))  # type: ignore[attr-defined]  # a FakeFeed
        store.change(entry.key, newer)
        assert await outer.confirmed([entry.key]) == [newer]


class Processes:
    """Three processes that do this and that at once to the four entries of one store.

    Args:
        store: theirs.
        clock: theirs.
        dice: what is done, by whom and when.
    """

    def __init__(self, store: FakeStore, clock: FakeClock, dice: random.Random) -> None:
        self.store, self.dice = store, dice
        self.entries = [
            make_entry(n, created_at=clock.now(), ttl=None, tags=(f"t{n % 2}",)) for n in range(4)
        ]
        self.history: dict[bytes, list[Entry | None]] = {entry.key: [None] for entry in self.entries}
        self.tiers = [tier(store, clock, behind=bool(n % 2)) for n in range(3)]
        self.backs = [back for _, _, back in self.tiers]
        self._change = store.change
        store.change = self._changed  # type: ignore[method-assign]  # what has been, for the check

    def _changed(self, key: bytes, entry: Entry | None) -> int:
        self.history[key].append(entry)
        return self._change(key, entry)

    async def put(self, tiered: Tiered, entry: Entry) -> None:
        await tiered.put(entry)

    async def fill(self, tiered: Tiered, entry: Entry) -> None:
        await tiered.get(entry.key)
        looked, since = self.store.number, tiered.position(entry.key)
        for _ in range(self.dice.randrange(6)):
            await asyncio.sleep(0)
        voids = self.store.newest_void(entry.key, entry.tags)
        stored = await tiered.fill(entry, since=since)
        if voids > looked:
            assert await stored is None

    async def delete(self, tiered: Tiered, entry: Entry) -> None:
        await tiered.delete([entry.key])

    async def delete_tagged(self, tiered: Tiered, entry: Entry) -> None:
        await tiered.delete_tagged(entry.tags)

    async def read(self, tiered: Tiered, entry: Entry) -> None:
        await tiered.get(entry.key)

    async def confirm(self, tiered: Tiered, entry: Entry) -> None:
        seen = len(self.history[entry.key])
        (found,) = await tiered.confirmed([entry.key])
        assert found in self.history[entry.key][seen - 1 :]

    async def act(self, number: int) -> None:
        fill, read, confirm = [self.fill] * 3, [self.read] * 3, [self.confirm] * 2
        kinds = [self.put, self.delete, self.delete_tagged, *fill, *read, *confirm]
        for step in range(40):
            tiered, _, back = self.dice.choice(self.tiers)
            entry = replace(self.dice.choice(self.entries), version=f"{number} {step}")
            await self.dice.choice(kinds)(tiered, entry)
            if self.dice.random() < 0.3:
                back.commit()
            if self.dice.random() < 0.05:
                await asyncio.sleep(0.003)

    async def commit(self) -> None:
        while True:
            await asyncio.sleep(0.001)
            for back in self.backs:
                back.commit()

    async def check(self) -> None:
        """All agree with the store."""
        for tiered, front, _ in self.tiers:
            assert tiered._claims == {}
            assert tiered._puts == {}
            for key in self.history:
                kept, stored = held(front, key), self.store.entries.get(key)
                assert kept is None or stored is not None
                if kept is not None and stored is not None:
                    assert (kept, kept.generation) == (stored, stored.generation)
                assert await tiered.get(key) == stored


@pytest.mark.parametrize("seed", range(12))
async def test_processes_agree_with_the_store_whatever_they_do(
    store: FakeStore, clock: FakeClock, seed: int
) -> None:
    """Confirmed reads see the present, fronts agree with the store once they are told, voids hold."""
    processes = Processes(store, clock, random.Random(seed))
    async with AsyncExitStack() as stack:
        for tiered, _, _ in processes.tiers:
            await stack.enter_async_context(tiered.lifespan())
        async with asyncio.TaskGroup() as committing:
            commit = committing.create_task(processes.commit())
            async with asyncio.TaskGroup() as acting:
                for number in range(6):
                    acting.create_task(processes.act(number))
            commit.cancel()
        for back in processes.backs:
            back.commit()
        await asyncio.sleep(0)
        await caught_up(*processes.backs)
        await processes.check()
