"""Calls at the same time, and what becomes of them when some go away."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from asynccache._cached import CacheStats, cached
from asynccache._calls.flight import _tasks
from asynccache.testing import cancel_at_every_step

pytestmark = pytest.mark.anyio


class Gate:
    """An async function that waits to be let through, and notes what happens to it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.runs = 0
        self.cancelled = 0

    async def __call__(self) -> int:
        self.runs += 1
        mine = self.runs
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return mine


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_calls_at_the_same_time_run_the_function_once() -> None:
    gate = Gate()
    function = cached(_through(gate))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(function(1)) for _ in range(100)]
        await settled()
        gate.open.set()
    assert {task.result() for task in tasks} == {1}
    stats = function.cache_stats()
    assert (gate.runs, stats.misses, stats.shared, stats.hits) == (1, 1, 99, 0)
    assert not _tasks


def _through(gate: Gate) -> Callable[[int], Any]:
    async def function(x: int) -> int:
        return await gate()

    return function


@pytest.mark.parametrize("gone", [0, 1])
async def test_cancelled_caller_harms_no_other(gone: int) -> None:
    gate = Gate()
    function = cached(_through(gate))
    tasks = [asyncio.create_task(function(1)) for _ in range(3)]
    await settled()
    tasks[gone].cancel()
    await settled()
    gate.open.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(gone), asyncio.CancelledError)
    assert results == [1, 1]
    assert (gate.runs, gate.cancelled) == (1, 0)
    assert await function(1) == 1


async def test_call_is_cancelled_when_its_last_caller_is_gone() -> None:
    gate = Gate()
    function = cached(_through(gate))
    tasks = [asyncio.create_task(function(1)) for _ in range(3)]
    await settled()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await settled()
    assert (gate.runs, gate.cancelled) == (1, 1)
    gate.open.set()
    assert await function(1) == 2
    assert not _tasks


async def test_newcomer_does_not_join_a_call_that_is_being_cancelled() -> None:
    slow_goodbye = asyncio.Event()
    runs = 0

    @cached
    async def function() -> int:
        nonlocal runs
        runs += 1
        mine = runs
        if mine == 1:
            try:
                await asyncio.Event().wait()
            finally:
                await slow_goodbye.wait()
        return mine

    first = asyncio.create_task(function())
    await settled()
    first.cancel()
    await settled()
    assert await function() == 2
    slow_goodbye.set()
    await settled()
    assert await function() == 2


async def test_cancelling_at_any_step_leaves_the_function_usable() -> None:
    @cached(key=lambda: os.urandom(8))
    async def function() -> int:
        await asyncio.sleep(0)
        return 1

    async def check() -> None:
        assert await function() == 1

    assert await cancel_at_every_step(function, check) > 0
    await settled()
    assert not _tasks


async def test_exception_reaches_every_caller_and_the_next_call_tries_again() -> None:
    gate = asyncio.Event()
    runs = 0

    @cached
    async def function() -> int:
        nonlocal runs
        runs += 1
        await gate.wait()
        if runs == 1:
            raise LookupError("no")
        return runs

    tasks = [asyncio.create_task(function()) for _ in range(3)]
    await settled()
    gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3
    assert await function() == 2


async def test_call_runs_in_the_context_of_its_first_caller() -> None:
    tenant: ContextVar[str] = ContextVar("tenant")

    @cached
    async def function() -> str:
        await asyncio.sleep(0)
        return tenant.get()

    async def caller(name: str) -> str:
        tenant.set(name)
        return await function()

    assert await asyncio.gather(caller("a"), caller("b")) == ["a", "a"]  # type: ignore[comparison-overlap]


async def test_call_that_comes_back_to_itself_does_not_wait_for_itself() -> None:
    depth = 0

    @cached
    async def later(x: int) -> int:
        nonlocal depth
        depth += 1
        if depth < 3:
            async with asyncio.TaskGroup() as group:  # through a child task, too
                return 1 + await group.create_task(later(x))
        return 0

    @cached
    def now(x: int) -> int:
        nonlocal depth
        depth += 1
        return 0 if depth >= 3 else 1 + now(x)

    with anyio.fail_after(10):
        assert await later(1) == 2
    assert await later(1) == 2
    depth = 0
    assert now(1) == 2
    assert depth == 3
    assert now(1) == 2
    assert depth == 3


async def test_recursion_with_smaller_arguments_uses_the_cache() -> None:
    runs = 0

    @cached
    async def fib(n: int) -> int:
        nonlocal runs
        runs += 1
        return n if n < 2 else sum(await asyncio.gather(fib(n - 1), fib(n - 2)))

    assert await fib(30) == 832_040
    assert runs == 31


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_eager_tasks_make_no_difference() -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        gate = Gate()
        later = cached(_through(gate))
        tasks = [asyncio.create_task(later(1)) for _ in range(3)]
        gate.open.set()
        assert await asyncio.gather(*tasks) == [1, 1, 1]

        @cached
        async def at_once() -> int:
            return 1

        assert [await at_once(), await at_once()] == [1, 1]

    asyncio.run(main())


def test_one_function_serves_several_event_loops_in_turn_and_at_once() -> None:
    runs: list[int] = []
    together = threading.Barrier(4)

    @cached
    async def function(x: int) -> int:
        runs.append(x)
        await asyncio.sleep(0)
        return x

    for _ in range(3):
        assert asyncio.run(function(1)) == 1
    assert runs == [1]

    async def many() -> list[int]:
        together.wait()
        return await asyncio.gather(*(function(x % 50) for x in range(500)))

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: asyncio.run(many()), range(4)))
    assert results == [[x % 50 for x in range(500)]] * 4
    stats = function.cache_stats()
    assert stats.hits + stats.misses + stats.shared == 3 + 2000
    assert len(runs) == stats.misses <= 4 * 50
    assert not _tasks


def test_loop_that_ends_with_a_call_under_way_leaves_nothing_behind() -> None:
    @cached
    async def function(wait: bool) -> int:
        if wait:
            await asyncio.Event().wait()
        return 1

    async def leaves() -> None:
        function_task = asyncio.create_task(function(True))
        await asyncio.sleep(0.01)
        assert not function_task.done()

    asyncio.run(leaves())
    assert not _tasks
    assert asyncio.run(function(False)) == 1


def test_threads_wait_for_the_one_that_came_first() -> None:
    entered, leave = threading.Event(), threading.Event()
    runs = 0

    @cached
    def function(x: int) -> object:
        nonlocal runs
        runs += 1
        entered.set()
        assert leave.wait(10)
        return object()

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(function, 1) for _ in range(8)]
        assert entered.wait(10)
        while function.cache_stats().shared < 7:
            time.sleep(0.001)
        leave.set()
        results = {id(future.result()) for future in futures}
    assert (len(results), runs) == (1, 1)
    stats = function.cache_stats()
    assert (stats.misses, stats.shared, stats.hits) == (1, 7, 0)


def _raced(function: Callable[[], Any], leave: threading.Event, stats: Callable[[], CacheStats]) -> list[Any]:
    outcomes: list[Any] = []

    def call() -> None:
        try:
            outcomes.append(function())
        except BaseException as error:  # noqa: BLE001  (looked at by the test)
            outcomes.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    while stats().shared < 3:
        time.sleep(0.001)
    leave.set()
    for thread in threads:
        thread.join(10)
    return outcomes


def test_exception_reaches_every_waiting_thread_with_a_traceback_of_its_own_length() -> None:
    leave = threading.Event()

    @cached
    def function() -> None:
        assert leave.wait(10)
        raise LookupError("no")

    lengths: list[int] = []

    def call() -> None:
        try:
            function()
        except LookupError as error:
            lengths.append(len(traceback.extract_tb(error.__traceback__)))
            raise

    outcomes = _raced(call, leave, function.cache_stats)
    assert [type(outcome) for outcome in outcomes] == [LookupError] * 4
    assert max(lengths) <= min(lengths) + 2  # it does not grow with each thread that raises the error
    with pytest.raises(LookupError):
        function()


def test_interrupt_of_the_first_thread_is_its_own() -> None:
    leave = threading.Event()
    runs: list[int] = []

    @cached
    def function() -> int:
        runs.append(1)
        assert leave.wait(10)
        if len(runs) == 1:
            raise KeyboardInterrupt
        return 7

    outcomes = _raced(function, leave, function.cache_stats)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "KeyboardInterrupt",
        "int",
        "int",
        "int",
    ]
    assert len(runs) == 2


def test_no_interleaving_of_threads_runs_a_call_twice() -> None:
    runs: list[int] = []
    function = cached(max_size=10_000)(lambda x: runs.append(x))  # noqa: PLW0108  (a function, not a method)
    barrier = threading.Barrier(4)

    def work(_: int) -> None:
        for x in range(1000):
            if x % 50 == 0:
                barrier.wait(10)
            function(x)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert sorted(runs) == list(range(1000))


def test_threads_and_clears_at_random_never_get_a_wrong_result() -> None:
    @cached(max_size=5, ttl=0.01)
    def function(x: int) -> list[int]:
        return [x]

    def work(seed: int) -> bool:
        for step in range(2000):
            x = (seed * 7 + step) % 9
            if function(x) != [x]:
                return False
            if step % 97 == 0:
                function.cache_clear()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    stats = function.cache_stats()
    assert stats.hits + stats.misses + stats.shared == 8000
    assert stats.size <= 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_does_not_wait_for_its_parents_threads() -> None:
    entered, leave = threading.Event(), threading.Event()

    @cached
    def function(x: int) -> int:
        if x == 1 and os.getpid() == parent:
            entered.set()
            assert leave.wait(10)
        return x

    parent = os.getpid()
    function(2)
    thread = threading.Thread(target=function, args=(1,))
    thread.start()
    assert entered.wait(10)
    child = os.fork()
    if child == 0:
        # Neither waits for the call that the parent's thread is making, nor has it forgotten the other.
        fine = function(2) == 2 and function.cache_stats().hits == 1 and function(1) == 1
        os._exit(0 if fine else 1)
    deadline = time.monotonic() + 10
    done, status = 0, -1
    while not done and time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.005)
    if not done:
        os.kill(child, 9)
        os.waitpid(child, 0)
    leave.set()
    thread.join(10)
    assert (done, status) == (child, 0)
