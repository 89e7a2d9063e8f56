"""The part of the backend contract about numbered changes, told to all that share a store."""

# ruff: noqa: S101  (a test suite, published)

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import pytest

from asynccache._models import Entry
from asynccache._protocols import Backend, Clearable, Conditional, Feed, Taggable
from asynccache.testing._opened import opened
from asynccache.testing._told import all_told, stored
from asynccache.testing.cancellation import cancel_at_every_step
from asynccache.testing.clock import FakeClock
from asynccache.testing.entries import ABSENT, make_embedding, make_entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asynccache._protocols import Clock

__all__ = ["FeedContract"]

_EMBEDDINGS = [pytest.param(None, id="bare"), pytest.param(make_embedding(1), id="embedded")]


async def end_of(feed: Feed) -> int:
    """The cursor after everything so far."""
    told = await feed.changes(None)
    assert told[:1] + told[2:] == ([], False, False)
    return told.cursor


class FeedContract:
    """What a backend with ``Feed`` promises to one who follows its changes."""

    persistent: ClassVar[bool]

    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        """A new backend, not yet opened."""
        raise NotImplementedError

    @pytest.fixture
    def feed(self, backend: Backend) -> Feed:
        """The backend under test, once more."""
        if not isinstance(backend, Feed):
            pytest.skip("the backend does not number its changes")
        return backend

    @pytest.fixture
    async def neighbour(self, feed: Feed, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Backend]:
        """Another backend over the same store, opened; the one under test where there can be no other."""
        async with AsyncExitStack() as stack:
            other: object = feed
            if self.persistent:
                other = self.make_backend(tmp_path, clock)
                await stack.enter_async_context(opened(other))
            assert isinstance(other, Backend)
            yield other

    @pytest.mark.parametrize("embedding", _EMBEDDINGS)
    async def test_generation_is_that_of_what_is_stored_now(
        self, backend: Backend, feed: Feed, clock: FakeClock, embedding: Any
    ) -> None:
        entry = make_entry(1, created_at=clock.now(), embedding=embedding)
        keys = [ABSENT, entry.key]
        assert await feed.generations(keys) == [None, None]
        assert await feed.generations([]) == []
        seen = []
        for version in ("v1", "v2", "v3"):
            await backend.put(replace(entry, version=version, generation=7))
            found, listed = await backend.get(entry.key), (await backend.get_many(keys))[1]
            assert found is not None
            assert listed is not None
            assert found.generation is not None
            assert listed.generation == found.generation
            assert await feed.generations(keys) == [None, found.generation]
            seen.append(found.generation)
        assert sorted(set(seen)) == seen
        clock.advance(60)
        assert await feed.generations(keys) == [None, None]
        number = await stored(feed, make_entry(1, created_at=clock.now(), embedding=embedding), None)
        assert number is not None
        assert number > seen[-1]
        assert await feed.generations(keys) == [None, number]
        await backend.delete([entry.key])
        assert await feed.generations(keys) == [None, None]

    @pytest.mark.parametrize("embedding", _EMBEDDINGS)
    async def test_every_way_to_store_is_told(
        self, backend: Backend, feed: Feed, clock: FakeClock, embedding: Any
    ) -> None:
        entry = make_entry(1, created_at=clock.now(), embedding=embedding)
        cursor = await end_of(feed)
        await backend.get(entry.key)

        async def check() -> None:
            nonlocal cursor
            told = await all_told(feed, cursor)
            assert not told.gap
            assert {change.key for change in told.changes} == {entry.key}
            assert [told.changes[-1].number] == await feed.generations([entry.key])
            cursor = told.cursor

        for _ in range(2):
            await backend.put(entry)
            await check()
        assert await stored(feed, entry, feed.position(entry.key)) is not None
        await check()
        if isinstance(backend, Conditional):
            clock.advance(60)
            assert await backend.add(replace(entry, created_at=clock.now())) is True
            await check()

    @pytest.mark.parametrize("embedding", _EMBEDDINGS)
    async def test_every_way_to_remove_is_told(
        self, backend: Backend, feed: Feed, clock: FakeClock, embedding: Any
    ) -> None:
        entries = [make_entry(n, created_at=clock.now(), embedding=embedding) for n in range(4)]
        for entry in entries:
            await backend.put(entry)
        first = [number or 0 for number in await feed.generations([entry.key for entry in entries])]
        cursor = await end_of(feed)

        async def check(number: int) -> None:
            nonlocal cursor
            told = await all_told(feed, cursor)
            assert not told.gap
            change = told.changes[-1]
            assert change.key == entries[number].key
            assert change.number > first[number]
            cursor = told.cursor

        await backend.delete([entries[0].key])
        await check(0)
        if isinstance(backend, Taggable):
            await backend.delete_tagged(["tag-1"])
            await check(1)
        if isinstance(backend, Conditional):
            await backend.remove(entries[2])
            await check(2)
        if isinstance(backend, Clearable):
            await backend.delete([entries[number].key for number in range(3)])
            cursor = await end_of(feed)
            await backend.clear()
            await check(3)

    async def test_changes_of_one_key_are_told_in_order_from_the_cursor_on(
        self, backend: Backend, feed: Feed, clock: FakeClock
    ) -> None:
        await backend.put(make_entry(9, created_at=clock.now()))
        cursor = await end_of(feed)
        assert await feed.changes(cursor) == ([], cursor, False, False)
        entries = [make_entry(n % 100, created_at=clock.now()) for n in range(300)]
        for entry in entries:
            await backend.put(entry)
        told = await all_told(feed, cursor)
        assert not told.gap
        assert await all_told(feed, cursor) == told  # nothing is used up
        newest: dict[bytes, int] = {}
        for key, number in told.changes:
            assert number > newest.get(key, -1)
            newest[key] = number
        keys = [entry.key for entry in entries[:100]]
        assert await feed.generations(keys) == [newest[key] for key in keys]
        assert (await feed.changes(told.cursor)).changes == []
        assert told.cursor == await end_of(feed)

    async def test_cursor_of_another_store_is_a_gap_in_the_feed(
        self, backend: Backend, feed: Feed, clock: FakeClock, tmp_path: Path
    ) -> None:
        folder = tmp_path / "another store"
        folder.mkdir()
        other = self.make_backend(folder, clock)
        assert isinstance(other, Feed)
        async with opened(other):
            fresh = await end_of(other)
            for store in (backend, other):
                for number in range(20):
                    await store.put(make_entry(number, created_at=clock.now()))
            cursors = (fresh, await end_of(other), 0, 2**62)
        end = await end_of(feed)
        for cursor in cursors:
            assert await feed.changes(cursor) == ([], end, False, True)
        assert await feed.changes(end) == ([], end, False, False)

    async def test_cursor_of_the_feed_outlives_the_lifespan(self, tmp_path: Path, clock: FakeClock) -> None:
        first = self.make_backend(tmp_path, clock)
        if not self.persistent or not isinstance(first, Feed):
            pytest.skip("the backend is not persistent, or does not number its changes")
        one, two = (make_entry(n, created_at=clock.now()) for n in (1, 2))
        async with opened(first):
            cursor = await end_of(first)
            await first.put(one)
            since = first.position(two.key)
            await first.delete([two.key])
        second = self.make_backend(tmp_path, clock)
        assert isinstance(second, Feed)
        async with opened(second):
            assert await stored(second, two, since) is None
            await second.put(two)
            told = await all_told(second, cursor)
            assert list(dict.fromkeys(key for key, _ in told.changes)) == [one.key, two.key]
            assert not told.gap

    async def test_each_of_two_is_told_what_the_other_changes(
        self, backend: Backend, feed: Feed, neighbour: Backend, clock: FakeClock
    ) -> None:
        assert isinstance(neighbour, Feed)
        one, two = (make_entry(n, created_at=clock.now()) for n in (1, 2))
        cursor = await end_of(feed)
        assert await end_of(neighbour) == cursor
        await backend.put(one)
        await neighbour.put(two)
        await backend.put(one)
        await neighbour.delete([one.key])
        for reader in (feed, neighbour):
            told = await all_told(reader, cursor)
            assert {key for key, _ in told.changes} == {one.key, two.key}
            assert await reader.generations([one.key, two.key]) == [
                None,
                max(number for key, number in told.changes if key == two.key),
            ]

    async def test_news_comes_when_something_is_stored_or_the_time_is_over(
        self, backend: Backend, feed: Feed, clock: FakeClock
    ) -> None:
        with anyio.fail_after(5):
            await feed.news(0.01)
            async with anyio.create_task_group() as group:
                group.start_soon(feed.news, 60.0)
                await anyio.wait_all_tasks_blocked()
                await backend.put(make_entry(1, created_at=clock.now()))

    async def test_cancelled_look_at_the_feed_leaves_it_usable(
        self, backend: Backend, feed: Feed, clock: FakeClock
    ) -> None:
        cursor = await end_of(feed)
        entry = make_entry(1, created_at=clock.now())
        await backend.get(entry.key)
        await backend.put(entry)

        async def check() -> None:
            told = await all_told(feed, cursor)
            assert [change.key for change in told.changes] == [entry.key]
            assert await feed.generations([entry.key]) == [told.changes[0].number]
            assert not await feed.voided(entry.key, entry.tags, feed.position(entry.key))

        await cancel_at_every_step(lambda: _look(feed, entry, cursor), check)


async def _look(feed: Feed, entry: Entry, cursor: int) -> None:
    await feed.changes(cursor)
    await feed.generations([entry.key])
    await feed.voided(entry.key, entry.tags, 0)
    await feed.news(0.001)
