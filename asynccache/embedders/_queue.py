"""Texts on their way to becoming vectors: each is made once, however many ask for it.

Everything here happens on one event loop, so nothing is locked. A text asked for is a flight; it is
queued until a lane is free, then handed over with others as a batch, and lands when the batch is settled.
A caller that is cancelled leaves its flights, and one that nobody waits for any more leaves the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import anyio

from asynccache._errors import EmbedderError
from asynccache.embedders._memo import Memo
from asynccache.embedders._rows import again, size_of

if TYPE_CHECKING:
    from asynccache.embedders._rows import Outcome, Row

__all__ = ["Batch", "Flight", "Queue"]


class _Call:
    """One caller, waiting for some flights."""

    __slots__ = ("future", "left")

    def __init__(self) -> None:
        self.future: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self.left = 1  # flights to land, and one for the caller that has not named all of them yet

    def arrived(self, outcome: Outcome | None) -> None:
        if self.future.done():
            return
        if isinstance(outcome, EmbedderError):
            self.future.set_exception(again(outcome))
            return
        self.left -= 1
        if not self.left:
            self.future.set_result(None)


class Flight:
    """One text on its way. Only its queue changes it."""

    __slots__ = ("calls", "outcome", "size", "text")

    def __init__(self, text: str, size: int) -> None:
        self.text: Final = text
        self.size: Final = size
        self.calls: list[_Call] = []  # who waits for it
        self.outcome: Outcome | None = None  # None until it has landed


Batch: TypeAlias = "Sequence[Flight]"


class Queue:
    """Single flight, batches, and room for so many texts; callers beyond it wait, first come, first served.

    Args:
        begin: called with each batch; ``settle`` is to be called, on the loop, when it is done.
        choose: which of the queued texts make up the next batch: from their sizes, oldest first, to their
            places, ascending.
        lanes: batches under way at once.
        room: texts queued or under way at once.
        memo: vectors of earlier texts.
    """

    def __init__(
        self,
        begin: Callable[[Batch], None],
        *,
        choose: Callable[[Iterable[int]], list[int]],
        lanes: int,
        room: int,
        memo: Memo,
    ) -> None:
        self._begin: Final = begin
        self._choose: Final = choose
        self._idle = lanes
        self._room: Final = anyio.Semaphore(room, fast_acquire=True)
        self._memo: Final = memo
        self._flights: dict[str, Flight] = {}  # not landed: each takes up room
        self._queued: dict[str, Flight] = {}  # those of them not under way, oldest first
        self._state: Literal["holding", "going"] | EmbedderError = "holding"

    @property
    def refusal(self) -> EmbedderError | None:
        """Why nothing is embedded now."""
        return self._state if isinstance(self._state, EmbedderError) else None

    @property
    def load(self) -> int:
        """Texts queued or under way."""
        return len(self._flights)

    def hold(self) -> None:
        """Let texts queue up; begin no batch."""
        self._state = "holding"

    def go(self) -> None:
        """Begin batches, now and whenever a lane is free."""
        self._state = "going"
        self._begin_batches()

    def refuse(self, error: EmbedderError) -> None:
        """Land everything with this error, and every later text that is not remembered."""
        self._state = error
        for flight in tuple(self._flights.values()):
            self._land(flight, error)

    async def rows(self, texts: Sequence[str]) -> list[Row]:
        """The vectors, in order; the very object given before for a text that is remembered.

        Raises:
            EmbedderError: the first that befell one of the texts.
            TypeError: not a sequence of texts.
        """
        if isinstance(texts, str):  # a sequence of texts too, but never meant as one
            raise TypeError("embed takes a sequence of texts, not a single string")
        rows: dict[str, Row] = {}
        missing: dict[str, int] = {}
        for text in texts:
            if text not in rows and text not in missing:
                row = self._memo.get(text)
                if row is None:
                    missing[text] = size_of(text)
                else:
                    rows[text] = row
        if missing:
            await self._fly(missing, rows)
        return [rows[text] for text in texts]

    async def _fly(self, missing: dict[str, int], rows: dict[str, Row]) -> None:
        call = _Call()
        flights: list[Flight] = []
        try:
            for text, size in missing.items():
                if call.future.done():  # another text failed during a wait for room
                    break
                flight = self._flights.get(text) or await self._take_off(text, size, rows)
                if flight is not None:
                    flights.append(flight)
                    flight.calls.append(call)
                    call.left += 1
            if not call.future.done():
                self._begin_batches()
            call.arrived(None)
            await call.future
        finally:
            if call.future.done() and not call.future.cancelled():
                call.future.exception()  # seen, though a cancellation may have come in between
            for flight in flights:
                self._leave(flight, call)
        for flight in flights:
            if flight.outcome is not None and not isinstance(flight.outcome, EmbedderError):
                rows[flight.text] = flight.outcome

    async def _take_off(self, text: str, size: int, rows: dict[str, Row]) -> Flight | None:
        """A flight for this text; None when its vector was made during the wait for room."""
        self._check()
        try:
            self._room.acquire_nowait()
        except anyio.WouldBlock:
            self._begin_batches()
            await self._room.acquire()
            try:
                self._check()
                row, flight = self._memo.get(text), self._flights.get(text)
            except BaseException:
                self._room.release()
                raise
            if row is not None:
                rows[text] = row
            if row is not None or flight is not None:
                self._room.release()
                return flight
        flight = self._flights[text] = self._queued[text] = Flight(text, size)
        return flight

    def _check(self) -> None:
        if isinstance(self._state, EmbedderError):
            raise again(self._state)

    def _begin_batches(self) -> None:
        while self._queued and self._idle and self._state == "going":
            waiting = list(self._queued.values())
            batch = [waiting[place] for place in self._choose(flight.size for flight in waiting)]
            for flight in batch:
                del self._queued[flight.text]
            self._idle -= 1
            self._begin(batch)

    def settle(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        """A batch is done: one outcome for each of its flights, in order."""
        self._idle += 1
        for flight, outcome in zip(batch, outcomes, strict=True):
            if not isinstance(outcome, EmbedderError):
                self._memo.put(flight.text, outcome)
            self._land(flight, outcome)
        self._begin_batches()

    def _land(self, flight: Flight, outcome: Outcome) -> None:
        if flight.outcome is None:
            flight.outcome = outcome
            self._forget(flight)
            for call in flight.calls:
                call.arrived(outcome)

    def _leave(self, flight: Flight, call: _Call) -> None:
        flight.calls.remove(call)
        if not flight.calls and self._queued.get(flight.text) is flight:
            self._forget(flight)

    def _forget(self, flight: Flight) -> None:
        self._queued.pop(flight.text, None)
        del self._flights[flight.text]
        self._room.release()
