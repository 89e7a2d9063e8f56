"""The index thread: what is asked together goes over together, in order, and every wait ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asynccache._errors import BackendUnavailable, StageError
from asynccache._models import Neighbour, VectorRow
from asynccache.index._handback import Settled
from asynccache.index._room import Room
from asynccache.index._thread import ROWS, IndexThread
from asynccache.index._worker import MERGED, Call, Change, Search, Work, Worker
from asynccache.testing import FakeClock, cancel_at_every_step

pytestmark = pytest.mark.anyio

DIM = 4


class ToyEngine:
    """Compares everything, and remembers what it was asked."""

    def __init__(self) -> None:
        self.rows: dict[bytes, tuple[NDArray[np.float32], float]] = {}
        self.asked: list[int] = []  # vectors in each search
        self.steps = 0
        self.work_left = 0
        self.step_seconds = 0.0
        self.search_seconds = 0.0
        self.broken: BaseException | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def graph_size(self) -> int:
        return 0

    @property
    def lasting_bytes(self) -> int:
        return self.bytes

    @property
    def settled(self) -> bool:
        return self.work_left == 0

    def add(
        self, keys: Sequence[bytes], vectors: NDArray[np.float32], expires_at: Sequence[float] | None = None
    ) -> None:
        if self.broken is not None:
            raise self.broken
        until = expires_at or [float("inf")] * len(keys)
        self.rows.update(zip(keys, zip(vectors, until, strict=True), strict=True))

    def remove(self, keys: Collection[bytes]) -> int:
        return sum(self.rows.pop(key, None) is not None for key in keys)

    def vectors_of(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        return np.stack([self.rows[key][0] for key in keys])

    def nearest(
        self, queries: NDArray[np.float32], k: int, now: float | None = None
    ) -> list[list[Neighbour]]:
        if self.broken is not None:
            raise self.broken
        if not np.isfinite(queries).all():
            raise ValueError("not finite")
        self.asked.append(len(queries))
        time.sleep(self.search_seconds)
        return [
            sorted(
                (Neighbour(key, float(query @ vector)) for key, (vector, _) in self.rows.items()),
                key=lambda each: -each.similarity,
            )[:k]
            for query in queries
        ]

    def sweep(self, now: float, *, limit: int) -> int:
        return self.remove([key for key, (_, until) in self.rows.items() if until <= now][:limit])

    def step(self, budget: float) -> bool:
        self.steps += 1
        self.work_left -= 1
        time.sleep(self.step_seconds)  # stands for work
        return self.work_left > 0

    def save_parts(self, prefix: Path) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def bytes(self) -> int:
        return 100 * len(self.rows)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def vector(number: int) -> bytes:
    row = np.zeros(DIM, dtype=np.float32)
    row[number % DIM] = 1.0
    return row.tobytes()


def row(number: int) -> VectorRow:
    return VectorRow(key(number), vector(number), float("inf"))


class Bench:
    """A thread with a room, and what it tells."""

    def __init__(self) -> None:
        self.changed: list[Room] = []
        self.broken: list[Exception] = []
        self.deaths = 0
        self.thread = IndexThread(
            clock=FakeClock(),
            on_change=self.changed.append,
            on_broken=lambda room, error: self.broken.append(error),
            on_death=self._died,
        )
        self.engine = ToyEngine()
        self.room = self.new_room(self.engine)

    def _died(self) -> None:
        self.deaths += 1

    @staticmethod
    def new_room(engine: ToyEngine) -> Room:
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return Room((b"p", b"s"), DIM, ready, limit=2**30, engine=engine)

    async def stuck(self) -> Callable[[], None]:
        """Occupy the thread until the function returned is called."""
        go, begun = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait() -> None:
            loop.call_soon_threadsafe(begun.set)
            go.wait(20)

        self.thread.background(wait)
        await begun.wait()
        return go.set


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.thread.close(10)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


async def test_searches_of_one_turn_are_one_search_and_the_same_vector_is_searched_once(bench: Bench) -> None:
    for number in range(4):
        bench.thread.change(bench.room, [row(number)], ())
    futures = [bench.thread.search(bench.room, vector(n % 3), 1 + n % 2) for n in range(12)]
    found = await asyncio.gather(*futures)
    assert bench.engine.asked == [3]
    for n, near in enumerate(found):
        assert len(near) == 1 + n % 2
        assert near[0] == Neighbour(key(n % 3), 1.0)


async def test_calls_take_effect_in_the_order_in_which_they_were_made(bench: Bench) -> None:
    search, change = bench.thread.search, bench.thread.change
    before = search(bench.room, vector(1), 1)
    change(bench.room, [row(1)], ())
    between = search(bench.room, vector(1), 1)
    change(bench.room, (), [key(1)])
    change(bench.room, [row(2)], ())
    after = search(bench.room, vector(1), 2)
    assert await before == []
    assert await between == [Neighbour(key(1), 1.0)]
    assert [each.key for each in await after] == [key(2)]


async def test_last_word_about_a_key_counts(bench: Bench) -> None:
    bench.thread.change(bench.room, [row(1)], ())
    bench.thread.change(bench.room, (), [key(1)])
    bench.thread.change(bench.room, (), [key(2)])
    bench.thread.change(bench.room, [row(2)], ())
    await bench.thread.settled()
    assert set(bench.engine.rows) == {key(2)}
    assert bench.changed == [bench.room]
    assert bench.room.size == 1


async def test_rooms_are_searched_each_by_itself(bench: Bench) -> None:
    other = ToyEngine()
    room = bench.new_room(other)
    bench.thread.change(bench.room, [row(1)], ())
    bench.thread.change(room, [row(5)], ())
    mine, theirs = await asyncio.gather(
        bench.thread.search(bench.room, vector(1), 9), bench.thread.search(room, vector(1), 9)
    )
    assert [each.key for each in mine] == [key(1)]
    assert [each.key for each in theirs] == [key(5)]


async def test_vector_that_cannot_be_searched_for_fails_its_own_caller_only(bench: Bench) -> None:
    bench.thread.change(bench.room, [row(1)], ())
    bad = np.full(DIM, np.nan, dtype=np.float32).tobytes()
    wrong_dim = np.ones(DIM + 1, dtype=np.float32).tobytes()
    futures = [bench.thread.search(bench.room, each, 1) for each in (vector(1), bad, wrong_dim, vector(1))]
    found = await asyncio.gather(*futures, return_exceptions=True)
    assert [isinstance(each, StageError) for each in found] == [False, True, True, False]
    assert bench.broken == []


async def test_rows_without_a_usable_vector_are_left_out(bench: Bench) -> None:
    bench.thread.change(bench.room, [row(1), row(2), row(3), row(4)], ())
    for number, bad in enumerate((b"", b"\xff" * 4 * DIM, b"\0" * 4 * DIM, vector(1) + vector(1))):
        bench.thread.change(bench.room, [VectorRow(key(number + 1), bad, float("inf"))], ())
    bench.thread.change(bench.room, [VectorRow(b"short", vector(1), float("inf")), row(9)], ())
    await bench.thread.settled()
    assert set(bench.engine.rows) == {key(9)}  # nor does an old vector stand for one that was refused
    assert bench.room.refused == 5


async def test_engine_that_fails_is_given_up_and_its_callers_are_told(bench: Bench) -> None:
    bench.engine.broken = RuntimeError("broken")
    with pytest.raises(StageError, match="RuntimeError"):
        await bench.thread.search(bench.room, vector(1), 1)
    assert [type(error) for error in bench.broken] == [RuntimeError]
    assert bench.room.engine is None
    room = bench.new_room(ToyEngine())
    assert await bench.thread.search(room, vector(1), 1) == []


async def test_engine_that_fails_to_change_is_given_up(bench: Bench) -> None:
    bench.engine.broken = RuntimeError("broken")
    bench.thread.change(bench.room, [row(1)], ())
    await bench.thread.settled()
    assert [type(error) for error in bench.broken] == [RuntimeError]


async def test_thread_that_dies_fails_its_callers_and_another_takes_its_place(bench: Bench) -> None:
    def die() -> None:
        raise SystemExit

    answered = bench.thread.search(bench.room, vector(1), 1)
    dead = bench.thread.run(die)
    behind = bench.thread.search(bench.room, vector(1), 1)
    later = asyncio.create_task(asyncio.sleep(0, bench.thread.run(lambda: 1)))
    results = await asyncio.gather(answered, dead, behind, return_exceptions=True)
    assert results[0] == []
    assert [type(each) for each in results[1:]] == [StageError, StageError]
    assert results[1] is not results[2]
    assert bench.deaths == 1
    await asyncio.gather(await later, return_exceptions=True)  # done in either thread, but done
    assert await bench.thread.run(lambda: 2) == 2


async def test_background_work_is_done_while_nothing_waits(bench: Bench) -> None:
    bench.engine.work_left = 5
    await bench.thread.search(bench.room, vector(1), 1)
    await until(lambda: bench.engine.steps == 5)
    await asyncio.sleep(0.02)
    assert bench.engine.steps == 5


async def test_search_waits_for_one_slice_of_background_work_at_most(bench: Bench) -> None:
    bench.engine.work_left, bench.engine.step_seconds = 10**6, 0.01
    await bench.thread.search(bench.room, vector(1), 1)
    for _ in range(20):
        steps = bench.engine.steps
        await asyncio.sleep(0.003)
        before = bench.engine.steps
        await bench.thread.search(bench.room, vector(1), 1)
        assert bench.engine.steps - before <= 2  # the one under way, and one after the answer was made
        assert bench.engine.steps >= steps
    bench.engine.work_left = 0


async def test_background_work_is_not_starved_by_searches_that_never_end(bench: Bench) -> None:
    bench.engine.work_left, bench.engine.search_seconds = 10**6, 0.006
    done = False

    async def ask() -> None:
        while not done:
            await bench.thread.search(bench.room, vector(1), 1)

    # So many that the next ones have come before the thread has done with the last.
    tasks = [asyncio.create_task(ask()) for _ in range(4 * MERGED)]
    try:
        await until(lambda: len(bench.engine.asked) > 20)
        steps = bench.engine.steps
        await until(lambda: bench.engine.steps >= steps + 5)
    finally:
        done = True
        await asyncio.gather(*tasks)
        bench.engine.work_left = 0


async def test_background_work_of_rooms_takes_turns(bench: Bench) -> None:
    engines = [bench.engine, ToyEngine(), ToyEngine()]
    rooms = [bench.room, *(bench.new_room(engine) for engine in engines[1:])]
    for engine in engines:
        engine.work_left, engine.step_seconds = 20, 0.002
    await asyncio.gather(*(bench.thread.search(room, vector(1), 1) for room in rooms))
    await until(lambda: engines[0].steps >= 10)
    assert min(engine.steps for engine in engines) >= 8


async def test_failing_background_work_gives_the_engine_up(bench: Bench) -> None:
    def step(budget: float) -> bool:
        raise RuntimeError("broken")

    bench.engine.work_left = 1
    bench.engine.step = step  # type: ignore[method-assign]
    await bench.thread.search(bench.room, vector(1), 1)
    await until(lambda: bench.broken)
    assert bench.room.engine is None


async def test_more_changes_than_may_wait_are_refused_until_some_are_done(bench: Bench) -> None:
    release = await bench.stuck()
    accepted = 0
    while bench.thread.change(bench.room, [row(accepted % 50)], ()):
        accepted += 1
        assert accepted <= ROWS
    assert accepted == ROWS
    release()
    await bench.thread.settled()
    assert bench.thread.rows_waiting == 0
    assert bench.thread.change(bench.room, [row(1)], ())


async def test_room_that_was_dropped_takes_nothing_more(bench: Bench) -> None:
    bench.thread.change(bench.room, [row(1)], ())
    bench.thread.drop(bench.room)
    bench.thread.change(bench.room, [row(2)], ())
    found = await bench.thread.search(bench.room, vector(1), 5)
    assert found == []
    assert bench.room.engine is None
    assert key(2) not in bench.engine.rows


async def test_cancelled_caller_harms_nobody(bench: Bench) -> None:
    bench.thread.change(bench.room, [row(1)], ())

    async def ask() -> None:
        await bench.thread.search(bench.room, vector(1), 1)

    async def check() -> None:
        assert await bench.thread.search(bench.room, vector(1), 1) == [Neighbour(key(1), 1.0)]

    steps = await cancel_at_every_step(ask, check)
    assert steps == 1


async def test_cancelled_searches_are_not_made(bench: Bench) -> None:
    release = await bench.stuck()
    futures = [bench.thread.search(bench.room, vector(n), 1) for n in range(3)]
    await asyncio.sleep(0)
    futures[0].cancel()
    futures[2].cancel()
    release()
    await futures[1]
    assert bench.engine.asked == [1]


async def test_closing_finishes_what_was_asked() -> None:
    bench = Bench()
    bench.thread.change(bench.room, [row(1)], ())
    future = bench.thread.search(bench.room, vector(1), 1)
    await bench.thread.close(10)
    assert future.result() == [Neighbour(key(1), 1.0)]


async def test_closing_does_not_wait_for_ever_for_a_thread_that_hangs() -> None:
    bench = Bench()
    release = await bench.stuck()
    future = bench.thread.search(bench.room, vector(1), 1)
    await bench.thread.close(0.05)
    release()
    with pytest.raises(BackendUnavailable):
        future.result()


async def test_thread_of_another_loop_is_refused(bench: Bench) -> None:
    await bench.thread.search(bench.room, vector(1), 1)

    def elsewhere() -> str:
        async def ask() -> str:
            with pytest.raises(BackendUnavailable, match="another event loop"):
                bench.thread.search(bench.room, vector(1), 1)
            return "refused"

        return asyncio.run(ask())

    assert await asyncio.to_thread(elsewhere) == "refused"


async def test_answers_of_a_batch_come_back_in_one_callback() -> None:
    class Ear:
        def __init__(self) -> None:
            self.told: list[int] = []

        def settle(self, settled: Sequence[Settled], touched: Collection[Room], rows: int) -> None:
            self.told.append(len(settled))

        def broken(self, room: Room, error: Exception) -> None: ...

        def died(self, worker: Worker, error: BaseException) -> None: ...

    ear, loop = Ear(), asyncio.get_running_loop()
    worker = Worker(loop, ear, FakeClock().now)
    room = Bench.new_room(ToyEngine())
    change = Change(room)
    change.extend([row(1)], [])
    calls: list[Call] = [
        *(Search(room, vector(n), 1, 0, loop.create_future()) for n in range(40)),
        change,
        Work(lambda: None, loop.create_future()),
        *(Search(room, vector(n), 1, 0, loop.create_future()) for n in range(40)),
    ]
    worker.queue.put(calls)
    worker.queue.put(None)
    thread = threading.Thread(target=worker)
    thread.start()
    await asyncio.wait([worker.ended])
    thread.join()
    assert ear.told == [81]


async def test_a_thread_that_cannot_start_fails_its_callers_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thread = IndexThread(
        clock=FakeClock(),
        on_change=lambda room: None,
        on_broken=lambda room, error: None,
        on_death=lambda: None,
    )

    def no_more(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(StageError):
            await thread.settled()
    await thread.settled()
    await thread.close(5)


async def test_a_closed_thread_is_not_started_again() -> None:
    thread = IndexThread(
        clock=FakeClock(),
        on_change=lambda room: None,
        on_broken=lambda room, error: None,
        on_death=lambda: None,
    )
    await thread.settled()
    await thread.close(5)
    with pytest.raises(BackendUnavailable, match="closed"):
        await thread.settled()
    assert [each for each in threading.enumerate() if each.name == "asynccache-index"] == []


def test_a_program_that_ends_without_closing_ends_well() -> None:
    program = """
import asyncio, threading, numpy as np
from asynccache import Entry, Embedding, Response
from asynccache.backends import MemoryBackend
from asynccache.index import BackendIndex

async def main():
    backend, index = MemoryBackend(), None
    rows = np.random.default_rng(0).normal(size=(3000, 384)).astype("f4")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for number, row in enumerate(rows):
        await backend.put(Entry(key=number.to_bytes(32, "big"), partition=b"p" * 32, dialect="d",
            response=Response(b""), created_at=0.0, embedding=Embedding(b"s" * 16, row.tobytes())))
    index = BackendIndex(backend, exact_up_to=100)
    async with index.lifespan():
        await index.nearest(b"p" * 32, Embedding(b"s" * 16, rows[0].tobytes()), 1)
        building.set()
        await asyncio.sleep(60)

building = threading.Event()
threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
building.wait(30)  # and the program ends, in the middle of a graph
"""
    for _ in range(3):
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
        )
        assert ended.returncode == 0, ended.stderr
