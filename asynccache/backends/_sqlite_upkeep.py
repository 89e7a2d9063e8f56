"""What keeps a database file small: sweeping, evicting ahead, giving pages back, checkpoints."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Final

from asynccache._protocols import Clock
from asynccache.backends._file_lock import Latch
from asynccache.backends._sqlite_file import SqliteFile, begin
from asynccache.backends._sqlite_rows import Rows

__all__ = ["Upkeep"]

_TICK: Final = 1.0  # seconds between looks at a resting WAL and at whether the file was moved
_WAL_SOFT: Final = 4 * 2**20  # bytes; above, checkpoint when there is nothing else to do
_WAL_HARD: Final = 16 * 2**20  # bytes; above, checkpoint although callers wait
_EVERY: Final = 32  # batches between looks when nothing is due: a look costs as much as a small commit
_VACUUM_PAGES: Final = 512  # given back in one step, some 20 ms
_SPARE_PAGES: Final = 1024  # free pages kept for the next entries; giving them back would only cost


class Upkeep:
    """Work between batches, in the writer's thread, by one process at a time.

    One process only, by an advisory lock kept as long as the process lives: SQLite up to 3.51.2 can
    damage a WAL that one connection resets while another writes, and the fewer connections
    checkpoint, the rarer they meet.
    """

    def __init__(self, file: SqliteFile, rows: Rows, clock: Clock) -> None:
        self._file: Final = file
        self._rows: Final = rows
        self._clock: Final = clock
        self.latch: Final = Latch(file.path.with_name(f"{file.path.name}-lock"))
        # Set on the event loop, cleared by the writer's thread:
        self.tick_due = False  # see whether the file was moved; checkpoint even a small WAL if it rests
        self.sweep_due = False
        # The writer's thread only:
        self._skipped = _EVERY  # batches since the last step; the first of all takes one
        self._more = False  # the last step left something to do
        self._resting_wal = -1  # size of the WAL at the last tick

    async def keep_up(self, nudge: Callable[[], None], *, sweep_interval: float) -> None:
        """Call for work again and again until cancelled.

        Args:
            nudge: makes the writer's thread call this object.
            sweep_interval: seconds between searches for expired entries.
        """
        loop = asyncio.get_running_loop()
        sweep_at = loop.time() + sweep_interval
        while True:
            await asyncio.sleep(min(_TICK, sweep_interval))
            self.tick_due = True
            if loop.time() >= sweep_at:
                sweep_at = loop.time() + sweep_interval
                self.sweep_due = True
            nudge()

    def __call__(self, connection: sqlite3.Connection, idle: bool) -> bool:  # noqa: FBT001  (called by Lane only)
        """Do one bounded piece of work, in the writer's thread; True when there is more.

        Args:
            connection: the writer's.
            idle: nobody is waiting for the writer.
        """
        self._skipped += 1
        if not (self.tick_due or self.sweep_due or self._more or self._skipped >= _EVERY):
            return False
        self._skipped = 0
        self._more = self._step(connection, idle)
        return self._more

    def _step(self, connection: sqlite3.Connection, idle: bool) -> bool:  # noqa: FBT001  (as above)
        wal = self._file.wal_size()
        if not idle and wal < _WAL_HARD:
            return self.latch.held() and self._forget(connection)
        tick, self.tick_due = self.tick_due, False
        if tick and self._file.moved():  # when nothing is written, this alone tells the reader
            self._file.identity = None
            return False
        if not self.latch.held():
            return False
        more = self._forget(connection)
        if idle and not more:  # no entry gives way to a trail that is too long
            more = self._shrink(connection)
        if wal >= _WAL_SOFT:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        elif tick:
            if 0 < wal == self._resting_wal:
                self._truncate(connection)
            self._resting_wal = wal
        return more

    def _shrink(self, connection: sqlite3.Connection) -> bool:
        now = self._clock.now()
        more = False
        if self.sweep_due:
            self.sweep_due = False
            if self._rows.anything_expired(connection, now):
                more = self._in_transaction(connection, lambda: self._rows.sweep(connection, now))
                self.sweep_due = more
            if not more:
                more = self._vacuum(connection)
                self.sweep_due = more
        if self._rows.nearly_full(connection):
            more |= self._in_transaction(connection, lambda: self._rows.trim(connection))
        return more

    def _forget(self, connection: sqlite3.Connection) -> bool:
        """Shorten the trails of changes and marks; also while callers wait, since they lengthen them."""
        return self._rows.trails_too_long(connection) and self._in_transaction(
            connection, lambda: self._rows.forget(connection)
        )

    def _in_transaction(self, connection: sqlite3.Connection, work: Callable[[], bool]) -> bool:
        begin(connection)
        try:
            more = work()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return more

    def _vacuum(self, connection: sqlite3.Connection) -> bool:
        free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
        if free <= _SPARE_PAGES:
            return False
        # As a script: execute() would stop at the statement's first step, which frees a single page.
        connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES:d})")
        return free - _VACUUM_PAGES > _SPARE_PAGES

    def _truncate(self, connection: sqlite3.Connection) -> None:
        """Checkpoint all and empty the WAL; gives up at once when another process is at work."""
        patience: int = connection.execute("PRAGMA busy_timeout").fetchone()[0]
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {patience:d}")
