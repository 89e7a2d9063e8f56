from __future__ import annotations

import json
import os
import pty
import re
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from numpy.typing import NDArray

from asynccache._clock import SystemClock
from asynccache._errors import ConfigurationError
from asynccache._lifespan import entered
from asynccache._models import Embedding, Entry, VectorRow
from asynccache._registry import open_backend
from asynccache.backends.memory import MemoryBackend
from asynccache.cli import _index_rebuild, _index_verify, main
from asynccache.cli._index_rebuild import LARGE
from asynccache.cli._vectors import pages, readable
from asynccache.index import BackendIndex, PartitionIndex
from asynccache.index._snapshot import Snapshots
from asynccache.testing.entries import SPACE, make_entry

ROOT = Path(__file__).resolve().parents[2]
URL = "sqlite:///answers.db"
DIM = 8
SIZE = LARGE + 100
FOLDER = "answers.db-index"
PLACE = (make_entry(created_at=0.0).partition, SPACE)


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def entry(number: int, vector: NDArray[np.float32]) -> Entry:
    made = make_entry(number, created_at=SystemClock().now(), ttl=None)
    return replace(made, embedding=Embedding(SPACE, vector.tobytes()))


async def put(*entries: Entry) -> None:
    backend = open_backend(URL)
    async with entered(backend), anyio.create_task_group() as group:
        for each in entries:
            group.start_soon(backend.put, each)


async def delete(*keys: bytes) -> None:
    backend = open_backend(URL)
    async with entered(backend):
        await backend.delete(keys)


async def cursor() -> int:
    backend = open_backend(URL)
    async with entered(backend):
        return (await readable(backend).vector_changes(None)).cursor


@pytest.fixture
def store(workplace: Path) -> Path:
    """A partition that is large enough for a snapshot, and a small one in another space."""
    big = [entry(n, v) for n, v in enumerate(vectors(SIZE))]
    small = [
        replace(entry(SIZE + n, v), embedding=Embedding(b"s" * 16, v.tobytes()))
        for n, v in enumerate(vectors(3))
    ]
    anyio.run(put, *(big + small))
    return workplace / "answers.db"


def index(action: str, *arguments: str) -> int:
    return main(["index", action, "--backend", URL, *arguments])


def publish(keys: list[bytes], rows: NDArray[np.float32], at: int) -> None:
    """A snapshot with these vectors, as if it had been made when the store's changes stood there."""
    made = PartitionIndex(DIM, exact_up_to=LARGE)
    made.add(keys, rows)
    snapshots = Snapshots(Path(FOLDER))
    prefix = snapshots.begin(PLACE)
    snapshots.publish(prefix, PLACE, dim=DIM, state=made.save_parts(prefix), count=len(made), cursor=at)


KEYS = [make_entry(number, created_at=0.0).key for number in range(SIZE)]


def large(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """What ``status`` tells of the snapshot of the large partition."""
    capsys.readouterr()
    assert index("status", "--json") == 0
    (found,) = (each for each in json.loads(capsys.readouterr().out)["groups"] if each["vectors"] >= SIZE)
    snapshot: dict[str, object] = found["snapshot"]
    return snapshot


@pytest.mark.usefixtures("store")
def test_status_tells_what_there_is_and_how_old(capsys: pytest.CaptureFixture[str]) -> None:
    assert index("status") == 0
    before = capsys.readouterr().out
    assert re.search(rf"{PLACE[0].hex()[:8]} +{SPACE.hex()[:8]} +{SIZE:,} +none$", before, re.MULTILINE)
    assert f"vectors    {SIZE + 3:,}" in before
    assert index("rebuild") == 0
    anyio.run(put, *(entry(10_000 + n, v) for n, v in enumerate(vectors(4, seed=1))))
    capsys.readouterr()
    assert index("status") == 0
    assert re.search(
        rf"{SIZE + 4:,} +{SIZE:,} vectors, \d+ kB, [\d.]+ m?s old, 4 changes behind$",
        capsys.readouterr().out,
        re.MULTILINE,
    )


@pytest.mark.usefixtures("store")
def test_rebuilt_snapshot_is_right_and_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert index("rebuild") == 0
    printed = capsys.readouterr().out
    assert "made 1 snapshot in" in printed
    assert "1 of 2,000 vectors or fewer need none" in printed
    assert index("verify") == 0
    told, errors = capsys.readouterr()
    assert re.search(rf"{SIZE:,} vectors, snapshot of {SIZE:,}, recall (100\.0|99\.5)%: right", told)
    assert errors == ""

    async def asked() -> int:
        async with entered(backend := open_backend(URL)), (found := BackendIndex(backend)).lifespan():
            await found.nearest(PLACE[0], Embedding(SPACE, vectors(1)[0].tobytes()), 1)
            return (await found.measure())["snapshots_loaded"]

    assert anyio.run(asked) == 1


@pytest.mark.usefixtures("store")
def test_snapshot_that_is_behind_is_right_once_brought_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert index("rebuild") == 0
    changed = vectors(50, seed=2)
    anyio.run(put, *(entry(number, vector) for number, vector in enumerate(changed)))  # replaced
    anyio.run(put, *(entry(10_000 + number, vector) for number, vector in enumerate(changed)))
    anyio.run(delete, *KEYS[1000:1020])
    assert index("verify") == 0
    assert f"{SIZE + 30:,} vectors, snapshot of {SIZE:,}, recall" in capsys.readouterr().out


@pytest.mark.usefixtures("store")
def test_what_changes_while_a_snapshot_is_made_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deleted: list[bytes] = []

    async def disturbed(*arguments: Any) -> AsyncIterator[list[VectorRow]]:
        async for page in pages(*arguments):
            yield page
            deleted.append(page[0].key)
            await delete(page[0].key)

    with monkeypatch.context() as patch:
        patch.setattr(_index_rebuild, "pages", disturbed)
        assert index("rebuild") == 0
    assert index("verify") == 0
    assert re.search(rf"{SIZE - len(deleted):,} vectors, snapshot of {SIZE:,}", capsys.readouterr().out)
    with monkeypatch.context() as patch:
        patch.setattr(_index_verify, "pages", disturbed)
        assert index("verify") == 0  # nor is it called a fault, when it happens while it is looked for


@pytest.mark.usefixtures("store")
def test_damaged_snapshot_fails_verify_and_is_made_anew(capsys: pytest.CaptureFixture[str]) -> None:
    assert index("rebuild") == 0
    (graph,) = Path(FOLDER).glob("*/*.graph")
    flipped = bytearray(graph.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    graph.write_bytes(flipped)
    assert "damaged" in large(capsys)
    assert index("verify") == 1
    printed = capsys.readouterr()
    assert "the snapshot cannot be used: damaged payload" in printed.err
    assert "index rebuild makes the snapshots anew" in printed.err
    assert index("verify", "--json") == 1
    assert sum(map(len, (each["problems"] for each in json.loads(capsys.readouterr().out)["groups"]))) == 1
    assert index("rebuild") == 0
    assert index("verify") == 0


@pytest.mark.usefixtures("store")
def test_vectors_that_a_snapshot_lacks_or_invents_fail_verify(capsys: pytest.CaptureFixture[str]) -> None:
    keys, rows = [*KEYS[7:], b"\xff" * 32], vectors(SIZE)
    publish(keys, np.concatenate([rows[7:], rows[:1]]), anyio.run(cursor))
    assert index("verify") == 1
    printed = capsys.readouterr().err
    assert "stored vectors that the snapshot lacks: 7" in printed
    assert "vectors of the snapshot that are not stored: 1" in printed


@pytest.mark.usefixtures("store")
def test_snapshot_that_does_not_find_the_nearest_fails_verify(capsys: pytest.CaptureFixture[str]) -> None:
    publish(KEYS, vectors(SIZE, seed=9), anyio.run(cursor))  # the right keys with other vectors
    assert index("verify") == 1
    assert re.search(r"finds the nearest question in only \d+\.\d% of searches", capsys.readouterr().err)


@pytest.mark.usefixtures("store")
def test_snapshot_of_which_nobody_knows_the_rest_is_too_old_and_not_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish(KEYS, vectors(SIZE), 1)  # no file's changes begin with 1
    assert large(capsys)["behind"] is None
    assert index("verify") == 0
    assert "a snapshot that is too old to be used: right" in capsys.readouterr().out


@pytest.mark.parametrize("vector", [[float("nan")] * DIM, [0.0] * DIM, [3.0] * DIM])
def test_stored_vector_that_is_none_fails_verify(
    workplace: Path, capsys: pytest.CaptureFixture[str], vector: list[float]
) -> None:
    bad = Embedding(SPACE, struct.pack(f"<{DIM}f", *vector))
    anyio.run(put, entry(0, vectors(1)[0]), replace(entry(1, vectors(1)[0]), embedding=bad))
    assert index("verify") == 1
    assert "stored vectors that can never be found: 1" in capsys.readouterr().err


def test_expired_vectors_are_neither_missed_nor_foreign(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = vectors(SIZE)
    entries = [entry(number, row) for number, row in enumerate(rows)]
    entries[:5] = [replace(each, ttl=600.0) for each in entries[:5]]
    anyio.run(put, *entries)
    assert index("rebuild") == 0

    class Later(SystemClock):
        def now(self) -> float:
            return super().now() + 700

    monkeypatch.setattr(_index_verify, "SystemClock", Later)
    assert index("verify") == 0
    assert f"{SIZE - 5:,} vectors, snapshot of {SIZE:,}" in capsys.readouterr().out


def test_store_without_vectors_is_right_and_says_so(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anyio.run(put, make_entry(created_at=SystemClock().now()))
    for action in ("status", "verify", "rebuild"):
        assert index(action) == 0
    printed = capsys.readouterr().out
    assert "vectors    0" in printed
    assert "holds no vectors" in printed
    assert "made 0 snapshots" in printed
    assert not (workplace / FOLDER).exists()


@pytest.mark.parametrize("action", ["status", "verify", "rebuild"])
def test_memory_store_and_missing_store_are_one_sentence(
    capsys: pytest.CaptureFixture[str], action: str
) -> None:
    assert main(["index", action, "--backend", "memory://"]) == 1
    assert "lives inside the program" in capsys.readouterr().err
    assert index(action) == 1
    assert capsys.readouterr().err.startswith("asynccache: there is no store yet: ")


def test_backend_that_does_not_show_vectors_is_one_sentence() -> None:
    class Plain(MemoryBackend):
        vectors = None  # type: ignore[assignment]  # a Protocol's member that is None is not there

    with pytest.raises(ConfigurationError, match="the Plain does not show the vectors it keeps"):
        readable(Plain())


@pytest.mark.usefixtures("store")
def test_terminal_is_shown_how_far_it_has_come() -> None:
    command = [sys.executable, "-W", "error", "-m", "asynccache.cli", "index", "rebuild", "--backend", URL]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stderr=theirs, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as run:
        os.close(theirs)
        printed = b""
        while piece := _read(ours):
            printed += piece
    os.close(ours)
    assert run.returncode == 0
    assert f"reading {SIZE:,} of {SIZE:,}" in printed.decode()
    assert printed.endswith(b"\r\x1b[K")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 2**16)
    except OSError:  # Linux: the other side has closed
        return b""


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("library", ["numpy", "hnswlib"])
def test_missing_extra_is_named_with_the_line_that_installs_it(library: str) -> None:
    # A None in sys.modules makes an import fail as if nothing were installed.
    script = f"import sys; sys.modules[{library!r}] = None\nfrom asynccache.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "index", "rebuild", "--backend", URL],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert library in done.stderr
    assert 'pip install "asynccache[semantic]"' in done.stderr
    assert done.stderr.count("\n") == 1


def test_wrong_usage_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["index"], ["index", "mend"], ["index", "rebuild", "--json"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err
