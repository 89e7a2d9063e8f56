"""Whether an index would find what its store holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio.lowlevel
import numpy as np

from asynccache._clock import SystemClock
from asynccache.cli._snapshots import Damaged, kept
from asynccache.cli._vectors import Group, pages, usable
from asynccache.index import PartitionIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from asynccache._models import VectorRow
    from asynccache._protocols import Vectors

__all__ = ["Verdict", "verify"]

_SAMPLE: Final = 200
"""Questions asked of an index: one of them lost is 0.5 %."""

_LEAST_RECALL: Final = 0.95
"""Share of them whose nearest must be found. An index sees to 99.5 %; a sample may come out below."""

_COSINE: Final = 0.9
"""Of a made-up question to the stored one it comes from: where paraphrases lie."""

_ROUNDING: Final = 1e-5  # a graph adds up a product in another order


class Verdict(NamedTuple):
    """What was found out about one group."""

    summary: str
    problems: list[str]
    """What is wrong, a sentence each."""


class _Store(NamedTuple):
    """What a store holds of a group, without what has expired."""

    keys: set[bytes]
    unusable: int
    """Rows without a usable vector."""
    questions: NDArray[np.float32]
    """Made up, each near a stored one, shape (n, dim)."""


async def verify(backend: Vectors, folder: Path | None, group: Group) -> Verdict:
    """Check the vectors of a group, and its snapshot where there is one."""
    problems: list[str] = []
    found = kept(folder, group)
    store = await _read(backend, group)
    if store.unusable:
        problems.append(f"stored vectors that can never be found: {store.unusable:,}")
    summary = f"{len(store.keys):,} vectors"
    if isinstance(found, Damaged):
        problems.append(f"the snapshot cannot be used: {found.reason}")
    elif found is None:
        summary += ", no snapshot"
    else:
        index = PartitionIndex.load_parts(found.snapshot.prefix, found.snapshot.state)
        if await _follow(backend, group, index, store.keys, found.snapshot.cursor):
            recall = await _recall(backend, group, index, store.questions)
            summary += f", snapshot of {found.snapshot.vectors:,}, recall {recall:.1%}"
            problems += _differences(index, store.keys)
            if recall < _LEAST_RECALL:
                problems.append(f"the snapshot finds the nearest question in only {recall:.1%} of searches")
        else:
            summary += ", a snapshot that is too old to be used"
    return Verdict(summary, problems)


async def _read(backend: Vectors, group: Group) -> _Store:
    random = np.random.default_rng(0)
    keys: set[bytes] = set()
    unusable = 0
    share = min(1.0, _SAMPLE / max(1, group.size))
    sample = [np.empty((0, group.dim), dtype=np.float32)]
    async for page in pages(backend, *group.place):
        live = _live(page)
        rows, vectors = usable(live, group.dim)
        keys.update(row.key for row in rows)
        unusable += len(live) - len(rows)
        sample.append(vectors[random.random(len(rows)) < share])
    return _Store(keys, unusable, _near(np.concatenate(sample), random))


def _live(rows: Iterable[VectorRow]) -> list[VectorRow]:
    now = SystemClock().now()
    return [row for row in rows if row.expires_at > now]


def _near(vectors: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """A vector of norm 1 near each."""
    noise = random.standard_normal(vectors.shape).astype(np.float32)
    noise -= (noise * vectors).sum(axis=1, keepdims=True) * vectors  # what is left is at right angles
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    near: NDArray[np.float32] = np.float32(_COSINE) * vectors + np.float32(math.sqrt(1 - _COSINE**2)) * noise
    return near


async def _follow(
    backend: Vectors, group: Group, index: PartitionIndex, keys: set[bytes], cursor: int
) -> bool:
    """Bring an index, and the keys read from the store, to one moment; False when nobody knows how."""
    more = True
    while more:
        page = await backend.vector_changes(cursor)
        if page.gap:
            return False
        own = {
            change.key: change.row
            for change in page.changes
            if (change.partition, change.space) == group.place
        }
        rows, vectors = usable(_live(row for row in own.values() if row is not None), group.dim)
        there = {row.key for row in rows}
        index.remove(own.keys() - there)
        index.add([row.key for row in rows], vectors, [row.expires_at for row in rows])
        keys.difference_update(own)
        keys.update(there)
        cursor, more = page.cursor, page.more
    now = SystemClock().now()
    while index.sweep(now):
        await anyio.lowlevel.checkpoint()
    return True


def _differences(index: PartitionIndex, stored: set[bytes]) -> list[str]:
    held = set(index.keys())
    problems = []
    if lacking := len(stored - held):
        problems.append(f"stored vectors that the snapshot lacks: {lacking:,}")
    if foreign := len(held - stored):
        problems.append(f"vectors of the snapshot that are not stored: {foreign:,}")
    return problems


async def _recall(
    backend: Vectors, group: Group, index: PartitionIndex, questions: NDArray[np.float32]
) -> float:
    """Share of questions whose nearest the index finds; all of them are compared with every vector."""
    if not len(questions):
        return 1.0
    best = np.full(len(questions), -1.0, dtype=np.float32)
    async for page in pages(backend, *group.place):
        _, vectors = usable(_live(page), group.dim)
        if len(vectors):
            best = np.maximum(best, (questions @ vectors.T).max(axis=1))
    found = [near[0].similarity if near else -1.0 for near in index.nearest(questions, 1)]
    return float(np.mean(np.asarray(found) >= best - _ROUNDING))
