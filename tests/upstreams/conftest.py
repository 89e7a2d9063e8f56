"""A server that says exactly the bytes a test gives it, and notices when its client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import orjson
import pytest

from asynccache._models import Request, Response
from asynccache.upstreams.openai import OpenAIUpstream

RECORDINGS = Path(__file__).parent.parent / "fixtures" / "vllm-0.32"

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


@dataclass
class Exchange:
    """One request as it came in, and the way to answer it."""

    path: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def json(self) -> Any:
        return orjson.loads(self.body)

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def client_left(self) -> None:
        """Wait until the client closes the connection."""
        try:
            while await self.reader.read(1024):
                pass
        except ConnectionError:
            pass


Handler: TypeAlias = "Callable[[Exchange], Awaitable[None]]"


@dataclass
class RawServer:
    """Answers each request with the handler; a connection stays open until its client leaves."""

    handler: Handler
    requests: list[Exchange] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.idle.clear()
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode("latin-1").strip().split("\r\n")
                pairs = [text.split(": ", 1) for text in rest]
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                exchange = Exchange(line.split(" ")[1], headers, body, reader, writer)
                self.requests.append(exchange)
                await self.handler(exchange)
                if writer.is_closing():
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            if not self.open:
                self.idle.set()
            writer.close()

    async def all_closed(self) -> None:
        """Wait until no connection is open."""
        with anyio.fail_after(10):
            await self.idle.wait()


class Wire:
    """What the tests say in HTTP."""

    body = BODY
    recordings = RECORDINGS

    @staticmethod
    @asynccontextmanager
    async def server(handler: Handler) -> AsyncIterator[RawServer]:
        raw = RawServer(handler)
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(raw.serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        raw.port = server.sockets[0].getsockname()[1]
        try:
            yield raw
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def request(**fields: Any) -> Request:
        return Request(body={**BODY, **fields})

    @staticmethod
    def recording(name: str) -> tuple[bytes, bytes]:
        """Head (with its blank line) and body of a recorded response; the body is not chunked any more."""
        head, _, body = (RECORDINGS / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
        return head + b"\r\n\r\n", body.removesuffix(b"\ncurl rc 0\n")  # one was saved with its exit code

    @staticmethod
    def head(status: int = 200, **headers: str) -> bytes:
        lines = [f"HTTP/1.1 {status} Some Reason"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    @classmethod
    def whole(cls, status: int, body: bytes, **headers: str) -> bytes:
        sized = {"content_type": "application/json", "content_length": str(len(body)), **headers}
        return cls.head(status, **sized) + body

    @classmethod
    def events_head(cls) -> bytes:
        return cls.head(content_type="text/event-stream; charset=utf-8", transfer_encoding="chunked")

    @staticmethod
    def chunks(body: bytes, size: int) -> Iterator[bytes]:
        """The body in HTTP chunks of ``size`` bytes, and the end."""
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"

    @staticmethod
    def chunk(body: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(body), body)

    @staticmethod
    def event(content: str | None = None, finish_reason: str | None = None, index: int = 0) -> bytes:
        """One chat-completion chunk as an event."""
        delta = {} if content is None else {"content": content}
        choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
        return b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n"

    @classmethod
    @asynccontextmanager
    async def asking(
        cls, handler: Handler, **options: Any
    ) -> AsyncIterator[tuple[OpenAIUpstream, RawServer]]:
        """A raw server and an open upstream that asks it."""
        async with cls.server(handler) as raw:
            upstream = OpenAIUpstream(raw.base_url, **options)
            async with upstream.lifespan():
                yield upstream, raw

    @classmethod
    async def fetched(cls, *answers: bytes, **options: Any) -> Response:
        """What the upstream makes of these answers to its first, second … try."""
        left = list(answers)

        async def answer(exchange: Exchange) -> None:
            await exchange.send(left.pop(0) if len(left) > 1 else left[0])

        async with cls.asking(answer, **{"max_retries": 0, **options}) as (upstream, _):
            return await upstream.fetch(cls.request())

    @classmethod
    async def streamed(cls, *parts: bytes, **options: Any) -> tuple[list[bytes], BaseException | None]:
        """The frames the upstream hands on when it is answered with these bytes, and its error."""

        async def answer(exchange: Exchange) -> None:
            await exchange.send(*parts)
            exchange.writer.close()

        frames: list[bytes] = []
        async with cls.asking(answer, **{"max_retries": 0, **options}) as (upstream, _):
            try:
                stream = await upstream.stream(cls.request())
                async for frame in stream:
                    frames.append(frame)  # noqa: PERF401  (those before an error are wanted too)
            except Exception as error:  # noqa: BLE001  (the caller looks at it)
                return frames, error
        return frames, None


@pytest.fixture
def wire() -> type[Wire]:
    """The raw server, and what it says."""
    return Wire
