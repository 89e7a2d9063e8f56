"""SIGKILL in the middle of writing: what was acknowledged is there, and the file is sound."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asynccache._models import Response
from asynccache.backends.sqlite import SqliteBackend
from asynccache.testing._mirror import Mirror
from asynccache.testing.entries import make_embedding, make_entry, same
from tests._victims import victims

ROUNDS = 50
SEED = random.SystemRandom().randrange(2**32)

# Tells the number of each entry once its put has returned.
WRITER = """
import asyncio, os, sys
from asynccache._models import Response
from asynccache.backends.sqlite import SqliteBackend
from asynccache.testing.entries import make_embedding, make_entry

async def write(backend, number, step):
    while True:
        body = b"%d " % number * (number % 700)
        embedding = make_embedding(number) if number % 2 else None
        entry = make_entry(number, created_at=1e9, ttl=None, response=Response(body), embedding=embedding)
        await backend.put(entry)
        os.write(1, b"%d\\n" % number)
        number += step

async def main(first, ready):
    backend = SqliteBackend(sys.argv[1])
    async with backend.lifespan():
        os.write(1, ready)
        await asyncio.gather(*(write(backend, first + n, 8) for n in range(8)))
"""


def expected(number: int) -> Any:
    body = b"%d " % number * (number % 700)
    embedding = make_embedding(number) if number % 2 else None
    return make_entry(number, created_at=1e9, ttl=None, response=Response(body), embedding=embedding)


async def read_back(path: Path, numbers: list[int]) -> None:
    backend = SqliteBackend(path)
    async with backend.lifespan():
        for start in range(0, len(numbers), 500):
            chunk = [expected(number) for number in numbers[start : start + 500]]
            for found, entry in zip(
                await backend.get_many([entry.key for entry in chunk]), chunk, strict=True
            ):
                assert same(found, entry)
        assert (await backend.measure())["set_aside"] == 0


async def compare_vectors(path: Path) -> None:
    """Each entry has its vector, and no vector is there without its entry."""
    backend = SqliteBackend(path)
    async with backend.lifespan():
        mirror = Mirror()
        await mirror.read(backend)
        assert mirror.live(0.0) == Mirror.of([entry async for entry in backend.scan()])


@pytest.mark.timeout(180)
def test_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    chance = random.Random(SEED)
    acknowledged: list[int] = []
    with victims(WRITER, str(path)) as writers:
        for round_ in range(ROUNDS):
            lines = writers.kill(round_ * 1_000_000, after=chance.uniform(0.0, 0.2))
            fresh = [int(line) for line in lines]
            acknowledged += fresh
            connection = sqlite3.connect(path)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), (
                f"seed {SEED}, round {round_}"
            )
            connection.close()
            asyncio.run(read_back(path, fresh))
    asyncio.run(read_back(path, acknowledged))
    asyncio.run(compare_vectors(path))
    assert len(acknowledged) > ROUNDS  # it did write


def test_next_process_takes_the_lock_of_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    code = (
        "import os, signal, sys; from asynccache.backends.sqlite import SqliteBackend\n"
        "assert SqliteBackend(sys.argv[1])._upkeep.latch.held()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=20)
    assert done.returncode == -signal.SIGKILL
    assert Path(f"{path}-lock").exists()
    latch = SqliteBackend(path)._upkeep.latch
    try:
        assert latch.held()
    finally:
        latch.release()
