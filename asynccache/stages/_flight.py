"""One upstream call and everybody who waits for it.

A flight belongs to no caller: it runs in a task of its own, so a caller that is cancelled, slow or gone
takes nothing from the others. Callers only read what it has written down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Final

from asynccache._errors import ForeignError, PipelineClosed, UpstreamError, UpstreamStreamError
from asynccache._lifespan import own_task_cancelled, to_its_end
from asynccache._models import Response
from asynccache._registry import find_dialect
from asynccache._stream import Stream
from asynccache._turn import LoopTurn

if TYPE_CHECKING:
    from asynccache._exchange import Exchange

__all__ = ["Flight"]

_CLOSED: Final = "the pipeline was closed while the upstream was answering"


def _copied(error: Exception) -> Exception:
    """The same error without what happened to the other; the error itself when it cannot be copied."""
    if isinstance(error, ForeignError):
        return ForeignError(_copied(error.error))
    try:
        made = copy(error)
    except Exception:  # noqa: BLE001  (an exception of a user may be anything)
        return error
    if type(made) is not type(error):
        return error
    made.__cause__, made.__suppress_context__ = error.__cause__, error.__suppress_context__
    return made.with_traceback(None)


class _Reader:
    """One caller's place in the frames."""

    __slots__ = ("cut", "position")

    def __init__(self) -> None:
        self.position = 0  # frames read so far
        self.cut = False  # True once frames it had not read were let go


class Flight:
    """The answer to one question while it is being made, written down for any number of readers.

    All state is touched on the event loop only; it changes in ``run`` and in the readers' own methods.

    Args:
        generation: the driver's generation at the start; callers of a newer one must not join.
        window: bytes of frames kept for readers that have yet to read them. An answer within the window
            is kept whole, so that anyone may still join from its first frame. Beyond it the flight takes
            no one new, lets go of what all have read, and waits when its fastest reader is that far
            behind; a reader that far behind the fastest is cut off with an error, so that one stuck
            client neither fills the memory nor stops the others.
        turn: lets others run between the frames of an upstream that is always ready.
    """

    def __init__(self, *, generation: int, window: int, turn: LoopTurn) -> None:
        self.generation: Final = generation
        self.landed_at: float | None = None
        """Monotonic seconds at which the flight ended; None while under way."""
        self.begun = asyncio.Event()
        """Set once the upstream has answered or begun to: ``exchange`` or an error is known."""
        self.ended = asyncio.Event()
        """Set when the flight is over: ``landed_at`` is known, and so is how it ended."""
        self.settled = asyncio.Event()
        """Set when it is known whether the answer can be had whole: at the end, or once it is too long."""
        self.exchange: Exchange | None = None
        """The inner stages' result; its answer is a Response, or a Stream whose frames are in the log."""
        self.waiting = 0
        """Callers that still want the answer."""
        self.refused: bool | None = None
        """Whether the answer may not be shared with those who waited for it whole; None until judged."""
        self._boarded = False
        self._response: Response | None = None  # of a stream: assembled when first asked for
        self._whole: tuple[bytes, ...] | None = None  # all frames of a stream that ended within the window
        self._window: Final = window
        self._log: list[bytes] = []
        self._first = 0  # index in the whole answer of the log's first frame
        self._size = 0  # bytes in the log
        self._long = False  # True once the log has outgrown the window
        self._readers: set[_Reader] = set()
        self._moved = asyncio.Event()  # set, and replaced, whenever there is something new to see
        self._error: Exception | None = None
        self._turn: Final = turn
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False

    def board(self) -> bool:
        """Count one more caller in; True for the first, whose request is the one being flown."""
        first, self._boarded = not self._boarded, True
        self.waiting += 1
        return first

    @property
    def joinable(self) -> bool:
        """Whether a newcomer can still have the whole answer."""
        return self._error is None and not self._long and not self._cancelled

    @property
    def failed(self) -> bool:
        """Whether the flight has ended in an error."""
        return self._error is not None

    async def run(self, ask: Callable[[], Awaitable[Exchange]], monotonic: Callable[[], float]) -> None:
        """Make the answer. Never raises: the error is the readers' to raise."""
        error: Exception | None = PipelineClosed(_CLOSED)
        try:
            self.exchange = await ask()
            self.begun.set()
            if isinstance(self.exchange.answer, Stream):
                await self._pump(self.exchange.answer)
            error = None
        except Exception as raised:  # noqa: BLE001  (handed to every reader)
            error = raised
        except asyncio.CancelledError:
            if own_task_cancelled():
                raise
            error = UpstreamError("the upstream cancelled its own call")
        finally:
            self._land(error, monotonic())

    def _land(self, error: Exception | None, at: float) -> None:
        self._error = error
        self.landed_at = at
        self.begun.set()
        self.ended.set()
        self.settled.set()
        self._wake()

    def flown_by(self, task: asyncio.Task[None], monotonic: Callable[[], float]) -> None:
        """Take the task that awaits ``run``; one cancelled before its first step lands all the same."""
        self._task = task

        def done(_: asyncio.Task[None]) -> None:
            if self.landed_at is None:
                self._land(PipelineClosed(_CLOSED), monotonic())

        task.add_done_callback(done)

    def cancel(self) -> None:
        """Stop the upstream call; for when nobody wants it any more."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def raise_error(self, *, first: bool) -> None:
        """Raise what the flight ended in, if it failed: the error itself for the first, a copy for others.

        One object raised in many tasks would gather the context and the traceback of all of them.
        """
        if self._error is not None:
            raise self._error if first else _copied(self._error)

    async def _pump(self, stream: Stream) -> None:
        try:
            async for frame in stream:
                self._log.append(frame)
                self._size += len(frame)
                self._wake()
                if self._turn.due():
                    await asyncio.sleep(0)
                while self._size > self._window:
                    self._long = True
                    self.settled.set()
                    if not self._make_room():
                        await self._moved.wait()
        finally:
            await to_its_end(stream.aclose())
        if not self._long:
            self._whole = tuple(self._log)

    def _make_room(self) -> bool:
        """Let go of frames; False when the readers must read first."""
        end = self._first + len(self._log)
        places = [reader.position for reader in self._readers]
        keep_from = min(places, default=end)
        if keep_from == self._first:
            if max(places) < end:
                return False
            behind = {reader for reader in self._readers if reader.position == keep_from}
            for reader in behind:
                reader.cut = True
            self._readers -= behind
            keep_from += 1
        gone = keep_from - self._first
        self._size -= sum(map(len, self._log[:gone]))
        del self._log[:gone]
        self._first = keep_from
        return True

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def read(self, leave: Callable[[], None], *, first: bool) -> Stream:
        """The answer's frames from the first on, for one reader; ``leave`` is called when it is done."""
        reader = _Reader()
        self._readers.add(reader)
        frames = self._frames(reader, first=first)

        async def aclose() -> None:
            self._readers.discard(reader)
            self._wake()
            leave()
            await frames.aclose()

        return Stream(frames, aclose=aclose)

    async def _frames(self, reader: _Reader, *, first: bool) -> AsyncGenerator[bytes, None]:
        while True:
            if reader.cut:
                raise UpstreamStreamError(
                    f"this reader fell more than {self._window} bytes behind the others"
                )
            place = reader.position - self._first
            if place < len(self._log):
                frame = self._log[place]
                reader.position += 1
                if self._size > self._window:
                    self._wake()
                yield frame
            elif self.landed_at is None:
                await self._moved.wait()
            else:
                self.raise_error(first=first)
                return

    def response(self) -> Response | None:
        """The whole answer of a landed flight; None when its frames were not kept or do not make one."""
        answer = None if self.exchange is None else self.exchange.answer
        if isinstance(answer, Response):
            return answer
        if self._response is None and self.exchange is not None and self._whole is not None:
            dialect = find_dialect(self.exchange.request.dialect)
            with suppress(ValueError):
                self._response = Response(dialect.assemble(self._whole), self._whole)
        return self._response
