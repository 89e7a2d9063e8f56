"""What an index over a backend would hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from asynccache._models import Entry, VectorChanges, VectorRow
from asynccache._protocols import Vectors

__all__ = ["Mirror", "all_changes", "all_vectors"]

Contents: TypeAlias = "dict[tuple[bytes, bytes], dict[bytes, VectorRow]]"
"""By partition and space, then by key; nothing empty."""

_PATIENCE = 1000  # pages; whoever has more of the few vectors of a test goes round in circles


class Mirror:
    """Read from a backend once, and kept up by what it tells has changed."""

    def __init__(self) -> None:
        self._rows: Contents = {}
        self._cursor: int | None = None

    @staticmethod
    def of(entries: Iterable[Entry]) -> Contents:
        """What a mirror of a backend with these entries has to hold."""
        rows: Contents = {}
        for entry in entries:
            if entry.embedding is not None:
                space, vector = entry.embedding
                row = VectorRow(entry.key, vector, entry.expires_at)
                rows.setdefault((entry.partition, space), {})[entry.key] = row
        return rows

    def live(self, now: float) -> Contents:
        """What it holds, without the expired."""
        live = {
            group: {key: row for key, row in rows.items() if row.expires_at > now}
            for group, rows in self._rows.items()
        }
        return {group: rows for group, rows in live.items() if rows}

    async def read(self, backend: Vectors) -> None:
        """Hold what the backend holds, whatever this held before."""
        # The end first: what changes while everything is read will be told then.
        self._cursor = (await backend.vector_changes(None)).cursor
        self._rows = {}
        for partition, space, _ in await backend.vector_groups():
            rows = await all_vectors(backend, partition, space)
            self._rows[partition, space] = {row.key: row for row in rows}

    async def follow(self, backend: Vectors) -> None:
        """Hold what the backend holds, by what has changed since; or by reading it when that is not known."""
        if self._cursor is None:
            await self.read(backend)
        told = await all_changes(backend, self._cursor)
        if told.gap:
            await self.read(backend)
            return
        for partition, space, key, row in told.changes:
            rows = self._rows.setdefault((partition, space), {})
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        self._cursor = told.cursor


async def all_vectors(backend: Vectors, partition: bytes, space: bytes) -> list[VectorRow]:
    """Every page."""
    rows: list[VectorRow] = []
    after: int | None = 0
    for _ in range(_PATIENCE):
        if after is None:
            return rows
        page = await backend.vectors(partition, space, after=after)
        rows += page.rows
        after = page.after
    raise AssertionError("the pages of vectors do not end")


async def all_changes(backend: Vectors, after: int | None) -> VectorChanges:
    """What has changed, up to the end or a gap."""
    changes = []
    for _ in range(_PATIENCE):
        told = await backend.vector_changes(after)
        changes += told.changes
        if told.gap or not told.more:
            return told._replace(changes=changes)
        after = told.cursor
    raise AssertionError("the changes do not end")
