"""What is told of the entries as they come and go; all of it in a database thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from asynccache._models import Change, Changes
from asynccache.backends._sqlite_trail import Trail
from asynccache.backends._sqlite_voids import Voids

__all__ = ["ChangeRows"]

_ROWS: Final = 1024  # changes read in one go: about a millisecond
_CHANGE_BYTES: Final = 50


class ChangeRows:
    """The trail of one store's entries, and the marks of what was invalidated among them.

    Args:
        max_bytes: what the used pages of the file may come to.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.voids: Final = Voids(max_bytes=max_bytes)
        self.trail: Final = Trail("changes", row_bytes=_CHANGE_BYTES, max_bytes=max_bytes)

    def read(self, connection: sqlite3.Connection, after: int | None) -> tuple[Changes, int]:
        """The next changes, and the position at the time."""
        position = self.voids.newest(connection)
        stretch = self.trail.read(connection, after, statement=_CHANGES, limit=_ROWS)
        if stretch.gap or not all(isinstance(key, bytes) for _, key in stretch.rows):
            return Changes([], self.trail.newest(connection), more=False, gap=True), position
        changes = [Change(key, number) for number, key in stretch.rows]
        return Changes(changes, stretch.cursor, stretch.more), position

    def generations(
        self, connection: sqlite3.Connection, keys: Sequence[bytes], now: float
    ) -> list[int | None]:
        """The ids of the live entries under ``keys``, without reading their values."""
        found = [connection.execute(_GENERATION, (key, now)).fetchone() for key in keys]
        return [None if row is None else row[0] for row in found]

    def too_long(self, connection: sqlite3.Connection) -> bool:
        """True when ``forget`` has something to do."""
        return self.trail.too_long(connection) or self.voids.trail.too_long(connection)

    def forget(self, connection: sqlite3.Connection) -> bool:
        """Drop some of what is told longest ago; True when there was too much of either kind."""
        changes = self.trail.forget(connection) is not None
        return self.voids.forget(connection) or changes


_CHANGES: Final = "SELECT seq, key FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"
_GENERATION: Final = "SELECT id FROM entries WHERE key = ? AND expires_at > ?"
