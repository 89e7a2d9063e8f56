"""What is done with vectors in SQL; all of it in a database thread, writes within a transaction."""

from __future__ import annotations

import sqlite3
from typing import Any, Final, NamedTuple, TypeAlias

from asynccache._errors import CorruptEntry
from asynccache._models import Embedding, VectorChange, VectorChanges, VectorGroup, VectorPage, VectorRow
from asynccache.backends._stored_vector import decode_vector

__all__ = ["CHANGES", "GROUPS", "PAGE", "DamagedVector", "VectorRows", "embedding_of"]

_ROWS: Final = 256  # vectors read in one go: about a millisecond during which others wait, and some 400 kB

# The trail of changes. An index that comes back after so many is brought up to date; one that comes back
# later reads everything anew. A change takes about so many bytes; all of them, never more than a share of
# the store, which is there for entries.
_TRAIL: Final = 100_000
_CHANGE_BYTES: Final = 110
_TRAIL_SHARE: Final = 20
_FORGET: Final = 1024  # changes forgotten in one go: a millisecond


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
        self._trail: Final = min(_TRAIL, max_bytes // _TRAIL_SHARE // _CHANGE_BYTES)
        self._slack: Final = min(_FORGET, self._trail)

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
        newest = _newest(connection)
        if after is None:
            return VectorChanges([], newest, more=False), []
        if not 0 <= after <= newest:
            return VectorChanges([], newest, more=False, gap=True), []
        rows = connection.execute(CHANGES, (after, _ROWS)).fetchall()
        # Only now: had it been asked before, changes forgotten meanwhile would not be missed.
        oldest = _oldest(connection)
        if after < (newest if oldest is None else oldest - 1) or not _sound(rows):
            return VectorChanges([], newest, more=False, gap=True), []
        told: dict[tuple[bytes, bytes, bytes], VectorChange] = {}
        damaged: list[DamagedVector] = []
        for _, partition, space, key, entry, expires_at, value in rows:
            if (partition, space, key) in told:
                continue
            row = None if entry is None else _opened(key, partition, space, expires_at, value)
            if entry is not None and row is None:
                damaged.append(DamagedVector(entry, value))
            told[partition, space, key] = VectorChange(partition, space, key, row)
        cursor = rows[-1][0] if rows else after
        return VectorChanges(list(told.values()), cursor, more=len(rows) == _ROWS), damaged

    def trail_too_long(self, connection: sqlite3.Connection) -> bool:
        """True when ``forget`` has something to do."""
        oldest = _oldest(connection)
        return oldest is not None and _newest(connection) - oldest >= self._trail + self._slack

    def forget(self, connection: sqlite3.Connection) -> bool:
        """Drop some of the oldest changes; True when there were too many."""
        if not self.trail_too_long(connection):
            return False
        connection.execute(
            "DELETE FROM vector_changes WHERE seq < (SELECT min(seq) FROM vector_changes) + ?", (self._slack,)
        )
        return True


# An entry deleted without heed for foreign keys, as by hand, leaves its vector to the next of that id.
_PUT: Final = """
    INSERT INTO vectors (entry, partition, space, key, expires_at, vector) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (entry) DO UPDATE SET partition = excluded.partition, space = excluded.space,
        key = excluded.key, expires_at = excluded.expires_at, vector = excluded.vector
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


def _oldest(connection: sqlite3.Connection) -> int | None:
    oldest: int | None = connection.execute("SELECT min(seq) FROM vector_changes").fetchone()[0]
    return oldest


def _newest(connection: sqlite3.Connection) -> int:
    # Not the largest in the table: it knows those forgotten, too, and where a new store begins.
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'vector_changes'").fetchone()
    return 0 if found is None else found[0]
