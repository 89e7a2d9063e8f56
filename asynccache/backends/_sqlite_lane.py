"""One connection, one thread, and the way there and back in a single hop.

Handing work to a thread costs several times what a look-up costs, so a lane hands over whole batches:
callers add to a queue; while the thread works on one batch the next gathers; and all answers of a batch
come back in one callback. The thread is aiosqlite's. Its calls are not used one by one: each is a hop,
and a caller cancelled between BEGIN and COMMIT would leave the transaction open to whoever comes next.
Here a cancelled caller abandons a future and the batch goes on.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import aiosqlite

from asynccache._errors import BackendError, BackendUnavailable
from asynccache.backends._sqlite_file import Identity, SqliteFile, begin

__all__ = ["Lane", "read_batch", "write_batch"]

T = TypeVar("T")

Work: TypeAlias = "Callable[[sqlite3.Connection], Any]"
"""One operation; runs in the lane's thread, perhaps within a transaction shared with others."""

Outcome: TypeAlias = "tuple[Any, Exception | None]"
"""What a work returned, or None and what it raised."""

Call: TypeAlias = "tuple[asyncio.Future[Any], Work]"

_BATCH: Final = 512  # works; bounds how long the first of a batch waits for the last


def read_batch(connection: sqlite3.Connection, calls: Sequence[Call]) -> list[Outcome]:
    """Run each work on its own. Those nobody waits for any more are left out."""
    return [(None, None) if future.done() else _attempt(connection, work) for future, work in calls]


def write_batch(connection: sqlite3.Connection, calls: Sequence[Call]) -> list[Outcome]:
    """Run all works in one transaction, each in a savepoint: one that fails takes only its own changes along.

    Raises:
        sqlite3.Error: the transaction as a whole failed; nothing was changed.
    """
    outcomes: list[Outcome] = []
    begin(connection)
    try:
        for _, work in calls:
            connection.execute("SAVEPOINT work")
            result, error = _attempt(connection, work)
            if error is not None:
                if not connection.in_transaction:
                    raise error  # SQLite has rolled all of it back
                connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
            outcomes.append((result, error))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcomes


def _attempt(connection: sqlite3.Connection, work: Work) -> Outcome:
    try:
        return work(connection), None
    except Exception as error:  # noqa: BLE001  (a border: mapped by the lane)
        return None, error


def _never() -> NoReturn:
    raise AssertionError("connections are opened by the lane")


class _Thread(aiosqlite.Connection):
    """aiosqlite's connection and thread, given whole functions to run.

    The thread's own function opens the connection, when there is first need and again after it broke.
    A daemon: a program that ends without closing its cache must not hang; SQLite survives that.
    """

    def __init__(self) -> None:
        super().__init__(_never, iter_chunk_size=64)
        self.identity: Identity | None = (
            None  # of the open file; changed by the thread, or by a fork it waits for
        )
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


class Lane:
    """A queue of works for one connection.

    Args:
        file: what to connect to. Opened by the first work, not by the constructor.
        read_only: open the connection for reading only.
        run: ``read_batch`` or ``write_batch``.
        between: called in the thread after each batch, with the connection and whether no work is
            waiting; returns True to be called again.
        at_end: called in the thread when the lane has been closed.
    """

    def __init__(
        self,
        file: SqliteFile,
        *,
        read_only: bool,
        run: Callable[[sqlite3.Connection, Sequence[Call]], list[Outcome]],
        between: Callable[[sqlite3.Connection, bool], bool] | None = None,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        self._file: Final = file
        self._read_only: Final = read_only
        self._run: Final = run
        self._between: Final = between
        self._at_end: Final = at_end
        self._waiting: deque[Call] = deque()  # the loop appends, the thread takes
        # Changed on the loop only:
        self._loop: asyncio.AbstractEventLoop | None = None  # of those waiting
        self._thread: _Thread | None = None
        self._busy = False  # the thread has been given a turn and has not reported back
        self._inside = threading.Lock()  # held while the thread is in SQLite: a fork waits for it

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Queue a work. The future may be cancelled; the work may run all the same.

        Raises:
            BackendUnavailable: the lane is open in another event loop.
        """
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread, self._loop = _Thread(), loop
        elif self._loop is not loop:
            raise BackendUnavailable(
                f"{self._file.path} is open in another event loop; give each loop a backend of its own"
            )
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((future, work))
        self.nudge()
        return future

    def nudge(self) -> None:
        """Give the thread a turn, if only for what comes between batches."""
        thread = self._thread
        if not self._busy and thread is not None:
            self._busy = True
            thread.give(lambda: self._turn(thread))

    def closing(self) -> Callable[[], Awaitable[None]]:
        """Begin to close: what is queued is done, then the connection is closed, even if nobody waits for it.

        Returns:
            An async function that waits until the thread has ended.
        """
        thread, self._thread = self._thread, None
        self._busy = False
        ended = asyncio.get_running_loop().create_future()
        if thread is None:
            ended.set_result(None)
        else:
            thread.give(lambda: self._finish(thread, ended))

        async def wait() -> None:
            await asyncio.wait([ended])
            if thread is not None:
                thread.join()

        return wait

    # In the thread:

    def _turn(self, thread: _Thread) -> None:
        with self._inside:
            self._batch(thread)
            more = self._rest(thread)
        if more:
            self._tell(self.nudge)

    def _finish(self, thread: _Thread, ended: asyncio.Future[None]) -> None:
        with self._inside:
            while self._waiting:
                self._batch(thread)
            thread.end()
            if self._at_end is not None:
                self._at_end()
        self._tell(ended.set_result, None)

    def _batch(self, thread: _Thread) -> None:
        calls = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
        try:
            outcomes = self._run(self._connected(thread), calls) if calls else []
        except BackendError as error:  # to connect failed; each caller raises an exception of its own
            outcomes = [(None, type(error)(*error.args)) for _ in calls]
        except Exception as error:  # noqa: BLE001  (a border: mapped for each caller below)
            outcomes = [(None, error)] * len(calls)
        identity = thread.identity
        settled = [
            (future, result, None if error is None else self._explained(error, identity))
            for (future, _), (result, error) in zip(calls, outcomes, strict=True)
        ]
        if not all(error is None or self._file.outlives(error) for _, error in outcomes):
            thread.drop()
        self._tell(self._settle, settled)

    def _rest(self, thread: _Thread) -> bool:
        if self._between is None or thread.sqlite is None:
            return False
        if thread.identity != self._file.identity:
            thread.drop()
            return False
        try:
            return self._between(thread.sqlite, not self._waiting)
        except sqlite3.Error as error:
            self._explained(error, thread.identity)  # sets a damaged file aside
            if not self._file.outlives(error):
                thread.drop()
            return False

    def _connected(self, thread: _Thread) -> sqlite3.Connection:
        if thread.sqlite is not None and thread.identity == self._file.identity:
            return thread.sqlite
        thread.drop()
        connection, identity = self._file.connect(read_only=self._read_only)
        thread.opened(connection, identity)
        return connection

    def _explained(self, error: Exception, identity: Identity | None) -> BackendError:
        explained = self._file.explain(error, identity)
        if explained is not error:
            explained.__cause__ = error
        return explained

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop was closed; nobody waits any more
                loop.call_soon_threadsafe(function, *arguments)

    # On the loop:

    def _settle(self, settled: list[tuple[asyncio.Future[Any], Any, BackendError | None]]) -> None:
        self._busy = False
        for future, result, error in settled:
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        if self._waiting:
            self.nudge()

    # Around a fork, in whichever thread forks:

    def before_fork(self) -> None:
        """Wait for the thread to leave SQLite, and close: a connection, even unused, must not be inherited.

        SQLite keeps the locks of a process in that process's memory. A child would inherit the notes
        without the locks, and take a file for locked that is not.
        """
        self._inside.acquire()
        if self._thread is not None:
            self._thread.drop()

    def after_fork_in_parent(self) -> None:
        """Go on; the next work opens a new connection."""
        self._inside.release()

    def after_fork_in_child(self) -> None:
        """Forget the parent's thread and callers."""
        self._inside = threading.Lock()
        self._waiting = deque()
        self._thread = None
        self._loop = None
        self._busy = False
