"""A connection to a Redis server on which to listen."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

from asynccache._errors import BackendUnavailable
from asynccache._lifespan import Nursery
from asynccache.backends._redis_lane import Connect

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

__all__ = ["Link"]


class Link:
    """A connection for one user, made when it is needed, dropped when anything about it is odd.

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
            if _is_open(connection) and not await connection.can_read():
                return connection
            self.drop()
        if self._making is None or self._making.done():  # one cancelled before it began leaves no trace
            self._failure = None
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


def _is_open(connection: AbstractConnection) -> bool:
    # On uvloop, writing to a transport that has been closed raises RuntimeError.
    reader, writer = connection._reader, connection._writer  # noqa: SLF001
    if reader is None or writer is None:
        return False
    return not (reader.at_eof() or writer.transport.is_closing())


def _close(connection: AbstractConnection) -> None:
    # Without a wait: it must not depend on whether the task is being cancelled.
    writer = connection._writer  # noqa: SLF001  (``disconnect`` is a coroutine)
    connection._parser.on_disconnect()  # type: ignore[no-untyped-call]  # noqa: SLF001
    connection._reader = connection._writer = None  # noqa: SLF001
    if writer is not None:
        writer.transport.abort()
