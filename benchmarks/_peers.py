"""Other caches, each used in its best reasonable way, its limits raised where the workload needs it.

There are two kinds. A *call* is what a library itself offers around a function: it makes the key, reads,
and calls the function on a miss. A *bare store* is its get and set, with the floor's key and our own
few lines around them; what it spares is the library's keying, and in memory also the decoding, because it
hands out the very object it was given (a caller who changes an answer changes it for everyone).
"""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, asynccontextmanager
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson
from _harness import Open, Variant
from _workload import Answer, Ask, Body

_MANY: Final = 10**6
"""Entries: more than any run makes. LiteLLM's default is 200, GPTCache's 1,000, cashews' 1,000."""
_TTL: Final = 3600

Get: TypeAlias = Callable[[str], Awaitable[Any]]
Put: TypeAlias = Callable[[str, Any], Awaitable[Any]]


def _text(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _key(body: Body) -> str:
    return sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _bare(upstream: Ask, get: Get, put: Put) -> Ask:
    """Around a store that keeps objects as they are."""

    async def ask(body: Body) -> Answer:
        key = _key(body)
        answer: Answer | None = await get(key)
        if answer is None:
            answer = await upstream(body)
            await put(key, answer)
        return answer

    return ask


def _bare_bytes(upstream: Ask, get: Get, put: Put) -> Ask:
    """Around a store of bytes: JSON is the cheapest way in and out."""

    async def ask(body: Body) -> Answer:
        key = _key(body)
        stored = await get(key)
        if stored is None:
            answer = await upstream(body)
            await put(key, orjson.dumps(answer))
            return answer
        document: Answer = orjson.loads(stored)
        return document

    return ask


@asynccontextmanager
async def litellm_cache(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or importing it asks the network
    cache = import_module("litellm.caching.caching").Cache(type="local")
    cache.cache.max_size_in_memory = _MANY

    async def ask(body: Body) -> Answer:
        answer: Answer | None = await cache.async_get_cache(**body)
        if answer is None:
            answer = await upstream(body)
            # A dict is read faster than the JSON text that its own completion() would store.
            await cache.async_add_cache(answer, **body)
        return answer

    yield ask


@asynccontextmanager
async def gptcache_map(upstream: Ask, directory: Path) -> AsyncIterator[Ask]:
    gptcache = import_module("gptcache")
    manager = import_module("gptcache.manager.data_manager").MapDataManager(str(directory / "map"), _MANY)
    aadapt = import_module("gptcache.adapter.adapter").aadapt
    cache = gptcache.Cache()
    cache.init(
        # Its default key is the last message alone; this one holds all, and is no slower.
        pre_func=lambda data, **_: _text(data["body"]),
        post_func=import_module("gptcache.processor.post").first,
        data_manager=manager,
        # By default it pickles the whole map after every 20 answers.
        config=gptcache.Config(auto_flush=_MANY, disable_report=True),
    )

    async def asked(*, body: Body) -> Answer:
        return await upstream(body)

    def save(answer: Answer, update: Callable[[str], None], **_: object) -> Answer:
        update(_text(answer))
        return answer

    async def ask(body: Body) -> Answer:
        answer: Answer = await aadapt(asked, orjson.loads, save, cache_obj=cache, body=body)
        return answer

    yield ask
    cache.data_manager = ExitStack()  # at exit it closes the manager, which would write the map once more


def aiocache_call(decorator: str, **options: Any) -> Open:
    @asynccontextmanager
    async def opened(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
        async def answered(body: Body) -> Answer:
            return await upstream(body)

        ask: Ask = getattr(import_module("aiocache"), decorator)(ttl=_TTL, **options)(answered)
        yield ask

    return opened


@asynccontextmanager
async def aiocache_bare(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
    cache = import_module("aiocache").SimpleMemoryCache(timeout=0, ttl=_TTL)
    yield _bare(upstream, cache.get, cache.set)


def _cashews(url: str, directory: Path) -> Any:
    cache = import_module("cashews").Cache()
    if url == "mem://":
        cache.setup(url, size=_MANY)
    else:
        cache.setup(url, directory=str(directory), shards=1)  # its 8 shards are slower here
    return cache


def cashews_call(url: str) -> Open:
    @asynccontextmanager
    async def opened(upstream: Ask, directory: Path) -> AsyncIterator[Ask]:
        async with aclosing(_Closing(_cashews(url, directory))) as closing:
            # A key template over a hash takes half the time of its own spelling of a nested dict.
            @closing.cache(ttl=_TTL, key="answer:{key}")  # type: ignore[untyped-decorator]  # typed as Any
            async def answered(key: str, body: Body) -> Answer:  # noqa: ARG001  (read by the template)
                return await upstream(body)

            async def ask(body: Body) -> Answer:
                answer: Answer = await answered(key=_key(body), body=body)
                return answer

            yield ask

    return opened


class _Closing:
    """Gives cashews' ``close`` the name that ``aclosing`` calls."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache

    async def aclose(self) -> None:
        await self.cache.close()


@asynccontextmanager
async def cashews_bare(upstream: Ask, directory: Path) -> AsyncIterator[Ask]:
    async with aclosing(_Closing(_cashews("mem://", directory))) as closing:
        yield _bare(upstream, closing.cache.get, partial(closing.cache.set, expire=_TTL))


@asynccontextmanager
async def diskcache_inline(upstream: Ask, directory: Path) -> AsyncIterator[Ask]:
    with import_module("diskcache").Cache(directory) as cache:

        async def get(key: str) -> Any:
            return cache.get(key)

        async def put(key: str, value: bytes) -> None:
            cache.set(key, value, expire=_TTL)

        yield _bare_bytes(upstream, get, put)


@asynccontextmanager
async def diskcache_to_thread(upstream: Ask, directory: Path) -> AsyncIterator[Ask]:
    with import_module("diskcache").Cache(directory) as cache:
        put = partial(asyncio.to_thread, cache.set, expire=_TTL)
        yield _bare_bytes(upstream, partial(asyncio.to_thread, cache.get), put)


@asynccontextmanager
async def diskcache_one_thread(upstream: Ask, directory: Path) -> AsyncIterator[Ask]:
    with import_module("diskcache").Cache(directory) as cache, ThreadPoolExecutor(1) as thread:
        run = asyncio.get_running_loop().run_in_executor
        put = partial(cache.set, expire=_TTL)
        yield _bare_bytes(upstream, partial(run, thread, cache.get), partial(run, thread, put))


def langchain(module: str, kind: str, *, file: bool) -> Open:
    """Its cache objects, keyed by prompt and model string as its models key them, but spelled by orjson."""

    @asynccontextmanager
    async def opened(upstream: Ask, directory: Path) -> AsyncIterator[Ask]:
        make = getattr(import_module(module), kind)
        cache = make(str(directory / "langchain.db")) if file else make()
        generation = import_module("langchain_core.outputs").Generation
        warnings.filterwarnings("ignore", message="The default value of `allowed_objects`")

        async def ask(body: Body) -> Answer:
            prompt = _text(body["messages"])
            model = _text({name: value for name, value in body.items() if name != "messages"})
            found = await cache.alookup(prompt, model)
            if found is None:
                answer = await upstream(body)
                await cache.aupdate(prompt, model, [generation(text=_text(answer))])
                return answer
            document: Answer = orjson.loads(found[0].text)
            return document

        yield ask
        if file:
            cache.engine.dispose()

    return opened


LITELLM: Final = Variant("LiteLLM Cache object", "get_cache(**body), add_cache", litellm_cache, ("litellm",))
GPTCACHE: Final = Variant("GPTCache map", "aadapt, map manager", gptcache_map, ("gptcache",))
AIOCACHE: Final = Variant("aiocache @cached", "defaults, its own key", aiocache_call("cached"), ("aiocache",))
AIOCACHE_UNTIMED: Final = Variant(
    "aiocache @cached, no timeout",
    "timeout=0, its own key",
    aiocache_call("cached", timeout=0),
    ("aiocache",),
)
AIOCACHE_STAMPEDE: Final = Variant(
    "aiocache @cached_stampede",
    "lease=2, its own key",
    aiocache_call("cached_stampede", lease=2),
    ("aiocache",),
)
AIOCACHE_BARE: Final = Variant("aiocache get/set (bare)", "timeout=0, our key", aiocache_bare, ("aiocache",))
CASHEWS: Final = Variant("cashews @cache", "key template over our hash", cashews_call("mem://"), ("cashews",))
CASHEWS_BARE: Final = Variant("cashews get/set (bare)", "our key", cashews_bare, ("cashews",))
CASHEWS_DISK: Final = Variant(
    "cashews @cache, diskcache",
    "key template over our hash",
    cashews_call("disk://"),
    ("cashews", "diskcache"),
)
DISKCACHE: Final = Variant(
    "diskcache inline (blocks)",
    "our key, JSON bytes, SQLite on the event loop",
    diskcache_inline,
    ("diskcache",),
)
DISKCACHE_THREAD: Final = Variant(
    "diskcache to_thread", "our key, JSON bytes", diskcache_to_thread, ("diskcache",)
)
DISKCACHE_ONE_THREAD: Final = Variant(
    "diskcache, one thread",
    "our key, JSON bytes, an executor of one thread",
    diskcache_one_thread,
    ("diskcache",),
)
LANGCHAIN_MEMORY: Final = Variant(
    "LangChain InMemoryCache (bare)",
    "alookup, aupdate; our spelling; a dict",
    langchain("langchain_core.caches", "InMemoryCache", file=False),
    ("langchain-core",),
)
LANGCHAIN_SQLITE: Final = Variant(
    "LangChain SQLiteCache",
    "alookup, aupdate; our spelling",
    langchain("langchain_community.cache", "SQLiteCache", file=True),
    ("langchain-core", "langchain-community"),
)
