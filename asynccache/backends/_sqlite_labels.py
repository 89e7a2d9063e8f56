"""What is done with labels in SQL; all of it in a database thread, writes within a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from asynccache._judging import LabelPage
from asynccache.backends._stored_label import LABEL_BYTES, decode_label

__all__ = ["LabelRows"]

_ROWS: Final = 1024  # labels read in one go: a few milliseconds during which others wait

_KEPT: Final = 100_000
"""Labels of either kind; the newest say what is so now. They never take more than a share of the store."""
_SHARE: Final = 40
_ROW: Final = LABEL_BYTES + 16


class LabelRows:
    """The labels of one store, numbered in the order of their commits: SQLite has one writer at a time.

    Args:
        max_bytes: what the used pages of the file may come to.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._kept: Final = min(_KEPT, max_bytes // _SHARE // _ROW)

    def put(self, connection: sqlite3.Connection, values: Sequence[tuple[bool, bytes]]) -> None:
        """Keep some more, each with whether it is lasting; the oldest leave, of either kind."""
        connection.executemany("INSERT INTO labels (lasting, value) VALUES (?, ?)", values)
        for lasting in {lasting for lasting, _ in values}:
            connection.execute(_PRUNE, (lasting, lasting, self._kept))

    def page(self, connection: sqlite3.Connection, after: int) -> LabelPage:
        """The next after a number; damaged ones are left out."""
        newest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'labels'").fetchone()
        if newest is None or after > newest[0]:  # the number is of a file that this one has replaced
            after = 0
        rows = connection.execute(
            "SELECT seq, value FROM labels WHERE seq > ? ORDER BY seq LIMIT ?", (after, _ROWS)
        ).fetchall()
        labels = [label for _, value in rows if (label := decode_label(value)) is not None]
        return LabelPage(labels, rows[-1][0] if rows else after, len(rows) == _ROWS)

    def clear(self, connection: sqlite3.Connection) -> None:
        """Forget all."""
        connection.execute("DELETE FROM labels")


_PRUNE: Final = """
    DELETE FROM labels WHERE lasting = ? AND seq <= (
        SELECT seq FROM labels WHERE lasting = ? ORDER BY seq DESC LIMIT 1 OFFSET ?
    )
"""
