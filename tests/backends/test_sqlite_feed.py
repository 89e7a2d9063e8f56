"""What a SQLite file tells of its entries, and which answers come too late for it."""

from __future__ import annotations

import asyncio
import gc
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from asynccache._errors import BackendError, BackendUnavailable
from asynccache._models import Changes, Entry, Response
from asynccache._protocols import Feed
from asynccache.backends._sqlite_changes import _CHANGES, _GENERATION, ChangeRows
from asynccache.backends._sqlite_rows import _GET
from asynccache.backends._sqlite_voids import _LATER, of_key, of_tag
from asynccache.backends.sqlite import SqliteBackend
from asynccache.testing import FakeClock, make_embedding, make_entry
from asynccache.testing._told import all_told, stored
from asynccache.testing.entries import ABSENT

pytestmark = pytest.mark.anyio


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that happens in the background; 10 seconds at most."""
    for _ in range(1000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def change(path: Path, statement: str, *values: Any) -> None:
    """Change the file behind the backend's back, as the sqlite3 program does it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement, values)
    connection.close()


def lose(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()


async def ask(backend: SqliteBackend, statement: str) -> Any:
    return await backend._reader.submit(lambda connection: connection.execute(statement).fetchone()[0])


async def position(backend: SqliteBackend) -> int:
    assert await backend.get(ABSENT) is None
    return backend.position(ABSENT)


def entries(clock: FakeClock, count: int, **fields: Any) -> list[Entry]:
    return [make_entry(n, created_at=clock.now() + n, **fields) for n in range(count)]


async def test_it_is_a_feed(backend: SqliteBackend) -> None:
    assert isinstance(backend, Feed)


async def test_changes_are_numbered_in_the_order_of_their_commits(
    backend: SqliteBackend, clock: FakeClock
) -> None:
    cursor = (await backend.changes(None)).cursor
    one, two = entries(clock, 2)
    for entry in (one, two, one):
        await backend.put(entry)
    await backend.delete([two.key, ABSENT])
    told = await backend.changes(cursor)
    assert told == (
        [(one.key, cursor + 1), (two.key, cursor + 2), (one.key, cursor + 3), (two.key, cursor + 4)],
        cursor + 4,
        False,
        False,
    )
    assert [entry.generation async for entry in backend.scan()] == [cursor + 3]


async def test_scan_gives_entries_with_vectors_their_generation(
    backend: SqliteBackend, clock: FakeClock
) -> None:
    for entry in entries(clock, 3, embedding=make_embedding(1)):
        await backend.put(entry)
    found = [entry async for entry in backend.scan()]
    assert [entry.generation for entry in found] == await backend.generations([entry.key for entry in found])
    assert all(entry.embedding is not None for entry in found)


async def test_entry_gone_by_hand_is_told_and_takes_all_of_its_own_along(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    entry = make_entry(1, created_at=clock.now(), embedding=make_embedding(1))
    await backend.put(entry)
    cursor = (await backend.changes(None)).cursor
    change(path, "DELETE FROM entries")
    assert [key for key, _ in (await backend.changes(cursor)).changes] == [entry.key]
    for table in ("vectors", "tags"):
        assert await ask(backend, f"SELECT count(*) FROM {table}") == 0


async def test_entry_stored_without_a_number_is_told_under_the_next(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    one, two = entries(clock, 2)
    for entry in (one, two):
        await backend.put(entry)
    await backend.delete([two.key])
    cursor = (await backend.changes(None)).cursor
    # As a release does that knew no numbers, and has had the file open since before it was migrated.
    copied = "partition, created_at, expires_at, size, value"
    change(path, f"INSERT INTO entries (key, {copied}) SELECT ?, {copied} FROM entries", two.key)
    assert (await backend.changes(cursor)).changes == [(two.key, cursor + 1)]
    await backend.put(two)
    assert await backend.generations([one.key, two.key]) == [cursor - 2, cursor + 2]


async def test_damaged_change_is_a_gap_once(backend: SqliteBackend, path: Path, clock: FakeClock) -> None:
    start = (await backend.changes(None)).cursor
    for entry in entries(clock, 3):
        await backend.put(entry)
    change(path, "UPDATE changes SET key = 'text' WHERE seq = ?", start + 2)
    told = await backend.changes(start)
    assert told == Changes([], start + 3, more=False, gap=True)
    assert (await backend.changes(told.cursor)).gap is False


async def test_what_expires_or_is_evicted_is_told_and_voids_nothing(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, max_bytes=2**18, sweep_interval=0.02, clock=clock)
    async with backend.lifespan():
        short = make_entry(1000, created_at=clock.now(), ttl=1.0)
        await backend.put(short)
        since, cursor = await position(backend), (await backend.changes(None)).cursor
        clock.advance(1)

        async def told() -> bool:
            return short.key in {key for key, _ in (await all_told(backend, cursor)).changes}

        await until(told)
        large = entries(clock, 40, ttl=None, response=Response(b"x" * 20_000))
        for entry in large:
            await backend.put(entry)
        assert (await backend.measure())["evictions"] > 0
        left = {entry.key async for entry in backend.scan()}
        seen = [key for key, _ in (await all_told(backend, cursor)).changes]
        gone = [entry.key for entry in large if entry.key not in left]
        assert all(seen.count(key) == 2 for key in gone)
        assert await position(backend) == since
        for entry in (short, *large):
            assert not await backend.voided(entry.key, entry.tags, since)


@pytest.mark.parametrize("idle", [True, False])
async def test_trails_are_cut_to_their_lengths_in_the_background(
    backend: SqliteBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, idle: bool
) -> None:
    monkeypatch.setattr(backend._writer, "_between", lambda connection, _: backend._upkeep(connection, idle))
    changes = backend._rows.changes
    for trail in (changes.trail, changes.voids.trail):
        assert trail.kept == 100_000
        trail.kept, trail.slack = 50, 10  # a test cannot wait for 100,000
    start, cursor = await position(backend), (await backend.changes(None)).cursor
    made = entries(clock, 250)
    for entry in made:
        await backend.put(entry)
        await backend.delete([entry.key])

    async def cut() -> bool:
        lengths = [
            await ask(backend, f"SELECT max(seq) - min(seq) + 1 FROM {table}")
            for table in ("changes", "voids")
        ]
        assert min(lengths) >= 50
        return bool(max(lengths) <= 61)

    await until(cut)
    end = (await backend.changes(None)).cursor
    assert end == cursor + 500
    assert await backend.changes(cursor) == ([], end, False, True)
    assert len((await backend.changes(end - 50)).changes) == 50
    newest = await position(backend)
    assert newest == start + 250
    for since in (0, start, newest - 62):
        assert await backend.voided(ABSENT, ["absent"], since)  # too long ago to tell
    for since in (newest - 50, newest):
        assert not await backend.voided(ABSENT, ["absent"], since)
    assert await backend.voided(made[-1].key, [], newest - 1)
    assert not await backend.voided(made[-1].key, [], newest)


async def test_marks_of_everything_outlive_older_ones(backend: SqliteBackend, clock: FakeClock) -> None:
    voids = backend._rows.changes.voids
    voids.trail.kept, voids.trail.slack = 20, 5
    start = await position(backend)
    await backend.delete([b"a" * 32] * 3)
    await backend.clear()
    await backend.delete([b"%032d" % n for n in range(18)])
    while await backend._writer.submit(voids.forget):
        pass
    assert await position(backend) == start + 22
    assert await backend.voided(ABSENT, [], start + 3)  # by the clear
    assert not await backend.voided(ABSENT, [], start + 4)
    await backend.delete([b"%032d" % n for n in range(18)])
    assert await backend._writer.submit(voids.forget)
    assert await backend.voided(ABSENT, [], start + 4)  # forgotten
    assert not await backend.voided(ABSENT, [], await position(backend) - 20)


async def test_trails_take_a_small_share_of_a_small_store(path: Path, clock: FakeClock) -> None:
    limit = 2**20
    backend = SqliteBackend(path, max_bytes=limit, clock=clock)
    async with backend.lifespan():

        def crowd(connection: sqlite3.Connection) -> None:
            for number in range(8000):  # more than the limit before the trails are looked at again
                entry = make_entry(number % 30, created_at=clock.now(), ttl=None)
                backend._rows.put(connection, entry)
                backend._rows.delete(connection, [b"%032d" % number], clock.now())

        await backend._writer.submit(crowd)
        assert (await backend.measure())["evictions"] == 0
        assert (await backend.measure())["entries"] == 30
        pages = await ask(backend, "PRAGMA page_count") - await ask(backend, "PRAGMA freelist_count")
        assert pages * 4096 <= limit
    small = ChangeRows(max_bytes=2**18)
    assert small.trail.kept > 100
    assert small.voids.trail.kept > 100


async def test_position_of_nothing_and_of_another_file_voids(
    backend: SqliteBackend, tmp_path: Path, clock: FakeClock
) -> None:
    entry = make_entry(created_at=clock.now())
    for since in (0, 1, 2**62):
        assert await stored(backend, entry, since) is None
    other = SqliteBackend(tmp_path / "other.sqlite", clock=clock)
    async with other.lifespan():
        assert await stored(backend, entry, await position(other)) is None
    assert await backend.get(entry.key) is None
    assert await stored(backend, entry, await position(backend)) is not None


async def test_position_is_known_from_the_beginning_where_the_file_can_be_read(
    path: Path, clock: FakeClock
) -> None:
    first, second = SqliteBackend(path, clock=clock), SqliteBackend(path, clock=clock)
    assert first.position(ABSENT) == 0
    entry = make_entry(created_at=clock.now())
    async with first.lifespan(), second.lifespan():
        assert first.position(ABSENT) == second.position(ABSENT) > 0
        since = second.position(entry.key)
        await first.delete([ABSENT])
        await first.put(entry)
        await second.get(entry.key)  # a hit tells nothing
        assert second.position(ABSENT) == since
        await second.changes(None)
        assert second.position(ABSENT) == since + 1
        await first.delete([ABSENT])
        assert await second.get_many([entry.key, ABSENT]) == [entry, None]
        assert second.position(ABSENT) == since + 2
    third = SqliteBackend(path.parent, clock=clock)  # a folder is no file
    async with third.lifespan():
        assert third.position(ABSENT) == 0
        with pytest.raises(BackendUnavailable):
            await third.fill(entry, since=0)


async def test_own_invalidations_are_known_at_once(backend: SqliteBackend, clock: FakeClock) -> None:
    entry = make_entry(created_at=clock.now())
    for invalidate in (
        partial(backend.delete, [entry.key]),
        partial(backend.delete_tagged, entry.tags),
        backend.clear,
        partial(backend.remove, entry),
    ):
        await backend.put(entry)
        before = backend.position(entry.key)
        assert await invalidate()
        assert backend.position(entry.key) > before
        assert await stored(backend, entry, before) is None
        assert await stored(backend, entry, backend.position(entry.key)) is not None


async def test_fill_after_the_file_was_replaced_is_voided_until_the_new_one_was_read(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    entry = make_entry(created_at=clock.now())
    since = await position(backend)
    lose(path)
    assert await stored(backend, entry, since) is None
    since = await position(backend)
    assert await stored(backend, entry, since) is not None
    assert await backend.get(entry.key) == entry


async def test_marks_are_made_before_the_first_of_many_is_deleted(
    backend: SqliteBackend, clock: FakeClock
) -> None:
    many = entries(clock, 600)
    await asyncio.gather(*(backend.put(entry) for entry in many))
    since = await position(backend)
    deleting = asyncio.ensure_future(backend.delete_tagged(["all"]))
    late = []
    while not deleting.done():
        late.append(await stored(backend, many[0], since))
        await asyncio.sleep(0)
    assert await deleting >= 600
    assert await backend.get(many[0].key) is None
    assert late[-1] is None


async def test_failed_deletion_leaves_no_mark(
    backend: SqliteBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_entry(created_at=clock.now())
    await backend.put(entry)
    since = await position(backend)
    with monkeypatch.context() as patch:
        patch.setattr("asynccache.backends._sqlite_rows._deleted", lambda *_: 1 / 0)
        with pytest.raises(BackendError):
            await backend.delete([entry.key])
    assert await position(backend) == since
    assert not await backend.voided(entry.key, entry.tags, since)


async def test_fill_written_behind_tells_by_and_by(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, write_behind=True, clock=clock)
    one, two, bad = *entries(clock, 2), make_entry(3, created_at=clock.now(), tags=(None,))
    async with backend.lifespan():
        since = await position(backend)
        kept = await backend.fill(one, since=since)
        refused = await backend.fill(bad, since=since)
        assert not kept.done()
        await backend.delete([two.key])
        assert await kept == (await backend.generations([one.key]))[0]
        assert await (await backend.fill(two, since=since)) is None
        with pytest.raises(BackendError, match="cannot be stored"):
            await refused
        assert (await backend.measure())["write_errors"] == 1


async def test_fill_that_nobody_waits_for_fails_in_silence(
    path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for write_behind in (True, False):
        backend = SqliteBackend(path, write_behind=write_behind, clock=clock)
        bad = make_entry(3, created_at=clock.now(), tags=(None,))
        async with backend.lifespan():
            try:
                await backend.fill(bad, since=None)
            except BackendError:
                assert not write_behind
            await backend.flush()
    gc.collect()
    await asyncio.sleep(0)
    assert caplog.records == []


async def test_full_disk_refuses_a_fill_as_a_put(
    backend: SqliteBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_entry(created_at=clock.now())
    since = await position(backend)
    full = shutil._ntuple_diskusage(2**40, 2**40, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(BackendUnavailable, match="bytes free"):
        await backend.fill(entry, since=since)
    await backend.delete([entry.key])
    assert await stored(backend, entry, since) is None  # nothing was to be stored


async def test_news_of_its_own_comes_at_once_and_of_others_in_half_a_second(
    backend: SqliteBackend, clock: FakeClock
) -> None:
    await backend.news(0.0)  # of the opening
    began = time.monotonic()
    waiting = [asyncio.ensure_future(backend.news(60.0)) for _ in range(2)]
    await asyncio.sleep(0)
    await backend.put(make_entry(created_at=clock.now()))
    await asyncio.gather(*waiting)
    assert time.monotonic() - began < 0.4
    await backend.put(make_entry(created_at=clock.now()))
    began = time.monotonic()
    await backend.news(60.0)  # of what was written while nobody waited
    assert time.monotonic() - began < 0.4
    await backend.news(60.0)
    assert 0.4 < time.monotonic() - began < 5


async def test_feed_of_a_closed_backend_is_unavailable(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, clock=clock)
    for call in (
        backend.news(1.0),
        backend.changes(None),
        backend.generations([ABSENT]),
        backend.voided(ABSENT, [], 0),
        backend.fill(make_entry(created_at=clock.now()), since=None),
    ):
        with pytest.raises(BackendUnavailable, match="not open"):
            await call


async def test_statements_of_the_feed_use_their_indexes(backend: SqliteBackend) -> None:
    def plans(connection: sqlite3.Connection) -> list[str]:
        return [
            " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (0, 0)).fetchall())
            for sql in (_CHANGES, _GENERATION, _GET, _LATER)
        ]

    for plan in await backend._reader.submit(plans):
        assert plan.startswith("SEARCH")
        assert "SCAN" not in plan


def test_subjects_of_keys_and_tags_never_meet() -> None:
    assert len({of_key(b"x"), of_tag("x"), of_key(b""), of_tag(""), b"", of_tag("k"), of_key(b"t")}) == 7


async def test_replaced_entry_keeps_its_place_in_a_scan(backend: SqliteBackend, clock: FakeClock) -> None:
    one, two = entries(clock, 2)
    for entry in (one, two, replace(one, version="v2")):
        await backend.put(entry)
    assert [entry.key async for entry in backend.scan()] == [one.key, two.key]
