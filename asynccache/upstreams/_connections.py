"""The HTTP connections of one upstream, and how many answers may be in the making."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import anyio
import httpx2

from asynccache._errors import PipelineClosed

__all__ = ["Connections", "NoRoom", "OpenAnswer", "TooLarge"]

POOL_SECONDS: Final = 5.0
"""How long the client's pool may take to find a connection. There is always room for one (see
``Connections``), so this is only ever reached by a pool that has lost count of its connections."""

_INHERITED: Final[list[_Pool]] = []
"""Pools made before a fork. Kept, because collecting them would close connections (and end TLS sessions)
that the parent process still uses. Only ``Connections._current`` adds to it."""


class NoRoom(Exception):
    """All connections were busy for longer than the caller is ready to wait."""


class TooLarge(Exception):
    """A body is over the limit."""


class _Pool:
    """A client, and what it takes to close it when nobody uses it any more."""

    __slots__ = ("client", "pid", "retired", "room", "users")

    def __init__(self, client: httpx2.AsyncClient, room: anyio.CapacityLimiter) -> None:
        self.client: Final = client
        self.room: Final = room
        self.pid: Final = os.getpid()
        self.users = 0  # requests sent whose answers are not closed yet
        self.retired = False

    async def left(self) -> None:
        self.users -= 1
        await self.close_if_unused()

    async def close_if_unused(self) -> None:
        if self.retired and self.users == 0:
            await self.client.aclose()


class OpenAnswer:
    """A response whose body is still to be read. Whoever got it closes it."""

    __slots__ = ("_body", "_pool", "_release", "_response")

    def __init__(self, response: httpx2.Response, pool: _Pool, release: Callable[[], None]) -> None:
        self._response: Final = response
        self._body: AsyncGenerator[bytes, None] = response.aiter_bytes()
        self._pool: _Pool | None = pool  # None once closed
        self._release: Final = release

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def headers(self) -> httpx2.Headers:
        return self._response.headers

    @property
    def media_type(self) -> str:
        """Content type without parameters, in lower case; "" when there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def next_chunk(self) -> bytes | None:
        """The next piece of the body, of any size; None at its end."""
        return await anext(self._body, None)

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises TooLarge beyond ``limit`` bytes."""
        pieces: list[bytes] = []
        size = 0
        while (piece := await self.next_chunk()) is not None:
            size += len(piece)
            if size > limit:
                raise TooLarge
            pieces.append(piece)
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end; else close it. Safe to call twice."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        with anyio.CancelScope(shield=True):
            try:
                await self._response.aclose()
                if not getattr(self._body, "ag_running", False):  # else its reader sees the connection close
                    await self._body.aclose()
            finally:
                self._release()
                await pool.left()


class Connections:
    """Sends requests; owns the client.

    The places in front of the client are as many as the client's pool has connections, so the pool
    itself never makes anyone wait. One that does has leaked connections (pools of this family have,
    when a request was cancelled at the wrong moment): it is replaced, and the request, which was not
    sent, goes out on the new one. The old one closes with its last answer.

    Args:
        make_client: makes a client whose pool holds ``limit`` connections.
        limit: answers in the making at once.
        patience: seconds to wait for a place; None waits as long as it takes.
        replaceable: whether a new client means a new pool.
    """

    def __init__(
        self,
        make_client: Callable[[], httpx2.AsyncClient],
        *,
        limit: int,
        patience: float | None,
        replaceable: bool,
    ) -> None:
        self._make_client: Final = make_client
        self._limit: Final = limit
        self._patience: Final = patience
        self._replaceable: Final = replaceable
        self._pool: _Pool | None = None  # None while closed

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self._pool = self._new_pool()
        try:
            yield
        finally:
            pool, self._pool = self._pool, None
            if pool is not None and pool.pid == os.getpid():
                with anyio.CancelScope(shield=True):
                    await pool.client.aclose()

    async def send(self, url: httpx2.URL, content: bytes, headers: httpx2.Headers) -> OpenAnswer:
        """POST, and return as soon as the response's headers are there.

        Raises:
            NoRoom: no place became free in time.
            httpx2.RequestError: the exchange failed.
        """
        room, place = self._current().room, object()
        await self._take(room, place)
        release = partial(room.release_on_behalf_of, place)
        try:
            pool = self._current()  # asked again: it may have been replaced during the wait
            try:
                return OpenAnswer(await _post(pool, url, content, headers), pool, release)
            except httpx2.PoolTimeout:
                if not self._replaceable:
                    raise
                await self._replace(pool)
            pool = self._current()
            return OpenAnswer(await _post(pool, url, content, headers), pool, release)
        except BaseException:
            release()
            raise

    async def _take(self, room: anyio.CapacityLimiter, place: object) -> None:
        try:
            with anyio.fail_after(self._patience):
                await room.acquire_on_behalf_of(place)
        except TimeoutError:
            raise NoRoom from None

    def _current(self) -> _Pool:
        pool = self._pool
        if pool is None:
            raise PipelineClosed("this upstream is not open; use it inside its lifespan()")
        if pool.pid != os.getpid():
            _INHERITED.append(pool)
            pool = self._pool = self._new_pool()
        return pool

    def _new_pool(self) -> _Pool:
        return _Pool(self._make_client(), anyio.CapacityLimiter(self._limit))

    async def _replace(self, pool: _Pool) -> None:
        if self._pool is pool:  # of many requests that waited in vain, the first replaces it for all
            self._pool = _Pool(self._make_client(), pool.room)
            pool.retired = True
            await pool.close_if_unused()


async def _post(pool: _Pool, url: httpx2.URL, content: bytes, headers: httpx2.Headers) -> httpx2.Response:
    pool.users += 1
    try:
        request = pool.client.build_request("POST", url, content=content, headers=headers)
        return await pool.client.send(request, stream=True)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await pool.left()
        raise
