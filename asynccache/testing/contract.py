"""What every backend must do, as tests to inherit."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest

from asynccache._models import Alias, Cost, Response
from asynccache._protocols import Backend, Clock, Taggable
from asynccache.testing._contract_capabilities import CapabilityContract
from asynccache.testing._contract_changes import ChangeContract
from asynccache.testing._contract_concurrency import ConcurrencyContract
from asynccache.testing._contract_feed import FeedContract
from asynccache.testing._contract_fills import FillContract
from asynccache.testing._contract_labels import LabelContract
from asynccache.testing._contract_vectors import VectorContract
from asynccache.testing._opened import opened
from asynccache.testing.clock import FakeClock
from asynccache.testing.entries import ABSENT, SPACE, make_embedding, make_entry, same
from asynccache.testing.model import run_against_model

__all__ = ["BackendContract"]

_LOOPS = [pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio")]
if find_spec("uvloop") is not None:
    _LOOPS.append(pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"))


class BackendContract(
    CapabilityContract,
    ConcurrencyContract,
    VectorContract,
    ChangeContract,
    LabelContract,
    FeedContract,
    FillContract,
):
    """Inherit, say how your backend is made, and pytest runs the contract against it.

    For example::

        class TestShelf(BackendContract):
            persistent = True

            def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
                return Shelf(tmp_path / "shelf", clock=clock)

    Each test gets a backend of its own, opened, on asyncio and (where installed) on uvloop. What a
    backend can do beside the ``Backend`` protocol is tested when it is an instance of ``Conditional``,
    ``Taggable``, ``Clearable``, ``Measurable``, ``Vectors``, ``Labels``, ``Feed`` or ``Managed``.
    Its budget must hold 300 small entries.

    Needs pytest, hypothesis and anyio's pytest plugin (it comes with anyio).
    """

    pytestmark: ClassVar[Any] = pytest.mark.anyio

    persistent: ClassVar[bool] = False
    """Whether a second backend made with the same ``tmp_path`` finds what the first one stored."""

    examples: ClassVar[int] = 40
    """Random histories to try against the model."""

    shrink: ClassVar[bool] = False
    """Whether a history that fails is cut down to the shortest; it may take longer than a test's timeout."""

    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        """A new backend, not yet opened.

        Args:
            tmp_path: an empty folder of the test's own; the same one again for a reopening.
            clock: what the backend must judge expiry by.
        """
        raise NotImplementedError("a subclass of BackendContract says how its backend is made")

    @pytest.fixture(params=_LOOPS)
    def anyio_backend(self, request: pytest.FixtureRequest) -> Any:
        """The event loops the contract runs on."""
        return request.param

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The clock of the backend under test."""
        return FakeClock()

    @pytest.fixture
    async def backend(self, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Backend]:
        """The backend under test, opened."""
        backend = self.make_backend(tmp_path, clock)
        async with opened(backend):
            yield backend

    def test_it_is_a_backend(self, tmp_path: Path, clock: FakeClock) -> None:
        assert isinstance(self.make_backend(tmp_path, clock), Backend)

    async def test_absent_entry_is_none(self, backend: Backend) -> None:
        assert await backend.get(ABSENT) is None

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({}, id="every field"),
            pytest.param({"response": Response(b"{}")}, id="no frames"),
            pytest.param({"response": Response(b"", (b"", b"\0\xff", b"data: [DONE]\n\n"))}, id="odd bytes"),
            pytest.param({"response": Response(b"x" * 300_000, (b"y" * 70_000,) * 3)}, id="half a megabyte"),
            pytest.param(
                {"response": Response(b"{}", tuple(b"%d" % n for n in range(1000)))}, id="1000 frames"
            ),
            pytest.param({"ttl": None}, id="no ttl"),
            pytest.param({"tags": ()}, id="no tags"),
            pytest.param({"tags": ("a", "ä b", "a/b", "%", "'", "*")}, id="odd tags"),
            pytest.param({"question": None, "version": None}, id="none"),
            pytest.param({"question": "", "version": ""}, id="empty"),
            pytest.param({"question": "\0 ' \U0001f600 \n"}, id="odd question"),
            pytest.param({"cost": Cost(2**40, 2**40, 0.1 + 0.2)}, id="large cost"),
            pytest.param({"dialect": "messages"}, id="another dialect"),
            pytest.param({"response": Response(b""), "alias": Alias(ABSENT, 0.1 + 0.2, SPACE)}, id="alias"),
        ],
    )
    async def test_entry_comes_back_whole(
        self, backend: Backend, clock: FakeClock, fields: dict[str, Any]
    ) -> None:
        entry = make_entry(created_at=clock.now() - 0.125, **fields)
        await backend.put(entry)
        assert await backend.get(entry.key) == entry
        assert await backend.get(ABSENT) is None

    async def test_embedding_comes_back_with_a_scan(self, backend: Backend, clock: FakeClock) -> None:
        entries = [
            make_entry(n, created_at=clock.now() + n, embedding=make_embedding(n) if n % 2 else None)
            for n in range(4)
        ]
        for entry in entries:
            await backend.put(entry)
        assert [entry async for entry in backend.scan()] == entries
        for found, entry in zip(
            await backend.get_many([entry.key for entry in entries]), entries, strict=True
        ):
            assert same(found, entry)
            assert same(await backend.get(entry.key), entry)

    async def test_later_entry_replaces_the_earlier(self, backend: Backend, clock: FakeClock) -> None:
        old = make_entry(1, created_at=clock.now(), ttl=5.0, tags=("old",))
        new = make_entry(1, created_at=clock.now(), response=Response(b"new"), ttl=None, tags=("new",))
        await backend.put(old)
        await backend.put(new)
        clock.advance(6)
        assert await backend.get(old.key) == new
        assert [entry async for entry in backend.scan()] == [new]

    async def test_shorter_lived_entry_replaces_a_longer_lived(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        await backend.put(make_entry(1, created_at=clock.now(), ttl=None))
        await backend.put(make_entry(1, created_at=clock.now(), ttl=5.0))
        clock.advance(5)
        assert await backend.get(make_entry(1, created_at=0).key) is None

    async def test_entry_expires_at_its_instant(self, backend: Backend, clock: FakeClock) -> None:
        entry = make_entry(created_at=clock.now(), ttl=10.0)
        await backend.put(entry)
        clock.advance(9.75)
        assert await backend.get(entry.key) == entry
        clock.advance(0.25)
        assert await backend.get(entry.key) is None
        assert await backend.get_many([entry.key]) == [None]

    async def test_ttl_counts_from_creation_not_from_storing(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        entry = make_entry(created_at=clock.now() - 8, ttl=10.0)
        await backend.put(entry)
        clock.advance(1.75)
        assert await backend.get(entry.key) == entry
        clock.advance(0.25)
        assert await backend.get(entry.key) is None

    async def test_entry_expired_when_stored_is_never_returned(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        entry = make_entry(created_at=clock.now() - 60, ttl=60.0)
        await backend.put(entry)
        assert await backend.get(entry.key) is None
        assert [found async for found in backend.scan()] == []

    async def test_entry_without_ttl_outlives_ten_years(self, backend: Backend, clock: FakeClock) -> None:
        entry = make_entry(created_at=clock.now(), ttl=None)
        await backend.put(entry)
        clock.advance(10 * 365 * 86400)
        assert await backend.get(entry.key) == entry

    async def test_get_many_keeps_order_and_length(self, backend: Backend, clock: FakeClock) -> None:
        one, two = (make_entry(n, created_at=clock.now()) for n in (1, 2))
        await backend.put(one)
        await backend.put(two)
        assert await backend.get_many([]) == []
        keys = [two.key, ABSENT, one.key, two.key, ABSENT]
        assert await backend.get_many(keys) == [two, None, one, two, None]

    async def test_get_many_takes_many_keys(self, backend: Backend, clock: FakeClock) -> None:
        entry = make_entry(1, created_at=clock.now())
        await backend.put(entry)
        keys = [hashlib.sha256(b"%d" % n).digest() for n in range(2000)]
        assert await backend.get_many([*keys, entry.key]) == [*([None] * 2000), entry]

    async def test_delete_counts_what_was_there(self, backend: Backend, clock: FakeClock) -> None:
        entries = [make_entry(n, created_at=clock.now()) for n in range(4)]
        for entry in entries:
            await backend.put(entry)
        keys = [entry.key for entry in entries]
        assert await backend.delete([]) == 0
        assert await backend.delete([ABSENT]) == 0
        assert await backend.delete([keys[0], keys[1], ABSENT]) == 2
        assert await backend.delete(keys[:2]) == 0
        assert await backend.get_many(keys) == [None, None, *entries[2:]]

    async def test_deleted_entry_can_be_stored_again(self, backend: Backend, clock: FakeClock) -> None:
        entry = make_entry(created_at=clock.now())
        await backend.put(entry)
        await backend.delete([entry.key])
        await backend.put(entry)
        assert await backend.get(entry.key) == entry

    async def test_scan_gives_all_or_one_partition_oldest_first(
        self, backend: Backend, clock: FakeClock
    ) -> None:
        mine, other = hashlib.sha256(b"mine").digest(), hashlib.sha256(b"other").digest()
        ages = (3, 0, 4, 1, 5, 2)
        entries = [
            make_entry(n, created_at=clock.now() - age, partition=mine if n % 2 else other)
            for n, age in enumerate(ages)
        ]
        for entry in entries:
            await backend.put(entry)
        await backend.get(entries[4].key)  # reading must not make an entry younger
        by_age = sorted(entries, key=lambda entry: entry.created_at)
        assert [entry async for entry in backend.scan()] == by_age
        assert [e async for e in backend.scan(mine)] == [e for e in by_age if e.partition == mine]
        assert [entry async for entry in backend.scan(ABSENT)] == []

    async def test_scan_gives_no_expired_entry(self, backend: Backend, clock: FakeClock) -> None:
        short = make_entry(1, created_at=clock.now(), ttl=5.0)
        long = make_entry(2, created_at=clock.now(), ttl=50.0)
        await backend.put(short)
        await backend.put(long)
        clock.advance(5)
        assert [entry async for entry in backend.scan()] == [long]

    async def test_scan_bears_changes_meanwhile(self, backend: Backend, clock: FakeClock) -> None:
        entries = [make_entry(n, created_at=clock.now() + n) for n in range(300)]
        for entry in entries:
            await backend.put(entry)
        seen = []
        async for entry in backend.scan():
            assert entry in entries
            seen.append(entry.key)
            await backend.delete([entry.key])
            if len(seen) == 250:
                break
        assert len(set(seen)) == 250
        assert len([entry async for entry in backend.scan()]) == 50

    async def test_entries_outlive_the_lifespan(self, tmp_path: Path, clock: FakeClock) -> None:
        if not self.persistent:
            pytest.skip("the backend is not persistent")
        kept, deleted, short = (make_entry(n, created_at=clock.now(), ttl=50.0 * n) for n in (3, 2, 1))
        first = self.make_backend(tmp_path, clock)
        async with opened(first):
            for entry in (kept, deleted, short):
                await first.put(entry)
            await first.delete([deleted.key])
        clock.advance(50)
        second = self.make_backend(tmp_path, clock)
        async with opened(second):
            assert await second.get_many([kept.key, deleted.key, short.key]) == [kept, None, None]
            assert [entry async for entry in second.scan()] == [kept]
            if isinstance(second, Taggable):
                assert await second.delete_tagged(kept.tags[1:]) == 1

    def test_any_history_gives_what_a_dictionary_would(self, tmp_path: Path) -> None:
        run_against_model(
            self.make_backend,
            tmp_path,
            persistent=self.persistent,
            examples=self.examples,
            shrink=self.shrink,
        )
