"""The SQLite backend: the contract, and what only it promises."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from asynccache import _codec
from asynccache._codec import encode
from asynccache._errors import BackendError, BackendUnavailable, ConfigurationError
from asynccache._models import Response
from asynccache._protocols import (
    Backend,
    Clearable,
    Clock,
    Conditional,
    Labels,
    Managed,
    Measurable,
    Taggable,
)
from asynccache.backends._sqlite_lane import Lane
from asynccache.backends._sqlite_thread import DatabaseThread
from asynccache.backends.sqlite import SqliteBackend
from asynccache.testing import BackendContract, FakeClock, cancel_at_every_step, make_entry

pytestmark = pytest.mark.anyio

Threads = Callable[[], list[threading.Thread]]


class TestSqliteBackend(BackendContract):
    persistent = True

    def make_backend(self, tmp_path: Path, clock: Clock) -> Backend:
        # A disk that stands still for a second is not a broken promise.
        return SqliteBackend(tmp_path / "cache.sqlite", op_timeout=30, clock=clock)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in the background; 10 seconds at most."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def size(path: Path, suffix: str = "") -> int:
    return Path(f"{path}{suffix}").stat().st_size


@contextmanager
def held(lane: Lane) -> Iterator[None]:
    """Keep the lane's thread busy, so that what is submitted meanwhile becomes one batch."""
    release = threading.Event()
    lane.submit(lambda _: release.wait())
    try:
        yield
    finally:
        release.set()


async def in_one_batch(lane: Lane, *coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
    with held(lane):
        await asyncio.sleep(0.01)  # the thread has taken the batch that holds it
        tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def submit(lane: Lane, work: Callable[[sqlite3.Connection], Any]) -> Any:
    return await lane.submit(work)


def test_it_has_every_capability(path: Path) -> None:
    for capability in (Conditional, Taggable, Clearable, Measurable, Labels, Managed):
        assert isinstance(SqliteBackend(path), capability)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cache", {"max_bytes": 1000}),
        ("cache", {"busy_timeout": 0}),
        ("cache", {"op_timeout": -1}),
        ("cache", {"sweep_interval": float("inf")}),
        ("cache", {"op_timeout": float("nan")}),
        ("", {}),
        (":memory:", {}),
        ("file:cache?mode=ro", {}),
        ("a\0b", {}),
    ],
)
def test_impossible_options_are_refused_at_once(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        SqliteBackend(name, **options)


async def test_use_outside_the_lifespan_says_so(path: Path, clock: FakeClock, threads: Threads) -> None:
    backend = SqliteBackend(path, clock=clock)
    entry = make_entry(created_at=clock.now())
    for _ in range(2):
        with pytest.raises(BackendUnavailable, match="not open"):
            await backend.get(entry.key)
        with pytest.raises(BackendUnavailable, match="not open"):
            await backend.put(entry)
        async with backend.lifespan():
            await backend.put(entry)
            assert threads()
    assert threads() == []


async def test_files_are_the_owners_alone(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "made" / "for" / "it" / "cache.sqlite"
    backend = SqliteBackend(path, clock=clock)
    previous = os.umask(0)
    try:
        async with backend.lifespan():
            await backend.put(make_entry(created_at=clock.now()))
            await asyncio.sleep(0)
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    finally:
        os.umask(previous)
    assert {"cache.sqlite", "cache.sqlite-wal", "cache.sqlite-shm"} <= modes.keys()
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_connections_are_set_up_as_meant(backend: SqliteBackend) -> None:
    def settings(connection: sqlite3.Connection) -> dict[str, Any]:
        names = (
            "journal_mode",
            "synchronous",
            "auto_vacuum",
            "busy_timeout",
            "mmap_size",
            "wal_autocheckpoint",
        )
        return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    expected = {
        "journal_mode": "wal",
        "synchronous": 1,
        "auto_vacuum": 2,
        "busy_timeout": 10_000,
        "mmap_size": 0,
        "wal_autocheckpoint": 0,
    }
    assert await backend._writer.submit(settings) == expected
    assert await backend._reader.submit(settings) == expected


async def test_one_bad_entry_does_not_fail_its_batch(backend: SqliteBackend, clock: FakeClock) -> None:
    good = [make_entry(n, created_at=clock.now()) for n in range(6)]
    bad = [
        make_entry(7, created_at=clock.now(), question="\ud800"),
        make_entry(8, created_at=float("nan")),
        make_entry(9, created_at=clock.now(), key=b"short"),
        make_entry(10, created_at=clock.now(), tags=(None,)),
        make_entry(11, created_at=clock.now(), tags=("fine", 7.5, b"x")),
    ]
    mixed = [*good[:3], *bad, *good[3:]]
    results = await in_one_batch(backend._writer, *(backend.put(entry) for entry in mixed))
    for entry, result in zip(mixed, results, strict=True):
        if entry in good:
            assert result is None
        else:
            assert isinstance(result, BackendError)
            assert not isinstance(result, BackendUnavailable)
    assert await backend.get_many([entry.key for entry in good]) == good
    assert (await backend.measure())["entries"] == len(good)


async def test_add_sees_what_was_queued_before_it(backend: SqliteBackend, clock: FakeClock) -> None:
    one, two, three = (make_entry(1, created_at=clock.now(), version=str(n)) for n in range(3))
    outcomes = await in_one_batch(
        backend._writer,
        backend.add(one),
        backend.add(two),
        backend.remove(one),
        backend.remove(one),
        backend.add(three),
        backend.put(two),
        backend.remove(three),
    )
    assert outcomes == [True, False, True, False, True, None, False]
    assert await backend.get(two.key) == two


async def test_add_waits_for_its_commit_when_writing_behind(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, write_behind=True, clock=clock)
    answer, alias = (make_entry(1, created_at=clock.now(), version=version) for version in ("a", "b"))
    async with backend.lifespan():
        with held(backend._writer):
            await backend.put(answer)
            adding = asyncio.ensure_future(backend.add(alias))
            removing = asyncio.ensure_future(backend.remove(alias))
            await asyncio.sleep(0.02)
            assert not adding.done()
            assert not removing.done()
        assert await adding is False
        assert await removing is False
        assert await backend.get(answer.key) == answer


async def test_add_raises_what_put_raises(backend: SqliteBackend, clock: FakeClock) -> None:
    with pytest.raises(BackendError):
        await backend.add(make_entry(created_at=clock.now(), question="\ud800"))
    assert await backend.get(make_entry(created_at=0).key) is None


async def test_damaged_entry_gives_way_to_an_added_one_and_is_not_removed(
    backend: SqliteBackend, clock: FakeClock
) -> None:
    entry = make_entry(created_at=clock.now())
    new = make_entry(created_at=clock.now(), version="new")
    await backend.put(entry)
    await backend._writer.submit(
        lambda connection: connection.execute("UPDATE entries SET value = substr(value, 2)").rowcount
    )
    assert await backend.remove(entry) is False
    assert await backend.add(new) is True
    assert await backend.get(new.key) == new


async def test_entry_stored_in_other_bytes_is_still_the_very_entry(
    backend: SqliteBackend, clock: FakeClock
) -> None:
    frames = tuple(b'{"choices":[{"delta":{"content":"word %d"}}]}' % n for n in range(100))
    entry = make_entry(created_at=clock.now(), response=Response(b"{}", frames))
    stored = encode(entry, embedding=False)

    def otherwise(connection: sqlite3.Connection) -> bytes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_codec, "_LEVEL", 9)  # as another zlib would
            value = encode(entry, embedding=False)
        connection.execute("UPDATE entries SET value = ?", (value,))
        return value

    await backend.put(entry)
    assert await backend._writer.submit(otherwise) != stored
    assert await backend.remove(entry) is True
    assert await backend.get(entry.key) is None


async def test_error_of_a_bad_entry_does_not_quote_it(backend: SqliteBackend, clock: FakeClock) -> None:
    entry = make_entry(created_at=clock.now(), question="my password is \ud800 hunter2")
    with pytest.raises(BackendError) as caught:
        await backend.put(entry)
    assert "hunter2" not in repr(caught.value) + repr(caught.value.__cause__)


async def test_failed_statement_takes_only_its_own_changes_along(
    backend: SqliteBackend, clock: FakeClock
) -> None:
    def half_done(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM entries")
        raise ZeroDivisionError

    entry = make_entry(created_at=clock.now())
    await backend.put(entry)
    neighbour = make_entry(1, created_at=clock.now())
    outcomes = await in_one_batch(backend._writer, submit(backend._writer, half_done), backend.put(neighbour))
    assert isinstance(outcomes[0], BackendError)
    assert outcomes[1] is None
    assert await backend.get_many([entry.key, neighbour.key]) == [entry, neighbour]


async def test_failed_commit_fails_the_whole_batch(backend: SqliteBackend, clock: FakeClock) -> None:
    def spoil(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA defer_foreign_keys = ON")  # the violation shows at COMMIT
        connection.execute("INSERT INTO tags (tag, entry) VALUES ('dangling', 12345)")

    entries = [make_entry(n, created_at=clock.now()) for n in range(3)]
    outcomes = await in_one_batch(
        backend._writer,
        backend.put(entries[0]),
        submit(backend._writer, spoil),
        backend.put(entries[1]),
    )
    assert all(isinstance(outcome, BackendError) for outcome in outcomes)
    await backend.put(entries[2])
    assert await backend.get_many([entry.key for entry in entries]) == [None, None, entries[2]]


async def test_many_callers_share_a_transaction(backend: SqliteBackend, clock: FakeClock) -> None:
    commits: list[str] = []

    def watch(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)

    await backend._writer.submit(watch)
    commits.clear()
    await asyncio.gather(*(backend.put(make_entry(n, created_at=clock.now())) for n in range(200)))
    assert 1 <= len(commits) <= 3


async def test_slow_read_gives_up_and_the_next_one_works(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, op_timeout=0.05, clock=clock)
    entry = make_entry(created_at=clock.now())
    async with backend.lifespan():
        await backend.put(entry)
        with held(backend._reader), pytest.raises(BackendUnavailable, match="op_timeout"):
            await backend.get(entry.key)
        assert await backend.get(entry.key) == entry


async def test_expired_rows_leave_the_file_in_the_background(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, sweep_interval=0.02, clock=clock)

    def rows(connection: sqlite3.Connection) -> int:
        count: int = connection.execute("SELECT count(*) FROM entries").fetchone()[0]
        return count

    async with backend.lifespan():
        large = Response(b"x" * 20_000)
        short = [make_entry(n, created_at=clock.now(), ttl=5.0, response=large) for n in range(600)]
        lasting = [make_entry(n, created_at=clock.now(), ttl=None) for n in range(600, 605)]
        await asyncio.gather(*(backend.put(entry) for entry in (*short, *lasting)))
        clock.advance(5)
        for _ in range(1000):
            if await backend._reader.submit(rows) == len(lasting):
                break
            await asyncio.sleep(0.01)
        assert (await backend.measure())["expired"] == len(short)
        # The pages go back to the disk.
        await until(lambda: size(path) < 5_000_000 and size(path, "-wal") == 0)


async def test_store_stays_within_max_bytes_and_the_oldest_leave(path: Path, clock: FakeClock) -> None:
    limit = 2**20
    backend = SqliteBackend(path, max_bytes=limit, clock=clock)
    entries = []
    async with backend.lifespan():
        for number in range(300):
            clock.advance(1)
            entries.append(
                make_entry(number, created_at=clock.now(), ttl=None, response=Response(os.urandom(10_000)))
            )
            await backend.put(entries[-1])
            assert await backend.get(entries[-1].key) == entries[-1]
        found = await backend.get_many([entry.key for entry in entries])
        measured = await backend.measure()
    kept = sum(each is not None for each in found)
    assert found == [*([None] * (300 - kept)), *entries[300 - kept :]]
    assert kept >= 50  # it does not throw away more than it must
    assert measured["evictions"] >= 300 - kept
    assert size(path) <= limit


async def test_entry_too_large_for_the_store_is_refused(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, max_bytes=2**20, clock=clock)
    async with backend.lifespan():
        small = make_entry(1, created_at=clock.now())
        await backend.put(small)
        with pytest.raises(BackendError, match="too large"):
            await backend.put(make_entry(2, created_at=clock.now(), response=Response(b"x" * 2**20)))
        assert await backend.get(small.key) == small


@pytest.mark.parametrize("idle", [True, False])
async def test_wal_does_not_grow_without_bound(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, idle: bool
) -> None:
    backend = SqliteBackend(path, clock=clock)
    monkeypatch.setattr(backend._writer, "_between", lambda connection, _: backend._upkeep(connection, idle))
    large = Response(os.urandom(100_000))
    async with backend.lifespan():
        for number in range(600):
            await backend.put(make_entry(number % 20, created_at=clock.now(), response=large))
        assert size(path, "-wal") < 20 * 2**20  # of 60 written


async def test_resting_wal_is_emptied(backend: SqliteBackend, path: Path, clock: FakeClock) -> None:
    await backend.put(make_entry(created_at=clock.now()))
    await until(lambda: size(path, "-wal") == 0)


async def test_only_one_backend_keeps_the_file_and_the_next_takes_over(path: Path) -> None:
    first, second = SqliteBackend(path), SqliteBackend(path)
    async with second.lifespan():
        async with first.lifespan():
            first._upkeep.latch.held()
            assert not second._upkeep.latch.held() or not first._upkeep.latch.held()
            assert second._upkeep.latch.held() != first._upkeep.latch.held()
        assert second._upkeep.latch.held()


async def test_closed_store_is_a_single_file(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, clock=clock)
    for number in range(20):
        async with backend.lifespan():
            await backend.put(make_entry(number, created_at=clock.now()))
            await backend.get(b"k" * 32)
        left = {each.name for each in path.parent.iterdir()}
        assert left - {f"{path.name}-lock"} == {path.name}


async def test_closing_writes_all_that_is_queued(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, write_behind=True, clock=clock)
    entries = [make_entry(n, created_at=clock.now()) for n in range(1000)]
    release = threading.Event()
    async with backend.lifespan():
        backend._writer.submit(lambda _: release.wait())
        for entry in entries:
            await backend.put(entry)
        asyncio.get_running_loop().call_later(0.05, release.set)
    backend = SqliteBackend(path, clock=clock)
    async with backend.lifespan():
        assert await backend.get_many([entry.key for entry in entries]) == entries


async def test_writer_closes_last_and_so_empties_the_wal(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[DatabaseThread] = []
    end = DatabaseThread.end

    def noted(thread: DatabaseThread) -> None:
        ended.append(thread)
        end(thread)

    monkeypatch.setattr(DatabaseThread, "end", noted)
    backend = SqliteBackend(path, clock=clock)
    release = threading.Event()
    async with backend.lifespan():
        await backend.put(make_entry(created_at=clock.now()))
        backend._reader.submit(lambda _: release.wait())
        expected = [backend._reader._thread, backend._writer._thread]
        asyncio.get_running_loop().call_later(0.05, release.set)
    assert ended == expected


async def test_put_behind_returns_at_once_and_flush_waits(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, write_behind=True, clock=clock)
    entries = [make_entry(n, created_at=clock.now()) for n in range(50)]
    async with backend.lifespan():
        with held(backend._writer):
            for entry in entries:
                await backend.put(entry)
        await backend.flush()
        assert await backend.get_many([entry.key for entry in entries]) == entries


async def test_queue_behind_is_bounded(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, write_behind=True, clock=clock)
    async with backend.lifespan():
        with held(backend._writer):
            for number in range(1024):
                await backend.put(make_entry(number, created_at=clock.now()))
            one_more = asyncio.ensure_future(backend.put(make_entry(1024, created_at=clock.now())))
            await asyncio.sleep(0.02)
            assert not one_more.done()
        await one_more
        assert (await backend.measure())["entries"] == 1025


async def test_failures_behind_are_counted_and_closing_writes_the_rest(
    path: Path, clock: FakeClock, threads: Threads
) -> None:
    backend = SqliteBackend(path, write_behind=True, clock=clock)
    entries = [make_entry(n, created_at=clock.now()) for n in range(2000)]
    async with backend.lifespan():
        await backend.put(make_entry(1, created_at=float("nan")))
        await backend.flush()
        assert (await backend.measure())["write_errors"] == 1
        for entry in entries:
            await backend.put(entry)
    assert threads() == []
    async with backend.lifespan():
        assert await backend.get_many([entry.key for entry in entries]) == entries


async def test_cancelled_close_still_closes(path: Path, clock: FakeClock, threads: Threads) -> None:
    entry = make_entry(created_at=clock.now())
    backend = SqliteBackend(path, clock=clock)

    async def use() -> None:
        async with backend.lifespan():
            await backend.put(entry)
            await backend.get(entry.key)

    async def check() -> None:
        await until(lambda: not threads())
        with sqlite3.connect(path, timeout=0) as other:  # nobody holds a lock
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        other.close()
        async with backend.lifespan():
            assert await backend.get(entry.key) in (None, entry)

    assert await cancel_at_every_step(use, check) >= 4


def test_loop_that_ends_without_closing_leaves_no_hang(path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from asynccache.backends.sqlite import SqliteBackend\n"
        "backend = SqliteBackend(sys.argv[1])\n"
        "lifespan = backend.lifespan()\n"
        "async def main():\n"
        "    await lifespan.__aenter__()\n"
        "    await backend.get(b'k' * 32)\n"
        "asyncio.new_event_loop().run_until_complete(main())  # asyncio.run would close the generators\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], timeout=20, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr


async def test_look_ups_use_their_indexes(backend: SqliteBackend) -> None:
    statements = [
        "SELECT value FROM entries WHERE key = ? AND expires_at > ?",
        "SELECT count(*), coalesce(sum(size), 0) FROM entries WHERE expires_at > ?",
    ]

    def plans(connection: sqlite3.Connection) -> list[str]:
        return [
            " ".join(
                row[3]
                for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (0,) * sql.count("?")).fetchall()
            )
            for sql in statements
        ]

    for plan in await backend._reader.submit(plans):
        assert plan.startswith("SEARCH")
        assert "TEMP B-TREE" not in plan
