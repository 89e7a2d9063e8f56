"""A memory in front of a store: the contract, and what happens between the two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asynccache._clock import SystemClock
from asynccache._errors import BackendError, BackendUnavailable, ConfigurationError
from asynccache._models import Entry, Response
from asynccache._protocols import Backend, Clock, Conditional, Confirming, Feed, Labels, Vectors
from asynccache.backends import MemoryBackend, SqliteBackend, Tiered
from asynccache.testing import BackendContract, FakeClock, cancel_at_every_step, make_entry
from asynccache.testing._mirror import all_changes, all_vectors
from asynccache.testing.entries import SPACE, make_embedding, same

pytestmark = pytest.mark.anyio

A = TypeVar("A")
T = TypeVar("T")


class Slow(MemoryBackend):
    """A backend that suspends before and after doing its work."""

    async def get(self, key: bytes) -> Entry | None:
        return await slowly(super().get, key)

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        return await slowly(super().get_many, keys)

    async def put(self, entry: Entry) -> None:
        return await slowly(super().put, entry)

    async def add(self, entry: Entry) -> bool:
        return await slowly(super().add, entry)

    async def remove(self, entry: Entry) -> bool:
        return await slowly(super().remove, entry)

    async def delete(self, keys: Collection[bytes]) -> int:
        return await slowly(super().delete, keys)


async def slowly(work: Callable[[A], Awaitable[T]], argument: A) -> T:
    await checkpoint()
    result = await work(argument)
    await checkpoint()
    return result


class TestTieredOverMemory(BackendContract):
    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        return Tiered(MemoryBackend(clock=clock), MemoryBackend(clock=clock), front_ttl=3.0)


class TestTieredOverSlow(BackendContract):
    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        return Tiered(MemoryBackend(clock=clock), Slow(clock=clock), front_ttl=3.0)


class TestTieredOverSqlite(BackendContract):
    persistent = True

    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        back = SqliteBackend(tmp_path / "cache.sqlite", clock=clock)
        return Tiered(MemoryBackend(clock=clock), back, front_ttl=3.0)

    @pytest.fixture
    async def neighbour(self, feed: Feed, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Backend]:
        """The backend itself: what another does shows when the feed has told it, not at once."""
        backend: object = feed
        assert isinstance(backend, Backend)
        yield backend  # noqa: PT022  (as the one it replaces)

    async def test_cancelled_fill_stores_all_or_nothing(
        self, backend: Backend, feed: Feed, clock: FakeClock
    ) -> None:
        """The front may hold what a cancelled write replaces a moment later, until that is told."""
        older, entry = (make_entry(1, created_at=clock.now(), version=version) for version in ("v1", "v2"))
        assert isinstance(backend, Confirming)
        await backend.put(older)

        async def fill() -> None:
            await feed.fill(entry, since=None)

        async def check() -> None:
            assert await backend.get(entry.key) in (older, entry)
            assert (await backend.confirmed([entry.key]))[0] in (older, entry)
            await backend.put(older)

        await cancel_at_every_step(fill, check)


class Bare:
    """A backend of the bare protocol."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._inner = MemoryBackend(clock=clock)
        self.get = self._inner.get
        self.get_many = self._inner.get_many
        self.put = self._inner.put
        self.delete = self._inner.delete
        self.scan = self._inner.scan


class WithoutVectors(Bare):
    """A backend that has everything but vectors to read apart."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.delete_tagged = self._inner.delete_tagged
        self.clear = self._inner.clear
        self.measure = self._inner.measure


class TestTieredWithoutVectors(BackendContract):
    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        return Tiered(MemoryBackend(clock=clock), WithoutVectors(clock), front_ttl=3.0)


class Stepped:
    """A backend each of whose calls stops before and after its work until the test lets it go on."""

    def __init__(self, clock: Clock) -> None:
        self.inner = MemoryBackend(clock=clock)
        self.calls: list[Call] = []
        self.fail = False

    async def _step(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        call = Call(name)
        self.calls.append(call)
        await call.may_work.wait()
        if self.fail:
            raise BackendUnavailable("the disk is gone")
        result = await work()
        call.worked.set()
        await call.may_return.wait()
        return result

    async def get(self, key: bytes) -> Entry | None:
        found: Entry | None = await self._step("get", lambda: self.inner.get(key))
        return found

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        found: list[Entry | None] = await self._step("get_many", lambda: self.inner.get_many(keys))
        return found

    async def put(self, entry: Entry) -> None:
        await self._step("put", lambda: self.inner.put(entry))

    async def delete(self, keys: Collection[bytes]) -> int:
        removed: int = await self._step("delete", lambda: self.inner.delete(keys))
        return removed

    async def delete_tagged(self, tags: Collection[str]) -> int:
        removed: int = await self._step("delete_tagged", lambda: self.inner.delete_tagged(tags))
        return removed

    async def clear(self) -> int:
        removed: int = await self._step("clear", self.inner.clear)
        return removed

    def scan(self, partition: bytes | None = None) -> AsyncIterator[Entry]:
        return self.inner.scan(partition)

    async def call(self, name: str) -> Call:
        """The one call of that name that is under way, once it has come."""
        while not any(call.name == name for call in self.calls):
            await checkpoint()
        (call,) = [call for call in self.calls if call.name == name]
        self.calls.remove(call)
        return call


class Call:
    def __init__(self, name: str) -> None:
        self.name = name
        self.may_work = anyio.Event()
        self.worked = anyio.Event()
        self.may_return = anyio.Event()

    async def work(self) -> None:
        self.may_work.set()
        await self.worked.wait()

    def finish(self) -> None:
        self.may_work.set()
        self.may_return.set()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def back(clock: FakeClock) -> Stepped:
    return Stepped(clock)


@pytest.fixture
def front(clock: FakeClock) -> MemoryBackend:
    return MemoryBackend(clock=clock)


@pytest.fixture
def tiered(front: MemoryBackend, back: Stepped) -> Tiered:
    return Tiered(front, back, front_ttl=60.0)


@pytest.fixture
def entry(clock: FakeClock) -> Entry:
    return make_entry(created_at=clock.now(), ttl=600.0, tags=("t",))


async def get(tiered: Tiered, key: bytes) -> Entry | None:
    return await tiered.get(key)


async def get_many(tiered: Tiered, key: bytes) -> Entry | None:
    return (await tiered.get_many([key]))[0]


READS = pytest.mark.parametrize(("read", "name"), [(get, "get"), (get_many, "get_many")])
REMOVALS = pytest.mark.parametrize(
    ("remove", "removal"),
    [
        (lambda tiered, entry: tiered.delete([entry.key]), "delete"),
        (lambda tiered, entry: tiered.delete_tagged(entry.tags), "delete_tagged"),
        (lambda tiered, entry: tiered.clear(), "clear"),
    ],
    ids=["delete", "delete_tagged", "clear"],
)


async def test_hit_in_the_front_does_not_ask_the_back(
    tiered: Tiered, front: MemoryBackend, back: Stepped, entry: Entry
) -> None:
    front.keep(entry)
    assert await tiered.get(entry.key) is entry
    assert await tiered.get_many([entry.key, entry.key]) == [entry, entry]
    assert back.calls == []


def test_it_has_vectors_where_the_back_has_them(tmp_path: Path, clock: FakeClock) -> None:
    sqlite = SqliteBackend(tmp_path / "cache.sqlite")
    for back, folder in ((MemoryBackend(), None), (sqlite, sqlite.index_folder)):
        tiered = Tiered(MemoryBackend(), back)
        assert isinstance(tiered, Vectors)
        assert tiered.index_folder == folder
    for bare in (Bare(), WithoutVectors(clock), Stepped(clock)):
        assert not isinstance(Tiered(MemoryBackend(), bare), Vectors)


def test_it_keeps_labels_where_the_back_does(path: Path, clock: FakeClock) -> None:
    for back in (MemoryBackend(), SqliteBackend(path), Tiered(MemoryBackend(), MemoryBackend())):
        assert isinstance(Tiered(MemoryBackend(), back), Labels)
    for bare in (Bare(), WithoutVectors(clock), Stepped(clock), Tiered(MemoryBackend(), Bare())):
        assert not isinstance(Tiered(MemoryBackend(), bare), Labels)


def test_it_is_conditional_where_the_back_is(path: Path, clock: FakeClock) -> None:
    for back in (MemoryBackend(), SqliteBackend(path), Tiered(MemoryBackend(), MemoryBackend())):
        assert isinstance(Tiered(MemoryBackend(), back), Conditional)
    for bare in (Bare(), WithoutVectors(clock), Stepped(clock), Tiered(MemoryBackend(), Bare())):
        assert not isinstance(Tiered(MemoryBackend(), bare), Conditional)


async def test_vectors_are_the_backs(clock: FakeClock) -> None:
    front, back = MemoryBackend(clock=clock), MemoryBackend(clock=clock)
    tiered = Tiered(front, back)
    assert isinstance(tiered, Vectors)
    cursor = (await tiered.vector_changes(None)).cursor
    entry = make_entry(created_at=clock.now(), embedding=make_embedding())
    await tiered.put(entry)
    assert await tiered.vector_groups() == [(entry.partition, SPACE, 1)]
    assert [row.key for row in await all_vectors(tiered, entry.partition, SPACE)] == [entry.key]
    assert [change.key for change in (await all_changes(tiered, cursor)).changes] == [entry.key]
    assert [each async for each in tiered.scan()] == [entry]


async def test_front_holds_no_embedding(clock: FakeClock) -> None:
    front, back = MemoryBackend(clock=clock), MemoryBackend(clock=clock)
    tiered = Tiered(front, back)
    one, two, three = (make_entry(n, created_at=clock.now(), embedding=make_embedding(n)) for n in range(3))
    await tiered.put(one)
    await back.put(two)
    await back.put(three)
    await tiered.get(two.key)
    await tiered.get_many([three.key])
    for entry in (one, two, three):
        found = front.find(entry.key)
        assert found is not None
        assert found.embedding is None
        assert same(await tiered.get(entry.key), entry)
    assert await front.vector_groups() == []


@READS
async def test_what_the_back_finds_is_kept_in_the_front(
    tiered: Tiered, front: MemoryBackend, back: Stepped, entry: Entry, read: Any, name: str
) -> None:
    await back.inner.put(entry)
    async with anyio.create_task_group() as group:
        group.start_soon(read, tiered, entry.key)
        (await back.call(name)).finish()
    assert front.find(entry.key) is entry
    assert tiered._claims == {}


async def test_get_many_asks_the_back_once_and_only_for_what_the_front_lacks(clock: FakeClock) -> None:
    asked: list[list[bytes]] = []

    class Spy(MemoryBackend):
        async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
            asked.append(list(keys))
            return await super().get_many(keys)

    front, back = MemoryBackend(clock=clock), Spy(clock=clock)
    one, two, three = (make_entry(n, created_at=clock.now()) for n in range(3))
    front.keep(one)
    await back.put(two)
    tiered = Tiered(front, back)
    keys = [two.key, one.key, three.key, two.key]
    assert await tiered.get_many(keys) == [two, one, None, two]
    assert asked == [[two.key, three.key]]


async def test_front_looks_at_the_back_again_after_front_ttl(clock: FakeClock) -> None:
    back = MemoryBackend(clock=clock)
    tiered = Tiered(MemoryBackend(clock=clock), back, front_ttl=60.0)
    put, read = (make_entry(n, created_at=clock.now(), ttl=None) for n in range(2))
    await tiered.put(put)
    await back.put(read)
    assert await tiered.get(read.key) == read
    await back.clear()  # as another process would
    clock.advance(59.75)
    assert await tiered.get_many([put.key, read.key]) == [put, read]
    clock.advance(0.25)
    assert await tiered.get_many([put.key, read.key]) == [None, None]


async def test_front_serves_no_entry_beyond_its_own_ttl(clock: FakeClock) -> None:
    front = MemoryBackend(clock=clock)
    tiered = Tiered(front, MemoryBackend(clock=clock), front_ttl=60.0)
    entry = make_entry(created_at=clock.now(), ttl=5.0)
    await tiered.put(entry)
    clock.advance(5)
    assert front.find(entry.key) is None


async def test_write_reaches_the_back_before_the_front(
    tiered: Tiered, front: MemoryBackend, back: Stepped, entry: Entry
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(tiered.put, entry)
        call = await back.call("put")
        await call.work()
        assert front.find(entry.key) is None
        call.finish()
    assert front.find(entry.key) is entry
    assert tiered._claims == {}


async def test_entry_the_back_refused_is_in_the_front_and_the_error_is_raised(
    tiered: Tiered, front: MemoryBackend, back: Stepped, entry: Entry
) -> None:
    back.fail = True
    async with anyio.create_task_group() as group:

        async def put() -> None:
            with pytest.raises(BackendUnavailable):
                await tiered.put(entry)

        group.start_soon(put)
        (await back.call("put")).finish()
    assert front.find(entry.key) is entry
    assert await back.inner.get(entry.key) is None
    assert tiered._claims == {}


@REMOVALS
async def test_removal_reaches_the_front_when_the_back_fails(
    tiered: Tiered, front: MemoryBackend, back: Stepped, entry: Entry, remove: Any, removal: str
) -> None:
    front.keep(entry)
    back.fail = True
    async with anyio.create_task_group() as group:

        async def fail() -> None:
            with pytest.raises(BackendUnavailable):
                await remove(tiered, entry)

        group.start_soon(fail)
        (await back.call(removal)).finish()
    assert front.find(entry.key) is None


@REMOVALS
async def test_removal_counts_an_entry_only_the_front_has(
    tiered: Tiered, front: MemoryBackend, back: Stepped, entry: Entry, remove: Any, removal: str
) -> None:
    front.keep(entry)
    counts: list[int] = []
    async with anyio.create_task_group() as group:

        async def count() -> None:
            counts.append(await remove(tiered, entry))

        group.start_soon(count)
        (await back.call(removal)).finish()
    assert counts == [1]


@READS
@REMOVALS
async def test_read_under_way_does_not_resurrect_a_removed_entry(
    tiered: Tiered,
    front: MemoryBackend,
    back: Stepped,
    entry: Entry,
    read: Any,
    name: str,
    remove: Any,
    removal: str,
) -> None:
    await back.inner.put(entry)
    async with anyio.create_task_group() as group:
        group.start_soon(read, tiered, entry.key)
        reading = await back.call(name)
        await reading.work()  # has found the entry
        group.start_soon(remove, tiered, entry)
        removing = await back.call(removal)
        removing.finish()
        await removing.worked.wait()
        for _ in range(3):
            await checkpoint()  # the removal returns
        reading.finish()
    assert front.find(entry.key) is None
    assert tiered._claims == {}


@READS
@REMOVALS
async def test_read_begun_during_a_removal_does_not_outlast_it(
    tiered: Tiered,
    front: MemoryBackend,
    back: Stepped,
    entry: Entry,
    read: Any,
    name: str,
    remove: Any,
    removal: str,
) -> None:
    await back.inner.put(entry)
    async with anyio.create_task_group() as group:
        group.start_soon(remove, tiered, entry)
        removing = await back.call(removal)  # begun; the back still has the entry
        group.start_soon(read, tiered, entry.key)
        (await back.call(name)).finish()
        while front.find(entry.key) is None:
            await checkpoint()  # the read has copied it
        removing.finish()
    assert front.find(entry.key) is None


@READS
async def test_read_under_way_does_not_undo_a_write(
    tiered: Tiered, front: MemoryBackend, back: Stepped, entry: Entry, clock: FakeClock, read: Any, name: str
) -> None:
    new = make_entry(created_at=clock.now(), response=Response(b"new"))
    await back.inner.put(entry)
    async with anyio.create_task_group() as group:
        group.start_soon(read, tiered, entry.key)
        reading = await back.call(name)
        await reading.work()  # has found the old entry
        group.start_soon(tiered.put, new)
        writing = await back.call("put")
        writing.finish()
        await writing.worked.wait()
        for _ in range(3):
            await checkpoint()
        reading.finish()
    assert front.find(entry.key) is new


@READS
async def test_read_begun_during_a_write_does_not_undo_it(
    tiered: Tiered, front: MemoryBackend, back: Stepped, entry: Entry, clock: FakeClock, read: Any, name: str
) -> None:
    new = make_entry(created_at=clock.now(), response=Response(b"new"))
    await back.inner.put(entry)
    async with anyio.create_task_group() as group:
        group.start_soon(tiered.put, new)
        writing = await back.call("put")
        group.start_soon(read, tiered, entry.key)
        reading = await back.call(name)
        await reading.work()  # has found the old entry
        writing.finish()
        await writing.worked.wait()
        for _ in range(3):
            await checkpoint()
        reading.finish()
    assert front.find(entry.key) is new


@READS
async def test_read_that_ends_during_a_write_does_not_undo_it(
    tiered: Tiered, front: MemoryBackend, back: Stepped, entry: Entry, clock: FakeClock, read: Any, name: str
) -> None:
    new = make_entry(created_at=clock.now(), response=Response(b"new"))
    await back.inner.put(entry)
    async with anyio.create_task_group() as group:
        done = anyio.Event()

        async def read_old() -> None:
            await read(tiered, entry.key)
            done.set()

        group.start_soon(read_old)
        reading = await back.call(name)
        await reading.work()  # has found the old entry
        group.start_soon(tiered.put, new)
        writing = await back.call("put")
        reading.finish()
        await done.wait()
        writing.finish()
    assert front.find(entry.key) is new


@REMOVALS
async def test_write_under_way_does_not_resurrect_a_removed_entry(
    tiered: Tiered, front: MemoryBackend, back: Stepped, entry: Entry, remove: Any, removal: str
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(tiered.put, entry)
        writing = await back.call("put")
        await writing.work()  # is in the back
        group.start_soon(remove, tiered, entry)
        removing = await back.call(removal)
        removing.finish()
        await removing.worked.wait()
        for _ in range(3):
            await checkpoint()
        writing.finish()
    assert front.find(entry.key) is None
    assert await back.inner.get(entry.key) is None


async def test_cancelled_calls_leave_no_claim(clock: FakeClock) -> None:
    front, back = MemoryBackend(clock=clock), Slow(clock=clock)
    tiered = Tiered(front, back)
    entry = make_entry(created_at=clock.now())

    async def check() -> None:
        assert tiered._claims == {}
        front.drop([entry.key])
        await back.put(entry)
        assert await tiered.get(entry.key) == entry
        assert front.find(entry.key) == entry
        front.drop([entry.key])

    await back.put(entry)
    for make in (
        lambda: tiered.get(entry.key),
        lambda: tiered.get_many([entry.key]),
        lambda: tiered.put(entry),
        lambda: tiered.delete([entry.key]),
        lambda: tiered.remove(entry),
    ):
        assert await cancel_at_every_step(make, check) == 2


@REMOVALS
async def test_cancelled_removal_reaches_the_front(
    tiered: Tiered, front: MemoryBackend, back: Stepped, entry: Entry, remove: Any, removal: str
) -> None:
    front.keep(entry)
    async with anyio.create_task_group() as group:
        group.start_soon(remove, tiered, entry)
        await back.call(removal)
        group.cancel_scope.cancel()
    assert front.find(entry.key) is None


async def test_lifespan_opens_and_closes_both(clock: FakeClock) -> None:
    log: list[str] = []

    class Logged(MemoryBackend):
        @asynccontextmanager
        async def lifespan(self) -> AsyncIterator[None]:
            log.append("opened")
            yield
            log.append("closed")

    async with Tiered(Logged(clock=clock), Logged(clock=clock)).lifespan():
        assert log == ["opened", "opened"]
    assert log == ["opened", "opened", "closed", "closed"]


async def test_flush_passes_through_when_the_back_has_it(clock: FakeClock) -> None:
    flushed: list[bool] = []

    class Behind(MemoryBackend):
        async def flush(self) -> None:
            flushed.append(True)

    await Tiered(MemoryBackend(clock=clock), Behind(clock=clock)).flush()
    await Tiered(MemoryBackend(clock=clock), MemoryBackend(clock=clock)).flush()
    assert flushed == [True]


async def test_measure_tells_the_front_from_the_back(clock: FakeClock) -> None:
    front, back = MemoryBackend(clock=clock), MemoryBackend(clock=clock)
    tiered = Tiered(front, back)
    for number in range(3):
        await back.put(make_entry(number, created_at=clock.now()))
    await tiered.get(make_entry(0, created_at=0).key)
    measured: Mapping[str, int] = await tiered.measure()
    assert (measured["entries"], measured["front_entries"]) == (3, 1)


@pytest.mark.parametrize("front_ttl", [0.0, -1.0, float("nan")])
def test_front_ttl_not_above_zero_is_a_configuration_error(front_ttl: float) -> None:
    with pytest.raises(ConfigurationError, match="front_ttl"):
        Tiered(MemoryBackend(), MemoryBackend(), front_ttl=front_ttl)


async def test_what_the_back_cannot_do_is_a_backend_error_and_still_reaches_the_front() -> None:
    front = MemoryBackend()
    tiered = Tiered(front, Bare())
    entry = make_entry(created_at=SystemClock.now(), tags=("t",))
    await tiered.put(entry)
    with pytest.raises(BackendError, match="Bare behind the memory cannot delete by tag"):
        await tiered.delete_tagged(["t"])
    assert front.find(entry.key) is None
    await tiered.put(entry)
    with pytest.raises(BackendError, match="Bare behind the memory cannot be cleared"):
        await tiered.clear()
    assert front.find(entry.key) is None
    with pytest.raises(BackendError, match="Bare behind the memory cannot be measured"):
        await tiered.measure()
    async with tiered.lifespan():  # the back has none
        assert await tiered.get(entry.key) == entry
