"""Older, newer and other programs' files."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from asynccache._errors import BackendUnavailable
from asynccache.backends import _sqlite_schema
from asynccache.backends._sqlite_file import SqliteFile
from asynccache.backends.sqlite import SqliteBackend
from asynccache.testing import FakeClock, make_entry

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
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("PRAGMA application_id").fetchone() == (_sqlite_schema.APPLICATION_ID,)
    connection.close()


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
    assert version == 2


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
