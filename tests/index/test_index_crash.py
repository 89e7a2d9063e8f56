"""SIGKILL at any moment of the work of an index: what comes back is what the store holds."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from asynccache._models import Embedding
from asynccache.backends import SqliteBackend
from asynccache.index import BackendIndex, PartitionIndex
from tests._victims import victims

ROUNDS = 50
SEED = random.SystemRandom().randrange(2**32)
DIM = 16
SPACE = b"s" * 16
PARTITIONS = [hashlib.sha256(b"%d" % number).digest() for number in range(2)]

# Searches, stores, deletes, replaces and saves for as long as it lives; the index grows past its graph's
# first room several times.
WORKER = """
import asyncio, hashlib, os, random, sys
import hnswlib
import numpy as np
from asynccache._models import Embedding
from asynccache.backends import SqliteBackend
from asynccache.index import BackendIndex
from asynccache.testing import make_entry

DIM, SPACE = 16, b"s" * 16
PARTITIONS = [hashlib.sha256(b"%d" % number).digest() for number in range(2)]
chance = random.Random()

def entry(number):
    row = np.random.default_rng(chance.randrange(2**32)).standard_normal(DIM).astype(np.float32)
    row /= np.linalg.norm(row)
    return make_entry(number, created_at=1e9, ttl=None, partition=PARTITIONS[number % 2],
                      embedding=Embedding(SPACE, row.tobytes()))

async def work(backend, index):
    while True:
        made = entry(chance.randrange(1000))
        what = chance.randrange(10)
        if what < 5:
            await backend.put(made)
            index.learn(made)
        elif what < 7:
            await backend.delete([made.key])
        elif what < 8:
            await backend.put(made)
        else:
            await index.nearest(made.partition, made.embedding, 3)

async def save(index):
    while True:
        await asyncio.sleep(chance.random() / 50)
        await index.save()

async def main(seed, ready):
    chance.seed(seed)
    backend = SqliteBackend(sys.argv[1])
    index = BackendIndex(backend, exact_up_to=20, poll=0.01, snapshot_every=20)
    async with index.lifespan():
        for partition in PARTITIONS:
            await index.nearest(partition, entry(0).embedding, 1)
        os.write(1, ready)
        await asyncio.gather(*(work(backend, index) for _ in range(4)), save(index))
"""


async def read_back(path: Path, snapshots: Path) -> tuple[int, int]:
    """Vectors that came back, and snapshots they came from."""
    backend = SqliteBackend(path)
    index = BackendIndex(backend, folder=snapshots, exact_up_to=20, poll=1000.0)
    total = 0
    async with index.lifespan():
        for partition in PARTITIONS:
            live = {each.key: each.embedding async for each in backend.scan(partition)}
            some = Embedding(SPACE, np.eye(1, DIM, dtype=np.float32).tobytes())
            await index.nearest(partition, some, 1)
            keys = await held(index, partition)
            assert sorted(keys) == sorted(live), f"seed {SEED}"
            for key, embedding in list(live.items())[::10]:
                assert embedding is not None
                (near,) = await index.nearest(partition, embedding, 1)
                assert near.key == key, f"seed {SEED}"
                assert near.similarity == pytest.approx(1.0, abs=1e-4), f"seed {SEED}"
            total += len(keys)
        counts = await index.measure()
    return total, counts["snapshots_loaded"]


async def held(index: BackendIndex, partition: bytes) -> list[bytes]:
    """Every key in an engine: a search of a graph need not reach all."""
    opened = index._now
    room = None if opened is None else opened.rooms.get((partition, SPACE))
    assert opened is not None
    assert room is not None
    assert isinstance(room.engine, PartitionIndex)
    engine = room.engine
    return await opened.thread.run(lambda: list(engine.keys()))


@pytest.mark.timeout(300)
def test_killed_index_comes_back_as_the_store_is(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    chance = random.Random(SEED)
    vectors = snapshots = 0
    with victims(WORKER, str(path)) as workers:
        for round_ in range(ROUNDS):
            workers.kill(SEED + round_, after=chance.uniform(0.0, 0.4))
            # A copy, so that the next worker meets what this one left.
            copy = tmp_path / "copy"
            if (left := path.with_name(f"{path.name}-index")).exists():
                shutil.copytree(left, copy, symlinks=True)  # one may lead into the memory of the dead
            total, loaded = asyncio.run(read_back(path, copy))
            shutil.rmtree(copy)
            vectors += total
            snapshots += loaded
    assert vectors > 100 * ROUNDS  # it did work
    assert snapshots > ROUNDS / 2  # and what was killed had saved
