"""The part of the backend contract that a semantic index builds on."""

# ruff: noqa: PLR2004, S101  (a test suite, published)

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from asynccache._models import Entry, VectorGroup, VectorRow
from asynccache._protocols import Backend, Vectors
from asynccache.testing._mirror import all_changes, all_vectors
from asynccache.testing.clock import FakeClock
from asynccache.testing.entries import SPACE, make_embedding, make_entry

__all__ = ["VectorContract", "embedded", "end_of", "row_of"]

OTHER_SPACE = hashlib.sha256(b"another space").digest()[:16]
OTHER_PARTITION = hashlib.sha256(b"another partition").digest()
PARTITION = make_entry(created_at=0.0).partition


def embedded(number: int, *, created_at: float, **fields: Any) -> Entry:
    """An entry with a vector of its own."""
    return make_entry(number, **{"created_at": created_at, "embedding": make_embedding(number), **fields})


def row_of(entry: Entry) -> VectorRow:
    """What is told of it."""
    assert entry.embedding is not None
    return VectorRow(entry.key, entry.embedding.vector, entry.expires_at)


async def end_of(backend: Vectors) -> int:
    """The cursor after everything so far."""
    told = await backend.vector_changes(None)
    assert told.changes == []
    assert not told.more
    assert not told.gap
    return told.cursor


class VectorContract:
    """What a backend with ``Vectors`` promises to one who reads them."""

    @pytest.fixture
    def vectors(self, backend: Backend) -> Vectors:
        """The backend under test, once more."""
        if not isinstance(backend, Vectors):
            pytest.skip("the backend's vectors cannot be read apart")
        return backend

    async def test_index_folder_is_a_path_or_none(self, vectors: Vectors) -> None:
        assert vectors.index_folder is None or isinstance(vectors.index_folder, Path)

    async def test_every_vector_shows_once_in_some_page(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        assert (await vectors.vectors(PARTITION, SPACE)).rows == []
        entries = [embedded(n, created_at=clock.now(), ttl=None if n % 2 else 50.0) for n in range(300)]
        for entry in entries:
            await backend.put(entry)
        found = await all_vectors(vectors, PARTITION, SPACE)
        assert sorted(found) == sorted(map(row_of, entries))

    async def test_vector_taken_away_between_pages_disturbs_no_other(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        entries = [embedded(n, created_at=clock.now()) for n in range(300)]
        for entry in entries:
            await backend.put(entry)
        first = await vectors.vectors(PARTITION, SPACE)
        gone = {row.key for row in first.rows[-2:]}
        await backend.delete(gone)
        found = list(first.rows)
        while first.after is not None:
            first = await vectors.vectors(PARTITION, SPACE, after=first.after)
            found += first.rows
        assert sorted(row.key for row in found if row.key not in gone) == sorted(
            entry.key for entry in entries if entry.key not in gone
        )

    async def test_other_partitions_and_spaces_never_show(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        here = embedded(1, created_at=clock.now())
        elsewhere = embedded(2, created_at=clock.now(), partition=OTHER_PARTITION)
        foreign = embedded(3, created_at=clock.now(), embedding=make_embedding(3, space=OTHER_SPACE))
        for entry in (here, elsewhere, foreign):
            await backend.put(entry)
        assert (await vectors.vectors(PARTITION, SPACE)).rows == [row_of(here)]
        assert (await vectors.vectors(OTHER_PARTITION, SPACE)).rows == [row_of(elsewhere)]
        assert (await vectors.vectors(PARTITION, OTHER_SPACE)).rows == [row_of(foreign)]
        assert (await vectors.vectors(OTHER_PARTITION, OTHER_SPACE)).rows == []

    async def test_groups_are_counted(self, backend: Backend, vectors: Vectors, clock: FakeClock) -> None:
        assert await vectors.vector_groups() == []
        for number in range(5):
            partition = OTHER_PARTITION if number < 2 else PARTITION
            await backend.put(embedded(number, created_at=clock.now(), partition=partition))
        await backend.put(make_entry(5, created_at=clock.now()))
        expected = [VectorGroup(OTHER_PARTITION, SPACE, 2), VectorGroup(PARTITION, SPACE, 3)]
        assert sorted(await vectors.vector_groups()) == sorted(expected)
        await backend.delete([make_entry(number, created_at=0.0).key for number in range(2)])
        assert await vectors.vector_groups() == [VectorGroup(PARTITION, SPACE, 3)]

    async def test_entry_without_embedding_never_shows(
        self, backend: Backend, vectors: Vectors, clock: FakeClock
    ) -> None:
        before = await end_of(vectors)
        entry = make_entry(1, created_at=clock.now())
        await backend.put(entry)
        assert await vectors.vector_groups() == []
        assert (await vectors.vectors(PARTITION, SPACE)).rows == []
        assert all(change.row is None for change in (await all_changes(vectors, before)).changes)
        await backend.put(embedded(1, created_at=clock.now()))
        await backend.put(entry)  # takes the place of the one that had a vector
        assert (await vectors.vectors(PARTITION, SPACE)).rows == []
        told = await all_changes(vectors, before)
        assert (told.changes[-1].key, told.changes[-1].row) == (entry.key, None)
