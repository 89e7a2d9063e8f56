"""Snapshots: whole or none, and any doubt means that the store is read again."""

from __future__ import annotations

import gc
import hashlib
import os
import random
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import orjson
import pytest

from asynccache._models import Embedding, Entry
from asynccache.backends import SqliteBackend
from asynccache.index import BackendIndex, PartitionIndex
from asynccache.index._engines import Partitions
from asynccache.index._saving import _Draft
from asynccache.index._snapshot import Refused, Snapshots
from asynccache.index._staging import in_memory
from asynccache.index.usearch import UsearchIndex
from asynccache.testing import FakeClock, cancel_at_every_step, make_entry

pytestmark = pytest.mark.anyio

SEED = random.SystemRandom().randrange(2**32)
DIM = 8
SIZE = 60
SPACE = b"s" * 16
PARTITION = hashlib.sha256(b"partition").digest()
PLACE = (PARTITION, SPACE)


def vectors(count: int, seed: int = 7) -> np.ndarray[Any, np.dtype[np.float32]]:
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]


VECTORS = vectors(2 * SIZE)


def entry(number: int, **fields: Any) -> Entry:
    made = {"embedding": Embedding(SPACE, VECTORS[number].tobytes()), "ttl": None, **fields}
    return make_entry(number, created_at=1e9, **made)


def index_over(backend: SqliteBackend, **options: Any) -> BackendIndex:
    return BackendIndex(backend, **{"exact_up_to": 10, "poll": 30.0, **options})


async def built(index: BackendIndex) -> None:
    """Wait until the graph holds everything."""
    await until_graph_holds(index, (await index.measure())["vectors"])


async def until_graph_holds(index: BackendIndex, size: int) -> None:
    for _ in range(1000):
        if (await index.measure())["in_graphs"] == size:
            return
        await anyio.sleep(0.005)
    raise AssertionError("the graph was not built")


async def load(index: BackendIndex) -> None:
    await index.nearest(PARTITION, Embedding(SPACE, VECTORS[0].tobytes()), 1)


async def assert_right(index: BackendIndex, live: set[int], backend: SqliteBackend) -> None:
    """Every live entry is found by its own vector, and no other entry is ever found."""
    keys = {entry(number).key for number in live}
    for number in live:
        found = await index.nearest(PARTITION, Embedding(SPACE, VECTORS[number].tobytes()), 2)
        assert found[0].key == entry(number).key
        assert {each.key for each in found} <= keys
    everything = await index.nearest(PARTITION, Embedding(SPACE, VECTORS[0].tobytes()), 10 * SIZE)
    assert {each.key for each in everything} == keys
    assert {each.key async for each in backend.scan()} == keys


def store(path: Path) -> set[int]:
    """A store with a snapshot beside it; the numbers of its entries. Some differ from the snapshot's."""

    async def fill() -> None:
        backend = SqliteBackend(path)
        async with backend.lifespan():
            for number in range(SIZE):
                await backend.put(entry(number))
            index = index_over(backend)
            async with index.lifespan():
                await load(index)
                await built(index)
                assert await index.save() == 1
            await backend.delete([entry(number).key for number in range(5)])
            for number in range(SIZE, SIZE + 5):
                await backend.put(entry(number))

    anyio.run(fill)
    return set(range(5, SIZE + 5))


def folder(path: Path) -> Path:
    return path.with_name(f"{path.name}-index")


def manifest(path: Path) -> Path:
    (found,) = folder(path).glob("*.json")
    return found


def payload(path: Path) -> list[Path]:
    return sorted(each for each in folder(path).glob("*/*") if each.is_file())


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "cache.sqlite"
    store(path)
    return path


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original.parent, tmp_path / "copy")
    return tmp_path / "copy" / original.name


LIVE = set(range(5, SIZE + 5))


async def check(path: Path, *, loaded: int, refused: int) -> None:
    backend = SqliteBackend(path)
    async with backend.lifespan():
        index = index_over(backend)
        async with index.lifespan():
            await load(index)
            counts = await index.measure()
            assert (counts["snapshots_loaded"], counts["snapshots_refused"]) == (loaded, refused), (
                f"seed {SEED}"
            )
            await assert_right(index, LIVE, backend)


async def test_snapshot_is_loaded_and_brought_up_to_date(path: Path) -> None:
    await check(path, loaded=1, refused=0)


def rewrite(path: Path, **changes: Any) -> None:
    """Change what the manifest says, its checksum with it."""
    file = manifest(path)
    body = {**orjson.loads(file.read_bytes())["manifest"], **changes}
    checksum = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    file.write_bytes(orjson.dumps({"manifest": body, "checksum": checksum}))


def missing_payload(path: Path) -> None:
    payload(path)[0].unlink()


def missing_folder(path: Path) -> None:
    shutil.rmtree(payload(path)[0].parent)


def foreign_payload(path: Path) -> None:
    rewrite(path, folder="../elsewhere")


def foreign_partition(path: Path) -> None:
    rewrite(path, partition=bytes(32).hex())


def wrong_space(path: Path) -> None:
    rewrite(path, space=bytes(16).hex())


def wrong_dim(path: Path) -> None:
    rewrite(path, dim=DIM + 1)


def old_format(path: Path) -> None:
    rewrite(path, format=0)


def wrong_count(path: Path) -> None:
    rewrite(path, count=SIZE + 1)


def foreign_state(path: Path) -> None:
    rewrite(path, state={})


def gap(path: Path) -> None:
    rewrite(path, cursor=3)


def not_json(path: Path) -> None:
    manifest(path).write_bytes(b"{")


def not_an_object(path: Path) -> None:
    manifest(path).write_bytes(b"[1, 2, 3]")


def empty_manifest(path: Path) -> None:
    manifest(path).write_bytes(b"")


def endless_manifest(path: Path) -> None:
    manifest(path).write_bytes(b"[" * 3_000_000)


def folder_as_manifest(path: Path) -> None:
    file = manifest(path)
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        missing_payload,
        missing_folder,
        foreign_payload,
        foreign_partition,
        wrong_space,
        wrong_dim,
        old_format,
        wrong_count,
        foreign_state,
        gap,
        not_json,
        not_an_object,
        empty_manifest,
        endless_manifest,
        folder_as_manifest,
    ],
)
async def test_snapshot_in_doubt_is_passed_over(path: Path, damage: Callable[[Path], None]) -> None:
    damage(path)
    loaded = 1 if damage is gap else 0  # that it is too old only its changes tell
    await check(path, loaded=loaded, refused=1)


async def test_store_without_a_manifest_is_read_anew(path: Path) -> None:
    manifest(path).unlink()
    await check(path, loaded=0, refused=0)


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
async def test_truncated_part_is_refused(path: Path, part: int, share: float) -> None:
    file = payload(path)[part]
    os.truncate(file, int(file.stat().st_size * share))
    await check(path, loaded=0, refused=1)


def flipped(whole: bytes, at: int, bit: int) -> bytes:
    return whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_changed_bit_in_a_part_is_refused(path: Path, part: int) -> None:
    chance = random.Random(SEED)
    file = payload(path)[part]
    whole = file.read_bytes()
    for _ in range(100):
        at, bit = chance.randrange(len(whole)), chance.randrange(8)
        file.write_bytes(flipped(whole, at, bit))
        with pytest.raises(Refused):
            Snapshots(folder(path)).find(PLACE, DIM)
    await check(path, loaded=0, refused=1)


async def test_changed_bit_in_the_manifest_is_refused_or_changes_nothing(path: Path) -> None:
    chance = random.Random(SEED)
    file, snapshots = manifest(path), Snapshots(folder(path))
    whole, truth = file.read_bytes(), snapshots.find(PLACE, DIM)
    refused = 0
    for at in range(len(whole)):
        file.write_bytes(flipped(whole, at, chance.randrange(8)))
        try:
            assert snapshots.find(PLACE, DIM) == truth, f"seed {SEED}, byte {at}"  # white space, if any
        except Refused:
            refused += 1
    assert refused > 0.7 * len(whole)


def draft(snapshots: Snapshots, content: bytes = bytes(1000)) -> Path:
    prefix = snapshots.begin(PLACE)
    prefix.with_name("part.graph").write_bytes(content)
    return prefix


def publish(snapshots: Snapshots, prefix: Path, **fields: Any) -> None:
    given: dict[str, Any] = {"dim": DIM, "state": {"a": 1}, "count": 3, "cursor": 2**41, **fields}
    snapshots.publish(prefix, PLACE, **given)


def test_snapshot_comes_back_as_it_was_published(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "deep" / "index")
    assert snapshots.find(PLACE, DIM) is None
    publish(snapshots, draft(snapshots))
    found = snapshots.find(PLACE, DIM)
    assert found is not None
    assert (found.state, found.vectors, found.cursor) == ({"a": 1}, 3, 2**41)
    assert found.prefix.with_name("part.graph").read_bytes() == bytes(1000)
    assert snapshots.find((PARTITION, b"t" * 16), DIM) is None


def test_snapshot_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    root = tmp_path / "index"
    snapshots = Snapshots(root)
    before = os.umask(0)
    try:
        publish(snapshots, draft(snapshots))
    finally:
        os.umask(before)
    for each in [root, *root.rglob("*")]:
        assert stat.S_IMODE(each.stat().st_mode) == (0o700 if each.is_dir() else 0o600), each.suffix


def test_next_snapshot_takes_the_place_of_the_last(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    publish(snapshots, draft(snapshots))
    publish(snapshots, draft(snapshots, bytes(2000)), cursor=7)
    found = snapshots.find(PLACE, DIM)
    assert found is not None
    assert found.cursor == 7
    assert len(list(tmp_path.iterdir())) == 2


def test_unfinished_snapshot_of_another_process_is_left_alone_until_it_is_old(tmp_path: Path) -> None:
    snapshots, other = Snapshots(tmp_path), Snapshots(tmp_path)
    theirs = draft(other)
    publish(snapshots, draft(snapshots))
    assert theirs.parent.exists()
    publish(other, theirs, cursor=9)
    found = snapshots.find(PLACE, DIM)
    assert found is not None
    assert found.cursor == 9
    dead = draft(other)
    long_ago = time.time() - 7200
    os.utime(dead.parent, (long_ago, long_ago))
    os.utime(found.prefix.parent, (long_ago, long_ago))
    publish(snapshots, draft(snapshots))
    assert not dead.parent.exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_old_snapshot_that_a_manifest_names_is_not_removed_with_the_strays(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    publish(snapshots, draft(snapshots))
    found = snapshots.find(PLACE, DIM)
    assert found is not None
    long_ago = time.time() - 7200
    os.utime(found.prefix.parent, (long_ago, long_ago))
    place = (PARTITION, b"t" * 16)
    prefix = snapshots.begin(place)
    prefix.with_name("part.graph").write_bytes(bytes(1000))
    snapshots.publish(prefix, place, dim=DIM, state={}, count=1, cursor=1)
    assert snapshots.find(PLACE, DIM) == found


def test_snapshot_too_small_for_its_vectors_is_not_published(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path)
    with pytest.raises(OSError, match="whole"):
        publish(snapshots, draft(snapshots, bytes(4 * DIM * 3 - 1)))
    assert snapshots.find(PLACE, DIM) is None


def test_index_of_equal_vectors_can_be_saved(tmp_path: Path) -> None:
    row = np.full((1, 384), 384**-0.5, dtype=np.float32)
    index = PartitionIndex(384, exact_up_to=10)
    index.add([entry(number).key for number in range(100)], row.repeat(100, axis=0))
    while index.step(1.0):
        pass
    snapshots = Snapshots(tmp_path)
    prefix = snapshots.begin(PLACE)
    publish(snapshots, prefix, dim=384, state=index.save_parts(prefix), count=100)
    found = snapshots.find(PLACE, 384)
    assert found is not None
    loaded = PartitionIndex.load_parts(found.prefix, found.state)
    assert loaded.nearest(row, 100) == index.nearest(row, 100)


def test_failed_publication_leaves_the_last_snapshot_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = Snapshots(tmp_path)
    publish(snapshots, draft(snapshots))
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if target.suffix == ".json":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no"):
        publish(snapshots, draft(snapshots), cursor=8)
    found = snapshots.find(PLACE, DIM)
    assert found is not None
    assert found.cursor == 2**41
    assert len(list(tmp_path.iterdir())) == 2


@contextmanager
def tiny_disk(at: Path, size: str) -> Iterator[None]:
    at.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(at)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root")
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@pytest.mark.parametrize("size", ["4k", "8k", "12k", "16k", "20k"])
async def test_full_disk_means_no_snapshot_and_service_goes_on(path: Path, tmp_path: Path, size: str) -> None:
    disk = tmp_path / "disk"
    with tiny_disk(disk, size):
        backend = SqliteBackend(path)
        async with backend.lifespan():
            index = index_over(backend, folder=disk)
            async with index.lifespan():
                await load(index)
                await built(index)
                assert await index.save() == 0
                assert (await index.measure())["snapshot_failures"] == 1
                await assert_right(index, LIVE, backend)
            assert not list(disk.glob("*.json"))
            for _ in range(2):  # less of a graph was built when this one closes: it may fit
                again = index_over(backend, folder=disk)
                async with again.lifespan():
                    await assert_right(again, LIVE, backend)
                assert (await again.measure())["snapshots_refused"] == 0


async def test_failed_saving_is_not_tried_again_at_once(path: Path, tmp_path: Path) -> None:
    clock, blocked = FakeClock(), tmp_path / "blocked"
    blocked.write_bytes(b"")  # a file where the folder should be
    backend = SqliteBackend(path)
    async with backend.lifespan():
        index = index_over(backend, folder=blocked, snapshot_every=1, poll=0.01, clock=clock)
        async with index.lifespan():
            await load(index)
            await built(index)
            await anyio.sleep(0.2)
            assert (await index.measure())["snapshot_failures"] == 1
            clock.advance(61)
            blocked.unlink()
            for _ in range(500):
                if (await index.measure())["snapshots_saved"]:
                    break
                await anyio.sleep(0.01)
            assert (await index.measure())["snapshots_saved"] == 1


async def test_large_partition_is_saved_by_itself_once_its_graph_is_built(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "cache.sqlite")
    async with backend.lifespan():
        index = index_over(backend, snapshot_every=20, poll=0.01)
        async with index.lifespan():
            for number in range(SIZE):
                await backend.put(entry(number))
            await load(index)
            for _ in range(500):
                if (await index.measure())["snapshots_saved"]:
                    break
                await anyio.sleep(0.01)
            assert (await index.measure())["snapshots_saved"] == 1
            for number in range(SIZE, SIZE + 10):
                await backend.put(entry(number))
            await index.flush()
            await anyio.sleep(0.1)
            assert (await index.measure())["snapshots_saved"] == 1  # too few have changed


async def test_closing_saves_large_partitions_and_no_small_ones(tmp_path: Path) -> None:
    small = hashlib.sha256(b"small").digest()
    backend = SqliteBackend(tmp_path / "cache.sqlite")
    async with backend.lifespan():
        index = index_over(backend)
        async with index.lifespan():
            for number in range(SIZE):
                await backend.put(entry(number))
            for number in range(SIZE, SIZE + 10):
                await backend.put(entry(number, partition=small))
            await load(index)
            await index.nearest(small, Embedding(SPACE, VECTORS[0].tobytes()), 1)
            await until_graph_holds(index, SIZE)
        assert (await index.measure())["snapshots_saved"] == 1
        assert len(list((tmp_path / "cache.sqlite-index").glob("*.json"))) == 1
        again = index_over(backend)
        async with again.lifespan():
            await load(again)
            assert (await again.measure())["snapshots_loaded"] == 1
            assert (await again.measure())["vectors"] == SIZE
        assert (await again.measure())["snapshots_saved"] == 0  # nothing had changed


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


only_linux = pytest.mark.skipif(sys.platform != "linux", reason="this system has no files in memory")


@only_linux
def test_file_in_memory_is_copied_whole_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path, whole = tmp_path / "part.graph", random.Random(SEED).randbytes(3_000_001)
    before = open_files()
    with in_memory(path, len(whole)) as memory:
        path.write_bytes(whole)
    assert memory is not None
    assert not os.path.lexists(path)
    memory.copy_to(path)
    assert path.read_bytes() == whole
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.is_symlink()
    del memory
    assert open_files() == before


@only_linux
def test_file_in_memory_that_fails_to_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    before = open_files()
    with pytest.raises(RuntimeError), in_memory(tmp_path / "part.graph", 1):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before


def test_large_file_goes_to_the_disk_directly(tmp_path: Path) -> None:
    path = tmp_path / "part.graph"
    with in_memory(path, 2**40) as memory:
        path.write_bytes(b"content")
    assert memory is None
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("staged", [False, True])
async def test_graph_is_saved_with_and_without_memory(
    path: Path, staged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not staged:
        monkeypatch.setattr("asynccache.index._staging.MOST", 0)
    shutil.rmtree(folder(path))
    backend = SqliteBackend(path)
    async with backend.lifespan():
        index = index_over(backend)
        async with index.lifespan():
            await load(index)
            await built(index)
            assert await index.save() == 1
    assert any(each.name == "part.graph" for each in payload(path))
    await check(path, loaded=1, refused=0)


@only_linux
async def test_cancelled_saving_leaves_no_memory_no_draft_and_no_wrong_snapshot(path: Path) -> None:
    shutil.rmtree(folder(path))
    backend = SqliteBackend(path)
    async with backend.lifespan():
        index = index_over(backend)
        async with index.lifespan():
            await load(index)
            await built(index)
            await index.save()
            before = open_files()

            async def save() -> None:
                index.forget(PARTITION, [bytes(32)])  # something has changed
                await index.save()

            async def nothing_is_left() -> None:
                for _ in range(500):
                    gc.collect()  # a cancellation holds on to the frames it went through
                    if open_files() <= before and not list(folder(path).glob("*.new")):
                        return
                    await anyio.sleep(0.01)
                raise AssertionError("a file was left open, or a draft was left")

            assert await cancel_at_every_step(save, nothing_is_left) >= 3
            await assert_right(index, LIVE, backend)
    await check(path, loaded=1, refused=0)


def test_draft_given_up_while_it_is_written_is_removed_by_the_writer(tmp_path: Path) -> None:
    draft = _Draft(Snapshots(tmp_path), PLACE)

    def write(prefix: Path) -> None:
        draft.give_up()
        assert prefix.parent.is_dir()  # not taken away under the writer's hands
        prefix.with_name("part.tail").write_bytes(b"late")

    draft.work(write)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LookupError):
        draft.work(write)
    assert list(tmp_path.iterdir()) == []


async def test_usearch_is_saved_through_memory_as_well(path: Path) -> None:
    pytest.importorskip("usearch")
    shutil.rmtree(folder(path))
    backend = SqliteBackend(path)
    async with backend.lifespan():
        for attempt in range(2):
            index = index_over(backend, engines=Partitions(10, graph=UsearchIndex))
            async with index.lifespan():
                await assert_right(index, LIVE, backend)
                await built(index)
            assert (await index.measure())["snapshots_loaded"] == attempt
    assert any(each.name == "part.graph" and each.stat().st_size for each in payload(path))
