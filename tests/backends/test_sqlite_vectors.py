"""Vectors in a SQLite file: apart from the answers, and no change among them goes untold."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asynccache._errors import BackendError, BackendUnavailable, CorruptEntry
from asynccache._models import Embedding, Entry, Response, VectorChanges
from asynccache._protocols import Vectors
from asynccache.backends._sqlite_rows import SCAN, SCAN_PARTITION
from asynccache.backends._sqlite_vectors import CHANGES, GROUPS, PAGE, VectorRows
from asynccache.backends.sqlite import SqliteBackend
from asynccache.testing import FakeClock, make_entry
from asynccache.testing._mirror import Mirror, all_changes, all_vectors
from asynccache.testing.entries import SPACE, make_embedding, same

pytestmark = pytest.mark.anyio

PARTITION = make_entry(created_at=0.0).partition


def embedded(number: int, clock: FakeClock, **fields: Any) -> Entry:
    return make_entry(number, created_at=clock.now(), **{"embedding": make_embedding(number), **fields})


async def fill(backend: SqliteBackend, clock: FakeClock, count: int, **fields: Any) -> list[Entry]:
    entries = [replace(embedded(n, clock, **fields), created_at=clock.now() + n) for n in range(count)]
    await asyncio.gather(*(backend.put(entry) for entry in entries))
    return entries


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that happens in the background; 10 seconds at most."""
    for _ in range(1000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def change(path: Path, statement: str, *values: Any, foreign_keys: bool = False) -> None:
    """Change the file behind the backend's back."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA foreign_keys = {foreign_keys:d}")
    connection.execute(statement, values)
    connection.close()


async def ask(backend: SqliteBackend, statement: str) -> Any:
    return await backend._reader.submit(lambda connection: connection.execute(statement).fetchone()[0])


def size(path: Path) -> int:
    return path.stat().st_size


def set_aside(path: Path) -> list[Path]:
    return [
        each for each in path.parent.glob(f"{path.name}.corrupt-*") if each.suffix[-3:] not in ("wal", "shm")
    ]


async def test_it_has_vectors_and_a_place_for_an_index(backend: SqliteBackend, path: Path) -> None:
    assert isinstance(backend, Vectors)
    assert backend.index_folder == path.with_name("cache.sqlite-index")
    assert not backend.index_folder.exists()


# What is read


@contextmanager
def noting(connection: sqlite3.Connection, columns: set[tuple[str, str]]) -> Iterator[None]:
    """Note which columns a connection's statements read."""

    def allow(action: int, table: str | None, column: str | None, *_: Any) -> int:
        if action == sqlite3.SQLITE_READ:
            columns.add((str(table), str(column)))
        return sqlite3.SQLITE_OK

    connection.set_authorizer(allow)  # which also has every statement compiled anew
    try:
        yield
    finally:
        connection.set_authorizer(None)


async def test_look_ups_never_read_vectors_and_vectors_never_answers(
    backend: SqliteBackend, clock: FakeClock
) -> None:
    await backend.put(embedded(1, clock))
    rows, vectors = backend._rows, backend._rows.vectors
    key = make_entry(1, created_at=0.0).key

    def columns(work: Callable[[sqlite3.Connection], Any]) -> Callable[[sqlite3.Connection], Any]:
        def noted(connection: sqlite3.Connection) -> set[tuple[str, str]]:
            read: set[tuple[str, str]] = set()
            with noting(connection, read):
                assert work(connection)
            return read

        return noted

    read = await backend._reader.submit(columns(lambda c: rows.look(c, key, clock.now())))
    assert {table for table, _ in read} == {"entries"}
    read = await backend._reader.submit(columns(lambda c: vectors.page(c, PARTITION, SPACE, 0)[0].rows))
    assert {table for table, _ in read} == {"vectors"}
    read = await backend._reader.submit(columns(vectors.groups))
    assert {table for table, _ in read} == {"vectors"}
    after = (await backend.vector_changes(None)).cursor - 1
    read = await backend._reader.submit(columns(lambda c: vectors.changes(c, after)[0].changes))
    assert ("vectors", "vector") in read
    assert {column for table, column in read if table == "entries"} == {"key", "id"}


async def test_statements_use_their_indexes(backend: SqliteBackend) -> None:
    def plans(connection: sqlite3.Connection) -> list[str]:
        return [
            " ".join(
                row[3]
                for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (0,) * sql.count("?")).fetchall()
            )
            for sql in (SCAN, SCAN_PARTITION, PAGE, CHANGES)
        ]

    for plan in await backend._reader.submit(plans):
        assert plan.startswith("SEARCH")
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan
    (groups,) = await backend._reader.submit(
        lambda connection: connection.execute(f"EXPLAIN QUERY PLAN {GROUPS}").fetchall()
    )
    assert groups[3] == "SCAN vectors USING COVERING INDEX vectors_by_partition"


async def test_pages_are_short_and_complete(backend: SqliteBackend, clock: FakeClock) -> None:
    entries = await fill(backend, clock, 1500)
    page = await backend.vectors(PARTITION, SPACE)
    assert 0 < len(page.rows) <= 1000
    assert {row.key for row in await all_vectors(backend, PARTITION, SPACE)} == {e.key for e in entries}


async def test_file_measures_its_vectors(backend: SqliteBackend, clock: FakeClock) -> None:
    await backend.put(make_entry(1, created_at=clock.now()))
    plain = (await backend.measure())["bytes"]
    await backend.put(embedded(1, clock, embedding=Embedding(SPACE, bytes(4000))))
    assert (await backend.measure())["bytes"] == plain + 4016


# What is told


@pytest.fixture
async def told(backend: SqliteBackend) -> Callable[[], Awaitable[VectorChanges]]:
    """What has changed since the last call."""
    cursor = (await backend.vector_changes(None)).cursor

    async def since() -> VectorChanges:
        nonlocal cursor
        changes = await all_changes(backend, cursor)
        assert not changes.gap
        cursor = changes.cursor
        return changes

    return since


Told = Callable[[], Awaitable[VectorChanges]]


async def removed(told: Told) -> set[bytes]:
    changes = (await told()).changes
    assert all(change.row is None for change in changes)
    return {change.key for change in changes}


async def test_every_deletion_is_told(backend: SqliteBackend, clock: FakeClock, told: Told) -> None:
    entries = await fill(backend, clock, 700, tags=("all",))
    keys = [entry.key for entry in entries]
    assert [change.key for change in (await told()).changes] == keys
    await backend.delete(keys[:2])
    assert await removed(told) == set(keys[:2])
    await backend.put(make_entry(2, created_at=clock.now()))
    assert await removed(told) == {keys[2]}
    await backend.delete_tagged(["tag-9", "all"])
    assert await removed(told) == {*keys[3:]}
    await fill(backend, clock, 300)
    await told()
    await backend.clear()
    assert await removed(told) == set(keys[:300])
    assert await ask(backend, "SELECT count(*) FROM vectors") == 0


async def test_replacement_is_told_of_both_places(
    backend: SqliteBackend, clock: FakeClock, told: Told
) -> None:
    one = embedded(1, clock)
    elsewhere = replace(one, partition=b"q" * 32)
    other_space = replace(elsewhere, embedding=make_embedding(1, space=b"s" * 16))
    places = []
    for entry in (one, elsewhere, other_space):
        await backend.put(entry)
        changes = (await told()).changes
        places.append({(change.partition, change.space, change.row is not None) for change in changes})
    assert places == [
        {(PARTITION, SPACE, True)},
        {(PARTITION, SPACE, False), (b"q" * 32, SPACE, True)},
        {(b"q" * 32, SPACE, False), (b"q" * 32, b"s" * 16, True)},
    ]


async def test_replaced_vector_is_told_once_a_page(
    backend: SqliteBackend, clock: FakeClock, told: Told
) -> None:
    for number in range(10):
        await backend.put(embedded(1, clock, embedding=make_embedding(number)))
    (only,) = (await told()).changes
    assert only.row is not None
    assert only.row.vector == make_embedding(9).vector


async def test_swept_and_evicted_vectors_are_told(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, max_bytes=2**20, sweep_interval=0.02, clock=clock)
    large = Embedding(SPACE, bytes(6000))
    mirror = Mirror()

    async def followed() -> bool:
        await mirror.follow(backend)
        left = [entry async for entry in backend.scan()]
        held: set[bytes] = {key for rows in mirror.live(0.0).values() for key in rows}
        return held == {entry.key for entry in left}

    async with backend.lifespan():
        await mirror.follow(backend)
        await fill(backend, clock, 100, ttl=5.0)
        clock.advance(200)
        await until(followed)
        assert (await backend.measure())["expired"] == 100
        await fill(backend, clock, 300, ttl=None, embedding=large)
        await until(followed)
        measured = await backend.measure()
        assert measured["evictions"] > 100
        assert 20 < measured["entries"] < 200
        found = await all_vectors(backend, PARTITION, SPACE)
        assert len(found) == measured["entries"]


async def test_change_by_hand_or_another_process_is_told(
    backend: SqliteBackend, path: Path, clock: FakeClock, told: Told
) -> None:
    one, two, three = await fill(backend, clock, 3)
    await told()
    change(path, "DELETE FROM entries WHERE key = ?", one.key, foreign_keys=True)
    assert await removed(told) == {one.key}
    change(path, "UPDATE vectors SET space = ? WHERE key = ?", b"s" * 16, two.key)
    assert {(change.space, change.key) for change in (await told()).changes} == {
        (SPACE, two.key),
        (b"s" * 16, two.key),
    }
    other = SqliteBackend(path, clock=clock)
    async with other.lifespan():
        await other.delete([three.key])
    assert three.key in await removed(told)


async def test_vector_whose_entry_was_deleted_by_hand_makes_way(
    backend: SqliteBackend, path: Path, clock: FakeClock, told: Told
) -> None:
    one, two = embedded(1, clock), embedded(2, clock)
    await backend.put(one)
    change(path, "DELETE FROM entries")  # without foreign keys, as the sqlite3 program does it
    await backend.put(two)
    assert [(change.key, change.row is None) for change in (await told()).changes] == [
        (one.key, True),
        (two.key, False),
    ]
    assert [row.key for row in await all_vectors(backend, PARTITION, SPACE)] == [two.key]
    assert [entry async for entry in backend.scan()] == [two]


async def test_failed_put_tells_nothing(backend: SqliteBackend, clock: FakeClock, told: Told) -> None:
    for bad in (
        Embedding(b"short", bytes(16)),
        Embedding(SPACE, b""),
        Embedding(SPACE, bytes(15)),
        Embedding(SPACE, memoryview(bytes(16))),  # type: ignore[arg-type]  # a user without a type checker
    ):
        with pytest.raises(BackendError, match="cannot be stored"):
            await backend.put(embedded(1, clock, embedding=bad))
    with pytest.raises(BackendError):
        await backend.put(embedded(2, clock, tags=(None,)))
    assert (await told()).changes == []
    assert await ask(backend, "SELECT count(*) FROM entries") == 0


# How much is told


@pytest.mark.parametrize("idle", [True, False])
async def test_trail_is_cut_to_its_length_in_the_background(
    backend: SqliteBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, idle: bool
) -> None:
    monkeypatch.setattr(backend._writer, "_between", lambda connection, _: backend._upkeep(connection, idle))
    trail = backend._rows.vectors.trail
    assert trail.kept == 100_000
    trail.kept, trail.slack = 50, 10  # a test cannot wait for 100,000
    start = (await backend.vector_changes(None)).cursor
    await fill(backend, clock, 500)

    async def cut() -> bool:
        length = await ask(backend, "SELECT max(seq) - min(seq) + 1 FROM vector_changes")
        assert length >= 50
        return bool(length <= 60)

    await until(cut)
    end = (await backend.vector_changes(None)).cursor
    assert end == start + 500
    for lost in (start, start + 1, end - 61):
        assert await backend.vector_changes(lost) == ([], end, False, True)
    known = await backend.vector_changes(end - 50)
    assert (len(known.changes), known.more, known.gap) == (50, False, False)


async def test_trail_takes_a_small_share_of_a_small_store(path: Path, clock: FakeClock) -> None:
    limit = 2**20
    backend = SqliteBackend(path, max_bytes=limit, clock=clock)
    async with backend.lifespan():
        for number in range(3000):  # each replaced, and so told twice
            await backend.put(embedded(number % 30, clock, ttl=None))
        assert await ask(backend, "SELECT count(*) FROM vector_changes") * 110 < limit / 5
        assert (await backend.measure())["evictions"] == 0

        def crowd(connection: sqlite3.Connection) -> None:
            for number in range(6000):
                backend._rows.put(connection, embedded(number % 30, clock, ttl=None))

        await backend._writer.submit(crowd)  # a trail of more than the limit before it is looked at again
        assert (await backend.measure())["evictions"] == 0
    assert VectorRows(max_bytes=2**18).trail.kept > 100


async def test_store_of_vectors_stays_within_max_bytes(path: Path, clock: FakeClock) -> None:
    limit = 2**20
    backend = SqliteBackend(path, max_bytes=limit, clock=clock)

    async def used() -> int:
        pages = await ask(backend, "PRAGMA page_count") - await ask(backend, "PRAGMA freelist_count")
        return int(pages * await ask(backend, "PRAGMA page_size"))

    async with backend.lifespan():
        for number in range(1000):
            clock.advance(1)
            vector = Embedding(SPACE, os.urandom(1536))
            entry = embedded(number, clock, ttl=None, embedding=vector, response=Response(os.urandom(500)))
            await backend.put(entry)
            assert await used() <= limit
            assert same(await backend.get(entry.key), entry)
        with pytest.raises(BackendError, match="too large"):
            await backend.put(embedded(1, clock, embedding=Embedding(SPACE, bytes(limit))))
        assert (await backend.measure())["entries"] > 200  # it does not throw away more than it must
    assert size(path) <= limit


# Damage


def flip_a_bit(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


DAMAGE: dict[str, tuple[str, Callable[[bytes], Any]]] = {
    "a flipped bit": ("vector", flip_a_bit),
    "a flipped bit of the key": ("key", flip_a_bit),
    "cut off": ("vector", lambda value: value[:-4]),
    "emptied": ("vector", lambda value: b""),
    "too short": ("vector", lambda value: value[-16:]),
    "another type": ("vector", lambda value: "text"),
    "a key of another type": ("key", lambda value: "text"),
    "an expiry of another type": ("expires_at", lambda value: "text"),
}


@pytest.mark.parametrize(("column", "damage"), DAMAGE.values(), ids=DAMAGE.keys())
async def test_damaged_vector_is_removed_and_never_shown(
    backend: SqliteBackend, path: Path, clock: FakeClock, column: str, damage: Callable[[bytes], Any]
) -> None:
    one, two = await fill(backend, clock, 2)
    cursor = (await backend.vector_changes(None)).cursor
    first = "entry = (SELECT min(entry) FROM vectors)"
    value = await ask(backend, f"SELECT {column} FROM vectors WHERE {first}")
    change(path, f"UPDATE vectors SET {column} = ? WHERE {first}", damage(value))
    assert [row.key for row in await all_vectors(backend, PARTITION, SPACE)] == [two.key]
    assert await ask(backend, "SELECT count(*) FROM vectors") == 1
    assert (await backend.measure())["damaged"] == 1
    assert [entry async for entry in backend.scan()] == [replace(one, embedding=None), two]
    changes = await all_changes(backend, cursor)
    assert changes.gap or one.key in {change.key for change in changes.changes}
    assert all(change.row is None for change in changes.changes)
    assert await backend.get(one.key) == replace(one, embedding=None)
    assert set_aside(path) == []


async def test_damaged_vector_is_found_by_a_scan_and_by_the_changes(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    cursor = (await backend.vector_changes(None)).cursor
    one, two, three = await fill(backend, clock, 3)
    change(path, "UPDATE vectors SET vector = ? WHERE key = ?", bytes(32), one.key)
    told = await backend.vector_changes(cursor)
    assert [change.row is None for change in told.changes] == [True, False, False]
    assert await ask(backend, "SELECT count(*) FROM vectors") == 2
    change(path, "UPDATE vectors SET vector = ? WHERE key = ?", bytes(32), two.key)
    expected = [replace(one, embedding=None), replace(two, embedding=None), three]
    assert [entry async for entry in backend.scan()] == expected
    assert await ask(backend, "SELECT count(*) FROM vectors") == 1
    assert (await backend.measure())["damaged"] == 2


async def test_vector_of_another_partition_or_space_is_never_shown(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    one, two = await fill(backend, clock, 2)
    change(path, "UPDATE vectors SET partition = ? WHERE key = ?", b"q" * 32, one.key)
    change(path, "UPDATE vectors SET space = ? WHERE key = ?", b"s" * 16, two.key)
    for partition in (PARTITION, b"q" * 32):
        for space in (SPACE, b"s" * 16):
            assert await all_vectors(backend, partition, space) == []


async def test_vector_stored_anew_since_it_was_read_is_not_removed(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    entry = embedded(1, clock)
    await backend.put(entry)
    change(path, "UPDATE vectors SET vector = x'00'")
    _, damaged = await backend._reader.submit(lambda c: backend._rows.vectors.page(c, PARTITION, SPACE, 0))
    change(path, "DELETE FROM entries")
    await backend.put(entry)
    await backend._remove_damaged(*damaged)
    assert len(damaged) == 1
    assert [row.key for row in await all_vectors(backend, PARTITION, SPACE)] == [entry.key]


async def test_damaged_change_is_a_gap_once(backend: SqliteBackend, path: Path, clock: FakeClock) -> None:
    start = (await backend.vector_changes(None)).cursor
    await fill(backend, clock, 3)
    change(path, "UPDATE vector_changes SET key = 'text' WHERE seq = ?", start + 2)
    told = await backend.vector_changes(start)
    assert told == VectorChanges([], start + 3, more=False, gap=True)
    assert (await backend.vector_changes(told.cursor)).gap is False


async def test_file_without_its_vectors_is_set_aside(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    await backend.put(embedded(1, clock))
    change(path, "DROP TABLE vectors")
    with pytest.raises(CorruptEntry, match="set aside"):
        await backend.vectors(PARTITION, SPACE)
    assert len(set_aside(path)) == 1
    await backend.put(embedded(2, clock))
    assert len(await all_vectors(backend, PARTITION, SPACE)) == 1


async def test_cursor_of_a_file_set_aside_is_a_gap(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    await fill(backend, clock, 20)
    cursor = (await backend.vector_changes(None)).cursor
    change(path, "DROP TABLE entries")
    with pytest.raises(CorruptEntry, match="set aside"):
        await backend.get(b"k" * 32)
    await fill(backend, clock, 20)
    assert (await backend.vector_changes(cursor)).gap
    assert (await backend.vector_changes(cursor - 10)).gap


def replace_file(path: Path, by: Path | None) -> None:
    for suffix in ("-wal", "-shm", ""):
        Path(f"{path}{suffix}").unlink()
    if by is not None:
        by.rename(path)


@pytest.mark.parametrize("deleted", [True, False])
async def test_cursor_of_a_file_that_was_replaced_is_a_gap(
    backend: SqliteBackend, path: Path, clock: FakeClock, deleted: bool
) -> None:
    await fill(backend, clock, 5)
    cursor = (await backend.vector_changes(None)).cursor
    if not deleted:
        another = SqliteBackend(path.with_name("another"), clock=clock)
        async with another.lifespan():
            await fill(another, clock, 30)
    replace_file(path, None if deleted else path.with_name("another"))

    async def gap() -> bool:
        return (await backend.vector_changes(cursor)).gap

    await until(gap)  # the next tick of the upkeep sees it


async def test_backup_put_back_is_a_gap(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, clock=clock)
    async with backend.lifespan():
        await fill(backend, clock, 5)
    backup = shutil.copy(path, path.with_name("backup"))
    async with backend.lifespan():
        await fill(backend, clock, 5)
        cursor = (await backend.vector_changes(None)).cursor
    shutil.copy(backup, path)
    async with backend.lifespan():
        assert (await backend.vector_changes(cursor)).gap


@pytest.fixture
def closed(path: Path, clock: FakeClock) -> SqliteBackend:
    return SqliteBackend(path, clock=clock)


async def test_vectors_outside_the_lifespan_say_so(closed: SqliteBackend) -> None:
    with pytest.raises(BackendUnavailable, match="not open"):
        await closed.vectors(PARTITION, SPACE)
    with pytest.raises(BackendUnavailable, match="not open"):
        await closed.vector_changes(None)
    with pytest.raises(BackendUnavailable, match="not open"):
        await closed.vector_groups()
