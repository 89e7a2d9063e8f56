"""vLLM servers, as far as a client can tell them from real ones: a prefix cache, and ways to fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, Final

import anyio
import anyio.lowlevel
import orjson

from asynccache.upstreams.vllm import VLLMUpstream
from tests.upstreams.conftest import Exchange, RawServer, Wire

BLOCK: Final = 8
"""Words in a block; a word is a token."""


class FakeVLLM:
    """One server. Its attributes may be changed while it runs."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.authorized: list[str | None] = []  # the authorization headers of the requests for metrics
        self.busy = 0  # requests still to be refused with 503
        self.retry_after: str | None = None  # said with each 503
        self.details = True  # --enable-prompt-tokens-details
        self.dies_in_midstream = False
        self.breaks_off = False  # closes the connection without a word
        self.refuses: tuple[int, bytes] | None = None
        self.answers: bytes | None = None  # instead of a document of its own
        self.metrics: bytes | None = None  # instead of its own; b"" answers 404
        self.waiting = 0
        self.gate = asyncio.Event()  # answers wait for it
        self.gate.set()
        self.midway = asyncio.Event()  # streams wait for it after their first frame
        self.midway.set()
        self.begun = asyncio.Semaphore(0)  # released for each request that has arrived
        self.raw = RawServer(self._answer)
        self._blocks: set[bytes] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.hits = self.queries = 0

    @property
    def base_url(self) -> str:
        return self.raw.base_url

    async def start(self) -> None:
        """Listen, on the port of the last time if there was one."""

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self.raw.serve(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._server = await asyncio.start_server(connected, "127.0.0.1", self.raw.port)
        self.raw.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Go away, with what was cached."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._blocks.clear()
        self.hits = self.queries = 0

    async def _answer(self, exchange: Exchange) -> None:
        if exchange.path == "/metrics":
            self.authorized.append(exchange.headers.get("authorization"))
            text = self._metrics() if self.metrics is None else self.metrics
            await exchange.send(Wire.whole(200 if text else 404, text, content_type="text/plain"))
            return
        body = exchange.json()
        self.bodies.append(body)
        self.begun.release()
        await self.gate.wait()
        if self.busy:
            self.busy -= 1
            error = b'{"error":{"message":"queue full","type":"Service Unavailable","code":503}}'
            headers = {} if self.retry_after is None else {"retry_after": self.retry_after}
            await exchange.send(Wire.whole(503, error, **headers))
        elif self.breaks_off:
            exchange.writer.close()
        elif self.refuses is not None:
            await exchange.send(Wire.whole(*self.refuses))
        elif body.get("stream"):
            await self._stream(exchange, body)
        else:
            await exchange.send(Wire.whole(200, self.answers or self._document(body)))

    async def _stream(self, exchange: Exchange, body: Mapping[str, Any]) -> None:
        await exchange.send(Wire.events_head(), Wire.chunk(Wire.event("one ")))
        if self.dies_in_midstream:
            error = b'data: {"error":{"message":"EngineCore","type":"InternalServerError","code":500}}\n\n'
            await exchange.send(Wire.chunk(error + b"data: [DONE]\n\n"), b"0\r\n\r\n")
            return
        await self.midway.wait()
        await exchange.send(Wire.chunk(Wire.event("two")), Wire.chunk(Wire.event(None, "stop")))
        if (body.get("stream_options") or {}).get("include_usage"):
            frame = orjson.dumps({"choices": [], "usage": self._usage(body)})
            await exchange.send(Wire.chunk(b"data: " + frame + b"\n\n"))
        await exchange.send(Wire.chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n")

    def _document(self, body: Mapping[str, Any]) -> bytes:
        message = {"role": "assistant", "content": "yes"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return orjson.dumps(
            {"id": "chatcmpl-1", "model": "tiny", "choices": [choice], "usage": self._usage(body)}
        )

    def _usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Look the prompt's full blocks up, and keep them; its last token is always computed."""
        words = prompt_of(body)
        chain = sha256(str(body.get("cache_salt")).encode()).digest()
        cached, created, in_a_row = 0, 0, True
        for start in range(0, len(words) - BLOCK + 1, BLOCK):
            chain = sha256(chain + " ".join(words[start : start + BLOCK]).encode()).digest()
            in_a_row = in_a_row and chain in self._blocks and start + BLOCK < len(words)
            cached += BLOCK if in_a_row else 0
            created += 0 if chain in self._blocks else BLOCK
            self._blocks.add(chain)
        self.hits += cached
        self.queries += len(words)
        details = {"cached_tokens": cached, "created_cache_tokens": created} if self.details else None
        usage = {"prompt_tokens": len(words), "completion_tokens": 1, "prompt_tokens_details": details}
        return {**usage, "total_tokens": len(words) + 1}

    def _metrics(self) -> bytes:
        return (
            f'vllm:prefix_cache_hits_total{{engine="0"}} {self.hits}.0\n'
            f'vllm:prefix_cache_queries_total{{engine="0"}} {self.queries}.0\n'
            f'vllm:num_requests_waiting{{engine="0"}} {self.waiting}.0\n'
        ).encode()


def prompt_of(body: Mapping[str, Any]) -> list[str]:
    """The prompt in words: tools, then messages, then the beginning of the answer."""
    words = orjson.dumps(body["tools"]).decode().split() if body.get("tools") else []
    for message in body["messages"]:
        words += [f"<{message['role']}>", *message["content"].split()]
    return [*words, "<assistant>"] if body.get("add_generation_prompt", True) else words


@asynccontextmanager
async def opened(
    servers: Sequence[FakeVLLM], **options: Any
) -> AsyncIterator[tuple[VLLMUpstream, list[float]]]:
    """An open upstream that asks the servers, and the waits it would have made between its tries."""
    upstream = VLLMUpstream([server.base_url for server in servers], **options)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await anyio.lowlevel.checkpoint()

    upstream._replicas._sleep = sleep
    upstream._replicas._random = lambda: 1.0
    async with upstream.lifespan():
        yield upstream, waits


def in_flight(upstream: VLLMUpstream) -> int:
    """Requests its router believes to be under way."""
    return sum(upstream._router.in_flight.values())


def chat(system: str = "be brief", user: str = "hello", **fields: Any) -> dict[str, Any]:
    """A chat body."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return {"model": "tiny", "messages": messages, **fields}


@asynccontextmanager
async def fake_servers(count: int) -> AsyncIterator[Sequence[FakeVLLM]]:
    """So many servers; stopped at the end."""
    servers = [FakeVLLM() for _ in range(count)]
    try:
        for server in servers:
            await server.start()
        yield servers
    finally:
        for server in servers:
            await server.stop()


async def settled(condition: Callable[[], object]) -> None:
    """Wait until something that is about to be true is."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110  (it is about a server's or another task's state)
            await anyio.sleep(0.001)
