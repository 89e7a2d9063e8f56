"""Damaged rows, damaged files, files that go away: never a wrong value, never an error for ever."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from asynccache._errors import BackendError, CorruptEntry
from asynccache._models import Embedding, Entry, Response
from asynccache.backends.sqlite import SqliteBackend
from asynccache.testing import FakeClock, make_entry
from asynccache.testing._mirror import Mirror, all_changes, all_vectors
from asynccache.testing.entries import SPACE, make_embedding, same

pytestmark = pytest.mark.anyio

SEED = random.SystemRandom().randrange(2**32)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in the background; 10 seconds at most."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def size(path: Path, suffix: str = "") -> int:
    return Path(f"{path}{suffix}").stat().st_size


def change(path: Path, statement: str, *values: Any) -> None:
    """Change the file behind the backend's back."""
    connection = sqlite3.connect(path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


def set_aside(path: Path) -> list[Path]:
    return sorted(
        each for each in path.parent.glob(f"{path.name}.corrupt-*") if each.suffix[-3:] not in ("wal", "shm")
    )


async def works(backend: SqliteBackend, number: int = 1000) -> None:
    entry = make_entry(number, created_at=backend._clock.now(), ttl=None)
    await backend.put(entry)
    assert await backend.get(entry.key) == entry


# Damaged rows


def flip_a_bit(value: bytes) -> bytes:
    return value[:150] + bytes([value[150] ^ 1]) + value[151:]


DAMAGE: dict[str, Callable[[bytes], Any]] = {
    "a flipped bit": flip_a_bit,
    "cut off": lambda value: value[:-20],
    "emptied": lambda value: b"",
    "another type": lambda value: "text",
    "a number": lambda value: 7,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
async def test_damaged_row_is_an_error_once_and_then_a_miss(
    backend: SqliteBackend, path: Path, clock: FakeClock, damage: Callable[[bytes], Any]
) -> None:
    one, two = (make_entry(n, created_at=clock.now()) for n in (1, 2))
    await backend.put(one)
    await backend.put(two)
    value = await backend._reader.submit(
        lambda c: c.execute("SELECT value FROM entries WHERE key = ?", (one.key,)).fetchone()[0]
    )
    change(path, "UPDATE entries SET value = ? WHERE key = ?", damage(value), one.key)
    with pytest.raises(CorruptEntry):
        await backend.get(one.key)
    assert await backend.get(one.key) is None
    assert await backend.get(two.key) == two
    assert (await backend.measure())["damaged"] == 1
    await backend.put(one)
    assert await backend.get(one.key) == one
    assert set_aside(path) == []


async def test_swapped_values_are_never_served(backend: SqliteBackend, path: Path, clock: FakeClock) -> None:
    one, two = (make_entry(n, created_at=clock.now()) for n in (1, 2))
    await backend.put(one)
    await backend.put(two)
    values = await backend._reader.submit(lambda c: c.execute("SELECT key, value FROM entries").fetchall())
    (first, value_of_first), (second, value_of_second) = values
    change(path, "UPDATE entries SET value = ? WHERE key = ?", value_of_first, second)
    change(path, "UPDATE entries SET value = ? WHERE key = ?", value_of_second, first)
    for entry in (one, two):
        with pytest.raises(CorruptEntry):
            await backend.get(entry.key)
        assert await backend.get(entry.key) is None


async def test_damaged_row_is_removed_by_get_many_and_left_out_of_a_scan(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    entries = [make_entry(n, created_at=clock.now()) for n in range(4)]
    keys = [entry.key for entry in entries]
    for entry in entries:
        await backend.put(entry)
    change(path, "UPDATE entries SET value = x'00' WHERE key IN (?, ?)", keys[0], keys[1])
    with pytest.raises(CorruptEntry):
        await backend.get_many(keys)
    assert await backend.get_many(keys) == [None, None, *entries[2:]]
    change(path, "UPDATE entries SET value = x'00' WHERE key = ?", keys[2])
    assert [entry async for entry in backend.scan()] == entries[3:]
    assert (await backend.measure())["entries"] == 1


async def test_expiry_is_judged_by_what_the_checksum_covers(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    entry = make_entry(created_at=clock.now(), ttl=5.0)
    await backend.put(entry)
    change(path, "UPDATE entries SET expires_at = 1e300")
    clock.advance(5)
    assert await backend.get(entry.key) is None
    assert [each async for each in backend.scan()] == []


async def test_row_replaced_since_it_was_read_is_not_removed(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    entry = make_entry(created_at=clock.now())
    await backend.put(entry)
    change(path, "UPDATE entries SET value = x'00'")
    found = await backend._reader.submit(lambda c: backend._rows.look(c, entry.key, clock.now()))
    await backend.put(entry)
    await backend._remove_damaged(found)  # type: ignore[arg-type]  # it is Damaged, as the next line shows
    assert type(found).__name__ == "Damaged"
    assert await backend.get(entry.key) == entry


# Damaged files


def fill(path: Path, clock: FakeClock, number: int = 200) -> list[Entry]:
    entries = [
        make_entry(
            n,
            created_at=clock.now() + n,
            ttl=None,
            response=Response(b"%d " % n * (n * 7 % 1500)),
            embedding=Embedding(SPACE, make_embedding(n).vector * 60),
        )
        for n in range(number)
    ]

    async def put_all() -> None:
        backend = SqliteBackend(path, clock=clock)
        async with backend.lifespan():
            await asyncio.gather(*(backend.put(entry) for entry in entries))

    asyncio.run(put_all())
    return entries


def destroy(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)
    Path(f"{path}-shm").write_bytes(b"\xff" * 32768)


def garbage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(100))


def not_a_database(path: Path) -> None:
    path.write_bytes(b"this has never been a database " * 200)


def cut_in_half(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def unreadable_schema(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"CREATE TABLE entries", b"CREATE TABLE \xe4\xffxries"))


def lost_table(path: Path) -> None:
    change(path, "DROP TABLE entries")


@pytest.mark.parametrize(
    "damage", [garbage_header, not_a_database, cut_in_half, unreadable_schema, lost_table]
)
def test_damaged_file_is_set_aside_and_a_new_one_started(
    path: Path, clock: FakeClock, damage: Callable[[Path], None]
) -> None:
    entries = fill(path, clock)
    damage(path)

    async def use() -> None:
        backend = SqliteBackend(path, clock=clock)
        async with backend.lifespan():
            for entry in entries:
                with suppress(BackendError):
                    found = await backend.get(entry.key)
                    assert found is None or same(found, entry)
            await works(backend)
            assert (await backend.measure())["set_aside"] == 1

    asyncio.run(use())
    assert len(set_aside(path)) == 1


async def test_file_damaged_while_open_is_set_aside_by_the_one_who_finds_out(
    backend: SqliteBackend, path: Path, clock: FakeClock
) -> None:
    await backend.put(make_entry(1, created_at=clock.now(), response=Response(os.urandom(200_000))))
    await backend._writer.submit(lambda c: c.execute("PRAGMA cache_size = 1"))
    await until(lambda: size(path, "-wal") == 0)  # all is in the database itself
    destroy(path)
    errors = 0
    for _ in range(6):
        try:
            await works(backend)
            break
        except BackendError:
            errors += 1
    assert 1 <= errors <= 3
    assert len(set_aside(path)) == 1
    await works(backend)


async def test_error_says_where_the_damaged_file_went(path: Path, clock: FakeClock) -> None:
    backend = SqliteBackend(path, clock=clock)
    async with backend.lifespan():
        await works(backend)
    backend._open = True  # as in a forked child: the first operation opens the file
    not_a_database(path)
    with pytest.raises(CorruptEntry, match=r"set aside as cache\.sqlite\.corrupt-\d{8}T"):
        await backend.get(b"k" * 32)
    async with backend.lifespan():
        await works(backend)


def test_random_overwrites_never_give_a_wrong_value(tmp_path: Path, clock: FakeClock) -> None:
    chance = random.Random(SEED)
    original = tmp_path / "original" / "cache.sqlite"
    entries = fill(original, clock)
    outcomes = {"right": 0, "missing": 0, "error": 0}
    right_vectors = {(key, row.vector) for rows in Mirror.of(entries).values() for key, row in rows.items()}
    vectors = {"right": 0, "missing": 0}

    async def read_vectors(backend: SqliteBackend) -> None:
        partition = entries[0].partition
        found = await all_vectors(backend, partition, SPACE)
        cursor = (await backend.vector_changes(None)).cursor
        told = await all_changes(backend, cursor - len(entries))
        found += [change.row for change in told.changes if change.row is not None]
        assert {(row.key, row.vector) for row in found} <= right_vectors, f"a wrong vector; seed {SEED}"
        async for entry in backend.scan():
            assert entry.embedding is None or (entry.key, entry.embedding.vector) in right_vectors
        vectors["right"] += len(found)
        vectors["missing"] += 2 * len(entries) - len(found)

    async def read_all(path: Path) -> None:
        backend = SqliteBackend(path, clock=clock)
        async with backend.lifespan():
            for entry in entries:
                try:
                    found = await backend.get(entry.key)
                except BackendError:
                    outcomes["error"] += 1
                else:
                    assert found is None or same(found, entry), f"a wrong value; seed {SEED}"
                    outcomes["missing" if found is None else "right"] += 1
            with suppress(BackendError):
                await read_vectors(backend)
            for attempt in range(4):
                try:
                    await works(backend, attempt)
                    break
                except BackendError:
                    assert attempt < 3, f"it does not recover; seed {SEED}"

    for mutant in range(25):
        path = tmp_path / str(mutant) / "cache.sqlite"
        path.parent.mkdir()
        shutil.copy(original, path)
        # Not its header, where a few bytes make it the file of another program, which is not ours to touch.
        overwrite(path, chance, spots=1 + mutant, after=100)
        asyncio.run(read_all(path))
    assert min(outcomes.values()) > 0, outcomes
    assert min(vectors.values()) > 0, vectors


def test_random_overwrites_of_the_wal_never_give_a_wrong_value(tmp_path: Path, clock: FakeClock) -> None:
    chance = random.Random(SEED)
    original = tmp_path / "original" / "cache.sqlite"
    entries = [
        make_entry(n, created_at=clock.now() + n, ttl=None, response=Response(b"%d " % n * (n * 7 % 1500)))
        for n in range(100)
    ]

    async def put_all() -> None:
        backend = SqliteBackend(original, clock=clock)
        async with backend.lifespan():
            for entry in entries:
                await backend.put(entry)
            for mutant in range(15):  # copied while open, as after a crash: closing would empty the WAL
                path = tmp_path / str(mutant) / "cache.sqlite"
                path.parent.mkdir()
                shutil.copy(original, path)
                shutil.copy(f"{original}-wal", f"{path}-wal")

    async def read_all(path: Path) -> int:
        backend = SqliteBackend(path, clock=clock)
        right = 0
        async with backend.lifespan():
            for entry in entries:
                try:
                    found = await backend.get(entry.key)
                except BackendError:
                    continue
                assert found in (None, entry), f"a wrong value; seed {SEED}"
                right += found is not None
            await works(backend)
        return right

    asyncio.run(put_all())
    right = 0
    for mutant in range(15):
        path = tmp_path / str(mutant) / "cache.sqlite"
        if mutant:
            overwrite(Path(f"{path}-wal"), chance, spots=mutant)
        found = asyncio.run(read_all(path))
        assert mutant or found == len(entries)  # the unharmed copy has all
        right += found
    assert right < 15 * len(entries)  # the damage was felt


def overwrite(path: Path, chance: random.Random, *, spots: int, after: int = 0) -> None:
    with path.open("r+b") as file:
        for _ in range(spots):
            file.seek(chance.randrange(after, path.stat().st_size - 64))
            file.write(chance.randbytes(64))


# Files that move


def remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()


@pytest.mark.parametrize("replace", [False, True])
async def test_file_deleted_under_it_is_made_anew(
    backend: SqliteBackend, path: Path, clock: FakeClock, replace: bool
) -> None:
    await works(backend)
    remove(path)
    if replace:
        async with SqliteBackend(path, clock=clock).lifespan():
            pass
    backend._upkeep.tick_due = True
    backend._writer.nudge()
    await backend.flush()
    await works(backend, 5)
    await until(path.exists)
    second = SqliteBackend(path, clock=clock)
    async with second.lifespan():
        assert await second.get(make_entry(5, created_at=0).key) is not None
