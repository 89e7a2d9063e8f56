"""The semantic index over a backend: what the store holds is found, and nothing else, whoever wrote it."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asynccache._errors import BackendError, BackendUnavailable, ConfigurationError, StageError
from asynccache._models import Embedding, Entry, VectorChange, VectorChanges, VectorPage, VectorRow
from asynccache._protocols import Backend
from asynccache.backends import MemoryBackend, SqliteBackend, Tiered
from asynccache.index import BackendIndex, PartitionIndex
from asynccache.index._engines import Partitions
from asynccache.index._room import Room
from asynccache.testing import FakeClock, cancel_at_every_step, make_entry

pytestmark = pytest.mark.anyio

DIM = 16
SPACE = b"s" * 16
OTHER_SPACE = b"t" * 16
PARTITION = hashlib.sha256(b"partition").digest()
OTHER_PARTITION = hashlib.sha256(b"other partition").digest()


def rows(count: int, dim: int = DIM) -> NDArray[np.float32]:
    made = np.random.default_rng(11).standard_normal((count, dim)).astype(np.float32)
    normed: NDArray[np.float32] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return normed


VECTORS = [row.tobytes() for row in rows(3000)]


def embedding(number: int, space: bytes = SPACE) -> Embedding:
    return Embedding(space, VECTORS[number])


def entry(number: int, *, clock: FakeClock | None = None, space: bytes = SPACE, **fields: Any) -> Entry:
    now = 1_700_000_000.0 if clock is None else clock.now()
    return make_entry(
        number, **{"created_at": now, "ttl": None, "embedding": embedding(number, space), **fields}
    )


def key(number: int) -> bytes:
    return entry(number).key


async def found(index: BackendIndex, number: int, k: int = 1, partition: bytes = PARTITION) -> list[bytes]:
    return [each.key for each in await index.nearest(partition, embedding(number), k)]


async def everything(index: BackendIndex, partition: bytes = PARTITION, space: bytes = SPACE) -> set[bytes]:
    return {each.key for each in await index.nearest(partition, embedding(0, space), 100_000)}


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    for _ in range(1000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class ScanOnly:
    """A third party's backend: no more than a Backend must be."""

    def __init__(self, clock: FakeClock) -> None:
        self._inside = MemoryBackend(clock=clock)
        self.get, self.get_many = self._inside.get, self._inside.get_many
        self.put, self.delete, self.scan = self._inside.put, self._inside.delete, self._inside.scan


@pytest.fixture(params=["memory", "sqlite", "tiered", "scan only"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Backend:
    makers: dict[str, Callable[[], Backend]] = {
        "memory": lambda: MemoryBackend(clock=clock),
        "sqlite": lambda: SqliteBackend(tmp_path / "cache.sqlite", clock=clock),
        "tiered": lambda: Tiered(
            MemoryBackend(clock=clock), SqliteBackend(tmp_path / "cache.sqlite", clock=clock)
        ),
        "scan only": lambda: ScanOnly(clock),
    }
    return makers[request.param]()


@asynccontextmanager
async def opened(backend: Backend, **options: Any) -> AsyncIterator[BackendIndex]:
    """An index that looks for changes only when told to, unless told otherwise."""
    index = BackendIndex(backend, **{"exact_up_to": 50, "poll": 1000.0, **options})
    async with index.lifespan():
        yield index


# What is found


async def test_what_was_stored_before_is_found(backend: Backend, clock: FakeClock) -> None:
    async with opened(backend, clock=clock) as index:
        for number in range(120):
            await backend.put(entry(number))
        for number in range(0, 120, 7):
            near = await index.nearest(PARTITION, embedding(number), 3)
            assert near[0].key == key(number)
            assert near[0].similarity == pytest.approx(1.0, abs=1e-5)
            assert [each.similarity for each in near] == sorted((e.similarity for e in near), reverse=True)
        assert await everything(index) == {key(number) for number in range(120)}


async def test_learnt_entry_is_found_by_the_next_search(backend: Backend, clock: FakeClock) -> None:
    async with opened(backend, clock=clock) as index:
        assert await found(index, 1) == []
        for number in range(1, 80):
            await backend.put(entry(number))
            index.learn(entry(number))
            assert await found(index, number) == [key(number)]


async def test_forgotten_entry_is_not_found(backend: Backend, clock: FakeClock) -> None:
    async with opened(backend, clock=clock) as index:
        await backend.put(entry(1))
        await backend.put(entry(1, space=OTHER_SPACE, key=b"k" * 32))
        assert await found(index, 1) == [key(1)]
        assert await everything(index, space=OTHER_SPACE) == {b"k" * 32}
        await backend.delete([key(1), b"k" * 32])
        index.forget(OTHER_PARTITION, [key(1)])
        index.forget(PARTITION, [key(1), b"k" * 32])
        assert await found(index, 1) == []
        assert await everything(index, space=OTHER_SPACE) == set()


async def test_partitions_and_spaces_never_meet(backend: Backend, clock: FakeClock) -> None:
    async with opened(backend, clock=clock) as index:
        places = [(p, s) for p in (PARTITION, OTHER_PARTITION) for s in (SPACE, OTHER_SPACE)]
        keys = {place: hashlib.sha256(b"".join(place)).digest() for place in places}
        for partition, space in places:
            # The very same question and vector in each.
            stored = entry(1, space=space, partition=partition, key=keys[partition, space])
            await backend.put(stored)
            index.learn(stored)
        for place in places:
            assert await everything(index, *place) == {keys[place]}
        for partition, space in places:
            again = entry(2, space=space, partition=partition, key=keys[partition, space])
            await backend.put(again)
            index.learn(again)
        for place in places:
            assert await everything(index, *place) == {keys[place]}


async def test_expired_entry_is_not_found_and_leaves_in_time(backend: Backend, clock: FakeClock) -> None:
    async with opened(backend, clock=clock, poll=0.01) as index:
        await backend.put(entry(1, ttl=10.0))
        await backend.put(entry(2, ttl=1000.0))
        assert await everything(index) == {key(1), key(2)}
        for number in range(100, 2600):
            index.learn(entry(number, ttl=1.0))
        clock.advance(1)
        learnt = entry(3, ttl=10.0)
        index.learn(learnt)
        index.learn(entry(4, ttl=5.0, created_at=clock.now() - 5))
        clock.advance(8.9)
        assert await everything(index) == {key(1), key(2), key(3)}
        clock.advance(0.2)
        assert await everything(index) == {key(2)}

        async def swept() -> bool:
            return (await index.measure())["vectors"] == 1

        clock.advance(61)
        await until(swept)


async def test_entry_without_embedding_is_none_of_its_business(backend: Backend, clock: FakeClock) -> None:
    async with opened(backend, clock=clock) as index:
        await backend.put(entry(1, embedding=None))
        assert await everything(index) == set()
        index.learn(entry(2, embedding=None))
        assert await everything(index) == set()


async def test_vectors_that_are_none_are_left_out(clock: FakeClock) -> None:
    backend = MemoryBackend(clock=clock)
    async with opened(backend, clock=clock) as index:
        bad = [b"", b"\0" * 4 * DIM, b"\xff" * 4 * DIM, VECTORS[0][:-4]]
        for number, vector in enumerate(bad):
            await backend.put(entry(number, embedding=Embedding(SPACE, vector)))
        await backend.put(entry(9))
        assert await everything(index) == {key(9)}
        index.learn(entry(10, embedding=Embedding(SPACE, b"\xff" * 4 * DIM)))
        assert await everything(index) == {key(9)}
        assert (await index.measure())["refused"] == 5


@pytest.mark.parametrize("vector", [b"", b"abc", b"\xff" * 4 * DIM, b"\0" * 4 * (DIM + 1)])
async def test_search_for_no_vector_is_an_error_of_its_caller(clock: FakeClock, vector: bytes) -> None:
    async with opened(MemoryBackend(clock=clock), clock=clock) as index:
        index_of_another = await found(index, 1)
        assert index_of_another == []
        with pytest.raises(StageError):
            await index.nearest(PARTITION, Embedding(SPACE, vector), 1)
        index.learn(entry(1))
        assert await found(index, 1) == [key(1)]


# Who else writes


async def test_changes_of_others_are_followed(backend: Backend, clock: FakeClock) -> None:
    if isinstance(backend, ScanOnly):
        pytest.skip("tells no changes")
    async with opened(backend, clock=clock) as index:
        for number in range(100):
            await backend.put(entry(number))
        assert len(await everything(index)) == 100
        await backend.delete([key(number) for number in range(50)])
        await backend.put(entry(7))  # back again
        await backend.put(entry(60, embedding=embedding(200)))  # another vector under a key
        await backend.put(entry(61, partition=OTHER_PARTITION))  # moved
        await backend.put(entry(62, space=OTHER_SPACE))
        await backend.put(entry(63, embedding=None))
        await backend.put(entry(150))
        await index.flush()
        expected = {key(n) for n in (7, *range(50, 100), 150)} - {key(61), key(62), key(63)}
        assert await everything(index) == expected
        assert await found(index, 200) == [key(60)]
        assert await everything(index, OTHER_PARTITION) == {key(61)}
        assert await everything(index, space=OTHER_SPACE) == {key(62)}


async def test_changes_are_followed_within_the_poll_and_at_once_after_a_nudge(clock: FakeClock) -> None:
    backend = MemoryBackend(clock=clock)

    async def has(index: BackendIndex, number: int) -> bool:
        return await found(index, number) == [key(number)]

    async with opened(backend, clock=clock, poll=0.05) as index:
        await found(index, 1)
        await backend.put(entry(1))
        await until(lambda: has(index, 1))
    async with opened(backend, clock=clock) as index:
        await found(index, 1)
        await backend.put(entry(2))
        await asyncio.sleep(0.02)
        assert not await has(index, 2)
        index.nudge()
        await until(lambda: has(index, 2))


async def test_gap_makes_it_read_everything_again(clock: FakeClock) -> None:
    backend = MemoryBackend(clock=clock)
    async with opened(backend, clock=clock) as index:
        await backend.put(entry(1))
        assert await everything(index) == {key(1)}
        backend_now: Any = backend
        changes = backend_now.vector_changes

        async def gap(after: int | None) -> VectorChanges:
            told: VectorChanges = await changes(after)
            return told if after is None else told._replace(changes=[], gap=True)

        backend_now.vector_changes = gap
        await backend.delete([key(1)])
        await backend.put(entry(2))
        await index.flush()
        backend_now.vector_changes = changes
        assert (await index.measure())["gaps"] == 1
        assert await everything(index) == {key(2)}


async def test_backend_that_forgets_faster_than_it_is_read_is_an_error(clock: FakeClock) -> None:
    backend: Any = MemoryBackend(clock=clock)

    async def gap(after: int | None) -> VectorChanges:
        return VectorChanges([], 1, more=False, gap=after is not None)

    backend.vector_changes = gap
    async with opened(backend, clock=clock) as index:
        with pytest.raises(BackendUnavailable, match="forgets"):
            await found(index, 1)


async def test_nothing_is_lost_whatever_happens_while_a_partition_is_read(clock: FakeClock) -> None:
    """Every moment of the load is used by a writer that tells the index, and by one that does not."""

    class Busy(MemoryBackend):
        moment = 0
        index: BackendIndex | None = None

        async def between(self) -> None:
            n = 100 + 4 * self.moment
            self.moment += 1
            await self.put(entry(n))
            await self.put(entry(n + 1))
            if self.index is not None:
                self.index.learn(entry(n + 1))
            await self.delete([key(self.moment)])
            await asyncio.sleep(0)
            await self.put(entry(n + 2))
            await self.delete([key(n + 2)])
            await self.put(entry(n + 2))
            if self.index is not None:
                self.index.learn(entry(n + 2))

        async def vectors(self, partition: bytes, space: bytes, *, after: int = 0) -> VectorPage:
            await self.between()
            page = await super().vectors(partition, space, after=after)
            await self.between()
            return page

        async def vector_changes(self, after: int | None) -> VectorChanges:
            busy = self.moment < 40
            if busy:
                await self.between()
            told = await super().vector_changes(after)
            if busy:
                await self.between()
            return told

    backend = Busy(clock=clock)
    async with opened(backend, clock=clock) as index:
        backend.index = index
        for number in range(100):
            await backend.put(entry(number))
        await found(index, 1)
        told = {entry(100 + 4 * moment + more).key for moment in range(backend.moment) for more in (1, 2)}
        assert told <= await everything(index)  # at once
        backend.moment = 40  # quiet now
        await index.flush()
        assert await everything(index) == {each.key async for each in backend.scan()}


class Slow(MemoryBackend):
    """Holds back what it has read."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.readings: list[asyncio.Event] = []  # set to let one go on
        self.slow = False

    async def vector_changes(self, after: int | None) -> VectorChanges:
        told = await super().vector_changes(after)
        if self.slow:
            self.readings.append(asyncio.Event())
            await self.readings[-1].wait()
        return told

    async def reading(self, number: int) -> asyncio.Event:
        while len(self.readings) < number:  # noqa: ASYNC110  (a few turns of the loop)
            await asyncio.sleep(0)
        return self.readings[number - 1]


async def test_old_news_does_not_undo_what_was_learnt_since(clock: FakeClock) -> None:
    backend = Slow(clock)
    async with opened(backend, clock=clock) as index:
        await backend.put(entry(1))
        await found(index, 1)
        await backend.delete([key(1)])
        backend.slow = True
        flush = asyncio.create_task(index.flush())
        first = await backend.reading(1)  # it has read that the entry is gone
        await backend.put(entry(1))
        index.learn(entry(1))
        first.set()
        second = await backend.reading(2)  # it does not believe it
        assert await found(index, 1) == [key(1)]
        second.set()
        await flush
        assert await found(index, 1) == [key(1)]


async def test_what_was_learnt_and_removed_by_another_at_once_is_not_kept(clock: FakeClock) -> None:
    backend = Slow(clock)
    async with opened(backend, clock=clock) as index:
        await found(index, 1)
        backend.slow = True
        await backend.put(entry(1))
        await backend.delete([key(1)])
        flush = asyncio.create_task(index.flush())
        first = await backend.reading(1)
        index.learn(entry(1))  # whose writer is told late that it was stored
        first.set()
        (await backend.reading(2)).set()
        await flush
        assert await found(index, 1) == []


async def test_contradiction_without_end_does_not_keep_it_from_going_on(clock: FakeClock) -> None:
    class Stubborn(MemoryBackend):
        index: BackendIndex | None = None

        async def vector_changes(self, after: int | None) -> VectorChanges:
            told = await super().vector_changes(after)
            if self.index is not None:
                self.index.learn(entry(1))
            return told

    backend = Stubborn(clock=clock)
    async with opened(backend, clock=clock) as index:
        await found(index, 1)
        backend.index = index
        await backend.put(entry(1))
        await backend.delete([key(1)])
        await backend.put(entry(2))
        await index.flush()
        assert await found(index, 2) == [key(2)]


OTHER_PROCESS = """
import asyncio, sys
from asynccache._models import Embedding
from asynccache.backends import SqliteBackend
from asynccache.index import BackendIndex
from asynccache.testing import make_entry
import numpy as np

SPACE = b"s" * 16
made = np.random.default_rng(11).standard_normal((3000, 16)).astype(np.float32)
rows = made / np.linalg.norm(made, axis=1, keepdims=True)

def entry(number):
    return make_entry(number, created_at=1_700_000_000.0, ttl=None,
                      embedding=Embedding(SPACE, rows[number].tobytes()))

async def main():
    backend = SqliteBackend(sys.argv[1])
    index = BackendIndex(backend, exact_up_to=50, poll=0.05)
    loop = asyncio.get_running_loop()
    async with index.lifespan():
        print("ready", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            what, number = line.split()
            made = entry(int(number))
            if what == "put":
                await backend.put(made)
                index.learn(made)
            elif what == "delete":
                await backend.delete([made.key])
                index.forget(made.partition, [made.key])
            near = await index.nearest(made.partition, made.embedding, 1)
            print(int(bool(near) and near[0].key == made.key), flush=True)

asyncio.run(main())
"""


async def test_two_processes_see_each_other_within_the_poll(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    backend = SqliteBackend(path)
    with subprocess.Popen(  # noqa: ASYNC220  (started before anything runs on the loop)
        [sys.executable, "-c", OTHER_PROCESS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def ask(what: str, number: int) -> bool:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{what} {number}\n")
            process.stdin.flush()
            return process.stdout.readline() == "1\n"

        async def here(number: int) -> bool:
            return await found(index, number) == [key(number)]

        async def there(number: int) -> bool:
            return await asyncio.to_thread(ask, "look", number)

        async with opened(backend, poll=0.05) as index:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
            for number in range(80):
                await backend.put(entry(number))
            assert await there(3)
            assert await here(3)
            assert await asyncio.to_thread(ask, "put", 100)
            await until(lambda: here(100))
            await backend.put(entry(101))
            index.learn(entry(101))
            await until(lambda: there(101))
            assert not await asyncio.to_thread(ask, "delete", 3)

            async def gone_here() -> bool:
                return not await here(3)

            await until(gone_here)
            await backend.delete([key(4)])

            async def gone_there() -> bool:
                return not await there(4)

            await until(gone_there)
            process.stdin.close()  # type: ignore[union-attr]  # asserted above
            await asyncio.to_thread(process.wait)
    assert process.returncode == 0


async def test_what_was_learnt_while_a_silent_store_was_read_counts(clock: FakeClock) -> None:
    """A store that tells no changes is read once: nothing would put an old state right."""

    class Replaced(ScanOnly):
        index: BackendIndex | None = None

        async def scan_slowly(self, partition: bytes | None = None) -> AsyncIterator[Entry]:
            async for each in MemoryBackend.scan(self._inside, partition):
                if self.index is not None:
                    newer = entry(1, embedding=embedding(2))
                    await self.put(newer)
                    self.index.learn(newer)
                yield each

    backend = Replaced(clock)
    backend.scan = backend.scan_slowly
    async with opened(backend, clock=clock) as index:
        await backend.put(entry(1))
        backend.index = index
        near = await index.nearest(PARTITION, embedding(2), 1)
        assert near[0].similarity == pytest.approx(1.0, abs=1e-5)


# Errors and cancellation


class Faulty(MemoryBackend):
    error: Exception | None = None
    hang: asyncio.Event | None = None

    async def vectors(self, partition: bytes, space: bytes, *, after: int = 0) -> VectorPage:
        if self.hang is not None and partition == PARTITION:
            await self.hang.wait()
        if self.error is not None:
            raise self.error
        return await super().vectors(partition, space, after=after)

    async def vector_changes(self, after: int | None) -> VectorChanges:
        if self.error is not None and after is not None:
            raise self.error
        return await super().vector_changes(after)


@pytest.mark.parametrize("error", [BackendUnavailable("locked"), RuntimeError("not in the contract")])
async def test_error_of_the_backend_reaches_those_who_wait_and_passes(
    clock: FakeClock, error: Exception
) -> None:
    backend = Faulty(clock=clock)
    async with opened(backend, clock=clock) as index:
        await backend.put(entry(1))
        backend.error = error
        failures = await asyncio.gather(*(found(index, 1) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(each, BackendError) for each in failures)
        backend.error = None
        assert await found(index, 1) == [key(1)]


async def test_failure_to_follow_is_tried_again(clock: FakeClock) -> None:
    backend = Faulty(clock=clock)
    async with opened(backend, clock=clock, poll=0.01) as index:
        await found(index, 1)
        backend.error = RuntimeError("not in the contract")
        await backend.put(entry(1))

        async def failed() -> bool:
            return (await index.measure())["follow_failures"] >= 2

        await until(failed)
        backend.error = None

        async def there() -> bool:
            return await found(index, 1) == [key(1)]

        await until(there)


async def test_callers_share_one_load_and_other_partitions_are_served_meanwhile(clock: FakeClock) -> None:
    backend = Faulty(clock=clock)
    async with opened(backend, clock=clock) as index:
        await backend.put(entry(1))
        await backend.put(entry(2, partition=OTHER_PARTITION))
        backend.hang = asyncio.Event()
        waiting = [asyncio.create_task(found(index, 1)) for _ in range(5)]
        await asyncio.sleep(0.01)
        assert await found(index, 2, partition=OTHER_PARTITION) == [key(2)]
        waiting[0].cancel()
        waiting[3].cancel()
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting if not task.cancelled())
        backend.hang.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [each for each in results if not isinstance(each, asyncio.CancelledError)] == [[key(1)]] * 3
        assert (await index.measure())["loads"] == 2


async def test_search_does_not_wait_longer_than_its_patience_for_a_load(clock: FakeClock) -> None:
    backend = Faulty(clock=clock)
    async with opened(backend, clock=clock, patience=0.05) as index:
        await backend.put(entry(1))
        backend.hang = asyncio.Event()
        assert await found(index, 1) == []  # what was read so far
        backend.hang.set()

        async def there() -> bool:
            return await found(index, 1) == [key(1)]

        await until(there)


async def test_backend_that_hangs_is_given_up(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asynccache.index._reading.PATIENCE", 0.05)
    backend = Faulty(clock=clock)
    backend.hang = asyncio.Event()
    async with opened(backend, clock=clock, patience=1000.0) as index:
        with pytest.raises(BackendUnavailable, match="did not answer"):
            await found(index, 1)


async def test_flush_does_not_wait_longer_than_its_patience(clock: FakeClock) -> None:
    class Stuck(MemoryBackend):
        stuck = False

        async def vector_changes(self, after: int | None) -> VectorChanges:
            if self.stuck:
                await asyncio.sleep(100)
            return await super().vector_changes(after)

    backend = Stuck(clock=clock)
    async with opened(backend, clock=clock, patience=0.05) as index:
        await found(index, 1)
        backend.stuck = True
        with pytest.raises(BackendUnavailable, match="catch up"):
            await index.flush()


async def test_cancellation_anywhere_harms_nobody(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "cache.sqlite")
    for number in range(60):
        async with backend.lifespan():
            await backend.put(entry(number))

    async def use() -> None:
        async with opened(backend) as index:
            await index.nearest(PARTITION, embedding(1), 1)
            await index.flush()
            await index.save()
            await index.nearest(PARTITION, embedding(2), 1)

    async def check() -> None:
        async with opened(backend) as index:
            assert await found(index, 5) == [key(5)]
            assert await everything(index) == {key(number) for number in range(60)}

    assert await cancel_at_every_step(use, check) > 5


async def test_cancelled_search_of_a_partition_being_read_leaves_the_load_alone(clock: FakeClock) -> None:
    backend = MemoryBackend(clock=clock)
    for number in range(30):
        await backend.put(entry(number))
    async with opened(backend, clock=clock) as index:
        places = iter(range(10_000))

        async def ask() -> None:
            space = next(places).to_bytes(16, "big")
            await index.nearest(PARTITION, Embedding(space, VECTORS[0]), 1)

        async def check() -> None:
            assert await found(index, 3) == [key(3)]

        assert await cancel_at_every_step(ask, check) >= 2


async def test_closed_index_refuses_to_search_and_ignores_what_it_is_told(clock: FakeClock) -> None:
    backend = MemoryBackend(clock=clock)
    index = BackendIndex(backend, clock=clock)
    index.learn(entry(1))
    index.forget(PARTITION, [key(1)])
    index.nudge()
    for call in (lambda: found(index, 1), index.flush, index.save):
        with pytest.raises(BackendUnavailable, match="not open"):
            await call()
    assert (await index.measure())["partitions"] == 0
    async with index.lifespan(), index.lifespan():
        await backend.put(entry(1))
        assert await found(index, 1) == [key(1)]
    async with index.lifespan():  # again
        assert await found(index, 1) == [key(1)]


async def test_closing_ends_those_who_wait_for_a_load(clock: FakeClock) -> None:
    backend = Faulty(clock=clock)
    backend.hang = asyncio.Event()
    async with opened(backend, clock=clock) as index:
        waiting = asyncio.create_task(found(index, 1))
        await asyncio.sleep(0.01)
    with pytest.raises(BackendUnavailable):
        await waiting


@pytest.mark.parametrize(
    "options",
    [{"exact_up_to": 0}, {"max_bytes": 0}, {"poll": 0.0}, {"patience": -1.0}, {"snapshot_every": 0}],
)
def test_option_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        BackendIndex(MemoryBackend(), **options)


# Engines that fail


class Engines:
    """Our engines, one of which will fail."""

    def __init__(self, exact_up_to: int = 50) -> None:
        self.made: list[PartitionIndex] = []
        self._exact_up_to = exact_up_to

    def new(self, dim: int) -> Any:
        self.made.append(PartitionIndex(dim, exact_up_to=self._exact_up_to))
        return self.made[-1]

    def load(self, prefix: Path, state: dict[str, Any], dim: int) -> Any:
        raise AssertionError("there are no snapshots here")


async def test_engine_that_fails_is_left_alone_for_a_while_and_read_again(clock: FakeClock) -> None:
    backend, engines, told = MemoryBackend(clock=clock), Engines(), []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    async with opened(backend, clock=clock, engines=engines) as index:
        await backend.put(entry(1))
        assert await found(index, 1) == [key(1)]

        def fails(*arguments: Any) -> Any:
            raise RuntimeError("broken")

        engines.made[0].nearest = fails  # type: ignore[method-assign, assignment]
        with pytest.raises(StageError):
            await found(index, 1)
        with pytest.raises(BackendUnavailable, match="has failed"):
            await found(index, 1)
        clock.advance(11)
        assert await found(index, 1) == [key(1)]
        assert (await index.measure())["broken"] == 1
    assert [type(each["exception"]) for each in told] == [RuntimeError]


async def test_death_of_the_thread_has_everything_read_again(clock: FakeClock) -> None:
    backend, engines = MemoryBackend(clock=clock), Engines()
    async with opened(backend, clock=clock, engines=engines) as index:
        await backend.put(entry(1))
        assert await found(index, 1) == [key(1)]

        def dies(*arguments: Any) -> Any:
            raise SystemExit

        engines.made[0].nearest = dies  # type: ignore[method-assign, assignment]
        with pytest.raises(StageError, match="died"):
            await found(index, 1)
        assert await found(index, 1) == [key(1)]
        assert len(engines.made) == 2


# Bounds


async def test_memory_stays_within_its_bound_and_the_least_recently_asked_leaves(clock: FakeClock) -> None:
    backend = MemoryBackend(clock=clock)
    partitions = [hashlib.sha256(b"%d" % n).digest() for n in range(30)]
    for number, partition in enumerate(partitions):
        for more in range(40):
            await backend.put(entry(40 * number + more, partition=partition))
    async with opened(backend, clock=clock) as index:
        await index.nearest(partitions[0], embedding(0), 1)
        one = (await index.measure())["bytes"]
    bound = 5 * one + one // 2
    async with opened(backend, clock=clock, max_bytes=bound) as index:
        for number, partition in enumerate(partitions):
            assert await found(index, 40 * number, partition=partition) == [key(40 * number)]
            assert await found(index, 0, partition=partitions[0]) == [key(0)]  # always in use
            await index.flush()
            counts = await index.measure()
            assert counts["bytes"] <= bound
            assert counts["partitions"] <= 5
        assert (await index.measure())["partitions"] == 5
        loads = (await index.measure())["loads"]
        assert await found(index, 0, partition=partitions[0]) == [key(0)]
        assert (await index.measure())["loads"] == loads == len(partitions)


async def test_partition_larger_than_the_bound_is_held_in_part(clock: FakeClock) -> None:
    backend = MemoryBackend(clock=clock)
    for number in range(2000):
        await backend.put(entry(number))
    async with opened(backend, clock=clock, max_bytes=60_000, exact_up_to=5000) as index:
        assert await found(index, 0) == [key(0)]
        index.learn(entry(2500))
        await index.flush()
        counts = await index.measure()
        assert 0 < counts["vectors"] < 2000
        assert counts["bytes"] < 2 * 60_000
        assert counts["left_out"] > 0


@pytest.mark.parametrize("stored", [2000, 100])
async def test_partition_held_in_part_is_never_saved(tmp_path: Path, clock: FakeClock, stored: int) -> None:
    """Neither when its load was given up, nor when what was learnt later was left out."""
    backend = SqliteBackend(tmp_path / "cache.sqlite", clock=clock)
    async with backend.lifespan():
        for number in range(stored):
            await backend.put(entry(number))
        async with opened(backend, clock=clock, max_bytes=60_000, exact_up_to=20) as index:
            await found(index, 0)
            for number in range(stored, 2000):
                await backend.put(entry(number))
                index.learn(entry(number))
            await index.flush()
            assert 0 < (await index.measure())["vectors"] < 2000
            assert await index.save() == 0
        counts = await index.measure()
        assert (counts["snapshots_saved"], counts["snapshot_failures"]) == (0, 0)  # nor is it tried
        async with opened(backend, clock=clock) as index:
            assert await everything(index) == {key(number) for number in range(2000)}
            assert await index.save() == 1


async def test_partition_filled_to_the_brim_by_a_whole_page_is_not_saved(
    tmp_path: Path, clock: FakeClock
) -> None:
    """No row was handed over and left out: the rest was not even read."""
    first_page: list[int] = []

    class Slow(SqliteBackend):
        async def vectors(self, partition: bytes, space: bytes, *, after: int = 0) -> VectorPage:
            await asyncio.sleep(0.1 if first_page else 0.0)  # until the last page has been taken up
            page = await super().vectors(partition, space, after=after)
            first_page.append(len(page.rows))
            return page

    class Brimful(PartitionIndex):
        @property
        def lasting_bytes(self) -> int:
            return 2**40 if len(self) in first_page[:1] else 0

    class Made(Partitions):
        def new(self, dim: int) -> PartitionIndex:
            return Brimful(dim, exact_up_to=20)

    backend = Slow(tmp_path / "cache.sqlite", clock=clock)
    async with backend.lifespan():
        for number in range(2500):
            await backend.put(entry(number))
        async with opened(backend, clock=clock, exact_up_to=20, engines=Made(20)) as index:
            await found(index, 0)
            counts = await index.measure()
            assert (counts["vectors"], counts["left_out"]) == (first_page[0], 0)
            assert first_page[0] < 2500
            assert await index.save() == 0


async def test_vectors_are_taken_up_though_a_second_graph_is_being_made() -> None:
    engine = PartitionIndex(DIM, exact_up_to=50)
    engine.add([key(number) for number in range(2000)], rows(2000))
    while engine.step(1.0):
        pass
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    room = Room((PARTITION, SPACE), DIM, ready, limit=engine.bytes + 50_000)
    room.engine = engine
    engine.remove([key(0)])
    engine.erase()
    engine.step(0.1)
    room.note()
    assert room.nbytes > room.limit
    room.change([VectorRow(key(2500), VECTORS[2500], float("inf"))], [])
    assert (room.left_out, room.partial) == (0, False)
    while engine.step(1.0):
        pass
    room.note()
    assert room.nbytes == room.lasting < room.limit


async def test_graph_that_is_given_up_and_its_tail_do_not_count_twice() -> None:
    engine = PartitionIndex(DIM, exact_up_to=2000)
    engine.add([key(number) for number in range(2500)], rows(2500))
    while engine.step(1.0):
        pass
    engine.remove([key(number) for number in range(1600)])
    before = engine.bytes
    engine.step(0.0)
    while engine.step(0.0):
        assert engine.lasting_bytes <= before
    assert engine.graph_size == 0
    assert engine.lasting_bytes == engine.bytes


@pytest.mark.parametrize("max_bytes", [60_000, 10_000_000])
async def test_reading_that_ends_early_is_closed_at_once(clock: FakeClock, max_bytes: int) -> None:
    backend = ScanOnly(clock)
    for number in range(2500):
        await backend.put(entry(number))
    left: list[str] = []  # closed by whoever collects what nobody holds any more, at some later time
    hooks = sys.get_asyncgen_hooks()

    def finalizer(generator: Any) -> None:
        left.append(generator.__name__)
        assert hooks.finalizer is not None
        hooks.finalizer(generator)

    sys.set_asyncgen_hooks(finalizer=finalizer)
    try:
        async with opened(backend, clock=clock, max_bytes=max_bytes, exact_up_to=5000) as index:
            assert await found(index, 0) == [key(0)]
    finally:
        sys.set_asyncgen_hooks(*hooks)
    assert left == []


async def test_large_partition_is_saved_before_it_leaves(tmp_path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(tmp_path / "cache.sqlite", clock=clock)
    async with backend.lifespan():
        for number in range(200):
            await backend.put(entry(number))
            await backend.put(entry(1000 + number, partition=OTHER_PARTITION))
        async with opened(backend, clock=clock, max_bytes=30_000, exact_up_to=20) as index:
            await found(index, 0)
            await found(index, 1000, partition=OTHER_PARTITION)

            async def saved() -> bool:
                return (await index.measure())["snapshots_saved"] == 1

            await until(saved)
            assert (await index.measure())["partitions"] == 1
            assert await found(index, 3) == [key(3)]
            assert (await index.measure())["snapshots_loaded"] == 1


async def test_flood_of_news_gives_a_partition_up_rather_than_grow(clock: FakeClock) -> None:
    backend = MemoryBackend(clock=clock)
    async with opened(backend, clock=clock) as index:
        assert await found(index, 1) == []
        for _ in range(12):
            for number in range(2000):
                if not _:
                    await backend.put(entry(number))
                index.learn(entry(number))
        assert (await index.measure())["overflows"] == 1
        for number in range(0, 2000, 97):
            assert await found(index, number) == [key(number)]


@pytest.mark.timeout(180)
def test_two_tenants_with_the_same_questions_never_cross() -> None:
    """A million look-ups, in bulk below the event loop; those through it stand above."""
    partitions = (PARTITION, OTHER_PARTITION)
    owner: dict[bytes, bytes] = {}

    async def read(exact_up_to: int) -> list[PartitionIndex]:
        backend, engines = MemoryBackend(), Engines(exact_up_to)
        async with opened(backend, engines=engines) as index:
            for number in range(20):
                for partition in partitions:
                    own = hashlib.sha256(partition + b"%d" % number).digest()
                    owner[own] = partition
                    await backend.put(entry(number, partition=partition, key=own))
            for partition in partitions:
                await found(index, 1, partition=partition)

            async def settled() -> bool:
                return all(engine.settled for engine in engines.made)

            await until(settled)
        return engines.made

    queries = np.frombuffer(b"".join(VECTORS[:20] * 10), dtype=np.float32).reshape(200, DIM)
    lookups = crossings = 0
    for exact_up_to, rounds in ((50, 2250), (5, 250)):
        made = asyncio.run(read(exact_up_to))
        assert (made[0].graph_size > 0) == (exact_up_to == 5)
        for engine, partition in zip(made, partitions, strict=True):
            for _ in range(rounds):
                for near in engine.nearest(queries, 1, 0.0):
                    lookups += 1
                    crossings += owner[near[0].key] != partition
    assert (lookups, crossings) == (1_000_000, 0)


async def test_foreign_change_is_kept_out_of_a_room(clock: FakeClock) -> None:
    """Changes come for all partitions at once: each is told its own."""
    backend: Any = MemoryBackend(clock=clock)
    async with opened(backend, clock=clock) as index:
        await found(index, 1)
        await found(index, 1, partition=OTHER_PARTITION)
        changes = backend.vector_changes

        async def told(after: int | None) -> VectorChanges:
            real: VectorChanges = await changes(after)
            row = (await backend.vectors(OTHER_PARTITION, SPACE)).rows
            return real._replace(
                changes=[VectorChange(OTHER_PARTITION, SPACE, each.key, each) for each in row]
            )

        await backend.put(entry(5, partition=OTHER_PARTITION))
        backend.vector_changes = told
        await index.flush()
        assert await everything(index) == set()
        assert await everything(index, OTHER_PARTITION) == {key(5)}


async def test_loop_is_not_held_up_by_a_load(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "cache.sqlite")
    async with backend.lifespan():
        await asyncio.gather(*(backend.put(entry(number)) for number in range(3000)))
        worst, last, over = 0.0, time.perf_counter(), False

        async def watch() -> None:
            nonlocal worst, last
            while not over:
                await asyncio.sleep(0.001)
                now = time.perf_counter()
                worst, last = max(worst, now - last), now

        async with opened(backend, exact_up_to=5000) as index:
            watcher = asyncio.create_task(watch())
            await found(index, 1)
            over = True
            await watcher
        assert worst < 0.25  # generous: the machine may be busy; reading at once would take longer
