"""The part of the backend contract that not every backend signs."""

# ruff: noqa: PLR2004, S101  (a test suite, published)

from __future__ import annotations

import pytest

from asynccache._protocols import Backend, Clearable, Managed, Measurable, Taggable
from asynccache.testing.clock import FakeClock
from asynccache.testing.entries import make_entry

__all__ = ["CapabilityContract"]


class CapabilityContract:
    """What a backend promises by being Taggable, Clearable, Measurable or Managed."""

    async def test_delete_tagged_removes_whatever_has_any_of_the_tags(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        if not isinstance(backend, Taggable):
            pytest.skip("the backend does not know tags")
        entries = [
            make_entry(n, created_at=clock.now(), tags=tags)
            for n, tags in enumerate([("a",), ("a", "b"), ("b",), ("c",), (), ("ab",)])
        ]
        for entry in entries:
            await backend.put(entry)
        assert await backend.delete_tagged([]) == 0
        assert await backend.delete_tagged(["absent"]) == 0
        assert await backend.delete_tagged(["a", "b"]) == 3
        assert await backend.delete_tagged(["a", "b"]) == 0
        assert await backend.get_many([e.key for e in entries]) == [None, None, None, *entries[3:]]

    async def test_replaced_entry_loses_its_tags(self, backend: Backend, clock: FakeClock) -> None:
        if not isinstance(backend, Taggable):
            pytest.skip("the backend does not know tags")
        new = make_entry(1, created_at=clock.now(), tags=("new",))
        await backend.put(make_entry(1, created_at=clock.now(), tags=("old",)))
        await backend.put(new)
        assert await backend.delete_tagged(["old"]) == 0
        assert await backend.get(new.key) == new
        await backend.delete([new.key])
        await backend.put(make_entry(1, created_at=clock.now(), tags=()))
        assert await backend.delete_tagged(["new"]) == 0
        assert await backend.get(new.key) is not None

    async def test_clear_removes_everything(self, backend: Backend, clock: FakeClock) -> None:
        if not isinstance(backend, Clearable):
            pytest.skip("the backend cannot be cleared")
        entries = [make_entry(n, created_at=clock.now()) for n in range(5)]
        for entry in entries:
            await backend.put(entry)
        assert await backend.clear() == 5
        assert await backend.get_many([entry.key for entry in entries]) == [None] * 5
        assert [entry async for entry in backend.scan()] == []
        assert await backend.clear() == 0
        await backend.put(entries[0])
        assert await backend.get(entries[0].key) == entries[0]

    async def test_measure_follows_the_contents(self, backend: Backend, clock: FakeClock) -> None:
        if not isinstance(backend, Measurable):
            pytest.skip("the backend cannot be measured")
        empty = await backend.measure()
        assert empty["entries"] == 0
        entries = [make_entry(n, created_at=clock.now()) for n in range(10)]
        for entry in entries:
            await backend.put(entry)
        full = await backend.measure()
        assert full["entries"] == 10
        assert full["bytes"] >= empty["bytes"] + 10 * len(entries[0].response.body)
        await backend.put(entries[0])
        assert (await backend.measure())["entries"] == 10
        await backend.delete([entry.key for entry in entries])
        assert (await backend.measure())["entries"] == 0

    async def test_lifespan_may_be_entered_twice(self, backend: Backend, clock: FakeClock) -> None:
        if not isinstance(backend, Managed):
            pytest.skip("the backend has no lifespan")
        entry = make_entry(created_at=clock.now())
        async with backend.lifespan():
            await backend.put(entry)
        assert await backend.get(entry.key) == entry
