"""Older, newer and other programs' files."""

from __future__ import annotations

import gzip
import hashlib
import math
import sqlite3
import struct
from pathlib import Path

import pytest

from asynccache._errors import BackendUnavailable
from asynccache._models import Cost, Embedding, Entry, Response
from asynccache.backends import _sqlite_schema
from asynccache.backends._sqlite_file import SqliteFile
from asynccache.backends.sqlite import SqliteBackend
from asynccache.testing import FakeClock, make_entry
from asynccache.testing.entries import SPACE, make_embedding, make_label, same

pytestmark = pytest.mark.anyio


def contents(path: Path) -> bytes:
    return path.read_bytes()


def make_v0(path: Path) -> None:
    """A file of no version: what an installation killed while making it leaves, or ``sqlite3 file ''``."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    assert path.stat().st_size > 0


async def test_file_of_version_0_is_migrated(path: Path, clock: FakeClock) -> None:
    make_v0(path)
    backend = SqliteBackend(path, clock=clock)
    entry = make_entry(created_at=clock.now())
    async with backend.lifespan():
        await backend.put(entry)
        assert await backend.get(entry.key) == entry
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (4,)
    assert connection.execute("PRAGMA application_id").fetchone() == (_sqlite_schema.APPLICATION_ID,)
    connection.close()


def entry_of_version_1(number: int) -> Entry:
    """What was put into the file of version 1; number 1 with 1536 bytes for an embedding."""
    return Entry(
        key=hashlib.sha256(b"key %d" % number).digest(),
        partition=hashlib.sha256(b"partition %d" % (number % 2)).digest(),
        dialect="chat.completions",
        response=Response(b'{"answer": %d}' % number, tuple(b'{"part": %d}' % n for n in range(number * 40))),
        created_at=1e9 + number,
        ttl=None if number else 50.0,
        question=f"question {number}",
        tags=("all", f"tag-{number}"),
        version="v1",
        cost=Cost(10, number, 0.25),
    )


def unpack(name: str, path: Path) -> None:
    stored = Path(__file__).parent / "data" / name
    path.write_bytes(gzip.decompress(stored.read_bytes()))


async def test_file_of_version_1_is_migrated(path: Path) -> None:
    unpack("version-1.sqlite.gz", path)  # made by the release that knew no other
    backend = SqliteBackend(path, clock=FakeClock(1e9 + 49))
    entries = [entry_of_version_1(number) for number in range(4)]
    async with backend.lifespan():
        assert await backend.get_many([entry.key for entry in entries]) == entries
        assert [entry async for entry in backend.scan()] == entries
        assert await backend.vector_groups() == []
        cursor = (await backend.vector_changes(None)).cursor
        new = make_entry(9, created_at=1e9 + 10, embedding=make_embedding(9))
        await backend.put(new)
        assert [change.key for change in (await backend.vector_changes(cursor)).changes] == [new.key]
        assert same(await backend.get(new.key), new)
        assert await backend.delete_tagged(["all"]) == 5
        assert [(group.space, group.size) for group in await backend.vector_groups()] == []
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (4,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def old_embedding(number: int) -> Embedding:
    """What the files of versions 2 and 3 hold."""
    return Embedding(SPACE, struct.pack("<4f", math.sin(number), 0.0, math.cos(number), 0.0))


async def test_file_of_version_2_is_migrated(path: Path) -> None:
    unpack("version-2.sqlite.gz", path)  # made by the last release that knew no labels
    clock = FakeClock(1e9 + 49)
    backend = SqliteBackend(path, clock=clock)
    entries = [make_entry(n, created_at=1e9 + n, ttl=None, embedding=old_embedding(n)) for n in range(4)]
    async with backend.lifespan():
        assert all(same(a, b) for a, b in zip([e async for e in backend.scan()], entries, strict=True))
        assert [group.size for group in await backend.vector_groups()] == [4]
        assert (await backend.labels(0)).labels == []
        await backend.put_labels([make_label(1, at=clock.now())])
        assert (await backend.labels(0)).labels == [make_label(1, at=clock.now())]
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (4,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_file_of_version_3_is_migrated(path: Path) -> None:
    unpack("version-3.sqlite.gz", path)  # made by the last release whose entries had no generation
    clock = FakeClock(1e9 + 49)
    backend = SqliteBackend(path, clock=clock)
    entries = [
        make_entry(
            n,
            created_at=1e9 + n,
            ttl=None if n else 60.0,
            embedding=old_embedding(n) if n % 2 else None,
        )
        for n in range(4)
    ]
    keys = [entry.key for entry in entries]
    async with backend.lifespan():
        assert [entry async for entry in backend.scan()] == entries
        assert [group.size for group in await backend.vector_groups()] == [2]
        assert (await backend.labels(0)).labels == [make_label(n, at=clock.now()) for n in range(3)]
        old = await backend.generations(keys)
        assert [entry and entry.generation for entry in await backend.get_many(keys)] == old
        cursor = (await backend.changes(None)).cursor
        since = backend.position(keys[1])
        await backend.delete(keys[1:2])
        assert await (await backend.fill(entries[1], since=since)) is None
        await backend.put(entries[2])
        told = (await backend.changes(cursor)).changes
        assert [change.key for change in told] == keys[1:3]
        new = await backend.generations(keys)
        assert new == [old[0], None, told[1].number, old[3]]
        assert told[1].number > (old[2] or 0)
        clock.advance(11)
        assert await backend.delete_tagged(["all"]) == 2
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (4,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


async def test_damaged_label_is_left_out(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, clock=clock)
    async with backend.lifespan():
        await backend.put_labels([make_label(n, at=clock.now()) for n in range(3)])
    connection = sqlite3.connect(path)
    value = connection.execute("SELECT value FROM labels ORDER BY seq LIMIT 1").fetchone()[0]
    flipped = value[:60] + bytes([value[60] ^ 1]) + value[61:]
    connection.execute("UPDATE labels SET value = ? WHERE value = ?", (flipped, value))
    connection.commit()
    connection.close()
    async with backend.lifespan():
        assert (await backend.labels(0)).labels == [make_label(n, at=clock.now()) for n in (1, 2)]


async def test_trails_of_two_files_begin_far_apart(tmp_path: Path) -> None:
    starts = set()
    for number in range(20):
        backend = SqliteBackend(tmp_path / str(number))
        async with backend.lifespan():
            starts.add((await backend.vector_changes(None)).cursor // 100_000)
            starts.add((await backend.changes(None)).cursor // 100_000)
            starts.add(backend.position(b"k" * 32) // 100_000)
    assert len(starts) == 60
    assert min(starts) > 0


def test_tables_made_by_another_process_at_the_same_moment_are_used(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_v0(path)
    look = _sqlite_schema._pragma

    def overtaken(connection: sqlite3.Connection, name: str) -> int:
        value = look(connection, name)
        monkeypatch.undo()  # the other one is not overtaken
        other, _ = SqliteFile(path, busy_timeout=1, monotonic=clock.monotonic).connect(read_only=False)
        other.close()
        return value

    monkeypatch.setattr(_sqlite_schema, "_pragma", overtaken)
    connection, _ = SqliteFile(path, busy_timeout=1, monotonic=clock.monotonic).connect(read_only=False)
    assert connection.execute("SELECT count(*) FROM entries").fetchone() == (0,)
    connection.close()


async def test_migration_keeps_the_entries(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_entry(created_at=clock.now())
    backend = SqliteBackend(path, clock=clock)
    async with backend.lifespan():
        await backend.put(entry)

    def add_a_column(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE entries ADD COLUMN note TEXT")

    monkeypatch.setattr(_sqlite_schema, "MIGRATIONS", (*_sqlite_schema.MIGRATIONS, add_a_column))
    async with backend.lifespan():
        assert await backend.get(entry.key) == entry
        assert await backend._reader.submit(lambda c: c.execute("SELECT note FROM entries").fetchall()) == [
            (None,)
        ]
        version = await backend._reader.submit(lambda c: c.execute("PRAGMA user_version").fetchone()[0])
    assert version == len(_sqlite_schema.MIGRATIONS)


async def test_failed_migration_changes_nothing(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_entry(created_at=clock.now())
    backend = SqliteBackend(path, clock=clock)
    async with backend.lifespan():
        await backend.put(entry)

    def half_way(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE tags")
        connection.execute("SELECT * FROM no_such_table")

    with monkeypatch.context() as patch:
        patch.setattr(_sqlite_schema, "MIGRATIONS", (*_sqlite_schema.MIGRATIONS, half_way))
        async with backend.lifespan():
            with pytest.raises(BackendUnavailable):
                await backend.get(entry.key)
    clock.advance(1)
    async with backend.lifespan():
        assert await backend.delete_tagged(entry.tags) == 1


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [("PRAGMA user_version = 99", "newer release"), ("PRAGMA application_id = 7", "another program")],
)
async def test_file_that_is_not_for_us_is_never_touched(
    path: Path, clock: FakeClock, statement: str, sentence: str
) -> None:
    backend = SqliteBackend(path, clock=clock)
    entry = make_entry(created_at=clock.now())
    async with backend.lifespan():
        await backend.put(entry)
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.close()
    before = contents(path)
    async with backend.lifespan():
        with pytest.raises(BackendUnavailable, match=sentence):
            await backend.get(entry.key)
        with pytest.raises(BackendUnavailable, match=sentence):
            await backend.put(entry)
    assert contents(path) == before


async def test_database_of_another_program_is_never_touched(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE precious (data)")
    connection.commit()
    connection.close()
    async with SqliteBackend(path).lifespan():
        pass
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("precious",)]
    connection.close()
