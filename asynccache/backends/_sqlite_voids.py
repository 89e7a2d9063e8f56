"""Marks of what was invalidated, so that an answer asked for before is not stored after."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable
from typing import Final, TypeVar

from asynccache.backends._sqlite_trail import Trail

__all__ = ["Voids", "of_key", "of_tag"]

T = TypeVar("T")

_MARK_BYTES: Final = 110  # with its place in the index

EVERYTHING: Final = b""
"""Subject of a mark that stands for all keys and tags."""


def of_key(key: bytes) -> bytes:
    """The subject of the mark of a key."""
    return b"k" + key


def of_tag(tag: str) -> bytes:
    """The subject of the mark of a tag."""
    return b"t" + tag.encode()


class Voids:
    """The last invalidation of each subject, numbered in the order of their commits.

    One mark stands for everything: for the last ``clear``, and for all that is too long ago to be known.

    Args:
        max_bytes: what the used pages of the file may come to.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.trail: Final = Trail("voids", row_bytes=_MARK_BYTES, max_bytes=max_bytes)

    def newest(self, connection: sqlite3.Connection) -> int:
        """The number of the last mark: whatever is invalidated from now on has a larger one."""
        # There always is one, and the last is never forgotten: half the time of asking as a Trail does.
        newest: int | None = connection.execute(_NEWEST).fetchone()[0]
        return 0 if newest is None else newest

    def after(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> tuple[T, int]:
        """What comes of a work, and the number of the last mark then."""
        return work(connection), self.newest(connection)

    def mark(self, connection: sqlite3.Connection, subjects: Iterable[bytes]) -> None:
        """Remember that these are invalidated now. Call within the transaction that deletes."""
        connection.executemany(
            "INSERT OR REPLACE INTO voids (subject) VALUES (?)", [(subject,) for subject in subjects]
        )

    def mark_everything(self, connection: sqlite3.Connection) -> None:
        """Remember that all keys and tags are invalidated now."""
        self.mark(connection, [EVERYTHING])

    def since(self, connection: sqlite3.Connection, key: bytes, tags: Collection[str], number: int) -> bool:
        """Whether the key or one of the tags was invalidated after a number, or that cannot be told."""
        newest = self.newest(connection)
        if number >= newest:  # a larger one is of a file that this one has replaced
            return number > newest
        subjects = [EVERYTHING, of_key(key), *map(of_tag, tags)]
        return any(
            connection.execute(_LATER, (subject, number)).fetchone() is not None for subject in subjects
        )

    def forget(self, connection: sqlite3.Connection) -> bool:
        """Drop some of the oldest marks, but not that there were such; True when there were too many."""
        last = self.trail.forget(connection)
        if last is None:
            return False
        # Ignored when everything was invalidated later than that.
        connection.execute("INSERT OR IGNORE INTO voids (seq, subject) VALUES (?, ?)", (last, EVERYTHING))
        return True


_NEWEST: Final = "SELECT max(seq) FROM voids"
_LATER: Final = "SELECT 1 FROM voids WHERE subject = ? AND seq > ?"
