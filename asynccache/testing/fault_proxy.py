"""A TCP proxy that delays, cuts up, corrupts, loses and breaks off what passes through it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Final, Self

import anyio

from asynccache._lifespan import Nursery
from asynccache.testing._fault_link import Link, Way, prepare, reset_on_close
from asynccache.testing._faults import Chance, Faults

__all__ = ["FaultProxy", "Faults"]

_READ_BYTES: Final = 65536
_BACKLOG: Final = 512
_ACCEPT_PAUSE: Final = 0.1  # seconds without accepting when the process has no file descriptor left


class FaultProxy:
    """A TCP proxy on 127.0.0.1 in front of one target; ``async with`` opens and closes it.

    What it does wrong stands in attributes that may be changed at any time: ``requests`` and
    ``replies`` for the bytes of one direction, ``refuse`` for new connections, ``target`` for where
    new connections lead. ``proxy.replies = Faults()`` makes that direction sound again.

    Args:
        host: the target's name or address.
        port: the target's port.
        listen_port: the proxy's own port; the default 0 takes a free one.
        requests: faults of what clients send; None for none.
        replies: faults of what the target sends; None for none.
        seed: two runs with the same seed, the same connections in the same order and the same bytes
            see the same corruption and draw the same delays.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        listen_port: int = 0,
        requests: Faults | None = None,
        replies: Faults | None = None,
        seed: int = 0,
    ) -> None:
        self.target = (host, port)
        """Where new connections lead; open ones stay where they are."""
        self.requests = requests or Faults()
        """Faults of what clients send."""
        self.replies = replies or Faults()
        """Faults of what the target sends."""
        self.refuse = False
        """Whether new connections are reset as soon as they are made."""
        self.accepted = 0
        """Connections ever accepted and not refused."""
        self.refused = 0
        """Connections ever refused."""
        self.request_bytes = 0
        """Bytes forwarded to the target."""
        self.reply_bytes = 0
        """Bytes forwarded to clients, without injected ones."""
        self._listen_port = listen_port
        self._seed = seed
        self._nursery = Nursery()
        self._held: AbstractAsyncContextManager[None] | None = None
        self._listener: socket.socket | None = None
        self._links: set[Link] = set()  # each serving task adds and removes its own

    @property
    def port(self) -> int:
        """The proxy's own port. Raises RuntimeError when the proxy is not open."""
        if self._listener is None:
            raise RuntimeError("the proxy is not open: use `async with FaultProxy(...)`")
        return int(self._listener.getsockname()[1])

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._links)

    def cut(self) -> None:
        """Reset every open connection, on both sides; new ones are welcome."""
        for link in self._links:
            link.end(reset=True)

    async def inject(self, data: bytes) -> int:
        """Send ``data`` to every client as if its server had, after any reply being written now.

        Returns:
            The number of clients that got it.
        """
        reached = 0
        ends: list[anyio.Event] = []

        async def send(link: Link, end: anyio.Event) -> None:
            nonlocal reached
            try:
                async with link.writing:
                    await asyncio.get_running_loop().sock_sendall(link.client, data)
                reached += 1
            except OSError:
                link.end(reset=True)
            finally:
                end.set()

        for link in self._links:
            if link.group is not None and not link.ended:
                # In the link's own group: a caller that is cancelled meanwhile leaves no half of it.
                ends.append(anyio.Event())
                link.group.start_soon(send, link, ends[-1])
        for end in ends:
            await end.wait()
        return reached

    async def __aenter__(self) -> Self:
        if self._listener is not None:
            raise RuntimeError("the proxy is open already")
        self._listener = socket.create_server(("127.0.0.1", self._listen_port), backlog=_BACKLOG)
        self._listener.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # as asyncio's own servers have it
        self._listener.setblocking(False)  # noqa: FBT003  (socket's own signature)
        self._held = self._nursery.lifespan()
        await self._held.__aenter__()
        self._welcome()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        listener, self._listener = self._listener, None
        held, self._held = self._held, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        if held is not None:
            await held.__aexit__(None, None, None)

    def _welcome(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        listener = self._listener
        if listener is None:
            return
        try:
            client, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(_ACCEPT_PAUSE, self._welcome)
            return
        if self.refuse:
            self.refused += 1
            reset_on_close(client)
            client.close()
            return
        self.accepted += 1
        prepare(client)
        link = Link(self.accepted, client)
        self._links.add(link)
        # A task that is cancelled before its first step closes nothing by itself.
        task = self._nursery.start(partial(self._serve, link))
        task.add_done_callback(lambda _: self._forget(link))

    def _forget(self, link: Link) -> None:
        self._links.discard(link)
        link.close()

    async def _serve(self, link: Link) -> None:
        with link.serving():
            try:
                server = link.server = await self._connect()
            except OSError:
                reset_on_close(link.client)
                return
            seed = f"{self._seed}/{link.number}"
            requests = Way("requests", link.client, server, Chance(f"{seed}/requests"))
            replies = Way("replies", server, link.client, Chance(f"{seed}/replies"))
            try:
                async with anyio.create_task_group() as link.group:
                    link.group.start_soon(self._pump, link, requests, asyncio.Lock())
                    link.group.start_soon(self._pump, link, replies, link.writing)
            finally:
                link.group = None

    async def _connect(self) -> socket.socket:
        """A connection to the target, by the first of its addresses that answers."""
        loop = asyncio.get_running_loop()
        host, port = self.target
        failure = OSError(f"no address for {host!r}")
        for family, kind, proto, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            server = socket.socket(family, kind, proto)
            try:
                prepare(server)
                await loop.sock_connect(server, address)
            except OSError as error:
                server.close()
                failure = error
            except BaseException:
                server.close()
                raise
            else:
                return server
        raise failure

    async def _pump(self, link: Link, way: Way, writing: asyncio.Lock) -> None:
        try:
            while data := await self._read(way):
                async with writing:
                    for piece in self._faults(way).pieces(data, way.chance):
                        await self._forward(link, way, piece)
                await asyncio.sleep(0)  # reading and writing need not suspend
            # A client that leaves always leaves; a lost server must not be noticed in a black hole.
            if way.direction == "requests" or not self.replies.black_hole:
                way.sink.shutdown(socket.SHUT_WR)
        except OSError:
            link.end(reset=True)

    def _faults(self, way: Way) -> Faults:
        return self.requests if way.direction == "requests" else self.replies

    async def _read(self, way: Way) -> bytes:
        try:
            return await asyncio.get_running_loop().sock_recv(way.source, _READ_BYTES)
        except OSError:
            if way.direction == "replies" and self.replies.black_hole:
                return b""
            raise

    async def _forward(self, link: Link, way: Way, piece: bytes) -> None:
        """Send one piece of what was read, as far as the faults of this moment allow."""
        if seconds := self._faults(way).seconds(way.chance):
            await asyncio.sleep(seconds)
        faults = self._faults(way)
        if faults.black_hole or link.ended:
            return
        if faults.cut_after is not None:
            piece = piece[: max(faults.cut_after - way.sent, 0)]
        await asyncio.get_running_loop().sock_sendall(way.sink, piece)
        way.sent += len(piece)
        if way.direction == "requests":
            self.request_bytes += len(piece)
        else:
            self.reply_bytes += len(piece)
        if faults.cut_after is not None and way.sent >= faults.cut_after:
            link.end(reset=False)
