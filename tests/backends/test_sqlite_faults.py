"""Full disks, files that cannot be opened, locks: an error while it lasts, and then no more."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from asynccache._errors import BackendUnavailable
from asynccache._models import Entry, Response
from asynccache.backends.sqlite import SqliteBackend
from asynccache.testing import FakeClock, cancel_at_every_step, make_entry

pytestmark = pytest.mark.anyio


@pytest.fixture
async def backend(path: Path, clock: FakeClock) -> AsyncIterator[SqliteBackend]:
    backend = SqliteBackend(path, clock=clock, busy_timeout=0.05)
    async with backend.lifespan():
        yield backend


async def works(backend: SqliteBackend, number: int = 1000) -> None:
    entry = make_entry(number, created_at=backend._clock.now(), ttl=None)
    await backend.put(entry)
    assert await backend.get(entry.key) == entry


# Files that cannot be opened or written


class Obstacle(NamedTuple):
    path: Path
    clear: Callable[[], object]


def directory_in_place(tmp_path: Path) -> Iterator[Obstacle]:
    path = tmp_path / "cache.sqlite"
    path.mkdir()
    yield Obstacle(path, path.rmdir)


def file_as_parent(tmp_path: Path) -> Iterator[Obstacle]:
    parent = tmp_path / "folder"
    parent.touch()
    yield Obstacle(parent / "cache.sqlite", parent.unlink)


def immutable_directory(tmp_path: Path) -> Iterator[Obstacle]:
    parent = tmp_path / "immutable"
    parent.mkdir()
    if os.geteuid() != 0:
        parent.chmod(0o500)
        yield Obstacle(parent / "cache.sqlite", lambda: parent.chmod(0o700))
        parent.chmod(0o700)
        return
    with mounted(parent, "ro") as remount:
        yield Obstacle(parent / "cache.sqlite", lambda: remount("rw"))


class mounted:  # noqa: N801  (used as a function)
    """A tmpfs of 1 MiB; skips where it cannot be mounted."""

    def __init__(self, at: Path, options: str) -> None:
        self._at, self._options = str(at), options

    def __enter__(self) -> Callable[[str], object]:
        command = ["mount", "-t", "tmpfs", "-o", f"size=1m,{self._options}", "tmpfs", self._at]
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("mounting a file system needs root")
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("tmpfs cannot be mounted here")
        return lambda options: subprocess.run(["mount", "-o", f"remount,{options}", self._at], check=True)

    def __exit__(self, *args: object) -> None:
        subprocess.run(["umount", "-l", self._at], check=True)


@pytest.fixture(
    params=[directory_in_place, file_as_parent, immutable_directory], ids=lambda make: make.__name__
)
def obstacle(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Obstacle]:
    yield from request.param(tmp_path)


async def test_file_that_cannot_be_opened_is_an_error_until_it_can(
    obstacle: Obstacle, clock: FakeClock
) -> None:
    backend = SqliteBackend(obstacle.path, clock=clock)
    entry = make_entry(created_at=clock.now())
    async with backend.lifespan():
        for attempt in (
            lambda: backend.get(entry.key),
            lambda: backend.put(entry),
            lambda: backend.delete([entry.key]),
            backend.measure,
        ):
            with pytest.raises(BackendUnavailable, match=r"cannot be opened"):
                await attempt()
        obstacle.clear()
        clock.advance(1)
        await backend.put(entry)
        assert await backend.get(entry.key) == entry


async def test_opening_is_tried_at_most_once_a_second(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkdir(path)  # noqa: PTH102  (ASYNC240 would have it otherwise)
    backend = SqliteBackend(path, clock=clock)
    attempts = 0
    connect = sqlite3.connect

    def counting(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        nonlocal attempts
        attempts += 1
        connection: sqlite3.Connection = connect(*args, **kwargs)
        return connection

    monkeypatch.setattr(sqlite3, "connect", counting)
    async with backend.lifespan():
        for second in range(1, 4):
            for _ in range(20):
                with pytest.raises(BackendUnavailable):
                    await backend.get(b"k" * 32)
            assert attempts == second
            clock.advance(1)


async def test_file_system_that_turns_read_only_is_an_error_until_it_turns_back(
    tmp_path: Path, clock: FakeClock
) -> None:
    parent = new_folder(tmp_path)
    entry = make_entry(created_at=clock.now())
    path = parent / "cache.sqlite"
    with mounted(parent, "rw") as remount:
        backend = SqliteBackend(path, clock=clock)
        async with backend.lifespan():
            await backend.put(entry)
        remount("ro")
        async with backend.lifespan():
            with pytest.raises(BackendUnavailable):
                await backend.put(entry)
            remount("rw")
            clock.advance(1)
            await backend.put(entry)
            assert await backend.get(entry.key) == entry


async def test_connection_that_cannot_write_is_replaced(backend: SqliteBackend, clock: FakeClock) -> None:
    await works(backend)
    await backend._writer.submit(lambda c: c.execute("PRAGMA query_only = ON"))
    for _ in range(2):
        with pytest.raises(BackendUnavailable, match="cannot be opened, read or written"):
            await works(backend, 1)
    clock.advance(1)
    await works(backend, 1)


# Full disks


def new_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def fill_up(folder: Path) -> Path:
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * (shutil.disk_usage(folder).free - 8192))
    return ballast


async def test_full_disk_refuses_writes_serves_reads_and_recovers(tmp_path: Path, clock: FakeClock) -> None:
    parent = new_folder(tmp_path)
    kept = make_entry(1, created_at=clock.now())
    with mounted(parent, "rw"):
        backend = SqliteBackend(parent / "cache.sqlite", clock=clock)
        async with backend.lifespan():
            await backend.put(kept)
            ballast = fill_up(parent)
            for number in range(2, 6):
                with pytest.raises(BackendUnavailable, match="bytes free"):
                    await backend.put(make_entry(number, created_at=clock.now()))
                assert await backend.get(kept.key) == kept
            ballast.unlink()
            await works(backend)


async def test_disk_that_fills_up_by_its_own_writes_keeps_the_file_sound(
    tmp_path: Path, clock: FakeClock
) -> None:
    parent = new_folder(tmp_path)
    path = parent / "cache.sqlite"
    refused = 0
    stored: list[Entry] = []
    with mounted(parent, "rw"):
        backend = SqliteBackend(path, clock=clock)
        async with backend.lifespan():
            entries = [
                make_entry(n, created_at=clock.now(), response=Response(os.urandom(30_000)))
                for n in range(60)
            ]
            outcomes = await asyncio.gather(
                *(backend.put(entry) for entry in entries), return_exceptions=True
            )
            for entry, outcome in zip(entries, outcomes, strict=True):
                if outcome is None:
                    stored.append(entry)
                else:
                    assert isinstance(outcome, BackendUnavailable)
                    refused += 1
            assert refused
            assert await backend.get_many([entry.key for entry in stored]) == stored
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


async def test_sqlite_full_is_unavailable_and_recovers(backend: SqliteBackend, clock: FakeClock) -> None:
    kept = make_entry(1, created_at=clock.now())
    await backend.put(kept)

    def limit(connection: sqlite3.Connection, pages: int = 0) -> None:
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages or used}").fetchone()

    await backend._writer.submit(limit)
    large = make_entry(2, created_at=clock.now(), response=Response(b"x" * 50_000))
    with pytest.raises(BackendUnavailable, match="full"):
        await backend.put(large)
    assert await backend.get(kept.key) == kept
    await backend._writer.submit(lambda c: limit(c, 2**20))
    await backend.put(large)
    assert await backend.get(large.key) == large


async def test_nearly_full_disk_refuses_writes(
    backend: SqliteBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await works(backend)
    total, reserve = 10 * 2**40, 64 * 2**20
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(total, 0, reserve))
        with pytest.raises(BackendUnavailable, match="bytes free"):
            await backend.put(make_entry(1, created_at=clock.now()))
    await works(backend)


# Locks and cancellation


async def test_lock_held_by_another_process_is_waited_for_and_then_an_error(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    await works(backend)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    entry = make_entry(created_at=clock.now())
    with pytest.raises(BackendUnavailable, match=r"locked by another process for 0\.15 s"):
        await backend.put(entry)
    assert await backend.get(entry.key) is None  # reading goes on
    waiting = asyncio.ensure_future(backend.put(entry))
    await asyncio.sleep(0.03)
    other.execute("ROLLBACK")
    other.close()
    await waiting
    assert await backend.get(entry.key) == entry


async def test_lock_is_waited_for_more_than_once(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    await works(backend)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(0.09, other.close)  # longer than busy_timeout
    await works(backend, 1)


async def test_cancelled_write_leaves_no_transaction_open(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    entry = make_entry(created_at=clock.now())

    async def check() -> None:
        await backend.flush()
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
        other.close()

    for write in (
        lambda: backend.put(entry),
        lambda: backend.delete([entry.key]),
        lambda: backend.delete_tagged(entry.tags),
        backend.clear,
        backend.flush,
    ):
        assert await cancel_at_every_step(write, check) >= 1
