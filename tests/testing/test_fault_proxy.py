"""Each fault of the proxy is seen by a client of a small echo server, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from asynccache.testing import FaultProxy, Faults, cancel_at_every_step

pytestmark = pytest.mark.anyio

TEXT = bytes(range(256)) * 8


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self, size: int) -> bytes:
        with anyio.fail_after(5):
            return await self.reader.readexactly(size)

    async def echo(self, data: bytes) -> bytes:
        await self.send(data)
        return await self.receive(len(data))

    async def rest(self) -> bytes:
        with anyio.fail_after(5):
            return await self.reader.read()

    async def silent(self, seconds: float = 0.05) -> bool:
        with anyio.move_on_after(seconds):
            await self.reader.read(1)
            return False
        return True


@dataclass
class Echo:
    """A server that sends back what it is sent, with a prefix for each read if it has one."""

    prefix: bytes = b""
    port: int = 0
    reads: list[bytes] = field(default_factory=list)
    open: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Echo]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.writers.add(writer)
            self.open += 1
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    self.reads.append(data)
                    writer.write(self.prefix + data)
                    await writer.drain()
            self.open -= 1
            self.writers.discard(writer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self.writers:
                writer.transport.abort()
            await until(lambda: self.open == 0)


async def until(check: Any) -> None:
    with anyio.fail_after(5):
        while not check():  # noqa: ASYNC110  (sockets of other tasks give no signal)
            await asyncio.sleep(0.001)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield client
    finally:
        client.writer.transport.abort()
        with suppress(ConnectionError):
            await client.writer.wait_closed()


@asynccontextmanager
async def proxied(**options: Any) -> AsyncIterator[tuple[FaultProxy, Client, Echo]]:
    async with AsyncExitStack() as stack:
        echo = await stack.enter_async_context(Echo().serving())
        proxy = await stack.enter_async_context(FaultProxy("127.0.0.1", echo.port, **options))
        client = await stack.enter_async_context(connected(proxy.port))
        yield proxy, client, echo


async def test_sound_proxy_passes_every_byte_and_counts_it() -> None:
    async with proxied() as (proxy, client, _):
        assert await client.echo(TEXT) == TEXT
        assert (proxy.connections, proxy.accepted) == (1, 1)
        assert (proxy.request_bytes, proxy.reply_bytes) == (len(TEXT), len(TEXT))


def test_proxy_works_in_a_plain_asyncio_program() -> None:
    async def main() -> None:
        async with proxied() as (_, client, _):
            assert await client.echo(TEXT) == TEXT

    asyncio.run(main())


async def test_connection_that_is_cut_before_it_is_served_is_closed() -> None:
    async with proxied() as (proxy, client, _):
        await until(lambda: proxy.connections)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await client.rest()
        assert proxy.connections == 0


async def test_much_more_than_the_buffers_hold_comes_through() -> None:
    data = TEXT * 4096
    async with proxied() as (_, client, _), anyio.create_task_group() as group:
        group.start_soon(client.send, data)
        assert await client.receive(len(data)) == data


async def test_client_that_ends_its_requests_still_gets_its_replies() -> None:
    async with proxied(replies=Faults(delay=0.02)) as (proxy, client, echo):
        await client.send(TEXT)
        client.writer.write_eof()
        assert await client.rest() == TEXT
        client.writer.close()
        await until(lambda: proxy.connections == 0 and echo.open == 0)
        assert proxy.accepted == 1


@pytest.mark.parametrize("delay", [0.1, (0.1, 0.11), lambda: 0.1], ids=["number", "range", "callable"])
async def test_delay_holds_each_direction_back(delay: Any) -> None:
    async with proxied(requests=Faults(delay=delay), replies=Faults(delay=delay)) as (proxy, client, _):
        began = time.monotonic()
        assert await client.echo(b"slow") == b"slow"
        assert time.monotonic() - began >= 0.2
        proxy.requests = proxy.replies = Faults()
        began = time.monotonic()
        assert await client.echo(b"quick") == b"quick"
        assert time.monotonic() - began < 0.2


async def test_delayed_fragments_keep_their_order() -> None:
    faults = Faults(delay=(0, 0.002), fragment=37)
    async with proxied(requests=faults, replies=faults) as (_, client, _):
        await client.send(TEXT[:1024])
        await client.send(TEXT[1024:])
        assert await client.receive(len(TEXT)) == TEXT


async def test_fragments_arrive_one_by_one() -> None:
    async with proxied(requests=Faults(fragment=3, delay=0.02)) as (_, client, echo):
        assert await client.echo(b"abcdefgh") == b"abcdefgh"
        assert echo.reads == [b"abc", b"def", b"gh"]


async def test_cut_resets_every_connection_and_welcomes_new_ones() -> None:
    async with proxied() as (proxy, client, echo), connected(proxy.port) as other:
        assert await client.echo(b"a") == await other.echo(b"a")
        proxy.cut()
        for one in (client, other):
            with pytest.raises(ConnectionResetError) as caught:
                await one.rest()
            assert caught.value.errno == errno.ECONNRESET
        await until(lambda: proxy.connections == 0 and echo.open == 0)
        async with connected(proxy.port) as third:
            assert await third.echo(b"b") == b"b"
        assert proxy.accepted == 3


async def test_reply_is_cut_after_exactly_so_many_bytes() -> None:
    async with proxied(replies=Faults(cut_after=1000, fragment=300)) as (proxy, client, _):
        await client.send(TEXT)
        assert await client.rest() == TEXT[:1000]
        await until(lambda: proxy.connections == 0)
        assert proxy.reply_bytes == 1000


async def test_request_is_cut_after_exactly_so_many_bytes() -> None:
    async with proxied(requests=Faults(cut_after=5)) as (proxy, client, echo):
        await client.send(b"abc")
        assert await client.receive(3) == b"abc"
        await client.send(b"defg")
        with suppress(ConnectionError):
            await client.rest()
        await until(lambda: proxy.connections == 0 and echo.open == 0)
        assert b"".join(echo.reads) == b"abcde"


async def corrupted(seed: int, fragment: int | None) -> list[bytes]:
    async with proxied(replies=Faults(corrupt=0.1), requests=Faults(fragment=fragment), seed=seed) as parts:
        proxy, client, _ = parts
        async with connected(proxy.port) as second:
            return [await client.echo(TEXT), await second.echo(TEXT)]


async def test_corruption_flips_the_asked_share_of_reply_bits_and_replays() -> None:
    first, second = await corrupted(7, None)
    wrong = [mine ^ theirs for mine, theirs in zip(first, TEXT, strict=True) if mine != theirs]
    assert 0.07 < len(wrong) / len(TEXT) < 0.13
    assert {bit.bit_count() for bit in wrong} == {1}
    assert len(set(wrong)) == 8
    assert first != second
    assert await corrupted(7, 100) == [first, second]
    assert await corrupted(8, None) != [first, second]


async def test_callable_corruption_is_given_the_bytes() -> None:
    async with proxied(replies=Faults(corrupt=bytes.upper)) as (_, client, _):
        assert await client.echo(b"abc") == b"ABC"


async def test_black_hole_swallows_bytes_and_keeps_connections_open() -> None:
    async with proxied() as (proxy, client, echo):
        assert await client.echo(b"a") == b"a"
        proxy.requests = Faults(black_hole=True)
        await client.send(b"lost")
        assert await client.silent()
        proxy.requests = Faults()
        assert await client.echo(b"b") == b"b"
        assert echo.reads == [b"a", b"b"]


@pytest.mark.parametrize("lost", ["abort", "close"])
async def test_black_hole_of_replies_lets_requests_through_and_hides_a_lost_server(lost: str) -> None:
    async with proxied(replies=Faults(black_hole=True)) as (proxy, client, echo):
        await client.send(b"heard")
        await until(lambda: echo.reads)
        for writer in echo.writers:
            getattr(writer.transport, lost)()
        await until(lambda: echo.open == 0)
        assert await client.silent()
        assert proxy.connections == 1
        client.writer.write_eof()
        await until(lambda: proxy.connections == 0)


async def test_refusing_proxy_resets_new_connections_and_keeps_old_ones() -> None:
    async with proxied() as (proxy, client, _):
        assert await client.echo(b"a") == b"a"
        proxy.refuse = True
        with pytest.raises(ConnectionError):
            async with connected(proxy.port) as second:
                await second.echo(b"b")
        assert await client.echo(b"c") == b"c"
        proxy.refuse = False
        async with connected(proxy.port) as third:
            assert await third.echo(b"d") == b"d"
        assert (proxy.accepted, proxy.refused) == (2, 1)


async def test_injected_bytes_reach_every_client_after_the_reply_under_way() -> None:
    async with proxied(replies=Faults(fragment=1, delay=0.002)) as (proxy, client, _):
        async with connected(proxy.port) as second:
            await second.echo(b"x")
            await client.send(b"reply")
            assert await client.receive(1) == b"r"
            assert await proxy.inject(b"+OK") == 2
            assert await client.receive(7) == b"eply+OK"
            assert await second.receive(3) == b"+OK"
        await until(lambda: proxy.connections == 1)
        assert await proxy.inject(b"!") == 1


async def test_injection_into_a_client_that_does_not_read_ends_with_its_connection() -> None:
    async with proxied() as (proxy, client, _):
        assert await client.echo(b"a") == b"a"
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(proxy.inject, TEXT * 16384)
                await asyncio.sleep(0.05)
                proxy.cut()


async def test_target_may_move_and_open_connections_stay() -> None:
    async with proxied() as (proxy, client, _), Echo(b"2:").serving() as other:
        assert await client.echo(b"a") == b"a"
        proxy.target = ("localhost", other.port)
        async with connected(proxy.port) as moved:
            await moved.send(b"a")
            assert await moved.receive(3) == b"2:a"
        assert await client.echo(b"b") == b"b"


async def test_connection_is_reset_when_the_target_is_down() -> None:
    async with Echo().serving() as echo:
        port = echo.port
    async with FaultProxy("127.0.0.1", port) as proxy, connected(proxy.port) as client:
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_proxy_closes_at_once_with_connections_open_and_leaves_no_task() -> None:
    async with Echo().serving() as echo, AsyncExitStack() as clients:
        before = asyncio.all_tasks()
        slow = Faults(delay=60)
        async with FaultProxy("127.0.0.1", echo.port, replies=slow) as proxy:
            for _ in range(20):
                client = await clients.enter_async_context(connected(proxy.port))
                await client.send(b"a")
            await until(lambda: len(echo.reads) == 20)
            began = time.monotonic()
        assert time.monotonic() - began < 1
        assert proxy.connections == 0
        await until(lambda: echo.open == 0)
        assert asyncio.all_tasks() <= before


async def test_proxy_may_be_opened_again_on_a_port_of_ones_choice() -> None:
    async with Echo().serving() as echo:
        proxy = FaultProxy("127.0.0.1", echo.port)
        with pytest.raises(RuntimeError, match="not open"):
            _ = proxy.port
        async with proxy:
            port = proxy.port
            with pytest.raises(RuntimeError, match="open already"):
                await proxy.__aenter__()
        async with FaultProxy("127.0.0.1", echo.port, listen_port=port) as chosen:
            assert chosen.port == port
        async with proxy, connected(proxy.port) as client:
            assert await client.echo(b"a") == b"a"


async def test_cancelled_user_leaves_neither_tasks_nor_connections() -> None:
    async with Echo().serving() as echo:
        opened: list[FaultProxy] = []
        before: Sequence[asyncio.Task[Any]] = [*asyncio.all_tasks()]

        async def use() -> None:
            async with FaultProxy("127.0.0.1", echo.port) as proxy:
                opened.append(proxy)
                async with connected(proxy.port) as client:
                    await client.send(b"a")
                    await client.receive(1)
                    await proxy.inject(b"b")
                    await client.receive(1)

        async def check() -> None:
            assert opened[-1].connections == 0
            await until(lambda: echo.open == 0)

        assert await cancel_at_every_step(use, check) > 3
        await until(lambda: len(asyncio.all_tasks()) <= len(before))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"delay": -1}, "delay"),
        ({"delay": (2, 1)}, "delay"),
        ({"fragment": 0}, "fragment"),
        ({"corrupt": 1.5}, "corrupt"),
        ({"cut_after": -1}, "cut_after"),
    ],
)
def test_fault_out_of_range_is_refused(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected"):
        Faults(**options)
