"""The part of the backend contract that not every backend signs."""

# ruff: noqa: PLR2004, S101  (a test suite, published)

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asynccache._models import Alias, Cost, Response
from asynccache._protocols import Backend, Clearable, Conditional, Managed, Measurable, Taggable, Vectors
from asynccache.testing._mirror import Mirror
from asynccache.testing.clock import FakeClock
from asynccache.testing.entries import ABSENT, SPACE, make_embedding, make_entry, same

__all__ = ["CapabilityContract"]


class CapabilityContract:
    """What a backend promises by being Conditional, Taggable, Clearable, Measurable or Managed."""

    @pytest.fixture
    def conditional(self, backend: Backend) -> Conditional:
        """The backend under test, once more."""
        if not isinstance(backend, Conditional):
            pytest.skip("the backend cannot look and change in one step")
        return backend

    async def test_add_stores_where_nothing_is(
        self, backend: Backend, conditional: Conditional, clock: FakeClock
    ) -> None:
        for entry in (
            make_entry(1, created_at=clock.now()),
            make_entry(2, created_at=clock.now() + 1, embedding=make_embedding(2)),
            make_entry(
                3, created_at=clock.now() + 2, response=Response(b""), alias=Alias(ABSENT, 0.5, SPACE)
            ),
        ):
            assert await conditional.add(entry) is True
            assert same(await backend.get(entry.key), entry)
            assert [found async for found in backend.scan()][-1] == entry
        if isinstance(backend, Taggable):
            assert await backend.delete_tagged(["tag-1"]) == 1

    async def test_add_leaves_a_live_entry_as_it_is(
        self, backend: Backend, conditional: Conditional, clock: FakeClock
    ) -> None:
        answer = make_entry(1, created_at=clock.now(), ttl=5.0, tags=("answer",))
        other = make_entry(1, created_at=clock.now() + 1, response=Response(b""), ttl=50.0, tags=("other",))
        await backend.put(answer)
        for _ in range(2):
            assert await conditional.add(other) is False
            assert await conditional.add(answer) is False
            assert await backend.get(answer.key) == answer
            assert [entry async for entry in backend.scan()] == [answer]
        if isinstance(backend, Taggable):
            assert await backend.delete_tagged(["other"]) == 0
        clock.advance(4.75)
        assert await conditional.add(other) is False
        assert await backend.get(answer.key) == answer
        clock.advance(0.25)
        assert await backend.get(answer.key) is None

    async def test_expired_entry_gives_way_to_an_added_one(
        self, backend: Backend, conditional: Conditional, clock: FakeClock
    ) -> None:
        old = make_entry(1, created_at=clock.now(), ttl=5.0, tags=("old",), embedding=make_embedding(1))
        new = make_entry(1, created_at=clock.now(), response=Response(b"new"), ttl=50.0, tags=("new",))
        await backend.put(old)
        clock.advance(5)
        assert await conditional.add(new) is True
        assert await backend.get(new.key) == new
        assert [entry async for entry in backend.scan()] == [new]
        if isinstance(backend, Taggable):
            assert await backend.delete_tagged(["old"]) == 0
            assert await backend.delete_tagged(["new"]) == 1

    async def test_remove_takes_away_the_very_entry_its_embedding_aside(
        self, backend: Backend, conditional: Conditional, clock: FakeClock
    ) -> None:
        bystander = make_entry(1, created_at=clock.now())
        bare = make_entry(2, created_at=clock.now())
        embedded = replace(bare, embedding=make_embedding(2))
        moved = replace(bare, embedding=make_embedding(3))
        await backend.put(bystander)
        for stored in (bare, embedded):
            for doomed in (bare, embedded, moved):
                await backend.put(stored)
                assert await conditional.remove(doomed) is True
                assert await backend.get(stored.key) is None
                assert await conditional.remove(doomed) is False
                assert await backend.get(bystander.key) == bystander
        assert await conditional.remove(make_entry(3, created_at=clock.now())) is False
        assert [entry async for entry in backend.scan()] == [bystander]
        if isinstance(backend, Taggable):
            assert await backend.delete_tagged(["tag-2"]) == 0

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"response": Response(b'{"answer": 2}')}, id="body"),
            pytest.param({"response": Response(b'{"answer": 1}', (b"frame",))}, id="frames"),
            pytest.param({"response": Response(b""), "alias": Alias(ABSENT, 0.5, SPACE)}, id="alias"),
            pytest.param({"created_at": 1_700_000_000.0 + 2**-20}, id="created_at"),
            pytest.param({"ttl": None}, id="ttl"),
            pytest.param({"partition": ABSENT}, id="partition"),
            pytest.param({"dialect": "messages"}, id="dialect"),
            pytest.param({"question": None}, id="question"),
            pytest.param({"tags": ("all",)}, id="tags"),
            pytest.param({"version": "v2"}, id="version"),
            pytest.param({"cost": Cost(10, 1, 0.5)}, id="cost"),
        ],
    )
    async def test_remove_leaves_another_entry_as_it_is(
        self, backend: Backend, conditional: Conditional, clock: FakeClock, fields: dict[str, Any]
    ) -> None:
        read = make_entry(1, created_at=clock.now(), response=Response(b'{"answer": 1}'))
        fresh = replace(read, **fields)
        for stored, doomed in ((fresh, read), (read, fresh)):
            await backend.put(stored)
            assert await conditional.remove(doomed) is False
            assert await backend.get(stored.key) == stored

    async def test_removed_entry_can_be_added_again(
        self, backend: Backend, conditional: Conditional, clock: FakeClock
    ) -> None:
        entry = make_entry(1, created_at=clock.now())
        for _ in range(3):
            assert await conditional.add(entry) is True
            assert await backend.get(entry.key) == entry
            assert await conditional.remove(entry) is True
            assert await backend.get(entry.key) is None

    async def test_vector_comes_with_what_was_added_and_goes_with_what_was_removed(
        self, backend: Backend, conditional: Conditional, clock: FakeClock
    ) -> None:
        if not isinstance(backend, Vectors):
            pytest.skip("the backend's vectors cannot be read apart")
        mirror, entry = Mirror(), make_entry(1, created_at=clock.now(), embedding=make_embedding(1))
        await mirror.read(backend)
        assert await conditional.add(entry)
        assert not await conditional.add(replace(entry, embedding=make_embedding(2)))
        await mirror.follow(backend)
        assert mirror.live(clock.now()) == Mirror.of([entry])
        assert not await conditional.remove(replace(entry, version="v2"))
        await mirror.follow(backend)
        assert mirror.live(clock.now()) == Mirror.of([entry])
        assert await conditional.remove(replace(entry, embedding=None))
        await mirror.follow(backend)
        assert mirror.live(clock.now()) == {}

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
