"""A client of the unsound kind: a cancelled caller gives its connection back with the reply still to come."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Sequence
from itertools import count
from typing import Any, Final, Self

from asynccache._codec import KEY_AT, decode
from asynccache._errors import CorruptEntry
from asynccache._models import Entry
from asynccache.backends._redis_value import generation_of, to_stored

HEAD: Final = 84
"""Bytes before an entry that has neither tags nor a vector."""


class BrokenConnectionError(Exception):
    """What came is no reply, or none to such a question."""


class Connection:
    """Writes a command, then believes that the next reply is its reply."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader: Final = reader
        self._writer: Final = writer
        self._data = b""  # only whole replies are taken from it

    async def ask(self, *words: bytes) -> Any:
        parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
        self._writer.write(b"*%d\r\n" % len(parts) + b"".join(parts))
        await self._writer.drain()
        while True:
            reply, size = parsed(self._data, 0)
            if size:
                self._data = self._data[size:]
                return reply
            more = await self._reader.read(65536)
            if not more:
                raise BrokenConnectionError("the server has gone")
            self._data += more

    def close(self) -> None:
        self._writer.transport.abort()


def parsed(data: bytes, at: int) -> tuple[Any, int]:
    """A reply and where it ends; 0 when it is not whole yet."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None, 0
    kind, rest = data[at : at + 1], data[at + 1 : end]
    if kind == b":":
        return int(rest), end + 2
    if kind in b"+-":
        return rest, end + 2
    size = int(rest)
    if size < 0:
        return None, end + 2
    at = end + 2
    if kind == b"$":
        return (data[at : at + size], at + size + 2) if len(data) >= at + size + 2 else (None, 0)
    items = []
    for _ in range(size):
        item, at = parsed(data, at)
        if not at:
            return None, 0
        items.append(item)
    return items, at


class NaiveStore:
    """Stores the same bytes as the backend, by plain commands, over a pool of connections.

    Args:
        port: of a server on 127.0.0.1.
        size: of the pool.
    """

    def __init__(self, port: int, *, size: int = 10) -> None:
        self._port: Final = port
        self._prefix: Final = secrets.token_hex(8).encode()
        self._slots: Final[asyncio.LifoQueue[Connection | None]] = asyncio.LifoQueue()
        self._numbers: Final = count(1)
        for _ in range(size):
            self._slots.put_nowait(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        while not self._slots.empty():
            connection = self._slots.get_nowait()
            if connection is not None:
                connection.close()

    async def _ask(self, *words: bytes) -> Any:
        connection = await self._slots.get()
        try:
            if connection is None:
                connection = Connection(*await asyncio.open_connection("127.0.0.1", self._port))
            return await connection.ask(*words)
        except (OSError, RuntimeError, ValueError, BrokenConnectionError) as error:
            if connection is not None:
                connection.close()
            connection = None  # uvloop raises RuntimeError for one that is closed
            raise BrokenConnectionError(str(error)) from error
        finally:
            self._slots.put_nowait(connection)  # also of a caller that is cancelled

    def _name(self, key: bytes) -> bytes:
        return self._prefix + key

    async def get(self, key: bytes) -> Entry | None:
        return opened(await self._ask(b"GET", self._name(key)))

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        values = await self._ask(b"MGET", *map(self._name, keys))
        if not isinstance(values, list) or len(values) != len(keys):
            raise BrokenConnectionError("no such list")
        return [opened(value) for value in values]

    async def put(self, entry: Entry) -> None:
        await self._set(entry)

    async def fill(self, entry: Entry, *, since: int | None) -> asyncio.Future[int | None]:
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        future.set_result(await self._set(entry))
        return future

    async def add(self, entry: Entry) -> bool:
        return await self._set(entry, b"NX") is not None

    async def _set(self, entry: Entry, *words: bytes) -> int | None:
        number = next(self._numbers)
        value = b"%016d" % number + to_stored(entry, "float16").rest
        reply = await self._ask(b"SET", self._name(entry.key), value, *words)
        return None if reply is None else number

    async def delete(self, keys: Collection[bytes]) -> int:
        reply = await self._ask(b"DEL", *map(self._name, keys))
        if not isinstance(reply, int):
            raise BrokenConnectionError("no number")
        return reply

    async def generations(self, keys: Sequence[bytes]) -> list[int | None]:
        replies = [await self._ask(b"GETRANGE", self._name(key), b"0", b"15") for key in keys]
        if not all(isinstance(reply, bytes) for reply in replies):
            raise BrokenConnectionError("no text")
        try:
            return [generation_of(reply) if reply else None for reply in replies]
        except CorruptEntry as error:
            raise BrokenConnectionError("no generation") from error


def opened(value: Any) -> Entry | None:
    """The entry in a value, whosever it is."""
    if value is None:
        return None
    if not isinstance(value, bytes) or len(value) < HEAD:
        raise BrokenConnectionError("no value")
    tags = int.from_bytes(value[80:82], "big")
    data = value[HEAD + 32 * tags :]
    try:
        return decode(data, key=data[KEY_AT : KEY_AT + 32], generation=int(value[:16]))
    except (CorruptEntry, ValueError) as error:
        raise BrokenConnectionError("no entry") from error
