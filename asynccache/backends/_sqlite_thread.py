"""A thread with a connection: the one place that knows the inside of aiosqlite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import aiosqlite

from asynccache.backends._sqlite_file import Identity

__all__ = ["DatabaseThread"]


def _never() -> NoReturn:
    raise AssertionError("connections are opened by the lane")


class DatabaseThread(aiosqlite.Connection):
    """aiosqlite's connection and thread, given whole functions to run.

    The thread's own function opens the connection, when there is first need and again after it broke.
    A daemon: a program that ends without closing its cache must not hang; SQLite survives that.
    """

    def __init__(self) -> None:
        super().__init__(_never, iter_chunk_size=64)
        # Of the open file. Like the connection, changed by the thread, or by a fork that holds it still.
        self.identity: Identity | None = None
        self._thread.daemon = True
        self._thread.name = "asynccache-sqlite"
        self._thread.start()

    @property
    def sqlite(self) -> sqlite3.Connection | None:
        """The open connection."""
        return self._connection

    def opened(self, connection: sqlite3.Connection, identity: Identity) -> None:
        """Adopt a connection."""
        self._connection, self.identity = connection, identity

    def drop(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection, self.identity = self._connection, None, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def give(self, function: Callable[[], None]) -> None:
        """Run ``function`` in the thread; it must not raise."""
        self._tx.put_nowait((None, function))

    def end(self) -> None:
        """Close, and let the thread return. Call within the thread, where no event loop is told of it."""
        self.drop()
        self.stop()

    def join(self) -> None:
        """Wait for a thread that has nothing left to do but return."""
        self._thread.join()
