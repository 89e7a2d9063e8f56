"""What the index thread does: searches, changes, and in between a little of the engines' own upkeep."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from asynccache._errors import AsyncCacheError, StageError
from asynccache.index._searching import Query, Search, lone, together

if TYPE_CHECKING:
    from asynccache._models import Neighbour, VectorRow
    from asynccache.index._handback import Settled
    from asynccache.index._room import Room

__all__ = ["Call", "Change", "Employer", "Search", "Work", "Worker"]

SLICE: Final = 0.001
"""Seconds of background work at a time: what a search waits for at most, give or take an insert or two."""
SHARE: Final = 0.1
"""Of a thread that is never idle, the part that background work gets, or the tail would grow for ever."""
PROMPT: Final = 0.005
"""Seconds after which answers are handed back though their batch goes on."""
MERGED: Final = 64
"""Searches made into one, so that the first does not wait long for the last."""


class Change:
    """What to take up in a room and what to let go of; no key is in both."""

    __slots__ = ("puts", "removals", "room", "rows")

    def __init__(self, room: Room) -> None:
        self.room = room
        self.puts: dict[bytes, VectorRow] = {}
        self.removals: set[bytes] = set()
        self.rows = 0
        """As many as were asked for, of which some may have undone others."""

    def extend(self, puts: Collection[VectorRow], removals: Collection[bytes]) -> None:
        """Do this as well, after all before it."""
        for row in puts:
            self.puts[row.key] = row
            self.removals.discard(row.key)
        for key in removals:
            self.puts.pop(key, None)
            self.removals.add(key)
        self.rows += len(puts) + len(removals)


class Work:
    """A function to call."""

    __slots__ = ("function", "future")

    def __init__(self, function: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.function, self.future = function, future


Call: TypeAlias = "Search | Change | Work"


class Employer(Protocol):
    """Who hears from a worker, on the event loop."""

    def settle(self, settled: Sequence[Settled], touched: Collection[Room], rows: int) -> None:
        """Answers, rooms that were changed, and how many changed rows are done."""
        ...

    def broken(self, room: Room, error: Exception) -> None:
        """The engine of a room failed and was given up."""
        ...

    def died(self, worker: Worker, error: BaseException) -> None:
        """The worker's last word; no engine can be trusted any more."""
        ...


class Worker:
    """Runs in a thread of its own, from its start to its end.

    All but ``queue``, ``ended`` and ``thread`` belongs to that thread, unless it says otherwise.

    Args:
        now: seconds since the epoch, for what has expired.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, employer: Employer, now: Callable[[], float]) -> None:
        self.queue: Final[queue.SimpleQueue[list[Call] | None]] = queue.SimpleQueue()  # None: the end
        self.ended: Final[asyncio.Future[None]] = loop.create_future()
        # A daemon: a program that ends without closing must not hang.
        self.thread: Final = threading.Thread(target=self, name="asynccache-index", daemon=True)
        self._loop: Final = loop
        self._employer: Final = employer
        self._now: Final = now
        self._given = 0  # calls; the loop's
        self._done = 0  # calls; read by the loop
        # Held by the thread for background work, and by the loop for a search: an engine must not be searched
        # while it changes. All else that the thread does to engines it was given, and has not done yet.
        self._engines: Final = threading.Lock()
        self._taken: list[Call] = []  # the batch it works on
        self._restless: dict[Room, None] = {}  # rooms with background work, in the order of their turns
        # Done, and the loop not told:
        self._settled: list[Settled] = []
        self._touched: dict[Room, None] = {}
        self._rows = 0

    def __call__(self) -> None:
        """The thread's function."""
        try:
            self._live()
        except BaseException as error:  # noqa: BLE001  (the end of a thread: those who wait must hear of it)
            self._tell(self._employer.died, self, error)
        finally:
            self._tell(self.ended.set_result, None)

    def give(self, calls: list[Call]) -> None:
        """Have calls done, in their order, after all that were given before. On the loop."""
        self._given += len(calls)
        self.queue.put(calls)

    def at_once(self, room: Room, query: Query) -> list[Neighbour] | None:
        """The answer to a query, found on the loop; None while the thread is at work, and when it failed."""
        if self._done != self._given or not self._engines.acquire(blocking=False):
            return None
        try:
            return lone(room, query, self._now())
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException:  # noqa: BLE001  (a border: the thread will come upon it as well, and tells of it)
            return None
        finally:
            self._engines.release()

    def fail_all(self, error: AsyncCacheError) -> None:
        """Tell all who wait that there is no answer. On the loop, when the thread has ended or hangs."""
        for future, result, failure in self._settled:
            if not future.done():
                future.set_result(result) if failure is None else future.set_exception(failure)
        calls = list(self._taken)
        with suppress(queue.Empty):
            while True:
                calls += self.queue.get_nowait() or ()
        for call in calls:
            if not isinstance(call, Change) and not call.future.done():
                failure = type(error)(*error.args)  # one for each: tracebacks grow on what is raised
                failure.__cause__ = error.__cause__
                call.future.set_exception(failure)

    def _live(self) -> None:
        rested = perf_counter()  # when background work was last done
        while True:
            over = self._take()
            self._batch()
            now = perf_counter()
            if self._restless and (self.queue.empty() or now - rested > SLICE / SHARE):
                self._slice()
                rested = perf_counter()
            if over:
                return

    def _take(self) -> bool:
        """Take what waits; wait for it when there is nothing else to do. True when it was the last."""
        with suppress(queue.Empty):
            calls = self.queue.get(block=not self._restless)
            while calls is not None:
                self._taken += calls
                calls = self.queue.get_nowait()
            return True
        return False

    def _batch(self) -> None:
        told = perf_counter()
        calls, at = self._taken, 0
        while at < len(calls):
            call = calls[at]
            if isinstance(call, Search):
                until = at + 1
                while until < min(len(calls), at + MERGED) and call.joins(calls[until]):
                    until += 1
                self._search(call.room, [each for each in calls[at:until] if isinstance(each, Search)])
                at = until
            else:
                if isinstance(call, Change):
                    self._change(call)
                else:
                    self._run(call)
                at += 1
            if at < len(calls) and perf_counter() - told > PROMPT:
                self._hand_back()
                told = perf_counter()
        self._done += len(calls)
        self._hand_back()
        self._taken = []

    def _search(self, room: Room, searches: list[Search]) -> None:
        searches = [each for each in searches if not each.future.done()]
        if not searches:
            return
        try:
            answers = together(room, searches, self._now())
        except Exception as error:  # noqa: BLE001  (a border: mapped for the caller)
            if len(searches) > 1:  # a vector that cannot be searched for is its own caller's affair
                for each in searches:
                    self._search(room, [each])
                return
            failure = StageError(f"the index could not search: {type(error).__name__}")
            failure.__cause__ = error
            self._settled.append((searches[0].future, None, failure))
            if not isinstance(error, ValueError):
                self._broken(room, error)
            return
        self._settled += [(each.future, near, None) for each, near in zip(searches, answers, strict=True)]
        self._stir(room)

    def _change(self, call: Change) -> None:
        room = call.room
        try:
            room.change(call.puts.values(), call.removals)
        except Exception as error:  # noqa: BLE001  (a border: nobody waits for it)
            self._broken(room, error)
        self._rows += call.rows
        self._touched[room] = None
        self._stir(room)

    def _run(self, call: Work) -> None:
        try:
            self._settled.append((call.future, call.function(), None))
        except Exception as error:  # noqa: BLE001  (a border: handed to who waits)
            self._settled.append((call.future, None, error))

    def _stir(self, room: Room) -> None:
        if room.engine is not None and not room.gone and not room.engine.settled:
            self._restless[room] = None

    def _slice(self) -> None:
        room = next(iter(self._restless))
        del self._restless[room]
        engine = room.engine
        if engine is None or room.gone:
            return
        with self._engines:
            try:
                if engine.step(SLICE):
                    self._restless[room] = None  # behind the others
                room.note()
            except Exception as error:  # noqa: BLE001  (a border: nobody waits for it)
                self._broken(room, error)  # before the loop may search it
                return
        if room not in self._restless:
            self._touched[room] = None
            self._hand_back()

    def _broken(self, room: Room, error: Exception) -> None:
        room.engine = None
        self._restless.pop(room, None)
        self._tell(self._employer.broken, room, error)

    def _hand_back(self) -> None:
        if self._settled or self._touched or self._rows:
            settled, touched, rows = self._settled, tuple(self._touched), self._rows
            self._settled, self._touched, self._rows = [], {}, 0
            self._tell(self._employer.settle, settled, touched, rows)

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop was closed; nobody waits any more
            self._loop.call_soon_threadsafe(function, *arguments)
