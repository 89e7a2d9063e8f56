"""What is done with entries in SQL; all of it in a database thread, writes within a transaction."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from asynccache._codec import decode, encode
from asynccache._errors import BackendError, BackendUnavailable, CorruptEntry
from asynccache._models import Entry
from asynccache.backends._same_entry import same_entry
from asynccache.backends._sqlite_changes import ChangeRows
from asynccache.backends._sqlite_labels import LabelRows
from asynccache.backends._sqlite_vectors import DamagedVector, VectorRows, embedding_of
from asynccache.backends._sqlite_voids import of_key, of_tag
from asynccache.backends._stored_vector import encode_vector

__all__ = ["CHUNK", "SCAN", "SCAN_PARTITION", "Damaged", "Missing", "Page", "Place", "Rows"]

CHUNK: Final = 256
"""Rows deleted or read in one go: a few milliseconds during which others wait."""

# Free space of the disk below which nothing is stored, the smaller of the two. It is left to others, and
# to deleting, which needs room in the WAL before it frees any.
_FREE_SHARE: Final = 0.05
_FREE_MOST: Final = 64 * 2**20  # bytes

_SPLITS: Final = 8 * 4096  # bytes a put may take beside its own: pages of tables and indexes that split


class Damaged(NamedTuple):
    """A stored value that failed its check."""

    key: bytes
    value: object
    error: CorruptEntry

    def remove(self, connection: sqlite3.Connection) -> None:
        """Delete the row unless it has been replaced since it was read."""
        connection.execute("DELETE FROM entries WHERE key = ? AND value = ?", (self.key, self.value))


class Missing(NamedTuple):
    """Nothing live was found."""

    position: int
    """What was invalidated by then has no larger number."""


Place: TypeAlias = "tuple[float, int]"
"""Where in a scan a row stands: its ``created_at`` and its id."""


class Page(NamedTuple):
    """Some rows of a scan, oldest first, and the place after which to go on; None after the last."""

    found: list[Entry | Damaged | DamagedVector]
    after: Place | None


class Rows:
    """Reads and writes of one store, within its size limit. No look-up of an answer reads a vector.

    Args:
        path: the database file, for errors and to ask for free disk space.
        max_bytes: what the used pages of the file may come to.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path: Final = path
        self._folder: Final = str(path.parent)
        self._max_bytes: Final = max_bytes
        self._trim_to: Final = max_bytes * 9 // 10  # leaves puts some room before they must evict themselves
        self.vectors: Final = VectorRows(max_bytes=max_bytes)
        self.labels: Final = LabelRows(max_bytes=max_bytes)
        self.changes: Final = ChangeRows(max_bytes=max_bytes)
        self.evictions = 0  # both counters: changed by the writer's thread only
        self.expired = 0

    def look(self, connection: sqlite3.Connection, key: bytes, now: float) -> Entry | Damaged | Missing:
        """The live entry under ``key``."""
        found = _found(connection, key, now)
        return found if found is not None else Missing(self.changes.voids.newest(connection))

    def look_at_many(
        self, connection: sqlite3.Connection, keys: Sequence[bytes], now: float
    ) -> tuple[list[Entry | Damaged | None], Missing | None]:
        """The live entries under ``keys``, in their order, and whether one is missing."""
        found = [_found(connection, key, now) for key in keys]
        return found, Missing(self.changes.voids.newest(connection)) if None in found else None

    def page(self, connection: sqlite3.Connection, partition: bytes | None, after: Place, now: float) -> Page:
        """The next live entries, with their embeddings."""
        statement, values = (SCAN, ()) if partition is None else (SCAN_PARTITION, (partition,))
        rows = connection.execute(statement, (*values, *after, now, _PAGE)).fetchall()
        found: list[Entry | Damaged | DamagedVector] = []
        for _, identifier, key, value, space, vector in rows:
            each = _live(key, value, now, identifier)
            if isinstance(each, Entry) and vector is not None:
                each = replace(each, embedding=embedding_of(key, each.partition, space, vector))
                if each.embedding is None:
                    found.append(DamagedVector(identifier, vector))
            if each is not None:
                found.append(each)
        return Page(found, rows[-1][:2] if len(rows) == _PAGE else None)

    def measure(self, connection: sqlite3.Connection, now: float) -> tuple[int, int]:
        """Number and total size of the live entries, from the index alone."""
        entries, size = connection.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM entries WHERE expires_at > ?", (now,)
        ).fetchone()
        return entries, size

    def fill(self, connection: sqlite3.Connection, entry: Entry, since: int | None) -> int | None:
        """As ``put``, unless the key or a tag was invalidated after a position; None then."""
        if since is not None and self.changes.voids.since(connection, entry.key, entry.tags, since):
            return None
        return self.put(connection, entry)

    def put(self, connection: sqlite3.Connection, entry: Entry) -> int:
        """Store, after making room; the number of the change.

        Raises:
            BackendUnavailable: the disk is nearly full.
            BackendError: the entry can never be stored here.
        """
        embedding = entry.embedding
        try:
            value = encode(entry, embedding=False)
            vector = b"" if embedding is None else encode_vector(entry.key, entry.partition, embedding)
        except ValueError as error:
            raise BackendError(f"this entry cannot be stored: {error}") from error
        size = len(value) + len(vector)
        self._check_disk(size)
        self._make_room(connection, size)
        identifier = connection.execute(
            _PUT,
            (entry.key, entry.partition, entry.created_at, entry.expires_at, size, value),
        ).lastrowid
        assert identifier is not None  # noqa: S101  (for the type checkers: a row was inserted)
        if embedding is not None:
            self.vectors.put(
                connection,
                (identifier, entry.partition, embedding.space, entry.key, entry.expires_at, vector),
            )
        for tag in entry.tags:
            connection.execute("INSERT OR IGNORE INTO tags (tag, entry) VALUES (?, ?)", (tag, identifier))
        return identifier

    def put_labels(self, connection: sqlite3.Connection, values: Sequence[tuple[bool, bytes]]) -> None:
        """Store labels in their stored form, each with whether it is lasting, making room first.

        Raises:
            BackendUnavailable: the disk is nearly full.
            BackendError: they are more than the store can hold.
        """
        size = sum(len(value) for _, value in values)
        self._check_disk(size)
        self._make_room(connection, size)
        self.labels.put(connection, values)

    def _check_disk(self, size: int) -> None:
        disk = shutil.disk_usage(self._folder)
        reserve = min(_FREE_MOST, int(disk.total * _FREE_SHARE))
        if disk.free - size < reserve:
            raise BackendUnavailable(
                f"the disk of {self._path} has {disk.free} bytes free; nothing is stored below {reserve}"
            )

    def add(self, connection: sqlite3.Connection, entry: Entry, now: float) -> bool:
        """As ``put``, unless a live entry is there; whether it was stored. A damaged one gives way."""
        if isinstance(_found(connection, entry.key, now), Entry):
            return False
        self.put(connection, entry)
        return True

    def remove(self, connection: sqlite3.Connection, entry: Entry, now: float) -> bool:
        """Delete the live row, if it still holds this very entry; whether."""
        # Not their stored forms: another release may have written the same entry in other bytes.
        found = _found(connection, entry.key, now)
        if not isinstance(found, Entry) or not same_entry(found, entry):
            return False
        return self.delete(connection, [entry.key], now) > 0

    def _make_room(self, connection: sqlite3.Connection, size: int) -> None:
        if size > self._max_bytes // 2:
            raise BackendError(f"an entry of {size} bytes is too large for max_bytes={self._max_bytes}")
        while (excess := used_bytes(connection) + size + _SPLITS - self._max_bytes) > 0:
            if not (self.forget(connection) or self._evict(connection, excess)):
                return

    def trails_too_long(self, connection: sqlite3.Connection) -> bool:
        """True when ``forget`` has something to do."""
        return self.vectors.trail.too_long(connection) or self.changes.too_long(connection)

    def forget(self, connection: sqlite3.Connection) -> bool:
        """Drop some of what is told longest ago; True when there was too much."""
        vectors = self.vectors.trail.forget(connection) is not None
        return self.changes.forget(connection) or vectors

    def _evict(self, connection: sqlite3.Connection, excess: int) -> int:
        """Delete the oldest rows until ``excess`` bytes have gone, or a chunk of rows; the number deleted."""
        oldest = connection.execute(
            "SELECT id, size FROM entries ORDER BY created_at, id LIMIT ?", (CHUNK,)
        ).fetchall()
        doomed: list[tuple[int]] = []
        for identifier, size in oldest:
            if excess <= 0:
                break
            doomed.append((identifier,))
            excess -= size
        connection.executemany("DELETE FROM entries WHERE id = ?", doomed)
        self.evictions += len(doomed)
        return len(doomed)

    def nearly_full(self, connection: sqlite3.Connection) -> bool:
        """True when ``trim`` has something to do."""
        return used_bytes(connection) > self._trim_to

    def trim(self, connection: sqlite3.Connection) -> bool:
        """Evict a chunk; True when there is more to evict."""
        return self._evict(connection, used_bytes(connection) - self._trim_to) > 0 and self.nearly_full(
            connection
        )

    def sweep(self, connection: sqlite3.Connection, now: float) -> bool:
        """Delete a chunk of expired rows; True when there may be more."""
        swept = connection.execute(
            "DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE expires_at <= ? LIMIT ?)",
            (now, CHUNK),
        ).rowcount
        self.expired += swept
        return swept == CHUNK

    def anything_expired(self, connection: sqlite3.Connection, now: float) -> bool:
        """True when ``sweep`` would find something."""
        found = connection.execute("SELECT 1 FROM entries WHERE expires_at <= ? LIMIT 1", (now,)).fetchone()
        return found is not None

    def delete(self, connection: sqlite3.Connection, keys: Collection[bytes], now: float) -> int:
        """Delete by key, and mark them all, whether there or not; the number that were live."""
        self.changes.voids.mark(connection, map(of_key, keys))
        return sum(_deleted(connection, "key = ?", (key,), now)[1] for key in keys)

    def void_tags(self, connection: sqlite3.Connection, tags: Collection[str]) -> int:
        """Mark tags, and the id of the newest row, up to which to delete."""
        self.changes.voids.mark(connection, map(of_tag, tags))
        return self.last_id(connection)

    def void_everything(self, connection: sqlite3.Connection) -> int:
        """Forget the labels and mark everything; the id of the newest row, up to which to delete."""
        self.labels.clear(connection)
        self.changes.voids.mark_everything(connection)
        return self.last_id(connection)

    def last_id(self, connection: sqlite3.Connection) -> int:
        """The id of the newest row; 0 in an empty store."""
        last: int = connection.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()[0]
        return last

    def delete_chunk(self, connection: sqlite3.Connection, last: int, now: float) -> tuple[int, int]:
        """Delete some rows up to the id ``last``; (number deleted, number of these that were live)."""
        return _deleted(
            connection, "id IN (SELECT id FROM entries WHERE id <= ? ORDER BY id LIMIT ?)", (last, CHUNK), now
        )

    def delete_tagged_chunk(
        self, connection: sqlite3.Connection, tag: str, last: int, now: float
    ) -> tuple[int, int]:
        """As ``delete_chunk``, for rows with a tag."""
        return _deleted(
            connection,
            "id IN (SELECT entry FROM tags WHERE tag = ? AND entry <= ? LIMIT ?)",
            (tag, last, CHUNK),
            now,
        )


_GET: Final = "SELECT id, value FROM entries WHERE key = ? AND expires_at > ?"
_PUT: Final = """
    INSERT OR REPLACE INTO entries (id, key, partition, created_at, expires_at, size, value)
    VALUES ((SELECT seq + 1 FROM sqlite_sequence WHERE name = 'changes'), ?, ?, ?, ?, ?, ?)
"""

_COLUMNS: Final = """
    SELECT created_at, id, entries.key, value, space, vector
    FROM entries LEFT JOIN vectors ON vectors.entry = entries.id
"""
# The unary plus keeps SQLite from using the index on expiry.
_NEXT: Final = "(created_at, id) > (?, ?) AND +entries.expires_at > ? ORDER BY created_at, id LIMIT ?"
SCAN: Final = f"{_COLUMNS} WHERE {_NEXT}"
SCAN_PARTITION: Final = f"{_COLUMNS} WHERE entries.partition = ? AND {_NEXT}"
_PAGE: Final = 32  # rows of a scan fetched at once: values may be large, and all are in memory together


def _found(connection: sqlite3.Connection, key: bytes, now: float) -> Entry | Damaged | None:
    row = connection.execute(_GET, (key, now)).fetchone()
    return None if row is None else _live(key, row[1], now, row[0])


def _live(key: bytes, value: bytes, now: float, generation: int) -> Entry | Damaged | None:
    try:
        entry = decode(value, key=key, generation=generation)
    except CorruptEntry as error:
        return Damaged(key, value, error)
    # The column is only the index's copy of what the checksum covers.
    return entry if entry.expires_at > now else None


def _deleted(
    connection: sqlite3.Connection, where: str, values: tuple[Any, ...], now: float
) -> tuple[int, int]:
    """Delete; (all, live). RETURNING tells those that had expired: they were no longer there for anyone."""
    rows = connection.execute(
        f"DELETE FROM entries WHERE {where} RETURNING expires_at > ?",  # noqa: S608  (``where`` is ours)
        (*values, now),
    ).fetchall()
    return len(rows), sum(live for (live,) in rows)


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the pages in use: what the file would shrink to."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    used: int = (pages - free) * size
    return used
