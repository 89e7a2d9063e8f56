"""The part of the backend contract that takes several tasks, or one cut short."""

# ruff: noqa: PLR2004, S101  (a test suite, published)

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

import anyio
from anyio.lowlevel import checkpoint

from asynccache._models import Alias, Entry, Response
from asynccache._protocols import Backend, Conditional
from asynccache.testing.cancellation import cancel_at_every_step
from asynccache.testing.clock import FakeClock
from asynccache.testing.entries import ABSENT, SPACE, make_entry

__all__ = ["ConcurrencyContract"]


class ConcurrencyContract:
    """What a backend promises to tasks that use it at once, and to those that are cancelled in it."""

    async def test_200_tasks_do_not_disturb_each_other(self, backend: Backend, clock: FakeClock) -> None:
        async def use(number: int) -> None:
            entry = make_entry(number, created_at=clock.now())
            assert await backend.get(entry.key) is None
            await backend.put(entry)
            assert await backend.get(entry.key) == entry
            assert await backend.get_many([ABSENT, entry.key]) == [None, entry]
            if number % 4 == 0:
                assert await backend.delete([entry.key]) == 1

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(use, number)
        assert len([entry async for entry in backend.scan()]) == 150

    async def test_one_key_written_by_many_holds_one_whole_entry(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        versions = [
            make_entry(0, created_at=clock.now(), version=str(n), response=Response(b"%d" % n))
            for n in range(50)
        ]
        async with anyio.create_task_group() as group:
            for entry in versions:
                group.start_soon(backend.put, entry)
        assert await backend.get(versions[0].key) in versions
        assert len([entry async for entry in backend.scan()]) == 1

    async def test_what_was_put_stays_whatever_was_added_at_the_time(
        self, backend: Backend, conditional: Conditional, clock: FakeClock
    ) -> None:
        async def put(entry: Entry) -> None:
            await backend.put(entry)

        async def add(entry: Entry) -> None:
            if not await conditional.add(entry):
                assert await backend.get(entry.key) == answers[entry.key]

        answers, aliases = _pairs(clock)
        await _race(put, answers.values(), add, aliases)
        await _compare(backend, clock, answers)

    async def test_what_was_put_stays_whatever_was_removed_at_the_time(
        self, backend: Backend, conditional: Conditional, clock: FakeClock
    ) -> None:
        async def put(entry: Entry) -> None:
            await backend.put(entry)

        async def remove(entry: Entry) -> None:
            await conditional.remove(entry)
            assert await backend.get(entry.key) in (None, answers[entry.key])

        answers, aliases = _pairs(clock)
        for alias in aliases:
            await backend.put(alias)
        await _race(put, answers.values(), remove, aliases)
        await _compare(backend, clock, answers)

    async def test_one_of_many_adds_wins(
        self, backend: Backend, conditional: Conditional, clock: FakeClock
    ) -> None:
        async def add(entry: Entry) -> None:
            if await conditional.add(entry):
                winners.append(entry)
            stored = await backend.get(entry.key)
            assert winners in ([], [stored])  # the winner may not have been told yet

        for number in range(20):
            winners: list[Entry] = []
            async with anyio.create_task_group() as group:
                for version in range(10):
                    group.start_soon(add, make_entry(number, created_at=clock.now(), version=str(version)))
            assert [await backend.get(make_entry(number, created_at=0.0).key)] == winners

    async def test_cancelled_add_stores_all_or_nothing(
        self, backend: Backend, conditional: Conditional, clock: FakeClock
    ) -> None:
        bystander, entry = (make_entry(n, created_at=clock.now()) for n in (1, 2))
        await backend.put(bystander)

        async def check() -> None:
            assert await backend.get(bystander.key) == bystander
            added = await conditional.add(entry)  # unless the cancelled one has done so
            assert added in (True, False)
            assert await backend.get(entry.key) == entry
            assert await conditional.remove(entry) is True

        await cancel_at_every_step(lambda: _add(conditional, entry), check)

    async def test_cancelled_remove_leaves_it_usable(
        self, backend: Backend, conditional: Conditional, clock: FakeClock
    ) -> None:
        bystander, entry = (make_entry(n, created_at=clock.now()) for n in (1, 2))
        await backend.put(bystander)
        await backend.put(entry)

        async def check() -> None:
            assert await backend.get(bystander.key) == bystander
            assert await backend.get(entry.key) in (None, entry)
            await backend.put(entry)
            assert await backend.get(entry.key) == entry

        await cancel_at_every_step(lambda: _remove(conditional, entry), check)

    async def test_cancelled_get_leaves_it_usable(self, backend: Backend, clock: FakeClock) -> None:
        entry = make_entry(created_at=clock.now())
        await backend.put(entry)

        async def check() -> None:
            assert await backend.get_many([entry.key, ABSENT]) == [entry, None]

        await cancel_at_every_step(lambda: _get(backend, entry.key), check)
        await cancel_at_every_step(lambda: _get(backend, ABSENT), check)

    async def test_cancelled_put_stores_all_or_nothing(self, backend: Backend, clock: FakeClock) -> None:
        bystander = make_entry(1, created_at=clock.now())
        entry = make_entry(2, created_at=clock.now(), response=Response(b"new"))
        older = make_entry(2, created_at=clock.now(), response=Response(b"old"))
        await backend.put(bystander)
        await backend.put(older)

        async def check() -> None:
            assert await backend.get(bystander.key) == bystander
            assert await backend.get(entry.key) in (older, entry)
            await backend.put(older)
            assert await backend.get(entry.key) == older

        await cancel_at_every_step(lambda: _put(backend, entry), check)

    async def test_cancelled_delete_leaves_it_usable(self, backend: Backend, clock: FakeClock) -> None:
        bystander, entry = (make_entry(n, created_at=clock.now()) for n in (1, 2))
        await backend.put(bystander)
        await backend.put(entry)

        async def check() -> None:
            assert await backend.get(bystander.key) == bystander
            assert await backend.get(entry.key) in (None, entry)
            await backend.put(entry)
            assert await backend.get(entry.key) == entry

        await cancel_at_every_step(lambda: _delete(backend, entry.key), check)


# Coroutines to cancel: a protocol promises awaitables of its own making, not that they are coroutines.
async def _get(backend: Backend, key: bytes) -> None:
    await backend.get(key)


async def _put(backend: Backend, entry: Entry) -> None:
    await backend.put(entry)


async def _delete(backend: Backend, key: bytes) -> None:
    await backend.delete([key])


async def _add(backend: Conditional, entry: Entry) -> None:
    await backend.add(entry)


async def _remove(backend: Conditional, entry: Entry) -> None:
    await backend.remove(entry)


def _pairs(clock: FakeClock) -> tuple[dict[bytes, Entry], list[Entry]]:
    """200 answers by key, and for each key an alias that must not take its place."""
    entries = [make_entry(number, created_at=clock.now() + number, ttl=None) for number in range(200)]
    signpost = Alias(ABSENT, 0.99, SPACE)
    aliases = [replace(entry, response=Response(b""), alias=signpost) for entry in entries]
    return {entry.key: entry for entry in entries}, aliases


async def _race(
    one: Callable[[Entry], Awaitable[None]],
    its: Iterable[Entry],
    other: Callable[[Entry], Awaitable[None]],
    others: Iterable[Entry],
) -> None:
    """Both at once for every key, one or the other some steps ahead."""

    async def delayed(work: Callable[[Entry], Awaitable[None]], entry: Entry, steps: int) -> None:
        for _ in range(steps):
            await checkpoint()
        await work(entry)

    async with anyio.create_task_group() as group:
        for number, (its_entry, others_entry) in enumerate(zip(its, others, strict=True)):
            group.start_soon(delayed, one, its_entry, number % 5)
            group.start_soon(delayed, other, others_entry, number // 5 % 5)


async def _compare(backend: Backend, clock: FakeClock, expected: dict[bytes, Entry]) -> None:
    """Also by and by, when what was kept nearby for a while is asked for anew."""
    for _ in range(2):
        assert await backend.get_many(list(expected)) == list(expected.values())
        for key, entry in expected.items():
            assert await backend.get(key) == entry
        clock.advance(30)
    assert [entry async for entry in backend.scan()] == list(expected.values())
