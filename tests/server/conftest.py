"""A proxy that serves in the test's own event loop, before an upstream that says exactly what it is given."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import httpx2
import orjson
import pytest
import uvicorn

from asynccache.server._proxy_options import ProxyOptions
from asynccache.server._proxy_protocol import ProxyProtocol
from asynccache.server.proxy import ProxyApp
from tests._prompt_server import PromptServer

RECORDINGS = Path(__file__).parents[1] / "fixtures" / "vllm-0.32"


@dataclass
class Asked:
    """One request as it came in, and the way to answer it."""

    method: str
    target: str
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

    async def answer(self, document: Any, status: int = 200, **headers: str) -> None:
        """A JSON document; underscores in names of headers stand for hyphens."""
        body = document if isinstance(document, bytes) else orjson.dumps(document)
        sized = {"content_type": "application/json", **headers, "content_length": str(len(body))}
        lines = [f"HTTP/1.1 {status} Reason", *(f"{n.replace('_', '-')}: {v}" for n, v in sized.items())]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def begin_events(self) -> None:
        """The head of an event stream, which ends with its connection."""
        await self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")

    async def client_left(self) -> None:
        """Wait until the proxy closes the connection."""
        with anyio.fail_after(10):
            try:
                while await self.reader.read(1024):
                    pass
            except ConnectionError:
                pass


Handler: TypeAlias = Callable[[Asked], Awaitable[None]]


def completion(text: str = "hello") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    made = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
    return {**made, "choices": [choice], "usage": usage}


@dataclass
class Upstream:
    """Answers each request with the handler; by default with a completion that is all right."""

    handler: Handler
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                line, *rest = head.decode("latin-1").strip().split("\r\n")
                headers = {name.lower(): value for name, value in (text.split(": ", 1) for text in rest)}
                body = await _body(reader, headers)
                method, target, _ = line.split(" ")
                asked = Asked(method, target, headers, body, reader, writer)
                self.asked.append(asked)
                await self.handler(asked)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:size]
    await reader.readline()
    return body


async def _fine(asked: Asked) -> None:
    await asked.answer(completion())


@asynccontextmanager
async def upstream_of(handler: Handler = _fine) -> AsyncIterator[Upstream]:
    upstream = Upstream(handler)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(upstream.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Served:
    """A proxy that serves, and a client of it."""

    app: ProxyApp
    url: str
    client: httpx2.AsyncClient
    reports: list[tuple[str, Exception]]

    async def ask(self, question: str = "hi", *, headers: dict[str, Any] | None = None, **fields: Any) -> Any:
        messages = [{"role": "user", "content": question}]
        given = {"authorization": "Bearer one", **(headers or {})}
        body = {"model": "m", "messages": messages, **fields}
        return await self.client.post("/v1/chat/completions", json=body, headers=given)


@asynccontextmanager
async def proxy_before(url: str, **options: Any) -> AsyncIterator[Served]:
    pipeline = {"backend": "memory://", "decision": None, **options.pop("pipeline", {})}
    reports: list[tuple[str, Exception]] = []
    ready = anyio.Event()
    app = ProxyApp(
        ProxyOptions(upstream=url, pipeline=pipeline, **options),
        report=lambda what, error: reports.append((what, error)),
        ready=ready.set,
    )
    config = uvicorn.Config(
        app,
        http=ProxyProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = PromptServer(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        root = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with anyio.create_task_group() as tasks:

            async def serve() -> None:
                with anyio.CancelScope(shield=True):  # it ends in good order, even after a failed test
                    await server.serve([listener])

            tasks.start_soon(serve)
            try:
                with anyio.fail_after(10):
                    await ready.wait()
                async with httpx2.AsyncClient(base_url=root, timeout=10) as client:
                    yield Served(app, root, client, reports)
            finally:
                server.end()


class Proxying:
    """What the tests make their servers of."""

    upstream = staticmethod(upstream_of)
    proxy = staticmethod(proxy_before)
    completion = staticmethod(completion)
    recordings = RECORDINGS

    @staticmethod
    @asynccontextmanager
    async def both(handler: Handler = _fine, **options: Any) -> AsyncIterator[tuple[Upstream, Served]]:
        async with upstream_of(handler) as upstream, proxy_before(upstream.url, **options) as served:
            yield upstream, served

    @staticmethod
    def recording(name: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a recorded response."""
        head, _, body = (RECORDINGS / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (text.split(": ", 1) for text in rest)}
        return int(line.split(" ")[1]), headers, body.removesuffix(b"curl rc 0\n")


Both: TypeAlias = Callable[..., AbstractAsyncContextManager[tuple[Upstream, Served]]]


@pytest.fixture
def proxying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Proxying]:
    import os

    for name in os.environ:
        if name.startswith("ASYNCCACHE_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return Proxying
