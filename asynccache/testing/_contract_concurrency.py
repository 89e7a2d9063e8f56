"""The part of the backend contract that takes several tasks, or one cut short."""

# ruff: noqa: PLR2004, S101  (a test suite, published)

from __future__ import annotations

import anyio

from asynccache._models import Entry, Response
from asynccache._protocols import Backend
from asynccache.testing.cancellation import cancel_at_every_step
from asynccache.testing.clock import FakeClock
from asynccache.testing.entries import ABSENT, make_entry

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
