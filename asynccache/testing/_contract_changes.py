"""The part of the backend contract about the trail of changes that an index follows."""

# ruff: noqa: PLR2004, S101  (a test suite, published)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import anyio
import pytest

from asynccache._models import Entry, Response
from asynccache._protocols import Backend, Clearable, Taggable, Vectors
from asynccache.testing._contract_vectors import (
    OTHER_PARTITION,
    OTHER_SPACE,
    PARTITION,
    embedded,
    end_of,
    row_of,
)
from asynccache.testing._mirror import Mirror, all_changes, all_vectors
from asynccache.testing._opened import opened
from asynccache.testing.cancellation import cancel_at_every_step
from asynccache.testing.clock import FakeClock
from asynccache.testing.entries import SPACE, make_embedding, make_entry, same

if TYPE_CHECKING:
    from asynccache._protocols import Clock

__all__ = ["ChangeContract"]


class ChangeContract:
    """What a backend with ``Vectors`` promises to one who follows them."""

    persistent: ClassVar[bool]

    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        """A new backend, not yet opened."""
        raise NotImplementedError

    async def test_stored_vector_is_told(self, backend: Backend, vectors: Vectors, clock: FakeClock) -> None:
        before = await end_of(vectors)
        entry = embedded(1, created_at=clock.now())
        await backend.put(entry)
        told = await vectors.vector_changes(before)
        assert [change.row for change in told.changes] == [row_of(entry)]
        assert (told.changes[0].partition, told.changes[0].space) == (PARTITION, SPACE)
        assert (told.more, told.gap) == (False, False)

    async def test_change_is_told_as_what_is_now(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        entry = embedded(1, created_at=clock.now(), ttl=20.0)
        await backend.put(embedded(2, created_at=clock.now()))
        before = await end_of(vectors)
        for number in range(3, 6):
            await backend.put(replace(entry, embedding=make_embedding(number), ttl=float(number)))
        await backend.put(replace(entry, ttl=None))
        told = await all_changes(vectors, before)
        assert {change.row for change in told.changes} == {row_of(replace(entry, ttl=None))}

    async def test_every_way_to_remove_a_vector_is_told(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        mirror = Mirror()
        for number in range(4):
            await backend.put(embedded(number, created_at=clock.now()))
        await mirror.follow(vectors)
        left = {number: embedded(number, created_at=clock.now()) for number in range(4)}
        assert mirror.live(clock.now()) == Mirror.of(left.values())

        await backend.delete([left.pop(0).key])
        await mirror.follow(vectors)
        assert mirror.live(clock.now()) == Mirror.of(left.values())
        if isinstance(backend, Taggable):
            await backend.delete_tagged([left.pop(1).tags[1]])
            await mirror.follow(vectors)
            assert mirror.live(clock.now()) == Mirror.of(left.values())
        if isinstance(backend, Clearable):
            await backend.clear()
            await mirror.follow(vectors)
            assert mirror.live(clock.now()) == {}

    async def test_vector_that_moves_leaves_where_it_was(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        mirror = Mirror()
        entry = embedded(1, created_at=clock.now())
        await mirror.read(vectors)
        for moved in (
            entry,
            replace(entry, partition=OTHER_PARTITION),
            replace(entry, partition=OTHER_PARTITION, embedding=make_embedding(1, space=OTHER_SPACE)),
            entry,
        ):
            await backend.put(moved)
            await mirror.follow(vectors)
            assert mirror.live(clock.now()) == Mirror.of([moved])
            fresh = Mirror()
            await fresh.read(vectors)
            assert fresh.live(clock.now()) == Mirror.of([moved])

    async def test_instant_of_expiry_is_told(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        mirror = Mirror()
        await mirror.read(vectors)
        short, long = embedded(1, created_at=clock.now() - 2, ttl=5.0), embedded(2, created_at=clock.now())
        await backend.put(short)
        await backend.put(long)
        clock.advance(3)
        await mirror.follow(vectors)
        assert mirror.live(clock.now()) == Mirror.of([long])
        assert same(await backend.get(long.key), long)
        await backend.get(short.key)  # a backend may remove it now
        await mirror.follow(vectors)
        assert mirror.live(clock.now()) == Mirror.of([long])

    async def test_changes_are_told_from_the_cursor_on(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        for number in range(3):
            await backend.put(embedded(number, created_at=clock.now()))
        cursor = await end_of(vectors)
        nothing = await vectors.vector_changes(cursor)
        assert nothing == ([], cursor, False, False)
        later = embedded(7, created_at=clock.now())
        await backend.put(later)
        told = await vectors.vector_changes(cursor)
        assert [change.key for change in told.changes] == [later.key]
        assert await vectors.vector_changes(cursor) == told  # nothing is used up
        assert (await vectors.vector_changes(told.cursor)).changes == []

    async def test_many_changes_come_in_pages(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        cursor = await end_of(vectors)
        entries = [embedded(n, created_at=clock.now()) for n in range(300)]
        for entry in entries:
            await backend.put(entry)
        told = await all_changes(vectors, cursor)
        assert not told.gap
        # A store in several parts tells them in the order of each.
        assert {change.row for change in told.changes} == {row_of(entry) for entry in entries}
        assert told.cursor == await end_of(vectors)

    async def test_cursor_of_another_store_is_a_gap(
        self, backend: Backend, vectors: Vectors, clock: FakeClock, tmp_path: Path
    ) -> None:
        folder = tmp_path / "another store"
        folder.mkdir()
        other = self.make_backend(folder, clock)
        assert isinstance(other, Vectors)
        async with opened(other):
            fresh = await end_of(other)
            for store in (backend, other):
                for number in range(20):
                    await store.put(embedded(number, created_at=clock.now()))
            cursors = (fresh, (fresh + await end_of(other)) // 2, await end_of(other), 0, 2**62)
        end = await end_of(vectors)
        for cursor in cursors:
            assert await vectors.vector_changes(cursor) == ([], end, False, True)

    async def test_cursor_outlives_the_lifespan(self, tmp_path: Path, clock: FakeClock) -> None:
        first = self.make_backend(tmp_path, clock)
        if not self.persistent or not isinstance(first, Vectors):
            pytest.skip("the backend's vectors are not persistent, or cannot be read apart")
        one, two, three = (embedded(n, created_at=clock.now() + n) for n in (1, 2, 3))
        async with opened(first):
            await first.put(one)
            cursor = await end_of(first)
            await first.put(two)
        second = self.make_backend(tmp_path, clock)
        assert isinstance(second, Vectors)
        async with opened(second):
            await second.put(three)
            told = await all_changes(second, cursor)
            assert [change.row for change in told.changes] == [row_of(two), row_of(three)]
            assert not told.gap
            found = await all_vectors(second, PARTITION, SPACE)
            assert sorted(found) == sorted(map(row_of, (one, two, three)))
            assert [entry async for entry in second.scan()] == [one, two, three]

    async def test_follower_of_many_writers_ends_at_what_is_there(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        async def write(number: int) -> None:
            for step in range(6):
                key = number * 3 + step % 3
                await backend.put(
                    embedded(key, created_at=clock.now(), embedding=make_embedding(number + step))
                )
                if (number + step) % 3 == 0:
                    await backend.delete([make_entry(key, created_at=0.0).key])

        async def follow() -> None:
            while not done:
                await mirror.follow(vectors)
                await anyio.lowlevel.checkpoint()

        mirror, done = Mirror(), False
        async with anyio.create_task_group() as followers:
            followers.start_soon(follow)
            async with anyio.create_task_group() as writers:
                for number in range(30):
                    writers.start_soon(write, number)
            done = True
        await mirror.follow(vectors)
        left = [entry async for entry in backend.scan()]
        assert 0 < len(left) < 90
        assert mirror.live(clock.now()) == Mirror.of(left)

    async def test_cancelled_put_leaves_no_vector_without_its_entry(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        mirror = Mirror()
        await mirror.read(vectors)
        entry = embedded(1, created_at=clock.now(), response=Response(b"new"))
        older = embedded(1, created_at=clock.now(), embedding=make_embedding(2))
        later = make_entry(2, created_at=clock.now() + 1)

        async def check() -> None:
            await backend.put(later)  # a write that goes on without its caller is over then
            stored = [each async for each in backend.scan()]
            assert stored in ([later], [older, later], [entry, later])
            await mirror.follow(vectors)
            assert mirror.live(clock.now()) == Mirror.of(stored)
            await backend.put(older)

        await cancel_at_every_step(lambda: _put(backend, entry), check)

    async def test_cancelled_look_at_the_changes_leaves_it_usable(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        cursor = await end_of(vectors)
        entry = embedded(1, created_at=clock.now())
        await backend.put(entry)

        async def check() -> None:
            assert [change.row for change in (await all_changes(vectors, cursor)).changes] == [row_of(entry)]
            assert (await vectors.vectors(PARTITION, SPACE)).rows == [row_of(entry)]

        await cancel_at_every_step(lambda: _look(vectors, cursor), check)


async def _put(backend: Backend, entry: Entry) -> None:
    await backend.put(entry)


async def _look(backend: Vectors, cursor: int) -> None:
    await backend.vector_changes(cursor)
    await backend.vectors(PARTITION, SPACE)
