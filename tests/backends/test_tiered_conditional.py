"""Looking and changing in one step, through a memory in front of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asynccache._errors import BackendUnavailable
from asynccache._models import Alias, Entry, Response
from asynccache.backends import MemoryBackend, Tiered
from asynccache.testing import FakeClock, cancel_at_every_step, make_entry
from asynccache.testing.entries import ABSENT, SPACE, make_embedding

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class Halting(MemoryBackend):
    """A back whose named calls halt once they have done their work, or failed, until they are let go."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.halted: dict[str, anyio.Event] = {}
        self.go_on: dict[str, anyio.Event] = {}
        self.failing: set[str] = set()
        self.asked: list[str] = []

    async def _halting(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        self.asked.append(name)
        result = None if name in self.failing else await work()
        if name in self.halted:
            self.halted.pop(name).set()
            await self.go_on[name].wait()
        if result is None and name in self.failing:
            raise BackendUnavailable("the disk is gone")
        return result  # type: ignore[return-value]  # of T: the work was done

    async def get(self, key: bytes) -> Entry | None:
        return await self._halting("get", lambda: super(Halting, self).get(key))

    async def put(self, entry: Entry) -> None:
        return await self._halting("put", lambda: super(Halting, self).put(entry))

    async def add(self, entry: Entry) -> bool:
        return await self._halting("add", lambda: super(Halting, self).add(entry))

    async def remove(self, entry: Entry) -> bool:
        return await self._halting("remove", lambda: super(Halting, self).remove(entry))

    @asynccontextmanager
    async def halting(self, name: str, call: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
        """Run the body while a call has changed the back and is not over; then wait for its end."""
        halted = self.halted[name] = anyio.Event()
        go_on = self.go_on[name] = anyio.Event()

        async def run() -> None:
            await call()

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await halted.wait()
            yield
            go_on.set()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def front(clock: FakeClock) -> MemoryBackend:
    return MemoryBackend(clock=clock)


@pytest.fixture
def back(clock: FakeClock) -> Halting:
    return Halting(clock)


@pytest.fixture
def tiered(front: MemoryBackend, back: Halting) -> Tiered:
    return Tiered(front, back, front_ttl=60.0)


@pytest.fixture
def answer(clock: FakeClock) -> Entry:
    return make_entry(created_at=clock.now(), ttl=600.0)


@pytest.fixture
def alias(answer: Entry) -> Entry:
    signpost = Alias(ABSENT, 0.99, SPACE)
    return replace(answer, response=Response(b""), alias=signpost, embedding=make_embedding())


async def test_added_entry_enters_the_front_without_its_embedding(
    tiered: Tiered, front: MemoryBackend, back: Halting, alias: Entry
) -> None:
    assert await tiered.add(alias) is True
    assert front.find(alias.key) == replace(alias, embedding=None)
    assert [entry async for entry in back.scan()] == [alias]
    assert tiered._claims == {}


async def test_added_entry_enters_the_front_after_the_back(
    tiered: Tiered, front: MemoryBackend, back: Halting, alias: Entry
) -> None:
    async with back.halting("add", lambda: tiered.add(alias)):
        assert not front.holds(alias.key)
    assert front.holds(alias.key)


async def test_refused_add_leaves_the_front_empty(
    tiered: Tiered, front: MemoryBackend, back: Halting, answer: Entry, alias: Entry
) -> None:
    await back.put(answer)  # as another process would
    assert await tiered.add(alias) is False
    assert not front.holds(alias.key)
    assert tiered._claims == {}
    assert await tiered.get(alias.key) == answer


async def test_failed_add_leaves_the_front_empty(
    tiered: Tiered, front: MemoryBackend, back: Halting, alias: Entry
) -> None:
    back.failing.add("add")
    with pytest.raises(BackendUnavailable):
        await tiered.add(alias)
    assert not front.holds(alias.key)
    assert tiered._claims == {}


async def test_answer_that_only_the_front_has_is_not_replaced_by_an_add(
    tiered: Tiered, front: MemoryBackend, back: Halting, answer: Entry, alias: Entry
) -> None:
    back.failing.add("put")
    with pytest.raises(BackendUnavailable):
        await tiered.put(answer)
    back.asked.clear()
    assert await tiered.add(alias) is False
    assert back.asked == []
    assert await tiered.get(answer.key) == answer


async def test_add_under_way_does_not_undo_a_put(
    tiered: Tiered, front: MemoryBackend, back: Halting, answer: Entry, alias: Entry
) -> None:
    async with back.halting("add", lambda: tiered.add(alias)):  # has won
        await tiered.put(answer)
    assert front.find(answer.key) == answer
    assert await back.get(answer.key) == answer
    assert tiered._claims == {}


async def test_add_that_is_over_during_a_put_does_not_enter_the_front(
    tiered: Tiered, front: MemoryBackend, back: Halting, answer: Entry, alias: Entry
) -> None:
    async with (
        back.halting("add", lambda: tiered.add(alias)),  # has won
        back.halting("put", lambda: tiered.put(answer)),  # has replaced it
    ):
        back.go_on["add"].set()
        for _ in range(3):
            await checkpoint()  # the add is over
        assert not front.holds(alias.key)
    assert front.find(answer.key) == answer
    assert tiered._claims == {}


async def test_add_begun_during_a_put_does_not_take_its_place(
    tiered: Tiered, front: MemoryBackend, clock: FakeClock, answer: Entry, alias: Entry
) -> None:
    may_put = anyio.Event()

    class Late(MemoryBackend):
        async def put(self, entry: Entry) -> None:
            await may_put.wait()
            await super().put(entry)

    tiered = Tiered(front, Late(clock=clock))
    async with anyio.create_task_group() as group:
        group.start_soon(tiered.put, answer)
        await checkpoint()
        assert await tiered.add(alias) is True  # the put has not reached the back
        assert not front.holds(alias.key)
        may_put.set()
    assert front.find(answer.key) == answer
    assert await tiered.get(answer.key) == answer
    assert tiered._claims == {}


async def test_add_takes_the_front_from_a_read_that_found_nothing(
    tiered: Tiered, front: MemoryBackend, back: Halting, alias: Entry
) -> None:
    async with back.halting("get", lambda: tiered.get(alias.key)):
        assert await tiered.add(alias) is True
        assert front.holds(alias.key)
    assert front.holds(alias.key)
    assert tiered._claims == {}


async def test_add_under_way_does_not_resurrect_a_removed_entry(
    tiered: Tiered, front: MemoryBackend, back: Halting, alias: Entry
) -> None:
    removals: list[Callable[[], Awaitable[int]]] = [
        lambda: tiered.delete([alias.key]),
        lambda: tiered.delete_tagged(alias.tags),
        tiered.clear,
        lambda: tiered.remove(alias),
        lambda: tiered.remove(replace(alias, embedding=None)),
    ]
    for remove in removals:
        async with back.halting("add", lambda: tiered.add(alias)):
            assert await remove() == 1
        assert not front.holds(alias.key)
        assert await back.get(alias.key) is None
        assert tiered._claims == {}


async def test_remove_takes_the_entry_from_both(
    tiered: Tiered, front: MemoryBackend, back: Halting, alias: Entry
) -> None:
    await tiered.put(alias)
    assert await tiered.remove(alias) is True
    assert not front.holds(alias.key)
    assert not back.holds(alias.key)
    assert await tiered.remove(alias) is False


async def test_remove_of_what_only_the_front_has_lets_a_fresh_answer_through(
    tiered: Tiered, front: MemoryBackend, back: Halting, answer: Entry, alias: Entry
) -> None:
    await tiered.put(alias)
    await back.put(answer)  # as another process would
    assert await tiered.remove(alias) is True
    assert await tiered.get(answer.key) == answer


async def test_remove_leaves_a_fresh_answer_that_only_the_front_has(
    tiered: Tiered, front: MemoryBackend, back: Halting, answer: Entry, alias: Entry
) -> None:
    await tiered.put(alias)
    back.failing.add("put")
    with pytest.raises(BackendUnavailable):
        await tiered.put(answer)
    assert await tiered.remove(alias) is True
    assert front.find(answer.key) == answer


async def test_remove_reaches_the_front_when_the_back_fails(
    tiered: Tiered, front: MemoryBackend, back: Halting, alias: Entry
) -> None:
    await tiered.put(alias)
    back.failing.add("remove")
    with pytest.raises(BackendUnavailable):
        await tiered.remove(alias)
    assert not front.holds(alias.key)


async def test_cancelled_remove_reaches_the_front(
    tiered: Tiered, front: MemoryBackend, back: Halting, alias: Entry
) -> None:
    await tiered.put(alias)
    with anyio.CancelScope() as scope:
        async with back.halting("remove", lambda: tiered.remove(alias)):
            scope.cancel()
            await checkpoint()
    assert not front.holds(alias.key)


async def test_read_under_way_does_not_resurrect_what_remove_took(
    tiered: Tiered, front: MemoryBackend, back: Halting, alias: Entry
) -> None:
    await back.put(alias)
    async with back.halting("get", lambda: tiered.get(alias.key)):  # has found it
        assert await tiered.remove(alias) is True
    assert not front.holds(alias.key)
    assert tiered._claims == {}


async def test_put_of_another_entry_goes_on_through_a_remove(
    tiered: Tiered, front: MemoryBackend, back: Halting, clock: FakeClock, answer: Entry, alias: Entry
) -> None:
    await tiered.put(replace(answer, version="older"))
    async with back.halting("put", lambda: tiered.put(answer)):
        assert await tiered.remove(alias) is False
    assert front.find(answer.key) == answer  # rather than the older one


async def test_put_of_the_very_entry_under_way_leaves_nothing_in_the_front(
    tiered: Tiered, front: MemoryBackend, back: Halting, answer: Entry, alias: Entry
) -> None:
    await tiered.put(answer)
    async with back.halting("put", lambda: tiered.put(alias)):  # has replaced the answer
        assert await tiered.remove(alias) is True
    assert not front.holds(alias.key)  # neither what was removed nor what it had replaced
    assert await tiered.get(alias.key) is None
    assert tiered._claims == {}


async def test_cancelled_add_leaves_no_claim(
    tiered: Tiered, front: MemoryBackend, back: Halting, alias: Entry, clock: FakeClock
) -> None:
    class Slow(MemoryBackend):
        async def add(self, entry: Entry) -> bool:
            await checkpoint()
            added = await super().add(entry)
            await checkpoint()
            return added

    slow = Slow(clock=clock)
    tiered = Tiered(front, slow)

    async def check() -> None:
        assert tiered._claims == {}
        assert not front.holds(alias.key) or slow.holds(alias.key)
        await tiered.delete([alias.key])

    assert await cancel_at_every_step(lambda: tiered.add(alias), check) == 2
