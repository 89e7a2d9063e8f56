"""One command to a Redis server and its reply: all that starting servers needs of a client."""

from __future__ import annotations

import socket
from typing import BinaryIO, TypeAlias

__all__ = ["Reply", "ReplyError", "command"]

Reply: TypeAlias = "str | bytes | int | list[Reply] | None"
"""A status line as str, a bulk string as bytes, a number, an array; None for a null."""


class ReplyError(Exception):
    """The server answered with an error; its text is the message."""


def command(
    port: int, *words: str | bytes | float, password: str | None = None, seconds: float = 5.0
) -> Reply:
    """Run one command on 127.0.0.1, on a connection of its own.

    Raises:
        ReplyError: the server answered with an error.
        OSError: the server cannot be reached, breaks off, or is silent for ``seconds``.
    """
    with (
        socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection,
        connection.makefile("rb") as replies,
    ):
        if password is not None:
            connection.sendall(_encoded("AUTH", password))
            _read(replies)
        connection.sendall(_encoded(*words))
        return _read(replies)


def _encoded(*words: str | bytes | float) -> bytes:
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _read(replies: BinaryIO) -> Reply:
    """The next reply, in the second version of the protocol."""
    line = replies.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server closed the connection in mid-reply")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest.decode()
    if kind == b"-":
        raise ReplyError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return _bulk(replies, int(rest))
    if kind == b"*":
        return None if rest == b"-1" else [_read(replies) for _ in range(int(rest))]
    raise ConnectionError(f"not a reply of a Redis server: {line[:40]!r}")


def _bulk(replies: BinaryIO, size: int) -> bytes | None:
    if size < 0:
        return None
    data = replies.read(size + 2)
    if len(data) != size + 2:
        raise ConnectionError("the server closed the connection in mid-reply")
    return data[:-2]
