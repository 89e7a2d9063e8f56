"""One database file: how it is opened, what its errors mean, and what happens when it is damaged."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from asynccache._errors import BackendError, BackendUnavailable, CorruptEntry
from asynccache.backends._file_lock import locked
from asynccache.backends._sqlite_schema import migrate, outdated

__all__ = ["Identity", "SqliteFile", "begin"]

Identity = tuple[int, int]
"""Device and inode: which file a connection has open, whatever its path leads to by now."""

_RETRY_AFTER: Final = 1.0  # seconds between attempts to open a file that could not be opened
_BUSY_ATTEMPTS: Final = 3  # SQLite's busy handler is unfair; one wait may starve where three do not

_JOURNAL_LIMIT: Final = 2**20  # bytes the WAL keeps once checkpointed: its size tells Upkeep what is to do
_CACHE: Final = 8 * 2**20  # bytes of pages each connection keeps; holds the indexes of some 100,000 entries

_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNUSABLE: Final = {  # the connection cannot recover by itself; a new one may
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


def _code(error: Exception) -> int:
    """SQLite's primary result code, or 0 for an error that is not SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _found_damage(error: Exception) -> bool:
    # A damaged name in the schema is quoted by SQLite's message, which then is no UTF-8.
    return _code(error) in _DAMAGED or isinstance(error, UnicodeDecodeError)


def _lost_a_table(error: Exception) -> bool:
    """True when a statement did not find what every file of our version has; SQLite has no code for it."""
    return _code(error) == sqlite3.SQLITE_ERROR and str(error).startswith(("no such table", "no such column"))


class SqliteFile:
    """A path, and what is known about the file there. Every method may be called from any thread.

    Args:
        path: the database file; missing directories are made, for this user only.
        busy_timeout: seconds one statement waits for another process's lock.
        monotonic: a monotonic clock, in seconds.
    """

    def __init__(self, path: Path, *, busy_timeout: float, monotonic: Callable[[], float]) -> None:
        self.path: Final = path
        self._name: Final = str(path)
        self.identity: Identity | None = None  # of the file last opened; None asks all to open anew
        self.set_aside_count = 0
        self._busy_timeout: Final = busy_timeout
        self._monotonic = monotonic
        self._lock = threading.Lock()  # one thread opens or sets aside at a time; guards all changes here
        self._failure: BackendError | None = None
        self._retry_at = 0.0

    def connect(self, *, read_only: bool) -> tuple[sqlite3.Connection, Identity]:
        """Open a connection for use in any one thread at a time.

        Raises:
            BackendUnavailable: the file cannot be opened now; tried at most once a second.
            CorruptEntry: what was there is no database any more; it was set aside, and the next call
                starts a new one.
        """
        with self._lock:
            if self._failure is not None and self._monotonic() < self._retry_at:
                raise type(self._failure)(*self._failure.args) from self._failure
            self._failure = None
            try:
                connection, identity = self._open(read_only=read_only)
            except BackendError as error:
                self._fail(error)
                raise
            except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
                raise self._explain(error, self._present_identity()) from error
            self.identity = identity
            return connection, identity

    def _open(self, *, read_only: bool) -> tuple[sqlite3.Connection, Identity]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives -wal and -shm the mode of the database. Only a file that is new may be opened
        # here: closing any descriptor of a database drops the locks this process holds on it.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection, read_only=read_only)
            stat = self.path.stat()
        except BaseException:
            connection.close()
            raise
        return connection, (stat.st_dev, stat.st_ino)

    def _prepare(self, connection: sqlite3.Connection, *, read_only: bool) -> None:
        run = connection.execute
        # First of all: a file that is not ours is not touched.
        run("BEGIN")
        try:
            old = outdated(connection, str(self.path))
        finally:
            run("ROLLBACK")
        if old:
            run("PRAGMA auto_vacuum = INCREMENTAL")  # only heeded before the first page is written
        if run("PRAGMA journal_mode").fetchone()[0] != "wal":
            _patiently(lambda: run("PRAGMA journal_mode = WAL"))
        # NORMAL: a crash of the process loses nothing, a power cut at most the last commits.
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA wal_autocheckpoint = 0")  # in the middle of a commit is the wrong time; see Upkeep
        run(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT:d}")
        run(f"PRAGMA cache_size = -{_CACHE // 1024:d}")
        run("PRAGMA mmap_size = 0")  # a damaged or shortened file must be an error, not a bus error
        run("PRAGMA cell_size_check = ON")
        run("PRAGMA trusted_schema = OFF")
        run("PRAGMA foreign_keys = ON")
        run("PRAGMA secure_delete = ON")  # what was deleted is gone from the file
        if old:
            begin(connection)
            try:
                if outdated(connection, str(self.path)):  # another process may have been quicker
                    migrate(connection)
                run("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    run("ROLLBACK")
                raise
        if read_only:
            run("PRAGMA query_only = ON")

    def explain(self, error: Exception, identity: Identity | None) -> BackendError:
        """The backend error to raise for ``error``, met on a connection to the file ``identity``.

        A damaged file has been set aside when this returns.
        """
        if isinstance(error, BackendError):
            return error
        with self._lock:
            if _lost_a_table(error):
                return CorruptEntry(self._set_aside(identity))
            return self._explain(error, identity)

    def _explain(self, error: Exception, identity: Identity | None) -> BackendError:
        code = _code(error)
        if _found_damage(error):
            return CorruptEntry(self._set_aside(identity))
        if code in _BUSY:
            waited = self._busy_timeout * _BUSY_ATTEMPTS
            return BackendUnavailable(f"{self.path} stayed locked by another process for {waited:g} s")
        if code == sqlite3.SQLITE_FULL:
            return BackendUnavailable(f"{self.path} cannot grow: the disk or its quota is full")
        if code in _UNUSABLE or isinstance(error, OSError):
            unusable = BackendUnavailable(f"{self.path} cannot be opened, read or written now: {error}")
            self._fail(unusable)
            return unusable
        if isinstance(error, sqlite3.OperationalError):
            return BackendUnavailable(f"{self.path} cannot be used now: {error}")
        # What is left lies in the entry. Its words may quote the entry: they stay in __cause__.
        return BackendError(f"this entry cannot be stored ({type(error).__name__})")

    @staticmethod
    def outlives(error: Exception) -> bool:
        """True when a connection that met ``error`` can go on being used."""
        return not (_code(error) in _UNUSABLE or _found_damage(error) or _lost_a_table(error))

    def _fail(self, error: BackendError) -> None:
        self._failure = type(error)(*error.args)  # a copy: the raised one keeps its frames alive
        self._retry_at = self._monotonic() + _RETRY_AFTER

    def moved(self) -> bool:
        """True when the path no longer leads to the file last opened (deleted, replaced or set aside)."""
        return self.identity is not None and self._present_identity() != self.identity

    def _present_identity(self) -> Identity | None:
        try:
            stat = os.stat(self._name)  # noqa: PTH116  (before every commit, and twice as fast)
        except OSError:
            return None
        return stat.st_dev, stat.st_ino

    def _set_aside(self, identity: Identity | None) -> str:
        """Rename the damaged file and its companions, unless that has been done; say what was done.

        Connections still open, here or in other processes, keep the renamed files; when closing,
        SQLite sees that its database has moved and leaves the new one's WAL alone.
        """
        self.identity = None
        try:
            with locked(self.path.parent):  # two processes may find out at the same time
                if identity is None or self._present_identity() != identity:
                    return f"{self.path} was damaged and has been replaced; the next use opens the new one"
                stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
                aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
                for suffix in ("-wal", "-shm", ""):
                    with suppress(FileNotFoundError):
                        Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        except OSError as error:
            self._fail(BackendUnavailable(f"{self.path} is damaged and cannot be set aside: {error}"))
            return f"{self.path} is damaged and cannot be set aside: {error}"
        self.set_aside_count += 1
        return f"{self.path} was damaged; it was set aside as {aside.name} and a new one is started"

    def size(self) -> int:
        """Bytes on disk: database and WAL."""
        return _size(self.path) + self.wal_size()

    def wal_size(self) -> int:
        """Bytes of the WAL file."""
        return _size(f"{self.path}-wal")


def _size(path: str | Path) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def begin(connection: sqlite3.Connection) -> None:
    """Start a write transaction. IMMEDIATE: a read lock cannot be raised once another process has written."""
    _patiently(lambda: connection.execute("BEGIN IMMEDIATE"))


def _patiently(statement: Callable[[], object]) -> None:
    for attempts_left in reversed(range(_BUSY_ATTEMPTS)):
        try:
            statement()
        except sqlite3.OperationalError as error:
            if _code(error) not in _BUSY or not attempts_left:
                raise
        else:
            return
