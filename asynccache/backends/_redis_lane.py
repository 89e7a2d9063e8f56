"""What waits to be sent to a server over one connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from redis import exceptions as redis_errors

from asynccache._lifespan import Nursery
from asynccache.backends._redis_errors import is_connection_trouble
from asynccache.backends._redis_pipe import GivenUp, Pipe

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from asynccache.backends._redis_op import Op

__all__ = ["Connect", "Lane"]

Connect = Callable[[], Awaitable["AbstractConnection"]]
"""Makes a connection that is ready for commands."""

BATCH: Final = 256
"""Commands sent at once."""
APART: Final = 0.02
"""Seconds within which what comes too late counts as one failure."""
BATCH_BYTES: Final = 4 * 2**20
"""Bytes of these, unless one alone is larger."""


class Lane:
    """Sends what is asked within one turn of the loop together.

    Its connection is made when something waits for it, which may take longer than anyone wants to wait for a
    reply: it goes on when who wanted it has gone.

    Args:
        connect: makes a connection.
        nursery: where that is done.
        ordered: whether one batch is over before the next is sent, so that commands are carried out in the
            order of the questions whatever becomes of one.
        replied: told of a command and its reply, or the error that the server replied with.
        failed: told what ended a connection, or kept one from being made; whether to try once more.
    """

    def __init__(
        self,
        connect: Connect,
        nursery: Nursery,
        *,
        ordered: bool,
        replied: Callable[[Op, Any], None],
        failed: Callable[[Exception], bool],
    ) -> None:
        self._connect: Final = connect
        self._nursery: Final = nursery
        self._ordered: Final = ordered
        self._replied: Final = replied
        self._failed: Final = failed
        self._waiting: Final[deque[Op]] = deque()
        self._pipe: Pipe | None = None
        self._making: asyncio.Task[None] | None = None
        self._due = False  # whether what waits will be sent at the end of this turn
        self._late_at = float("-inf")
        self._retired: Final[set[Pipe]] = set()  # each leaves when it is over

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._pipe is not None

    def take(self, op: Op) -> None:
        """Send it soon."""
        op.lane = self
        if self._pipe is not None:
            # If nothing is heard from now on until it is late, the connection is of no use.
            op.pipe, op.heard = self._pipe, self._pipe.heard
        self._waiting.append(op)
        if op.now:
            self._flush()
        elif not self._due:
            # What else this turn of the loop asks for travels along.
            self._due = True
            op.future.get_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send what waits, as far as it can be sent now."""
        self._due = False
        pipe = self._pipe
        if pipe is not None and pipe.over:
            pipe = self._pipe = None
        if pipe is None:
            if self._waiting and (self._making is None or self._making.done()):
                self._begin_making()
            return
        while pipe.usable and not (self._ordered and pipe.busy) and (batch := self._next()):
            try:
                pipe.send(batch)
            except Exception as error:  # noqa: BLE001  (a border: transports differ in what they raise)
                pipe.end(GivenUp("nothing can be sent over the connection to redis"))
                self._over(error, batch)

    def _begin_making(self) -> None:
        try:
            self._making = self._nursery.start(self._make)
        except RuntimeError:  # being closed
            self._fail_waiting()

    def _fail_waiting(self) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        for op in waiting:
            op.fail(GivenUp("the connection to redis was closed"))

    def _next(self) -> list[Op]:
        batch: list[Op] = []
        size = 0
        while self._waiting and len(batch) < BATCH:
            if batch and size + self._waiting[0].size > BATCH_BYTES:
                break
            op = self._waiting.popleft()
            if not op.future.done():
                batch.append(op)
                size += op.size
        return batch

    async def _make(self) -> None:
        try:
            connection = await self._connect()
            self._pipe = Pipe(connection, replied=self._take_replies, ended=self._ended, writable=self._flush)
        except Exception as error:  # noqa: BLE001  (a border: redis-py raises more than its own errors)
            waiting = list(self._waiting)
            self._waiting.clear()
            self._making = None
            self._over(error, waiting)
        else:
            self._making = None
            self._flush()

    def _take_replies(self, ops: Sequence[Op], replies: Sequence[Any]) -> None:
        again: list[Op] = []
        for op, reply in zip(ops, replies, strict=True):
            if isinstance(reply, redis_errors.NoScriptError) and not op.by_text:
                op.by_text = True
                again.append(op)
            else:
                self._replied(op, reply)
        self._waiting.extendleft(reversed(again))
        if self._waiting:
            self._flush()

    def _ended(self, pipe: Pipe, error: Exception, failed: list[Op]) -> None:
        if pipe in self._retired:
            # What becomes of it says nothing about the server that is asked now.
            self._retired.discard(pipe)
            for op in failed:
                op.fail(error)
            return
        if self._pipe is pipe:
            self._pipe = None
        if failed or self._waiting:
            self._over(error, failed)

    def _over(self, error: Exception, ops: Iterable[Op]) -> None:
        """Something has come to nothing: try once more what may be, where that may help."""
        retry = not isinstance(error, GivenUp) and self._failed(error) and is_connection_trouble(error)
        again: list[Op] = []
        for op in ops:
            if retry and not op.tried:
                op.tried = True
                again.append(op)
            else:
                op.fail(error)
        self._waiting.extendleft(reversed(again))
        if self._waiting:
            self._flush()

    def late(self, op: Op) -> None:
        """No reply has come within the deadline of a command."""
        pipe = op.pipe
        if pipe is not None and not pipe.ended and pipe.heard == op.heard:
            # Nothing has come since it was sent, so what was sent with it, or after, is late as well.
            pipe.end(TimeoutError())
            return
        if pipe in self._retired:
            return
        now = op.future.get_loop().time()
        if now - self._late_at >= APART:
            self._late_at = now
            self._failed(TimeoutError())

    def outdate(self) -> None:
        """Send nothing more over the connection there is: it may lead to the wrong server."""
        self.stop_making()
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._retired.add(pipe)
            pipe.retire()
        if self._waiting:
            self._flush()

    def drop(self) -> None:
        """Close the connection, if there is one, at once."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.end(GivenUp("the connection to redis was given up"))

    def stop_making(self) -> None:
        """Give up a connection that is being made; whoever wants one next begins anew."""
        making, self._making = self._making, None
        if making is not None:
            making.cancel()

    def close(self) -> None:
        """Drop the connection; what waits fails. Nothing may run in the nursery any more."""
        self._making = None
        self._due = False
        self._fail_waiting()
        for pipe in tuple(self._retired):
            pipe.end(GivenUp("the connection to redis was closed"))
        self.drop()
