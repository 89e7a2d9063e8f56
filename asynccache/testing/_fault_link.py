"""A client's connection through a fault proxy: its two sockets and how they end."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from asynccache.testing._faults import Chance

__all__ = ["Link", "Way", "prepare", "reset_on_close"]


def prepare(sock: socket.socket) -> None:
    """Make a fresh socket fit for the loop, and for fragments that the kernel must not glue together."""
    sock.setblocking(False)  # noqa: FBT003  (socket's own signature)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def reset_on_close(sock: socket.socket) -> None:
    """Make the coming close an RST: unsent bytes are thrown away, the peer gets an error."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Link:
    """A client's connection, and the one to the target that belongs to it."""

    def __init__(self, number: int, client: socket.socket) -> None:
        self.number = number
        self.client = client
        self.server: socket.socket | None = None  # set once by the serving task
        self.group: TaskGroup | None = None  # set by the serving task while both sides are connected
        self.writing = asyncio.Lock()  # guards the pieces of one read on their way to the client
        self.ended = False
        """Whether nothing more may be sent, though a task has not noticed yet."""
        self._scope: anyio.CancelScope | None = None  # made in the serving task: anyio asks which loop runs

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Everything that uses the sockets runs inside; they are closed after it is left."""
        with anyio.CancelScope() as self._scope:
            if self.ended:
                self._scope.cancel()
            yield

    def end(self, *, reset: bool) -> None:
        if reset:
            reset_on_close(self.client)
            if self.server is not None:
                reset_on_close(self.server)
        self.ended = True
        if self._scope is not None:
            self._scope.cancel()

    def close(self) -> None:
        self.client.close()
        if self.server is not None:
            self.server.close()


@dataclass
class Way:
    """One direction of a link."""

    direction: Literal["requests", "replies"]
    source: socket.socket
    sink: socket.socket
    chance: Chance
    sent: int = 0  # bytes; changed by the pump alone
