"""Several processes on one file, and processes that fork."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from asynccache._errors import BackendUnavailable
from asynccache.backends.sqlite import SqliteBackend
from asynccache.testing import make_entry

PROCESSES = 4
SECONDS = 3.0

WRITER = """
import asyncio, sys, time
from asynccache.backends.sqlite import SqliteBackend
from asynccache.testing import make_entry

async def write(backend, number, step, until):
    count = 0
    while time.monotonic() < until:
        entry = make_entry(number, created_at=1e9, ttl=None)
        await backend.put(entry)
        assert await backend.get(entry.key) == entry
        if count % 10 == 9:
            assert await backend.delete([entry.key]) == 1
        else:
            print(number)
        number += step
        count += 1

async def main():
    backend = SqliteBackend(sys.argv[1], op_timeout=20)
    first, seconds = int(sys.argv[2]), float(sys.argv[3])
    async with backend.lifespan():
        until = time.monotonic() + seconds
        await asyncio.gather(*(write(backend, first + n, 4, until) for n in range(4)))

asyncio.run(main())
"""


def test_four_processes_write_one_file_without_an_error_or_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen(
            [*command, str(number * 10_000_000), str(SECONDS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    stored: list[int] = []
    try:
        for writer in writers:
            out, err = writer.communicate(timeout=50)
            assert writer.returncode == 0, err
            stored += [int(line) for line in out.split()]
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()

    async def read_back() -> dict[str, int]:
        backend = SqliteBackend(path)
        async with backend.lifespan():
            for start in range(0, len(stored), 200):
                chunk = [make_entry(n, created_at=1e9, ttl=None) for n in stored[start : start + 200]]
                assert await backend.get_many([entry.key for entry in chunk]) == chunk
            return dict(await backend.measure())

    measured = asyncio.run(read_back())
    assert measured["entries"] == len(stored)
    assert measured["set_aside"] == 0


KEYS = 300

RIVAL = """
import asyncio, sys, time
from asynccache.backends.sqlite import SqliteBackend
from asynccache.testing import make_entry

KEYS = {KEYS}

async def use(backend, number, who):
    mine = make_entry(number, created_at=1e9, ttl=None, version=str(who))
    alias = make_entry(number, created_at=1e9, ttl=None, version="alias")
    if number < KEYS:  # both add
        if await backend.add(mine):
            print(number)
    elif number % 2 == who:  # one puts, while the other ...
        await backend.put(mine)
    elif number < 2 * KEYS:
        await backend.add(alias)
    else:
        await backend.remove(alias)

async def main():
    backend = SqliteBackend(sys.argv[1], op_timeout=20)
    who = int(sys.argv[2])
    async with backend.lifespan():
        print("ready", flush=True)
        sys.stdin.readline()
        for first in range(0, 3 * KEYS, 4):
            await asyncio.gather(*(use(backend, first + n, who) for n in range(4)))

asyncio.run(main())
""".replace("{KEYS}", str(KEYS))


def test_two_processes_look_and_change_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"

    async def prepare() -> None:
        backend = SqliteBackend(path)
        async with backend.lifespan():
            for number in range(2 * KEYS, 3 * KEYS):
                await backend.put(make_entry(number, created_at=1e9, ttl=None, version="alias"))

    async def read_back() -> list[str | None]:
        backend = SqliteBackend(path, op_timeout=20)
        async with backend.lifespan():
            found = await backend.get_many([make_entry(n, created_at=0).key for n in range(3 * KEYS)])
        return [None if entry is None else entry.version for entry in found]

    asyncio.run(prepare())
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, str(path), str(who)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in (0, 1)
    ]
    won: list[set[int]] = []
    try:
        for rival in rivals:
            assert rival.stdout is not None
            assert rival.stdout.readline() == "ready\n"
        for rival in rivals:
            assert rival.stdin is not None
            rival.stdin.write("go\n")
            rival.stdin.flush()
        for rival in rivals:
            out, err = rival.communicate(timeout=50)
            assert rival.returncode == 0, err
            won.append({int(line) for line in out.split()})
    finally:
        for rival in rivals:
            rival.kill()
            rival.communicate()
    stored = asyncio.run(read_back())
    assert not won[0] & won[1]
    assert won[0] | won[1] == set(range(KEYS))
    assert stored[:KEYS] == [str(int(number in won[1])) for number in range(KEYS)]
    assert stored[KEYS:] == [str(number % 2) for number in range(KEYS, 3 * KEYS)]


FORK = multiprocessing.get_context("fork")


def in_forked_child(function: Any, *arguments: Any) -> Any:
    """What ``function`` returns in a forked child."""
    ours, theirs = FORK.Pipe(duplex=False)

    def child() -> None:
        try:
            theirs.send(function(*arguments))
        except BaseException as error:
            theirs.send(error)
            raise

    process = FORK.Process(target=child)
    process.start()
    theirs.close()
    try:
        assert ours.poll(20), "the child hangs"
        result = ours.recv()
        process.join(20)
        assert process.exitcode == 0, result
        return result
    finally:
        ours.close()
        if process.is_alive():
            process.kill()
            process.join()


def threads_of_the_library() -> int:
    return sum(thread.name.startswith("asynccache") for thread in threading.enumerate())


async def put_and_read(backend: SqliteBackend, number: int, others: int) -> bool:
    entry, other = (make_entry(n, created_at=1e9, ttl=None) for n in (number, others))
    await backend.put(entry)
    return await backend.get_many([entry.key, other.key]) == [entry, other]


async def in_own_lifespan(backend: SqliteBackend, number: int, others: int) -> bool:
    async with backend.lifespan():
        right = await put_and_read(backend, number, others)
    return right and threads_of_the_library() == 0


@pytest.mark.parametrize("use", [put_and_read, in_own_lifespan])
def test_forked_child_opens_the_file_anew(tmp_path: Path, threads: Any, use: Any) -> None:
    async def main() -> None:
        backend = SqliteBackend(tmp_path / "cache.sqlite")
        async with backend.lifespan():
            await backend.put(make_entry(1, created_at=1e9, ttl=None))
            assert in_forked_child(lambda: asyncio.run(use(backend, 2, 1)))
            # The parent goes on as if nothing had been, and sees what the child wrote.
            assert await put_and_read(backend, 3, 2)
            assert in_forked_child(lambda: asyncio.run(use(backend, 4, 3)))
            assert await put_and_read(backend, 5, 4)

    asyncio.run(main())
    assert threads() == []


def test_nothing_of_the_database_is_open_in_a_forked_child(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"

    def open_files() -> list[str]:
        found = []
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # the listing's own descriptor is gone by now
                found.append(str(link.readlink()))
        return [each for each in found if each.startswith(str(path))]

    async def main() -> None:
        backend = SqliteBackend(path)
        async with backend.lifespan():
            await put_and_read(backend, 1, 1)
            assert backend._upkeep.latch.held()
            assert len(open_files()) >= 3
            assert in_forked_child(open_files) == []

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("open files are read from /proc")
    asyncio.run(main())


def test_fork_in_the_middle_of_work_harms_neither_side(tmp_path: Path) -> None:
    """Forks from another thread, at random moments, while writes and reads are under way."""
    backend = SqliteBackend(tmp_path / "cache.sqlite")
    stop = threading.Event()
    results: list[bool] = []

    def fork_now_and_then() -> None:
        for round_ in range(8):
            time.sleep(0.02)
            results.append(
                in_forked_child(lambda n=round_: asyncio.run(in_own_lifespan(backend, 10_000 + n, 0)))
            )
        stop.set()

    async def main() -> int:
        async with backend.lifespan():
            await backend.put(make_entry(0, created_at=1e9, ttl=None))
            forker = threading.Thread(target=fork_now_and_then)
            forker.start()
            number = 0
            while not stop.is_set():
                number += 1
                assert await put_and_read(backend, number, number - 1)
            forker.join()
            entries = [
                make_entry(n, created_at=1e9, ttl=None) for n in (*range(number), *range(10_000, 10_008))
            ]
            assert await backend.get_many([entry.key for entry in entries]) == entries
            return number

    assert asyncio.run(main()) > 8
    assert results == [True] * 8


def test_second_event_loop_is_told_so(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "cache.sqlite")

    async def elsewhere() -> None:
        with pytest.raises(BackendUnavailable, match="another event loop"):
            await backend.get(b"k" * 32)

    async def main() -> None:
        async with backend.lifespan():
            await backend.get(b"k" * 32)
            await asyncio.to_thread(lambda: asyncio.run(elsewhere()))

    asyncio.run(main())
