"""What is done with vectors in SQL; all of it in a database thread, writes within a transaction."""

from __future__ import annotations

import sqlite3
from typing import Any, Final, NamedTuple, TypeAlias

from asynccache._errors import CorruptEntry
from asynccache._models import Embedding, VectorChange, VectorChanges, VectorGroup, VectorPage, VectorRow
from asynccache.backends._sqlite_trail import Trail
from asynccache.backends._stored_vector import decode_vector

__all__ = ["CHANGES", "GROUPS", "PAGE", "DamagedVector", "VectorRows", "embedding_of"]

_ROWS: Final = 256  # vectors read in one go: about a millisecond during which others wait, and some 400 kB

_CHANGE_BYTES: Final = 110  # what a change takes in the trail, about


Row: TypeAlias = "tuple[int | None, bytes, bytes, bytes, float, bytes]"
"""An entry's id, partition, space, key and expires_at, and the stored form of its vector."""


class DamagedVector(NamedTuple):
    """A stored vector that failed its check."""

    entry: int
    value: object

    def remove(self, connection: sqlite3.Connection) -> None:
        """Delete it unless it has been replaced since it was read. Its entry is whole and stays."""
        connection.execute("DELETE FROM vectors WHERE entry = ? AND vector = ?", self)


class VectorRows:
    """The vectors of one store, and the trail of what has changed among them.

    The trail itself is written by triggers, in the transaction of the change: however a vector goes,
    the change is told.

    Args:
        max_bytes: what the used pages of the file may come to.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.trail: Final = Trail("vector_changes", row_bytes=_CHANGE_BYTES, max_bytes=max_bytes)

    def put(self, connection: sqlite3.Connection, row: Row) -> None:
        """Store the vector of an entry that has just been stored."""
        connection.execute(_PUT, row)

    def groups(self, connection: sqlite3.Connection) -> list[VectorGroup]:
        """Counted in the index alone."""
        return [VectorGroup(*row) for row in connection.execute(GROUPS).fetchall()]

    def page(
        self, connection: sqlite3.Connection, partition: bytes, space: bytes, after: int
    ) -> tuple[VectorPage, list[DamagedVector]]:
        """The next vectors, by the id of their entries; and the damaged among them."""
        rows = connection.execute(PAGE, (partition, space, after, _ROWS)).fetchall()
        found: list[VectorRow] = []
        damaged: list[DamagedVector] = []
        for entry, key, expires_at, value in rows:
            row = _opened(key, partition, space, expires_at, value)
            if row is None:
                damaged.append(DamagedVector(entry, value))
            else:
                found.append(row)
        return VectorPage(found, rows[-1][0] if len(rows) == _ROWS else None), damaged

    def changes(
        self, connection: sqlite3.Connection, after: int | None
    ) -> tuple[VectorChanges, list[DamagedVector]]:
        """The next changes, each key with what it is by now; and the damaged among them."""
        stretch = self.trail.read(connection, after, statement=CHANGES, limit=_ROWS)
        if stretch.gap or not _sound(stretch.rows):
            return VectorChanges([], self.trail.newest(connection), more=False, gap=True), []
        told: dict[tuple[bytes, bytes, bytes], VectorChange] = {}
        damaged: list[DamagedVector] = []
        for _, partition, space, key, entry, expires_at, value in stretch.rows:
            if (partition, space, key) in told:
                continue
            row = None if entry is None else _opened(key, partition, space, expires_at, value)
            if entry is not None and row is None:
                damaged.append(DamagedVector(entry, value))
            told[partition, space, key] = VectorChange(partition, space, key, row)
        return VectorChanges(list(told.values()), stretch.cursor, stretch.more), damaged


_PUT: Final = """
    INSERT INTO vectors (entry, partition, space, key, expires_at, vector) VALUES (?, ?, ?, ?, ?, ?)
"""

GROUPS: Final = "SELECT partition, space, count(*) FROM vectors GROUP BY partition, space"

PAGE: Final = """
    SELECT entry, key, expires_at, vector FROM vectors
    WHERE partition = ? AND space = ? AND entry > ? ORDER BY entry LIMIT ?
"""

CHANGES: Final = """
    SELECT changed.seq, changed.partition, changed.space, changed.key,
        vectors.entry, vectors.expires_at, vectors.vector
    FROM vector_changes AS changed
    LEFT JOIN entries ON entries.key = changed.key
    LEFT JOIN vectors ON vectors.entry = entries.id
        AND vectors.partition = changed.partition AND vectors.space = changed.space
    WHERE changed.seq > ? ORDER BY changed.seq LIMIT ?
"""


def embedding_of(key: bytes, partition: bytes, space: object, value: object) -> Embedding | None:
    """The embedding stored beside an entry; None when it is damaged."""
    row = _opened(key, partition, space, 0.0, value)
    return None if row is None or not isinstance(space, bytes) else Embedding(space, row.vector)


def _opened(
    key: object, partition: bytes, space: object, expires_at: object, value: object
) -> VectorRow | None:
    """What a row says; None when it is damaged. Any value of a damaged row can be of any type."""
    if not (isinstance(key, bytes) and isinstance(space, bytes) and isinstance(expires_at, float)):
        return None
    try:
        vector = decode_vector(value, key=key, partition=partition, space=space)
    except CorruptEntry:
        return None
    return VectorRow(key, vector, expires_at)


def _sound(rows: list[tuple[Any, ...]]) -> bool:
    return all(isinstance(value, bytes) for row in rows for value in row[1:4])
