"""An upstream that mostly answers rightly, and else fails in one of the ways that upstreams do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import unquote

import httptools

from tests.server._fuzz_answers import KINDS, Plan, plan_for
from tests.server._fuzz_known import UPSTREAM_KINDS

__all__ = ["Moody", "Said", "moody_upstream"]


@dataclass(slots=True)
class Said:
    """One request as it came in, and what was made of it."""

    number: int
    kind: str
    plan: Plan
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Moody:
    """What an upstream was asked and said.

    Args:
        seed: of all its moods.
        elsewhere: port of a server that nobody should ever ask.
        key: the only one it should be shown; None for any.
    """

    seed: int
    elsewhere: int
    key: str | None = None
    port: int = 0
    calm: bool = False
    """Whether it answers rightly from now on."""
    said: list[Said] = field(default_factory=list)
    wrongs: list[str] = field(default_factory=list)
    """Requests that no proxy should send."""
    connections: set[_Connection] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        kinds = {kind: weight for kind, weight in KINDS.items() if kind not in UPSTREAM_KINDS}
        self._kinds, self._weights = list(kinds), list(kinds.values())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def take(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> Said:
        """Note a request, and decide how to answer."""
        kind = "good" if self.calm else self._random.choices(self._kinds, self._weights)[0]
        number = len(self.said)
        plan = plan_for(kind, number, method, target.partition("?")[0], body, elsewhere=self.elsewhere)
        said = Said(number, kind, plan, method, target, headers, body)
        self.said.append(said)
        self.wrongs += [f"request {number}: {wrong}" for wrong in self._wrong(said)]
        return said

    def _wrong(self, said: Said) -> list[str]:
        found: list[str] = []
        path = said.target.partition("?")[0]
        for _ in range(4):
            if not path.startswith("/v1/") or {".", ".."} & set(path.split("/")) or "smuggled" in path:
                found.append(f"target {said.target!r}")
                break
            path = unquote(path)
        names = [name for name, _ in said.headers]
        hosts = [value for name, value in said.headers if name == "host"]
        if hosts != [f"127.0.0.1:{self.port}"]:
            found.append(f"hosts {hosts}")
        ours = {"x-cache-tags", "x-cache-tenant", "proxy-authorization", "upgrade", "te", "x-trailer"} & set(
            names
        )
        if ours:
            found.append(f"headers {sorted(ours)}")
        keys = [value for name, value in said.headers if name in {"authorization", "x-api-key", "cookie"}]
        if self.key is not None and keys not in ([self.key], [f"Bearer {self.key}"]):
            found.append(f"keys {keys}")
        if names.count("content-length") + names.count("transfer-encoding") > 1:
            found.append("more than one length")
        return found


class _Parser(Protocol):
    def feed_data(self, data: bytes) -> None: ...
    def get_method(self) -> bytes: ...


class _Connection(asyncio.Protocol):
    """Takes requests one after another; the parser is strict, so that nothing odd is passed on unseen."""

    def __init__(self, moody: Moody) -> None:
        self._moody: Final = moody
        self._parser: Final[_Parser] = httptools.HttpRequestParser(self)
        self._task: asyncio.Task[None] | None = None
        self._target, self._body = b"", b""
        self._headers: list[tuple[str, str]] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as it is
        self._transport = transport
        self._moody.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._moody.connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._moody.wrongs.append(f"bytes that are no request: {error!r}")
            self.close()

    def on_message_begin(self) -> None:
        self._target, self._body, self._headers = b"", b"", []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method, target = self._parser.get_method().decode(), self._target.decode("latin-1")
        said = self._moody.take(method, target, self._headers, self._body)
        self._task = asyncio.get_running_loop().create_task(self._answer(said.plan))

    async def _answer(self, plan: Plan) -> None:
        for step in plan.steps:
            if isinstance(step, bytes):
                self._transport.write(step)
            else:
                await asyncio.sleep(step)
        if plan.closes:
            self._transport.close()

    def close(self) -> None:
        self._transport.close()


@asynccontextmanager
async def moody_upstream(seed: int, *, key: str | None = None) -> AsyncIterator[Moody]:
    """An upstream that serves, and beside it a server that nobody should ask: asking it is a wrong."""
    moody = Moody(seed, 0, key)

    async def trapped(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        moody.wrongs.append("another host was asked")
        writer.close()

    loop = asyncio.get_running_loop()
    trap = await asyncio.start_server(trapped, "127.0.0.1", 0)
    server = await loop.create_server(lambda: _Connection(moody), "127.0.0.1", 0)
    moody.elsewhere = trap.sockets[0].getsockname()[1]
    moody.port = server.sockets[0].getsockname()[1]
    try:
        yield moody
    finally:
        for each in (trap, server):
            each.close()
        for connection in set(moody.connections):
            connection.close()
        await asyncio.sleep(0.01)
