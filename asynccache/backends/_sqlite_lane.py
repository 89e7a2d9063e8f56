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
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from asynccache._errors import BackendError, BackendUnavailable
from asynccache.backends._sqlite_batches import Call, Outcome
from asynccache.backends._sqlite_file import Identity, SqliteFile
from asynccache.backends._sqlite_thread import DatabaseThread

__all__ = ["Closing", "Lane"]

T = TypeVar("T")

_BATCH: Final = 512  # works; bounds how long the first of a batch waits for the last


class Closing:
    """The end of a lane, which comes whether it is waited for or not."""

    def __init__(self, thread: DatabaseThread | None) -> None:
        self._thread = thread
        self.ended: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        """Wait on the event loop."""
        await asyncio.wait([self.ended])
        self.join()

    def join(self) -> None:
        """Wait in a thread; on the loop, only for the return of a thread that has ended its work."""
        if self._thread is not None:
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
        settled: called on the loop after each batch, when its callers have their answers.
    """

    def __init__(
        self,
        file: SqliteFile,
        *,
        read_only: bool,
        run: Callable[[sqlite3.Connection, Sequence[Call]], list[Outcome]],
        between: Callable[[sqlite3.Connection, bool], bool] | None = None,
        at_end: Callable[[], None] | None = None,
        settled: Callable[[], None] | None = None,
    ) -> None:
        self._file: Final = file
        self._read_only: Final = read_only
        self._run: Final = run
        self._between: Final = between
        self._at_end: Final = at_end
        self._settled: Final = settled
        self._waiting: deque[Call] = deque()  # the loop appends, the thread takes
        # Changed on the loop only:
        self._loop: asyncio.AbstractEventLoop | None = None  # of those waiting
        self._thread: DatabaseThread | None = None
        self._busy = False  # the thread has been given a turn and has not reported back
        # Those that may have a connection: added by the loop, removed by themselves, forgotten in a fork.
        self._threads: set[DatabaseThread] = set()
        self._inside = threading.Lock()  # held while a thread is in SQLite: a fork waits for it

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Queue a work. The future may be cancelled; the work may run all the same.

        Raises:
            BackendUnavailable: the lane is open in another event loop.
        """
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread, self._loop = DatabaseThread(), loop
            self._threads.add(self._thread)
        elif self._loop is not loop:
            raise BackendUnavailable(
                f"{self._file.path} is open in another event loop; give each loop a backend of its own"
            )
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((future, work))
        self.nudge()
        return future

    async def ask(self, work: Callable[[sqlite3.Connection], T], *, within: float) -> T:
        """As ``submit``, and wait for what comes of it.

        Args:
            work: what to run.
            within: seconds to wait at most.

        Raises:
            BackendError: what became of the work.
            BackendUnavailable: also when it takes longer; the work may run all the same.
        """
        future = self.submit(work)
        # A bare timer: a timeout scope costs as much as the look-up itself.
        timer = future.get_loop().call_later(within, self._give_up, future, within)
        try:
            return await future
        finally:
            timer.cancel()

    def _give_up(self, future: asyncio.Future[Any], within: float) -> None:
        if not future.done():
            future.set_exception(
                BackendUnavailable(f"{self._file.path} did not answer within op_timeout={within:g} s")
            )

    def nudge(self) -> None:
        """Give the thread a turn, if only for what comes between batches."""
        thread = self._thread
        if not self._busy and thread is not None:
            self._busy = True
            thread.give(lambda: self._turn(thread))

    def closing(self, *, after: Closing | None = None) -> Closing:
        """Begin to close: what is queued is done, then the connection is closed, even if nobody waits for it.

        Args:
            after: the closing of another lane, to be over first. Of two connections that close at the same
                time neither finds itself the last, and the last one empties the WAL.
        """
        thread, self._thread = self._thread, None
        self._busy = False
        closing = Closing(thread)
        if thread is None:
            closing.ended.set_result(None)
        else:
            thread.give(lambda: self._finish(thread, closing, after))
        return closing

    # In the thread:

    def _turn(self, thread: DatabaseThread) -> None:
        with self._inside:
            self._batch(thread)
            more = self._rest(thread)
        if more:
            self._tell(self.nudge)

    def _finish(self, thread: DatabaseThread, closing: Closing, after: Closing | None) -> None:
        with self._inside:
            while self._waiting:
                self._batch(thread)
        if after is not None:
            after.join()
        with self._inside:
            thread.end()
            self._threads.discard(thread)
            if self._at_end is not None:
                self._at_end()
        self._tell(closing.ended.set_result, None)

    def _batch(self, thread: DatabaseThread) -> None:
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

    def _rest(self, thread: DatabaseThread) -> bool:
        if self._between is None or thread.sqlite is None:
            return False
        if thread.identity != self._file.identity:
            thread.drop()
            return False
        try:
            return self._between(thread.sqlite, not self._waiting)
        except Exception as error:  # noqa: BLE001  (a border: nobody waits for this, the next batch must run)
            self._explained(error, thread.identity)  # sets a damaged file aside
            if not self._file.outlives(error):
                thread.drop()
            return False

    def _connected(self, thread: DatabaseThread) -> sqlite3.Connection:
        if not self._read_only and self._file.moved():  # what is acknowledged must be where others look
            self._file.identity = None
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
        if self._settled is not None and settled:
            self._settled()
        if self._waiting:
            self.nudge()

    # Around a fork, in whichever thread forks:

    def before_fork(self) -> None:
        """Wait for the thread to leave SQLite, and close: a connection, even unused, must not be inherited.

        SQLite keeps the locks of a process in that process's memory. A child would inherit the notes
        without the locks, and take a file for locked that is not.
        """
        self._inside.acquire()
        for thread in tuple(self._threads):  # the loop may be adding one
            thread.drop()

    def after_fork_in_parent(self) -> None:
        """Go on; the next work opens a new connection."""
        self._inside.release()

    def after_fork_in_child(self) -> None:
        """Forget the parent's thread and callers."""
        self._inside = threading.Lock()
        self._waiting = deque()
        self._threads = set()
        self._thread = None
        self._loop = None
        self._busy = False
