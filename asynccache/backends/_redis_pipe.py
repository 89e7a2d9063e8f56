"""One connection to a Redis server, over which batches of commands follow each other."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from hiredis import Reader, pack_command
from redis import exceptions as redis_errors

from asynccache._errors import BackendUnavailable

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from asynccache.backends._redis_op import Op

__all__ = ["GivenUp", "MixedUp", "Pipe"]


class GivenUp(BackendUnavailable):
    """This process closed the connection; nothing is wrong with the server."""


class MixedUp(BackendUnavailable):
    """Replies do not belong to the commands."""


class _Batch(NamedTuple):
    ops: Sequence[Op]
    word: bytes
    """What must come back behind the replies."""


class Pipe(asyncio.Protocol):
    """Takes over a connection that redis-py has made: its handshake is over, and nobody else reads from it.

    A word of its own follows the commands of each batch, and must come back behind their replies: else one
    too many or too few was read, and none of them is believed. Anything odd ends the connection, so that
    nothing which is left in it can become the reply to another question.

    Args:
        connection: connected; not to be used by anybody else from now on.
        replied: told of a batch and its replies, in order; errors the server replies with are among them.
        ended: told once when the connection is over: why, and the batches that have no replies.
        writable: told that more can be sent, after ``usable`` was False for a while.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        *,
        replied: Callable[[Sequence[Op], list[Any]], None],
        ended: Callable[[Pipe, Exception, list[Op]], None],
        writable: Callable[[], None],
    ) -> None:
        self._replied: Final = replied
        self._ended: Final = ended
        self._writable: Final = writable
        self._words: Final = count(secrets.randbits(62))
        self._sent: Final[deque[_Batch]] = deque()  # no replies yet
        self._replies: list[Any] = []  # to the first of these
        self.heard = 0
        """How often something has arrived."""
        self._told: Final[set[bytes]] = set()  # scripts whose text the server was given
        self._over = False
        self._full = False
        self._retired = False
        parse_error = connection._parser.parse_error  # noqa: SLF001  (names errors as redis-py does)
        self._reader: Final = Reader(replyError=parse_error, protocolError=redis_errors.InvalidResponse)
        writer = connection._writer  # noqa: SLF001
        if writer is None:
            raise BackendUnavailable("the connection to redis has gone")
        # Kept: a writer that is let go of closes its transport. The connection is told that it has none.
        self._writer: Final = writer
        connection._reader = connection._writer = None  # noqa: SLF001
        self._transport: Final = cast("asyncio.Transport", writer.transport)
        self._transport.set_protocol(self)
        self._transport.resume_reading()

    @property
    def usable(self) -> bool:
        """Whether more can be sent now."""
        return not (self._over or self._full or self._retired or self._transport.is_closing())

    @property
    def ended(self) -> bool:
        """Whether it is known that nothing will come any more."""
        return self._over

    @property
    def over(self) -> bool:
        """Whether nothing will ever be sent over it again."""
        return self._over or self._retired or self._transport.is_closing()

    @property
    def busy(self) -> bool:
        """Whether there are batches without replies."""
        return bool(self._sent)

    def send(self, ops: Sequence[Op]) -> None:
        """Send a batch. Raises whatever the transport does; then nothing was sent."""
        word = b"%d" % next(self._words)
        for op in ops:
            # The first time by its text: a server that does not know it would carry out what comes behind.
            if op.script is not None and op.script.sha not in self._told:
                self._told.add(op.script.sha)
                op.by_text = True
        packed = [pack_command(op.words()) for op in ops]
        packed.append(pack_command((b"PING", word)))  # type: ignore[arg-type]  # takes any tuple
        self._transport.write(b"".join(packed))
        self._sent.append(_Batch(ops, word))
        for op in ops:
            op.pipe, op.heard = self, self.heard

    def retire(self) -> None:
        """Send nothing more, and close when all that was sent has its replies."""
        self._retired = True
        if not self._sent:
            self.end(GivenUp("the connection to redis was given up"))

    def end(self, error: Exception) -> None:
        """Close at once; what has no replies has failed."""
        if self._over:
            return
        self._over = True
        self._transport.abort()
        failed = [op for batch in self._sent for op in batch.ops]
        self._sent.clear()
        self._ended(self, error, failed)

    def data_received(self, data: bytes) -> None:
        self.heard += 1
        try:
            self._reader.feed(data)
            while not self._over and (reply := self._reader.gets()) is not False:
                self._take(reply)
        except Exception as error:  # noqa: BLE001  (a border: what comes from outside may be anything)
            self.end(error)

    def _take(self, reply: Any) -> None:
        if not self._sent:
            raise MixedUp("redis said something that nobody had asked")
        if isinstance(reply, redis_errors.ConnectionError):  # loading, say
            raise reply
        batch = self._sent[0]
        if len(self._replies) < len(batch.ops):
            self._replies.append(reply)
            return
        if reply != batch.word:
            raise MixedUp("the replies of redis belong to other questions")
        replies, self._replies = self._replies, []
        self._sent.popleft()
        self._replied(batch.ops, replies)
        if self._retired and not self._sent:
            self.end(GivenUp("the connection to redis was given up"))

    def eof_received(self) -> None:
        self.end(redis_errors.ConnectionError("the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(exc or redis_errors.ConnectionError("the connection was lost"))

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._writable()
