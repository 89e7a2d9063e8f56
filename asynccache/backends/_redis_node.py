"""One Redis server, and what is on its way there and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from redis import exceptions as redis_errors

from asynccache._errors import BackendUnavailable
from asynccache._lifespan import Nursery
from asynccache.backends._redis_breaker import Breaker
from asynccache.backends._redis_lane import Connect, Lane
from asynccache.backends._redis_op import Op
from asynccache.backends._redis_pipe import GivenUp, MixedUp

__all__ = ["Node"]

Astray = Callable[[Op, redis_errors.ResponseError], None]
"""Called for what must be asked of another server, or again."""


class Node:
    """Two connections for what may be asked in any order, and one for changes, made one after the other.

    No caller ever holds a connection, so none can be cancelled while using it.

    Args:
        name: for errors.
        connect: makes a connection.
        nursery: where that is done.
        astray: see ``Astray``.
        failing: called when the server is given up for the moment.
    """

    def __init__(
        self,
        name: str,
        connect: Connect,
        *,
        nursery: Nursery,
        astray: Astray,
        failing: Callable[[], None],
    ) -> None:
        self.name: Final = name
        self._astray: Final = astray
        self._connect: Final = connect
        self.breaker: Final = Breaker(self._probe, nursery, failing)
        self.lanes: Final = tuple(
            Lane(connect, nursery, ordered=ordered, replied=self._replied, failed=self._failed)
            for ordered in (True, False, False)
        )
        self._writing, *self._reading = self.lanes
        self._next = 0
        self.mismatches = 0
        """Replies that belonged to another question."""

    def submit(self, op: Op) -> None:
        """Send it soon. What cannot be sent fails at once."""
        if self.breaker.open:
            why = f"redis at {self.name} is not asked at present; last: {self.breaker.reason}"
            op.fail(BackendUnavailable(why))
            return
        if op.ordered:
            self._writing.take(op)
        else:
            # In turn, where each is a batch of its own: one is answered while the other is worked on here.
            self._next = (self._next + 1) % len(self._reading) if op.now else 0
            self._reading[self._next].take(op)

    def close(self) -> None:
        """Drop every connection. What is on its way fails, and nothing may run in the nursery any more."""
        self.breaker.reset()
        for lane in self.lanes:
            lane.close()

    def renew(self) -> None:
        """Use no connection any more that there is now: it may lead to the wrong server."""
        for lane in self.lanes:
            lane.outdate()

    @property
    def connections(self) -> int:
        """How many there are now."""
        return sum(lane.connected for lane in self.lanes)

    async def _probe(self) -> None:
        connection = await self._connect()
        try:
            await connection.send_command("PING")
            if await connection.read_response() != b"PONG":
                raise BackendUnavailable("no PONG")
        finally:
            await connection.disconnect(nowait=True)
        # Begun before the server answered, they may wait for what it will never say.
        for lane in self.lanes:
            lane.stop_making()

    def _failed(self, error: Exception) -> bool:
        """A connection has come to nothing; whether to try once more."""
        self.mismatches += isinstance(error, MixedUp)
        self.breaker.failed(error)
        return not self.breaker.open

    def _replied(self, op: Op, reply: Any) -> None:
        self.breaker.succeeded()
        if isinstance(reply, redis_errors.ResponseError):
            if isinstance(reply, redis_errors.ReadOnlyError):  # a master no more, for nobody
                self.renew()
            self._astray(op, reply)
        elif not op.reply(reply):
            self.mismatches += 1
            if op.pipe is not None:
                op.pipe.end(GivenUp("a reply of redis belongs to another question"))
