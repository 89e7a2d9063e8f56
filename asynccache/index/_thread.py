"""One thread that searches and changes indexes in turn, and the way there and back in a single hop.

An index must not be searched while it is changed, and handing work to a thread costs as much as a search.
So all calls of one turn of the event loop go over together, searches of the same room that stand next to
each other become one, and the answers of a batch come back in one callback. While nothing waits, the
thread does the engines' background work in slices short enough for a search to wait for one.

A lone search that takes no longer than the way there and back is made on the loop, while the thread rests.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet

from asynccache._errors import BackendUnavailable, StageError
from asynccache.index._handback import hand_back
from asynccache.index._searching import AT_ONCE, Query
from asynccache.index._worker import Change, Search, Work, Worker

if TYPE_CHECKING:
    from asynccache._models import Neighbour, VectorRow
    from asynccache._protocols import Clock
    from asynccache.index._handback import Settled
    from asynccache.index._room import Room
    from asynccache.index._worker import Call

__all__ = ["IndexThread"]

T = TypeVar("T")

ROWS: Final = 20_000
"""Changed rows that may wait; past it the room is given up, to be read from the store again."""


class IndexThread:
    """Everything asked of engines goes through here, in the order in which it was asked.

    A thread that dies fails those who waited, and the next call starts another.

    Args:
        clock: says what has expired, and how long things take.
        on_change: called on the loop with a room whose size may have changed.
        on_broken: called on the loop with a room whose engine cannot be trusted any more.
        on_death: called on the loop when the thread has died: no engine can.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        on_change: Callable[[Room], None],
        on_broken: Callable[[Room, Exception], None],
        on_death: Callable[[], None],
    ) -> None:
        self._clock: Final = clock
        self._on_change: Final = on_change
        self._on_broken: Final = on_broken
        self._on_death: Final = on_death
        # Changed on the loop only:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Worker | None = None
        self._gathered: list[Call] = []
        self._closed = False
        self._searched = 0.0  # seconds of searches made in this turn of the loop, about
        self.rows_waiting = 0
        """Changed rows asked for and not taken up yet."""

    def search(self, room: Room, vector: bytes, k: int, vectors: int = 0) -> asyncio.Future[list[Neighbour]]:
        """The k nearest in a room, best first, the first with their vectors; empty when it has no engine."""
        future: asyncio.Future[list[Neighbour]] = asyncio.get_running_loop().create_future()
        self._give(Search(room, vector, k, vectors, future))
        return future

    def at_once(self, room: Room, vector: bytes, k: int, vectors: int = 0) -> list[Neighbour] | None:
        """What ``search`` finds, found on the loop where that is as quick as the way to the thread and back.

        None: ask ``search``. Several of one turn of the loop, which take longer, go over together.
        """
        worker, seconds = self._worker, room.search_seconds
        if worker is None or self._gathered or self._searched + seconds > AT_ONCE:
            return None
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            return None
        if not self._searched:
            loop.call_soon(self._turned)
        self._searched += seconds
        return worker.at_once(room, Query(vector, k, vectors))

    def _turned(self) -> None:
        self._searched = 0.0

    def change(self, room: Room, puts: Collection[VectorRow], removals: Collection[bytes]) -> bool:
        """Take up rows and let go of keys, which are others; False when too much waits, or it is closed."""
        rows = len(puts) + len(removals)
        if self._closed or self.rows_waiting + rows > ROWS:
            return False
        last = self._gathered[-1] if self._gathered else None
        if not isinstance(last, Change) or last.room is not room:
            last = Change(room)
            self._give(last)
        last.extend(puts, removals)
        self.rows_waiting += rows
        return True

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Call a function in the thread. What it raises is the caller's."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._give(Work(function, future))
        return future

    def drop(self, room: Room) -> None:
        """Let go of a room's engine."""
        room.gone = True

        def let_go() -> None:
            room.engine = None

        if self._closed:
            let_go()
        else:
            self.background(let_go)

    def background(self, function: Callable[[], object]) -> None:
        """As ``run``, for nobody who waits."""
        self.run(function).add_done_callback(_seen)

    async def settled(self) -> None:
        """Wait until all that was asked before is done."""
        await self.run(_nothing)

    async def close(self, patience: float) -> None:
        """Do what has been asked, and end; wait so many seconds at most."""
        self._hand_over()
        self._closed = True
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.queue.put(None)
            await asyncio.wait([worker.ended], timeout=patience)
            worker.fail_all(BackendUnavailable("the index is closed"))
            worker.queue.put(None)  # the first may have been taken off with what was failed

    def _give(self, call: Call) -> None:
        if self._closed:
            raise BackendUnavailable("the index is closed")
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._worker is not None:
                raise BackendUnavailable("the index is open in another event loop; give each loop its own")
            self._loop, self._gathered, self.rows_waiting = loop, [], 0
        self._gathered.append(call)
        if len(self._gathered) == 1:
            loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        if not self._gathered:
            return
        gathered, self._gathered = self._gathered, []
        worker = self._worker
        if worker is not None:
            worker.give(gathered)
            return
        worker = self._worker = Worker(asyncio.get_running_loop(), self, self._clock.now)
        worker.give(gathered)
        try:
            worker.thread.start()
        except RuntimeError as error:  # the system allows no more threads
            self.died(worker, error)
        else:
            _started.add(worker)

    # Told by the worker:

    def settle(self, settled: Sequence[Settled], touched: Collection[Room], rows: int) -> None:
        """Hand answers to those who wait."""
        self.rows_waiting = max(0, self.rows_waiting - rows)
        hand_back(settled)
        for room in touched:
            self._on_change(room)

    def broken(self, room: Room, error: Exception) -> None:
        """Hand on that an engine failed."""
        self._on_broken(room, error)

    def died(self, worker: Worker, error: BaseException) -> None:
        """Fail those who wait; the next call finds another worker."""
        if self._worker is worker:
            self._worker = None
        self.rows_waiting = sum(call.rows for call in self._gathered if isinstance(call, Change))
        failure = StageError(f"the index thread died of {type(error).__name__}")
        failure.__cause__ = error
        worker.fail_all(failure)
        self._on_death()


_started: Final[WeakSet[Worker]] = WeakSet()
"""Workers of every index of this process, which the end of the interpreter has to wait for."""

EXIT: Final = 2.0
"""Seconds to wait at the end for a thread that is inside a library."""


@atexit.register
def _end_all() -> None:
    """End the threads of indexes that nobody has closed: C++ does not bear being ended by Python."""
    for worker in (workers := tuple(_started)):
        worker.queue.put(None)
    for worker in workers:
        worker.thread.join(EXIT)


def _nothing() -> None:
    """Its turn comes when all before it have had theirs."""


def _seen(future: asyncio.Future[Any]) -> None:
    """Look at the outcome, so that asyncio does not report it as never looked at."""
    if not future.cancelled():
        future.exception()
