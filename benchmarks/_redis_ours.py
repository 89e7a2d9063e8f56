"""Ours before Redis: the stores alone, as the peers are called, and the pipelines over them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson
from _harness import Open, Variant
from _ours import pipeline
from _redis_peers import key_of, named
from _workload import Answer, Ask

from asynccache import Entry, Managed, Response, open_backend

REDIS: Final = "asynccache redis"
TIERED: Final = "asynccache redis, memory before it"
MEMORY: Final = "asynccache memory"
WHOLE: Final = ", pipeline"
"""Ends the names of the whole pipelines."""

_TTL: Final = 3600


def backend(url: str) -> Open:
    @asynccontextmanager
    async def opened(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
        store = open_backend(url)
        if not isinstance(store, Managed):
            raise TypeError(f"nothing opens a {type(store).__name__}")

        async def get(key: bytes) -> Any:
            return await store.get(key)

        def parse(found: Any) -> Answer:
            answer: Answer = orjson.loads(found.response.body) if isinstance(found, Entry) else found
            return answer

        async def put(key: bytes, answer: Answer) -> None:
            entry = Entry(
                key=key,
                partition=bytes(32),
                dialect="chat.completions",
                response=Response(orjson.dumps(answer)),
                created_at=time.time(),
                ttl=_TTL,
            )
            await store.put(entry)

        async with store.lifespan():
            yield named(upstream, key_of, get, put, parse=parse)

    return opened


def in_redis(port: int) -> tuple[Variant, ...]:
    """Every hit asks the server."""
    return _both(REDIS, "a store without memory", f"redis://127.0.0.1:{port}/0?memory=0&prefix={{}}")


def in_memory_first(port: int) -> tuple[Variant, ...]:
    """A hit is found in the process's own memory, before Redis or alone."""
    return (
        *_both(TIERED, "the same with its memory", f"redis://127.0.0.1:{port}/0?prefix=tiered-{{}}"),
        *_both(MEMORY, "nothing else", "memory://"),
    )


def _both(name: str, how: str, url: str) -> tuple[Variant, Variant]:
    return (
        Variant(name, f"{how}: get", backend(url.format("get"))),
        Variant(name + WHOLE, f"{how}: cache.chat(**body), then .json()", pipeline(url.format("whole"))),
    )
