"""Inner transports under the caching one, of both client libraries, that do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import httpx2
import orjson
import pytest

from asynccache import CachePipeline, open_backend
from asynccache._lifespan import SharedLifespan
from asynccache.integrations import httpx as over_httpx
from asynccache.integrations import httpx2 as over_httpx2

URL = "http://up/v1/chat/completions"

each_library = pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])


def cache(**options: Any) -> CachePipeline:
    return CachePipeline(**{"backend": "memory://", "decision": None, **options})


def asked(text: str = "q", **fields: Any) -> Any:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


def document(text: str = "a") -> Any:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def event(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def caching(library: Any, pipeline: CachePipeline | None, inner: Any, **options: Any) -> Any:
    over: Any = over_httpx2 if library is httpx2 else over_httpx
    return over.CacheTransport(pipeline, inner, **options)


def answering(library: Any, answer: Callable[[Any], Awaitable[Any]]) -> Any:
    """An inner transport for async clients: answers, and counts who enters, leaves and closes it."""

    class Inner(library.AsyncBaseTransport):  # type: ignore[misc]  # which library is the test's choice
        def __init__(self) -> None:
            self.requests: list[Any] = []
            self.entered = self.left = self.closed = 0

        async def __aenter__(self) -> Any:
            self.entered += 1
            return self

        async def __aexit__(self, *_: object) -> None:
            self.left += 1

        async def aclose(self) -> None:
            await asyncio.sleep(0)
            self.closed += 1

        async def handle_async_request(self, request: Any) -> Any:
            self.requests.append(request)
            return await answer(request)

    return Inner()


def blocking(library: Any, answer: Callable[[Any], Any]) -> Any:
    """An inner transport for blocking clients: answers, and counts who enters, leaves and closes it."""

    class Inner(library.BaseTransport):  # type: ignore[misc]  # which library is the test's choice
        def __init__(self) -> None:
            self.requests: list[Any] = []
            self.entered = self.left = self.closed = 0

        def __enter__(self) -> Any:
            self.entered += 1
            return self

        def __exit__(self, *_: object) -> None:
            self.left += 1

        def close(self) -> None:
            self.closed += 1

        def handle_request(self, request: Any) -> Any:
            self.requests.append(request)
            return answer(request)

    return Inner()


def body(library: Any, pieces: Callable[[], Iterator[bytes]], closing: Callable[[], None]) -> Any:
    class Body(library.SyncByteStream):  # type: ignore[misc]  # which library is the test's choice
        def __iter__(self) -> Iterator[bytes]:
            return pieces()

        def close(self) -> None:
            closing()

    return Body()


class SlowBackend:
    """A store that takes its time to open, and to read.

    Args:
        opening: seconds.
        reading: seconds.
    """

    def __init__(self, *, opening: float = 0.0, reading: float = 0.0) -> None:
        self._store: Any = open_backend("memory://")
        self._shared = SharedLifespan(self._opened)
        self.opening = opening
        self.reading = reading
        self.down = False
        self.openings = 0
        self.put = self._store.put
        self.delete = self._store.delete
        self.scan = self._store.scan

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        return self._shared()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        self.openings += 1
        await asyncio.sleep(self.opening)
        if self.down:
            raise OSError("the disk is gone")
        async with self._store.lifespan():
            yield

    async def get(self, key: bytes) -> Any:
        await asyncio.sleep(self.reading)
        return await self._store.get(key)

    async def get_many(self, keys: Any) -> Any:
        await asyncio.sleep(self.reading)
        return await self._store.get_many(keys)
