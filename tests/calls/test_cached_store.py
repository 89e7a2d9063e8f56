"""Results that outlive the process: cached functions with a backend."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from asynccache._cached import cached
from asynccache._calls import store
from asynccache._errors import BackendError, BackendUnavailable, ConfigurationError, InvalidRequest
from asynccache._events import Event, StageFailed
from asynccache._models import Entry, Response
from asynccache._registry import open_backend
from asynccache.backends import MemoryBackend
from asynccache.instrumentation import structlog as logging
from asynccache.testing import FakeClock

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/calls.db"


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    events: list[Event] = []
    monkeypatch.setattr(logging, "default_hook", events.append)
    return events


class Watched(MemoryBackend):
    """A backend that can be made to wait or to fail, and knows where it is used."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        super().__init__(clock=clock)
        self.error: Exception | None = None
        self.opened = self.closed = 0
        self.threads: set[str] = set()
        self.gets = 0
        self.putting = threading.Event()
        self.may_put = threading.Event()
        self.may_put.set()

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self.opened += 1
        yield
        self.closed += 1

    async def _turn(self) -> None:
        self.threads.add(threading.current_thread().name)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error

    async def get(self, key: bytes) -> Entry | None:
        self.gets += 1
        await self._turn()
        return await super().get(key)

    async def put(self, entry: Entry) -> None:
        self.putting.set()
        while not self.may_put.is_set():  # noqa: ASYNC110  (set by another thread)
            await asyncio.sleep(0.001)
        await self._turn()
        await super().put(entry)

    async def delete(self, keys: Collection[bytes]) -> int:
        await self._turn()
        return await super().delete(keys)

    async def entries(self) -> list[Entry]:
        return [entry async for entry in self.scan()]


def echo(backend: Any, runs: list[Any], **options: Any) -> Any:
    """The same async function, defined anew: as after a restart, nothing is in memory."""

    async def echo(x: Any) -> Any:
        runs.append(x)
        return x

    return cached(backend=backend, **options)(echo)


PROGRAM = """
import asyncio, sys
from asynccache._cached import cached

@cached(backend=sys.argv[1], ttl=3600)
async def later(x, y=2):
    print("ran later")
    return {"x": [x, None, 1.5, True, "ü"]}

@cached(backend=sys.argv[1])
def now(x):
    print("ran now")
    return x

assert asyncio.run(later(1)) == asyncio.run(later(y=2, x=1)) == {"x": [1, None, 1.5, True, "ü"]}
assert now("a") == now("a") == "a"
print(later.cache_stats().hits, now.cache_stats().hits)
if "clear" in sys.argv:
    now.cache_clear()
    async def clear(): await later.cache_clear()
    asyncio.run(clear())
"""


def run(program: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_result_is_found_again_after_a_restart(tmp_path: Path, url: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert run(program, url) == ["ran later", "ran now", "1 1"]
    assert run(program, url, "clear") == ["2 2"]
    assert run(program, url) == ["ran later", "ran now", "1 1"]


def test_functions_of_two_programs_do_not_meet(tmp_path: Path, url: str) -> None:
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text(PROGRAM)
    two.write_text(PROGRAM)
    assert run(one, url) == run(two, url) == ["ran later", "ran now", "1 1"]


async def test_a_second_definition_finds_what_the_first_one_stored(url: str) -> None:
    runs: list[Any] = []
    value = {"a": [1, 2.0, None]}
    assert await echo(url, runs)(value) == value
    again = echo(url, runs)
    assert await again(value) == value
    assert await again(value) == value
    assert runs == [value]
    assert (again.cache_stats().hits, again.cache_stats().misses) == (2, 0)


async def test_version_and_function_keep_results_apart(url: str) -> None:
    runs: list[Any] = []
    await echo(url, runs, version="1")(1)
    await echo(url, runs, version="2")(1)
    await echo(url, runs, version="1")(1)

    @cached(backend=url)
    async def other(x: int) -> str:
        return "other"

    assert await other(1) == "other"
    assert runs == [1, 1]


def test_one_function_serves_several_loops_and_threads_through_one_file(url: str) -> None:
    runs: list[int] = []
    later = echo(url, runs)

    @cached(backend=url)
    def now(x: int) -> int:
        return x

    async def many() -> list[int]:
        return list(await asyncio.gather(*(later(x) for x in range(20))))

    with ThreadPoolExecutor(4) as pool:
        loops = [pool.submit(lambda: asyncio.run(many())) for _ in range(4)]
        threads = [pool.submit(now, x) for x in range(20)]
        assert all(loop.result() == list(range(20)) for loop in loops)
        assert [thread.result() for thread in threads] == list(range(20))
    assert later.cache_stats().errors == now.cache_stats().errors == 0
    assert asyncio.run(echo(url, runs)(7)) == 7


async def test_functions_that_name_one_url_share_one_backend(url: str) -> None:
    assert store.shared_backend(url) is store.shared_backend(url)
    backend = Watched()
    assert store.shared_backend(backend) is store.shared_backend(backend)
    await echo(backend, [])(1)
    await echo(backend, [], version="2")(1)
    assert backend.opened == 1
    assert backend.threads == {"asynccache-portal"}


async def test_backend_is_asked_once_for_calls_at_the_same_time() -> None:
    backend = Watched()
    runs: list[Any] = []
    function = echo(backend, runs)
    assert await asyncio.gather(*(function(1) for _ in range(20))) == [1] * 20
    assert (backend.gets, runs) == (1, [1])


async def test_entry_is_a_call_of_its_function_and_nothing_else() -> None:
    clock = FakeClock()
    backend = Watched(clock)
    await echo(backend, [], ttl=60, clock=clock, version="7")([1])
    (entry,) = await backend.entries()
    assert (entry.dialect, entry.response.body, entry.ttl, entry.version) == ("call", b"[1]", 60, "7")
    assert entry.created_at == clock.now()


async def test_stored_result_is_never_served_from_its_expiry_on() -> None:
    clock = FakeClock()
    backend = Watched(clock)
    runs: list[Any] = []
    await echo(backend, runs, ttl=100, clock=clock)(1)
    clock.advance(60)
    half_way = echo(backend, runs, ttl=100, clock=clock)
    await half_way(1)
    assert runs == [1]
    clock.advance(40)  # 100 s after it was stored, 40 s after it was read into memory
    await half_way(1)
    assert runs == [1, 1]


async def test_shorter_ttl_holds_for_what_was_stored_under_a_longer_one() -> None:
    clock = FakeClock()
    backend = Watched(clock)
    runs: list[Any] = []
    await echo(backend, runs, clock=clock)(1)
    clock.advance(9)
    await echo(backend, runs, ttl=10, clock=clock)(1)
    assert runs == [1]
    clock.advance(1)
    await echo(backend, runs, ttl=10, clock=clock)(1)
    assert runs == [1, 1]


async def test_clock_set_back_does_not_lengthen_a_life() -> None:
    clock = FakeClock()
    backend = Watched(clock)
    runs: list[Any] = []
    await echo(backend, runs, ttl=10, clock=clock)(1)
    clock.jump(-1000)
    function = echo(backend, runs, ttl=10, clock=clock)
    await function(1)
    assert runs == [1]
    clock.advance(10)
    await function(1)
    assert function.cache_stats().expired == 1


async def test_result_that_json_would_change_stays_in_memory_and_is_reported_once(
    reported: list[Event],
) -> None:
    backend = Watched()
    runs: list[Any] = []
    function = echo(backend, runs, key=str)
    for value in ((1, 2), {1: 2}, object, (1, 2)):
        assert await function(value) is value or value == (1, 2)
    assert runs == [(1, 2), {1: 2}, object]
    assert await backend.entries() == []
    assert function.cache_stats().refused == 3
    (event,) = reported
    assert isinstance(event, StageFailed)
    assert "tuple" in str(event.error)
    assert "echo" in event.stage
    assert function.cache_stats().errors == 0


@pytest.mark.parametrize(
    "error", [BackendUnavailable("down"), OSError("not in the contract")], ids=["own", "foreign"]
)
async def test_failing_backend_is_reported_and_passed_over(reported: list[Event], error: Exception) -> None:
    backend = Watched()
    runs: list[Any] = []
    backend.error = error
    function = echo(backend, runs)
    assert await function(1) == 1
    assert await function(1) == 1
    assert runs == [1]
    assert function.cache_stats().errors == 2  # one look-up, one write
    assert all(isinstance(event, StageFailed) and isinstance(event.error, BackendError) for event in reported)
    backend.error = None
    assert await function(2) == 2
    assert function.cache_stats().errors == 2


def test_failing_backend_is_passed_over_by_plain_functions_too(reported: list[Event]) -> None:
    backend = Watched()
    backend.error = BackendUnavailable("down")

    @cached(backend=backend)
    def function(x: int) -> int:
        return x

    assert function(1) == function(1) == 1
    assert function.cache_stats().errors == len(reported) == 2


async def test_backend_that_hangs_is_waited_for_once_and_then_left_alone(
    monkeypatch: pytest.MonkeyPatch, reported: list[Event]
) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    monkeypatch.setattr(store, "REST", 3600.0)
    backend = Watched()
    backend.may_put.clear()
    function = echo(backend, [])
    assert [await function(x) for x in range(5)] == list(range(5))
    assert backend.gets == 1
    messages = [str(event.error) for event in reported if isinstance(event, StageFailed)]
    assert messages[0] == "it did not answer within 0.05 s"
    assert set(messages[1:]) == {"it did not answer in time a moment ago"}


class Shut(Watched):
    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self.opened += 1
        raise OSError("no such place")
        yield


async def test_backend_that_cannot_be_opened_is_passed_over(reported: list[Event]) -> None:
    backend = Shut()
    function = echo(backend, [])
    assert [await function(x) for x in range(5)] == list(range(5))
    assert backend.opened == 1  # tried again after a second, not at each call
    assert function.cache_stats().errors == len(reported) == 10


async def test_damaged_entry_is_a_miss(reported: list[Event]) -> None:
    backend = Watched()
    runs: list[Any] = []
    await echo(backend, runs)(1)
    (entry,) = await backend.entries()
    damaged = [
        replace(entry, response=Response(b"{")),
        replace(entry, partition=bytes(32)),
        replace(entry, dialect="other"),
    ]
    for each in damaged:
        await backend.put(each)
        assert await echo(backend, runs)(1) == 1
    assert runs == [1] * 4
    assert [type(event.error).__name__ for event in reported if isinstance(event, StageFailed)] == [
        "CorruptEntry"
    ] * 3


async def test_clear_removes_the_functions_entries_of_all_versions_and_no_others() -> None:
    backend = Watched()
    runs: list[Any] = []
    first, second = echo(backend, runs, version="1"), echo(backend, runs, version="2")

    @cached(backend=backend)
    async def other(x: int) -> int:
        return x

    for function in (first, second, other):
        for x in range(3):
            await function(x)
    await first.cache_clear()
    assert len(await backend.entries()) == 3
    assert await first(1) == 1
    assert len(runs) == 7


def test_clear_of_a_plain_function_returns_when_the_backend_is_cleared(url: str) -> None:
    runs: list[int] = []

    def define() -> Any:
        def function(x: int) -> int:
            runs.append(x)
            return x

        return cached(backend=url)(function)

    function = define()
    for x in range(1100):  # more than one batch of removals
        function(x)
    function.cache_clear()
    again = define()
    assert [again(x) for x in (0, 1099)] == [0, 1099]
    assert runs[1100:] == [0, 1099]


@pytest.mark.parametrize("options", ["", "?write_behind=1", "?memory=0"], ids=["tiered", "behind", "bare"])
def test_call_begun_before_a_clear_is_not_stored_after_it(url: str, options: str) -> None:
    url += options
    runs: list[Any] = []
    entered, leave = threading.Event(), threading.Event()

    def define(wait: bool) -> Any:
        def function(x: int) -> int:
            runs.append(x)
            if wait:
                entered.set()
                assert leave.wait(10)
            return x

        return cached(backend=url)(function)

    function = define(wait=True)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(function, 1)
        assert entered.wait(10)
        function.cache_clear()
        leave.set()
        assert under_way.result(10) == 1
    assert define(wait=False)(1) == 1
    assert runs == [1, 1]


async def test_clear_waits_for_a_write_under_way_and_removes_it() -> None:
    backend = Watched()
    runs: list[Any] = []
    backend.may_put.clear()
    function = echo(backend, runs)
    writing = asyncio.create_task(function(1))
    assert await anyio.to_thread.run_sync(backend.putting.wait, 10)
    clearing = asyncio.ensure_future(function.cache_clear())
    await asyncio.sleep(0.02)
    assert not clearing.done()
    backend.may_put.set()
    await clearing
    await writing
    assert await backend.entries() == []


class Behind(Watched):
    """Writes when told to, or when it is flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: list[Entry] = []

    async def put(self, entry: Entry) -> None:
        self.queue.append(entry)

    async def flush(self) -> None:
        while self.queue:
            await super().put(self.queue.pop())


async def test_clear_removes_what_was_still_to_be_written() -> None:
    backend = Behind()
    function = echo(backend, [])
    await function(1)
    await function.cache_clear()
    await backend.flush()
    assert await backend.entries() == []


async def test_clear_that_fails_says_so_and_what_it_could_not_remove_is_not_served(
    reported: list[Event],
) -> None:
    clock = FakeClock()
    backend = Watched(clock)
    runs: list[Any] = []
    function = echo(backend, runs, clock=clock)
    await function(1)
    backend.error = BackendUnavailable("down")
    clock.advance(1)
    with pytest.raises(BackendUnavailable):
        await function.cache_clear()
    backend.error = None
    clock.advance(1)
    await function(1)
    assert runs == [1, 1]
    assert function.cache_stats().errors == 1


async def test_waiter_that_leaves_does_not_stop_the_clearing() -> None:
    backend = Watched()
    runs: list[Any] = []
    backend.may_put.clear()
    function = echo(backend, runs)
    writing = asyncio.create_task(function(1))
    assert await anyio.to_thread.run_sync(backend.putting.wait, 10)
    clearing = function.cache_clear()

    async def wait() -> None:
        await clearing

    waiter = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    backend.may_put.set()
    await clearing
    await writing
    assert await backend.entries() == []


async def test_slow_backend_does_not_block_the_callers_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Watched()

    async def slow(key: bytes) -> None:
        threading.Event().wait(0.3)  # blocks the portal's own loop

    monkeypatch.setattr(backend, "get", slow)
    function = echo(backend, [])
    call = asyncio.create_task(function(1))
    turns = 0
    longest, last = 0.0, time.perf_counter()
    while not call.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
        turns += 1
    assert turns > 20
    assert longest < 0.2


async def test_self_counts_by_value_with_a_backend(url: str) -> None:
    runs: list[str] = []

    @dataclass
    class Model:
        name: str

        @cached(backend=url)
        async def answer(self, x: int) -> str:
            runs.append(self.name)
            return f"{self.name}{x}"

    class Opaque:
        @cached(backend=url)
        async def answer(self, x: int) -> int:
            return x

    assert [await Model("a").answer(1), await Model("a").answer(1), await Model("b").answer(1)] == [
        "a1",
        "a1",
        "b1",
    ]
    assert runs == ["a", "b"]
    with pytest.raises(InvalidRequest, match=r"^self: .*give key="):
        await Opaque().answer(1)


def test_url_of_the_registry_is_checked_when_the_function_is_defined(url: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown option"):
        cached(backend=f"{url}?nonsense=1")
    assert not Path(url.removeprefix("sqlite:///")).exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_child_opens_the_backend_anew(tmp_path: Path, url: str) -> None:
    program = tmp_path / "forks.py"
    program.write_text(
        "import os, sys\n"
        "from asynccache._cached import cached\n"
        "@cached(backend=sys.argv[1])\n"
        "def function(x):\n"
        "    print('ran', x, flush=True)\n"
        "    return x\n"
        "function(1)\n"
        "child = os.fork()\n"
        "if child:\n"
        "    _, status = os.waitpid(child, 0)\n"
        "    assert status == 0, status\n"
        "    fresh = cached(backend=sys.argv[1])(function.__wrapped__)\n"
        "    assert fresh(2) == 2\n"
        "else:\n"
        "    fresh = cached(backend=sys.argv[1])(function.__wrapped__)\n"
        "    assert fresh(1) == 1 and fresh(2) == 2\n"
        "assert function.cache_stats().errors == 0 and fresh.cache_stats().errors == 0\n"
    )
    # Both end by the interpreter's own way out: no hang, no warning.
    assert run(program, url) == ["ran 1", "ran 2"]


def test_program_ends_while_a_daemon_thread_is_calling(tmp_path: Path, url: str) -> None:
    program = tmp_path / "daemon.py"
    program.write_text(
        "import sys, threading, time\n"
        "from asynccache._cached import cached\n"
        "@cached(backend=sys.argv[1], max_size=1)\n"
        "def function(x):\n"
        "    return x\n"
        "def work():\n"
        "    for x in range(10**9):\n"
        "        function(x)\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "time.sleep(0.2)\n"
    )
    began = time.monotonic()
    assert run(program, url) == []
    assert time.monotonic() - began < 10


def test_backend_may_be_an_object(url: str) -> None:
    backend = open_backend(url)

    @cached(backend=backend)
    def function(x: list[int]) -> list[int]:
        return x

    assert function([1]) == [1]
    assert function.cache_stats().errors == 0
