"""Searches on the event loop: short ones only, never beside a change, and with the same answers."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from asynccache._errors import StageError
from asynccache._models import Embedding, Entry, Neighbour, Response
from asynccache.backends import MemoryBackend
from asynccache.index import BackendIndex, _searching
from asynccache.index._searching import AT_ONCE
from tests.index.test_index_thread import Bench, ToyEngine, key, row, until, vector

pytestmark = pytest.mark.anyio


class Watched(ToyEngine):
    """Notes where it is searched, and can be held up in its background work."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []
        self.working = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def nearest(
        self, queries: NDArray[np.float32], k: int, now: float | None = None
    ) -> list[list[Neighbour]]:
        self.threads.append(threading.get_ident())
        return super().nearest(queries, k, now)

    def step(self, budget: float) -> bool:
        self.working.set()
        self.go.wait(20)
        return super().step(budget)


class WatchedBench(Bench):
    """A bench whose room is known to be searched quickly."""

    def __init__(self) -> None:
        super().__init__()
        self.watched = Watched()
        self.room = self.new_room(self.watched)
        self.thread.change(self.room, [row(1)], ())

    async def settled(self, seconds: float = AT_ONCE / 2) -> None:
        """The thread has nothing to do, a new turn has begun, and a search is known to take so long."""
        await self.thread.settled()
        await asyncio.sleep(0.01)
        self.room.search_seconds = seconds

    def at_once(self, number: int = 1, k: int = 1) -> list[Neighbour] | None:
        return self.thread.at_once(self.room, vector(number), k)


@pytest.fixture
async def bench() -> AsyncIterator[WatchedBench]:
    bench = WatchedBench()
    await bench.settled()
    yield bench
    await bench.thread.close(10)


async def test_short_search_is_made_on_the_loop_and_finds_the_same(bench: WatchedBench) -> None:
    assert bench.at_once() == [Neighbour(key(1), 1.0)]
    assert await bench.thread.search(bench.room, vector(1), 1) == [Neighbour(key(1), 1.0)]
    assert bench.watched.threads[0] == threading.get_ident() != bench.watched.threads[1]


async def test_vectors_come_along_as_asked(bench: WatchedBench) -> None:
    assert bench.thread.at_once(bench.room, vector(1), 1, 1) == [Neighbour(key(1), 1.0, vector(1))]


def takes(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """From here on every search takes so long, by the clock of those who look at it."""
    now = itertools.count(0.0, seconds)
    monkeypatch.setattr(_searching, "_clock", lambda: next(now))


async def test_nobody_searches_on_the_loop_before_some_searches_were_short(
    bench: WatchedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(monkeypatch, AT_ONCE / 2)
    bench.room.search_seconds = bench.new_room(ToyEngine()).search_seconds
    searches = 0
    while bench.at_once() is None:
        await bench.thread.search(bench.room, vector(1), 1)
        await bench.settled(bench.room.search_seconds)
        searches += 1
    assert 5 < searches < 15


async def test_a_long_search_has_the_next_left_to_the_thread_for_a_while(
    bench: WatchedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(monkeypatch, 1.0)
    assert bench.at_once() is not None
    takes(monkeypatch, AT_ONCE / 2)
    searches = 0
    while bench.at_once() is None:
        await bench.thread.search(bench.room, vector(1), 1)
        await bench.settled(bench.room.search_seconds)
        searches += 1
    assert 5 < searches < 30


async def test_what_searches_took_says_nothing_of_a_room_that_has_grown(bench: WatchedBench) -> None:
    assert bench.at_once() is not None
    bench.thread.change(bench.room, [row(number) for number in range(2, 40)], ())
    await bench.thread.settled()
    await until(lambda: bench.room.size == 39)
    await asyncio.sleep(0.01)
    assert bench.at_once() is None


async def test_an_engine_whose_work_failed_is_not_searched_again(bench: WatchedBench) -> None:
    def failing(budget: float) -> bool:
        del budget
        raise RuntimeError("half done")

    bench.watched.step = failing  # type: ignore[method-assign]
    bench.watched.work_left = 1
    await bench.thread.search(bench.room, vector(1), 1)
    await until(lambda: bench.room.engine is None)
    assert not bench.at_once()


async def test_search_sees_every_change_asked_for_before_it(bench: WatchedBench) -> None:
    bench.thread.change(bench.room, [row(2)], ())
    assert bench.at_once(2) is None  # it has not gone over
    await asyncio.sleep(0)
    near = bench.at_once(2)
    assert near is None or near == [Neighbour(key(2), 1.0)]
    await bench.settled()
    assert bench.at_once(2) == [Neighbour(key(2), 1.0)]


async def test_search_does_not_overtake_what_the_thread_was_given(bench: WatchedBench) -> None:
    release = await bench.stuck()
    assert bench.at_once() is None
    release()
    await bench.settled()
    assert bench.at_once() is not None


async def test_search_does_not_meet_background_work(bench: WatchedBench) -> None:
    bench.watched.go.clear()
    bench.watched.work_left = 1
    await bench.thread.search(bench.room, vector(1), 1)
    await until(bench.watched.working.is_set)
    bench.room.search_seconds = 0.0
    assert bench.at_once() is None
    bench.watched.go.set()
    await bench.settled()
    assert bench.at_once() is not None


async def test_background_work_waits_while_the_loop_searches(
    bench: WatchedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = bench.thread._worker
    assert worker is not None
    held = []
    nearest = bench.watched.nearest

    def noting(*arguments: Any) -> list[list[Neighbour]]:
        held.append(worker._engines.locked())
        return nearest(*arguments)

    monkeypatch.setattr(bench.watched, "nearest", noting)
    assert bench.at_once() is not None
    assert held == [True]
    assert not worker._engines.locked()


async def test_searches_of_one_turn_hold_the_loop_no_longer_than_one_may(
    bench: WatchedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(monkeypatch, AT_ONCE / 2)
    assert [bench.at_once() is not None for _ in range(4)] == [True, True, False, False]
    assert len(await asyncio.gather(*[bench.thread.search(bench.room, vector(1), 1) for _ in range(3)])) == 3
    await bench.settled()
    assert bench.at_once() is not None


async def test_engine_that_fails_on_the_loop_is_given_up_by_the_thread(bench: WatchedBench) -> None:
    bench.watched.broken = RuntimeError("broken")
    assert bench.at_once() is None
    assert bench.broken == []
    with pytest.raises(StageError, match="RuntimeError"):
        await bench.thread.search(bench.room, vector(1), 1)
    assert [type(error) for error in bench.broken] == [RuntimeError]
    await bench.settled()
    assert bench.at_once() == []


async def test_end_of_the_program_is_not_taken_for_a_failure(bench: WatchedBench) -> None:
    bench.watched.broken = SystemExit()
    with pytest.raises(SystemExit):
        bench.at_once()
    bench.watched.broken = None
    await bench.settled()
    assert bench.at_once() is not None


async def test_panic_of_a_library_is_the_threads_affair(bench: WatchedBench) -> None:
    class Panic(BaseException):
        pass

    bench.watched.broken = Panic()
    assert bench.at_once() is None


async def test_another_loop_and_a_closed_thread_find_nothing(bench: WatchedBench) -> None:
    async def elsewhere() -> list[Neighbour] | None:
        return bench.at_once()

    assert await asyncio.to_thread(asyncio.run, elsewhere()) is None
    await bench.thread.close(10)
    assert bench.at_once() is None


async def test_index_answers_on_the_loop_when_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    space, partition = bytes(16), bytes(32)

    def embedding(number: int) -> Embedding:
        return Embedding(space, vector(number))

    backend = MemoryBackend()
    index = BackendIndex(backend)
    async with index.lifespan():
        for number in range(2):
            await backend.put(
                Entry(
                    key=key(number),
                    partition=partition,
                    dialect="chat.completions",
                    response=Response(b"{}"),
                    created_at=time.time(),
                    question="?",
                    embedding=embedding(number),
                )
            )
        assert [each.key for each in await index.nearest(partition, embedding(1), 1)] == [key(1)]
        (room,) = index._opened().rooms
        await asyncio.sleep(0.01)
        room.search_seconds = 0.0

        def handed_over(*arguments: Any) -> Any:
            raise AssertionError("a hop")

        with monkeypatch.context() as patch:
            patch.setattr(index._opened().thread, "search", handed_over)
            assert [each.key for each in await index.nearest(partition, embedding(1), 1)] == [key(1)]
        index.forget(partition, [key(1)])
        assert [each.key for each in await index.nearest(partition, embedding(1), 1)] == [key(0)]
