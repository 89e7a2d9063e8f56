"""The floor below every cache, and ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Final

import orjson
from _harness import Open, Variant
from _workload import Answer, Ask, Body

from asynccache import CachePipeline


@asynccontextmanager
async def floor(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
    stored: dict[bytes, bytes] = {}

    async def ask(body: Body) -> Answer:
        key = sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
        answer = stored.get(key)
        if answer is None:
            answer = stored[key] = orjson.dumps(await upstream(body))
        document: Answer = orjson.loads(answer)
        return document

    yield ask


@asynccontextmanager
async def floor_in_thread(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
    stored: dict[bytes, bytes] = {}
    run = asyncio.get_running_loop().run_in_executor
    with ThreadPoolExecutor(1) as thread:

        async def ask(body: Body) -> Answer:
            key = sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
            answer = await run(thread, stored.get, key)
            if answer is None:
                answer = stored[key] = orjson.dumps(await upstream(body))
            document: Answer = orjson.loads(answer)
            return document

        yield ask


def pipeline(url: str) -> Open:
    """The whole pipeline over a backend; ``{directory}`` in the URL stands for the variant's own."""

    @asynccontextmanager
    async def opened(upstream: Ask, directory: Path) -> AsyncIterator[Ask]:
        async with CachePipeline(
            upstream=upstream, backend=url.format(directory=directory), decision=None
        ) as cache:

            async def ask(body: Body) -> Answer:
                document: Answer = (await cache.chat(**body)).json()
                return document

            yield ask

    return opened


@asynccontextmanager
async def respelled(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
    fresh = count()
    async with CachePipeline(upstream=upstream, backend="memory://", decision=None) as cache:

        async def ask(body: Body) -> Answer:
            document: Answer = (await cache.chat(**body, user=f"user-{next(fresh)}")).json()
            return document

        yield ask


FLOOR: Final = Variant("floor", "sorted orjson, sha256, a dict, orjson.loads; no policy, no bound", floor)
HOP: Final = Variant(
    "floor, in a thread", "the same, its dict read by an executor of one thread", floor_in_thread
)
MEMORY: Final = Variant("asynccache memory", "cache.chat(**body), then .json()", pipeline("memory://"))
SQLITE: Final = Variant(
    "asynccache sqlite", "the same; memory in front of the file", pipeline("sqlite:///{directory}/cache.db")
)
COLD: Final = Variant(
    "asynccache sqlite, cold",
    "the same without that memory: each hit reads the file",
    pipeline("sqlite:///{directory}/cache.db?memory=0"),
)
# A pipeline remembers the spellings of requests it has seen. This one never profits from that.
RESPELLED: Final = Variant("asynccache memory, new spelling", "each call with a `user` never seen", respelled)
