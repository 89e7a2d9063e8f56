"""One Redis server, and what is on its way there and back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from redis import exceptions as redis_errors

from asynccache._errors import BackendUnavailable
from asynccache._lifespan import Nursery
from asynccache.backends._redis_breaker import Breaker
from asynccache.backends._redis_errors import is_connection_trouble
from asynccache.backends._redis_link import Connect, Link, MixedUp
from asynccache.backends._redis_op import Op

__all__ = ["Node"]

READERS: Final = 2
"""Connections for what may be asked in any order."""
BATCH: Final = 256
"""Commands sent at once."""
BATCH_BYTES: Final = 4 * 2**20
"""Bytes of these, unless one alone is larger."""

Astray = Callable[[Op, redis_errors.ResponseError], None]
"""Called for what must be asked of another server, or again."""


class Node:
    """Sends what is asked within one turn of the loop together, over few connections.

    No caller ever holds a connection, so none can be cancelled while using it. Changes go over one
    connection, one batch after the other, so that they are made in the order in which they were asked for.

    Args:
        name: for errors.
        connect: makes a connection.
        within: seconds a batch may take.
        nursery: where the work is done.
        astray: see ``Astray``.
        failing: called when the server is given up for the moment.
    """

    def __init__(
        self,
        name: str,
        connect: Connect,
        *,
        within: float,
        nursery: Nursery,
        astray: Astray,
        failing: Callable[[], None],
    ) -> None:
        self.name: Final = name
        self._within: Final = within
        self._astray: Final = astray
        self._nursery: Final = nursery
        self._probing: Final = Link(connect, nursery)
        self.breaker: Final = Breaker(self._probe, nursery, failing)
        self._reading: Final = _Lanes(self, [Link(connect, nursery) for _ in range(READERS)])
        self._writing: Final = _Lanes(self, [Link(connect, nursery)])
        self.mismatches = 0
        """Replies that belonged to another question."""

    def submit(self, op: Op) -> None:
        """Send it soon. What cannot be sent fails at once."""
        if self.breaker.open:
            why = f"redis at {self.name} is not asked at present; last: {self.breaker.reason}"
            op.fail(BackendUnavailable(why))
            return
        (self._writing if op.ordered else self._reading).take(op)

    def close(self) -> None:
        """Drop every connection. What is on its way fails, and nothing may run in the nursery any more."""
        self.breaker.reset()
        for link in (self._probing, *self._reading.links, *self._writing.links):
            link.drop()
        for lanes in (self._reading, self._writing):
            lanes.end()

    def renew(self) -> None:
        """Use no connection any more that there is now: it may lead to the wrong server."""
        for link in (*self._reading.links, *self._writing.links):
            link.outdate()

    @property
    def connections(self) -> int:
        """How many there are now."""
        links = (self._probing, *self._reading.links, *self._writing.links)
        return sum(link.connected for link in links)

    async def _probe(self) -> None:
        try:
            (reply,) = await self._probing.ask([(b"PING",)])
        finally:
            self._probing.drop()
            self._probing.stop_making()
        if reply != b"PONG":
            raise BackendUnavailable("no PONG")
        # Begun before the server answered, they may wait for what it will never say.
        for link in (*self._reading.links, *self._writing.links):
            link.stop_making()

    def start(self, lanes: _Lanes, link: Link) -> None:
        """Let a connection work off what waits."""
        self._nursery.start(lambda: lanes.work(link))

    async def exchange(self, link: Link, batch: list[Op]) -> list[Op]:
        """Send a batch and hand out the replies; what is to be sent once more."""
        again: list[Op] = []
        try:
            async with asyncio.timeout(self._within):
                replies = await link.ask([op.words() for op in batch])
                unknown = [
                    at for at, reply in enumerate(replies) if isinstance(reply, redis_errors.NoScriptError)
                ]
                if unknown:
                    texts = await link.ask([batch[at].words(text=True) for at in unknown])
                    for at, reply in zip(unknown, texts, strict=True):
                        replies[at] = reply
        except Exception as error:  # noqa: BLE001  (a border: redis-py raises more than its own errors)
            self.breaker.failed(error)
            self.mismatches += isinstance(error, MixedUp)
            for op in batch:
                if is_connection_trouble(error) and not op.tried and not self.breaker.open:
                    op.tried = True
                    again.append(op)
                else:
                    op.fail(error)
            return again
        self.breaker.succeeded()
        for op, reply in zip(batch, replies, strict=True):
            if isinstance(reply, redis_errors.ResponseError):
                if isinstance(reply, redis_errors.ReadOnlyError):  # a master no more, for nobody
                    self.renew()
                self._astray(op, reply)
            elif not op.reply(reply):
                self.mismatches += 1
                link.drop()
        return again


class _Lanes:
    """Connections that work off one queue."""

    def __init__(self, node: Node, links: list[Link]) -> None:
        self._node: Final = node
        self.links: Final = links
        self._idle: Final = list(links)
        self._waiting: Final[deque[Op]] = deque()

    def take(self, op: Op) -> None:
        self._waiting.append(op)
        if self._idle:
            self._node.start(self, self._idle.pop())

    async def work(self, link: Link) -> None:
        batch: list[Op] = []
        try:
            # What else this turn of the loop asks for travels along.
            await asyncio.sleep(0)
            while batch := self._next():
                self._waiting.extendleft(reversed(await self._node.exchange(link, batch)))
        except BaseException as error:
            for op in batch:
                op.fail(error)
            raise
        finally:
            self._idle.append(link)

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

    def end(self) -> None:
        # One that was cancelled before it began has put nothing back.
        self._idle[:] = self.links
        self._idle[:] = self.links  # also of work that was stopped before its first step
        while self._waiting:
            self._waiting.popleft().fail(BackendUnavailable("the connection to redis was closed"))
