"""The part of the backend contract about answers whose question was invalidated while they were made."""

# ruff: noqa: PLR2004, S101  (a test suite, published)

from __future__ import annotations

import random
from dataclasses import replace
from itertools import count, product
from typing import Any

import anyio
import pytest

from asynccache._models import Entry
from asynccache._protocols import Backend, Clearable, Conditional, Feed, Taggable
from asynccache.testing._told import stored
from asynccache.testing.cancellation import cancel_at_every_step
from asynccache.testing.clock import FakeClock
from asynccache.testing.entries import ABSENT, make_embedding, make_entry, same

__all__ = ["FillContract"]

_EMBEDDINGS = [pytest.param(None, id="bare"), pytest.param(make_embedding(1), id="embedded")]


class FillContract:
    """What a backend with ``Feed`` promises to one who stores an answer that took its time."""

    @pytest.mark.parametrize("embedding", _EMBEDDINGS)
    @pytest.mark.parametrize("there", [pytest.param(True, id="there"), pytest.param(False, id="absent")])
    async def test_answer_asked_for_before_an_invalidation_is_not_stored_after(
        self, feed: Feed, neighbour: Backend, clock: FakeClock, there: Any, embedding: Any
    ) -> None:
        entry = make_entry(1, created_at=clock.now(), embedding=embedding)
        fresh = replace(entry, version="v2")
        backend: object = feed
        assert isinstance(backend, Backend)
        for invalidator in (backend, neighbour):
            for way in ("delete", "tag", "clear"):
                await backend.delete([entry.key])
                await backend.get(entry.key)  # a look that finds nothing tells the position
                if there:
                    await backend.put(entry)
                since = feed.position(entry.key)
                assert not await feed.voided(entry.key, entry.tags, since)
                if way == "delete":
                    await invalidator.delete([ABSENT, entry.key])
                elif way == "tag" and isinstance(invalidator, Taggable):
                    await invalidator.delete_tagged(["absent", "tag-1"])
                elif isinstance(invalidator, Clearable):
                    await invalidator.clear()
                else:
                    continue
                assert await feed.voided(entry.key, entry.tags, since)
                assert await stored(feed, fresh, since) is None
                assert await backend.get(entry.key) is None
                assert await stored(feed, fresh, None) is not None
                assert await stored(feed, entry, since) is None
                assert same(await backend.get(entry.key), fresh)  # what is there stays there

    async def test_answer_asked_for_after_an_invalidation_is_stored(
        self, backend: Backend, feed: Feed, neighbour: Backend, clock: FakeClock
    ) -> None:
        entry = make_entry(1, created_at=clock.now())
        await backend.put(entry)
        for many, invalidator in product((False, True), (backend, neighbour)):
            await invalidator.delete([entry.key])
            if isinstance(invalidator, Taggable):
                await invalidator.delete_tagged(entry.tags)
            if isinstance(invalidator, Clearable):
                await invalidator.clear()
            found = await backend.get_many([entry.key]) if many else [await backend.get(entry.key)]
            assert found == [None]
            since = feed.position(entry.key)
            assert not await feed.voided(entry.key, entry.tags, since)
            number = await stored(feed, entry, since)
            assert number is not None
            assert await feed.generations([entry.key]) == [number]
            assert await backend.get(entry.key) == entry

    async def test_removed_entry_voids_an_answer_asked_for_before(
        self, backend: Backend, feed: Feed, conditional: Conditional, clock: FakeClock
    ) -> None:
        entry, other = (make_entry(1, created_at=clock.now(), version=version) for version in ("v1", "v2"))
        await backend.get(entry.key)
        await backend.put(entry)
        since = feed.position(entry.key)
        assert not await conditional.remove(other)
        assert not await feed.voided(entry.key, entry.tags, since)
        assert await conditional.remove(entry)
        assert await stored(feed, other, since) is None
        assert await backend.get(entry.key) is None

    async def test_nothing_but_an_invalidation_of_its_own_voids(
        self, backend: Backend, feed: Feed, neighbour: Backend, clock: FakeClock
    ) -> None:
        entry = make_entry(1, created_at=clock.now(), ttl=5.0)
        await backend.get(entry.key)
        await backend.put(entry)
        since = feed.position(entry.key)
        await neighbour.put(replace(entry, version="v2"))
        await neighbour.delete([make_entry(2, created_at=0.0).key, ABSENT])
        if isinstance(neighbour, Taggable):
            await neighbour.delete_tagged(["tag-2", "tag"])
        clock.advance(5)
        assert await backend.get(entry.key) is None
        assert await backend.get_many([entry.key, ABSENT]) == [None, None]
        assert [found async for found in backend.scan()] == []
        assert not await feed.voided(entry.key, entry.tags, since)
        again = replace(entry, created_at=clock.now())
        assert await stored(feed, again, since) is not None
        assert await stored(feed, again, since) is not None
        assert await backend.get(entry.key) == again

    async def test_no_answer_is_ever_stored_after_an_invalidation_it_does_not_know_of(
        self, backend: Backend, feed: Feed, clock: FakeClock
    ) -> None:
        entries = [make_entry(n, created_at=clock.now(), tags=(f"tag-{n}",)) for n in range(4)]
        chance = random.Random(7)  # noqa: S311  (not for secrets)
        ticks = count()
        over: list[tuple[int | None, int]] = []  # invalidations that have returned: of which, and when begun
        outcomes: list[bool] = []

        async def invalidate() -> None:
            for _ in range(6):
                await anyio.sleep(chance.random() / 50)
                number = chance.randrange(len(entries))
                way, began = chance.randrange(8), next(ticks)
                if way == 0 and isinstance(backend, Clearable):
                    await backend.clear()
                    over.append((None, began))
                    continue
                if way < 4 and isinstance(backend, Taggable):
                    await backend.delete_tagged([f"tag-{number}"])
                else:
                    await backend.delete([entries[number].key])
                over.append((number, began))

        async def ask() -> None:
            for _ in range(6):
                number = chance.randrange(len(entries))
                entry = entries[number]
                await backend.get(entry.key)
                since, asked = feed.position(entry.key), next(ticks)
                await anyio.sleep(chance.random() / 50)
                late = any(of in (number, None) and began > asked for of, began in over)
                outcomes.append(await stored(feed, entry, since) is not None)
                assert not (late and outcomes[-1])

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(ask)
                group.start_soon(ask)
                group.start_soon(invalidate)
        assert set(outcomes) == {True, False}

    async def test_cancelled_fill_stores_all_or_nothing(
        self, backend: Backend, feed: Feed, clock: FakeClock
    ) -> None:
        older, entry = (make_entry(1, created_at=clock.now(), version=version) for version in ("v1", "v2"))
        await backend.get(older.key)
        await backend.put(older)
        other = make_entry(2, created_at=clock.now())

        async def check() -> None:
            await backend.put(other)  # a write that goes on without its caller is over then
            found = await backend.get(entry.key)
            assert found in (older, entry)
            assert found is not None
            assert await feed.generations([entry.key]) == [found.generation]
            await backend.put(older)

        await cancel_at_every_step(lambda: _fill(feed, entry), check)


# A coroutine to cancel: a protocol promises awaitables of its own making, not that they are coroutines.
async def _fill(feed: Feed, entry: Entry) -> None:
    await feed.fill(entry, since=feed.position(entry.key))
