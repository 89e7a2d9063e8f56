"""A table that tells what has changed, in the order of the commits, and forgets the oldest."""

from __future__ import annotations

import sqlite3
from typing import Any, Final, NamedTuple

__all__ = ["Stretch", "Trail"]

# A follower that comes back after so many changes is brought up to date; one that comes back later reads
# everything anew. All of them never take more than a share of the store, which is there for entries.
_KEPT: Final = 100_000
_SHARE: Final = 20
_FORGET: Final = 1024  # changes forgotten in one go: a millisecond


class Stretch(NamedTuple):
    """Some rows of a trail, in order."""

    rows: list[tuple[Any, ...]]
    cursor: int
    """After which to go on."""
    more: bool
    gap: bool


class Trail:
    """A table with numbers for its key, written by triggers: however a row goes, the change is told.

    Args:
        table: its name.
        row_bytes: what a change takes in the file, about.
        max_bytes: what the used pages of the file may come to.
    """

    def __init__(self, table: str, *, row_bytes: int, max_bytes: int) -> None:
        self.kept = min(_KEPT, max_bytes // _SHARE // row_bytes)
        self.slack = min(_FORGET, self.kept)
        self._table: Final = table
        self._first: Final = f"SELECT min(seq) FROM {table}"  # noqa: S608  (a name of ours)
        self._cut: Final = f"DELETE FROM {table} WHERE seq <= ?"  # noqa: S608

    def newest(self, connection: sqlite3.Connection) -> int:
        """The number of the last change; where the next ones begin, when there was none."""
        # Not the largest in the table: it knows those forgotten, too, and where a new store begins.
        found = connection.execute(_NEWEST, (self._table,)).fetchone()
        return 0 if found is None else found[0]

    def read(
        self, connection: sqlite3.Connection, after: int | None, *, statement: str, limit: int
    ) -> Stretch:
        """The changes after a cursor; None: nothing, but where the end is.

        Args:
            connection: where to read.
            after: a cursor.
            statement: takes the cursor and the limit; gives the number, bytes that tell what has changed,
                and what else is to be known of it.
            limit: rows at most.
        """
        newest = self.newest(connection)
        if after is None:
            return Stretch([], newest, more=False, gap=False)
        if not 0 <= after <= newest:
            return Stretch([], newest, more=False, gap=True)
        rows = connection.execute(statement, (after, limit)).fetchall()
        # Only now: had it been asked before, changes forgotten meanwhile would not be missed.
        oldest = self._oldest(connection)
        if after < (newest if oldest is None else oldest - 1):
            return Stretch([], newest, more=False, gap=True)
        return Stretch(rows, rows[-1][0] if rows else after, more=len(rows) == limit, gap=False)

    def too_long(self, connection: sqlite3.Connection) -> bool:
        """True when ``forget`` has something to do."""
        oldest = self._oldest(connection)
        return oldest is not None and self.newest(connection) - oldest >= self.kept + self.slack

    def forget(self, connection: sqlite3.Connection) -> int | None:
        """Drop some of the oldest changes; the number of the last that was dropped, None if none was."""
        oldest = self._oldest(connection)
        if oldest is None or not self.too_long(connection):
            return None
        last = oldest + self.slack - 1
        connection.execute(self._cut, (last,))
        return last

    def _oldest(self, connection: sqlite3.Connection) -> int | None:
        oldest: int | None = connection.execute(self._first).fetchone()[0]
        return oldest


_NEWEST: Final = "SELECT seq FROM sqlite_sequence WHERE name = ?"
