"""One connection to a Redis server, made when it is needed, dropped when anything about it is odd."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from redis import exceptions as redis_errors

from asynccache._errors import BackendUnavailable
from asynccache._lifespan import Nursery

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

__all__ = ["Connect", "Link", "MixedUp"]

Connect = Callable[[], Awaitable["AbstractConnection"]]
"""Makes a connection that is ready for commands."""


class MixedUp(BackendUnavailable):
    """Replies do not belong to the commands."""


class Link:
    """A connection for one user at a time.

    Making it may take longer than anyone wants to wait for a reply: it goes on when who wanted it has gone.

    Args:
        connect: makes the connection.
        nursery: where that is done.
    """

    def __init__(self, connect: Connect, nursery: Nursery) -> None:
        self._connect: Final = connect
        self._nursery: Final = nursery
        self._connection: AbstractConnection | None = None
        self._making: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._words: Final = count(secrets.randbits(62))
        self._outdated = False  # whether the connection may lead to the wrong server

    async def ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The replies to commands sent at once; an error the server replies with is a reply.

        A word of its own follows the commands, and must come back behind their replies: else one too many
        or too few was read, and none of them is believed.

        On any other error, and when the caller is cancelled, the connection is dropped: nothing that was
        left unread in it can become the reply to another question.

        Raises:
            MixedUp: the replies do not belong to the commands.
        """
        connection = await self._ready()
        word = b"%d" % next(self._words)
        try:
            packed = connection.pack_commands([*commands, (b"PING", word)])
            await connection.send_packed_command(packed, check_health=False)
            replies = [await _reply(connection) for _ in commands]
            if await _reply(connection) != word:
                raise MixedUp("the replies of redis belong to other questions")
        except BaseException:
            self.drop()
            raise
        return replies

    async def tell(self, command: tuple[Any, ...]) -> None:
        """Send a command, the reply to which is a message."""
        connection = await self._ready()
        try:
            await connection.send_packed_command(connection.pack_command(*command), check_health=False)
        except BaseException:
            self.drop()
            raise

    async def poke(self, command: tuple[Any, ...]) -> None:
        """Send a command while somebody waits for messages; nothing is done when there is no connection."""
        connection = self._connection
        if connection is None:
            return
        try:
            await connection.send_packed_command(connection.pack_command(*command), check_health=False)
        except BaseException:
            self.drop()
            raise

    async def next_message(self) -> Any:
        """What the server says next unasked. Raises BackendUnavailable when the connection has gone."""
        connection = self._connection
        if connection is None:
            raise BackendUnavailable("the connection to redis has gone")
        try:
            return await connection.read_response(timeout=math.inf)
        except BaseException:
            self.drop()
            raise

    async def _ready(self) -> AbstractConnection:
        connection = self._connection
        if connection is not None:
            # Something to read before anything was asked: a reply nobody has waited for, or the end.
            if not self._outdated and _is_open(connection) and not await connection.can_read():
                return connection
            self.drop()
        if self._making is None or self._making.done():  # one cancelled before it began leaves no trace
            self._failure = None
            self._outdated = False
            self._making = self._nursery.start(self._make)
        await asyncio.wait([self._making])
        if self._connection is None:
            raise self._failure or BackendUnavailable("the connection to redis was given up")
        return self._connection

    async def _make(self) -> None:
        try:
            self._connection = await self._connect()
        except Exception as error:  # noqa: BLE001  (a border: raised again for whoever waits)
            self._failure = error
        finally:
            self._making = None

    def drop(self) -> None:
        """Close the connection, if there is one, at once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            _close(connection)

    def outdate(self) -> None:
        """Let who uses it next have a new connection."""
        self._outdated = True

    def stop_making(self) -> None:
        """Give up a connection that is being made; whoever wants one next begins anew."""
        if self._making is not None:
            self._making.cancel()

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)
    except redis_errors.ResponseError as error:
        return error


def _is_open(connection: AbstractConnection) -> bool:
    # On uvloop, writing to a transport that has been closed raises RuntimeError.
    writer = connection._writer  # noqa: SLF001
    return writer is not None and connection.is_connected and not writer.transport.is_closing()


def _close(connection: AbstractConnection) -> None:
    # Without a wait: it must not depend on whether the task is being cancelled.
    writer = connection._writer  # noqa: SLF001  (``disconnect`` is a coroutine)
    connection._parser.on_disconnect()  # type: ignore[no-untyped-call]  # noqa: SLF001
    connection._reader = connection._writer = None  # noqa: SLF001
    if writer is not None:
        writer.transport.abort()
