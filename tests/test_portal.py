"""The event loop that outlives the others."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from asynccache import _portal
from asynccache._errors import BackendUnavailable
from asynccache._portal import Portal, Resident

pytestmark = pytest.mark.anyio


class House:
    """Something with a lifespan, and a diary."""

    def __init__(self, *errors: Exception) -> None:
        self.diary: list[str] = []
        self.errors = list(errors)
        self.slow = 0.0

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        if self.errors:
            self.diary.append("failed")
            raise self.errors.pop(0)
        self.diary.append("opened")
        try:
            yield
        finally:
            await asyncio.sleep(self.slow)
            self.diary.append("closed")


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.close()


async def where() -> int:
    return threading.get_ident()


async def test_all_work_is_done_in_one_thread_of_its_own(portal: Portal) -> None:
    ids = {await portal.run(where), portal.run_blocking(where)}
    ids |= {await anyio.to_thread.run_sync(lambda: portal.run_blocking(where))}
    assert len(ids) == 1
    assert threading.get_ident() not in ids


async def test_errors_and_results_come_back(portal: Portal) -> None:
    async def fails() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError):
        await portal.run(fails)
    with pytest.raises(LookupError):
        portal.run_blocking(fails)


async def test_cancelled_caller_cancels_its_work(portal: Portal) -> None:
    entered, ended = threading.Event(), threading.Event()

    async def work() -> None:
        entered.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = asyncio.create_task(portal.run(work))
    assert await anyio.to_thread.run_sync(entered.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await anyio.to_thread.run_sync(ended.wait, 10)


async def test_two_threads_that_start_it_at_once_start_one(portal: Portal) -> None:
    barrier = threading.Barrier(8)
    ids: list[int] = []

    def start() -> None:
        barrier.wait()
        ids.append(portal.run_blocking(where))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


async def test_resident_is_opened_once_and_closed_with_the_portal(portal: Portal) -> None:
    house = House()
    house.slow = 0.05
    resident = Resident(portal, house.lifespan)
    await asyncio.gather(*(portal.run(resident.opened) for _ in range(5)))
    assert house.diary == ["opened"]
    portal.close()
    assert house.diary == ["opened", "closed"]
    with pytest.raises(BackendUnavailable, match="the program is ending"):
        await portal.run(resident.opened)


async def test_resident_that_cannot_be_opened_is_tried_again_later(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(OSError("no"), BackendUnavailable("not yet"))
    resident = Resident(portal, house.lifespan)
    for _ in range(3):
        with pytest.raises(BackendUnavailable, match="cannot be opened"):
            await portal.run(resident.opened)
    assert house.diary == ["failed"]
    monkeypatch.setattr(resident, "_retry_at", 0.0)
    with pytest.raises(BackendUnavailable, match="not yet"):
        await portal.run(resident.opened)
    monkeypatch.setattr(resident, "_retry_at", 0.0)
    await portal.run(resident.opened)
    assert house.diary == ["failed", "failed", "opened"]


async def test_caller_that_leaves_does_not_stop_the_opening(portal: Portal) -> None:
    gate = threading.Event()
    opened = threading.Event()

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        while not gate.is_set():  # noqa: ASYNC110  (set by another thread)
            await asyncio.sleep(0.001)
        opened.set()
        yield

    resident = Resident(portal, lifespan)
    with anyio.move_on_after(0.02) as scope:
        await portal.run(resident.opened)
    assert scope.cancelled_caught
    gate.set()
    await portal.run(resident.opened)
    assert opened.is_set()


async def test_closing_does_not_wait_for_ever(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_portal, "EXIT_PATIENCE", 0.1)
    house = House()
    house.slow = 3600.0
    await portal.run(Resident(portal, house.lifespan).opened)
    began = time.monotonic()
    portal.close()
    assert time.monotonic() - began < 5
    assert portal._thread is not None
    assert not portal._thread.is_alive()


async def test_work_under_way_at_the_end_fails_with_a_backend_error(portal: Portal) -> None:
    async def forever() -> None:
        await asyncio.sleep(3600)

    entered: list[BackendUnavailable] = []

    def block() -> None:
        try:
            portal.run_blocking(forever)
        except BackendUnavailable as error:
            entered.append(error)

    thread = threading.Thread(target=block)
    thread.start()
    task = asyncio.create_task(portal.run(forever))
    await asyncio.sleep(0.05)
    portal.close()
    with pytest.raises(BackendUnavailable, match="the program is ending"):
        await task
    thread.join(10)
    assert len(entered) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("ending", ["", "os._exit(0)"], ids=["returns", "exits"])
def test_forked_child_starts_its_own_and_both_end_quietly(tmp_path: Path, ending: str) -> None:
    program = tmp_path / "forks.py"
    program.write_text(
        "import gc, os, threading\n"
        "from asynccache._portal import PORTAL\n"
        "async def where(): return os.getpid(), threading.get_ident()\n"
        "assert PORTAL.run_blocking(where)[0] == os.getpid()\n"
        "child = os.fork()\n"
        "assert PORTAL.run_blocking(where)[0] == os.getpid()\n"
        "gc.collect()\n"
        "if child:\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    assert PORTAL.run_blocking(where)[0] == os.getpid()\n"
        "else:\n"
        f"    {ending or 'pass'}\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )
    assert (done.returncode, done.stderr) == (0, "")
