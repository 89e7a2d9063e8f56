"""Other caches' Redis stores, each in its fastest documented configuration, and redis-py below them.

What is timed is a store's own get: what it keeps is bytes where it takes them, and it gives them back as
it does. Keys are made beforehand. Connections are never short: the pools hold one for every task, and are of
the kind that hands them out without a lock wherever that can be chosen.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
from _harness import Open, Variant
from _workload import Answer, Ask, Body

CONNECTIONS: Final = 256
_TTL: Final = 3600

_Name = TypeVar("_Name")


def key_of(body: Body) -> bytes:
    return sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()


def named(
    upstream: Ask,
    name: Callable[[Body], _Name],
    get: Callable[[_Name], Awaitable[Answer | None]],
    put: Callable[[_Name, Answer], Awaitable[object]],
    *,
    parse: Callable[[Any], Answer] | None = None,
) -> Ask:
    """Around a store: what it calls an answer is made once for each request.

    ``parse`` makes an answer of what it gives out, when it is checked.
    """
    names: dict[int, _Name] = {}

    async def ask(body: Body) -> Answer:
        known = names.get(body["seed"])
        if known is None:
            known = names[body["seed"]] = name(body)
        answer = await get(known)
        if answer is None:
            answer = await upstream(body)
            await put(known, answer)
        return answer

    if parse is not None:
        ask.parse = parse  # type: ignore[attr-defined]  # read by the check
    return ask


def _text_key(prefix: str, body: Body) -> str:
    return f"{prefix}:{key_of(body).hex()}"


def _around_bytes(
    upstream: Ask, prefix: str, get: Callable[[str], Awaitable[Any]], put: Callable[..., Awaitable[Any]]
) -> Ask:
    """Around a store that is fastest when it is handed bytes."""

    async def kept(key: str, answer: Answer) -> None:
        await put(key, orjson.dumps(answer))

    return named(upstream, partial(_text_key, prefix), get, kept, parse=_parsed)


def _parsed(stored: Any) -> Answer:
    """What was made of a fresh answer, or is stored."""
    answer: Answer = stored if isinstance(stored, dict) else orjson.loads(stored)
    return answer


def redis_py(port: int) -> Open:
    @asynccontextmanager
    async def opened(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
        redis = import_module("redis.asyncio")
        pool = redis.ConnectionPool(host="127.0.0.1", port=port, max_connections=CONNECTIONS)
        async with aclosing(redis.Redis.from_pool(pool)) as client:
            yield _around_bytes(upstream, "redis-py", client.get, partial(client.set, ex=_TTL))

    return opened


def aiocache(port: int, *, raw: bool) -> Open:
    @asynccontextmanager
    async def opened(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
        serializers = import_module("aiocache.serializers")
        kind: Any = import_module("aiocache").RedisCache
        where = {"endpoint": "127.0.0.1", "port": port, "pool_max_size": CONNECTIONS, "namespace": "aiocache"}
        if not raw:
            async with kind(**where) as cache:
                yield named(upstream, partial(_text_key, "json"), cache.get, partial(cache.set, ttl=_TTL))
            return
        bare = serializers.NullSerializer(encoding=None)
        async with kind(**where, serializer=bare, timeout=0) as cache:
            yield _around_bytes(upstream, "bytes", cache.get, partial(cache.set, ttl=_TTL))

    return opened


def cashews(port: int, **settings: Any) -> Open:
    @asynccontextmanager
    async def opened(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
        cache = import_module("cashews").Cache()
        cache.setup(
            f"redis://127.0.0.1:{port}/0",
            max_connections=CONNECTIONS,
            connection_pool_class=import_module("redis.asyncio").ConnectionPool,
            check_repr=False,
            **settings,
        )
        await cache.init()
        try:
            prefix = "cashews-memory" if settings else "cashews"
            yield _around_bytes(upstream, prefix, cache.get, partial(cache.set, expire=_TTL))
        finally:
            await cache.close()

    return opened


def litellm(port: int) -> Open:
    @asynccontextmanager
    async def opened(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or importing it asks the network
        kind: Any = import_module("litellm.caching.redis_cache").RedisCache
        cache = kind(host="127.0.0.1", port=port, namespace="litellm", max_connections=CONNECTIONS)
        try:
            yield named(
                upstream,
                partial(_text_key, "answer"),
                cache.async_get_cache,
                partial(cache.async_set_cache, ttl=_TTL),
            )
        finally:
            await cache.disconnect()

    return opened


def langchain(store: Callable[[int], Any], port: int) -> Open:
    """Its caches are keyed by prompt and model, both as text, of which they make their own key."""

    @asynccontextmanager
    async def opened(upstream: Ask, _: Path) -> AsyncIterator[Ask]:
        generation: Any = import_module("langchain_core.outputs").Generation
        cache = store(port)
        warnings.filterwarnings("ignore", message="The default value of `allowed_objects`")

        async def get(spelled: tuple[str, str]) -> Any:
            return await cache.alookup(*spelled)

        async def put(spelled: tuple[str, str], answer: Answer) -> None:
            await cache.aupdate(*spelled, [generation(text=orjson.dumps(answer).decode())])

        def parse(found: Any) -> Answer:
            answer: Answer = found if isinstance(found, dict) else orjson.loads(found[0].text)
            return answer

        yield named(upstream, _spelled, get, put, parse=parse)

    return opened


def _spelled(body: Body) -> tuple[str, str]:
    model = {name: value for name, value in body.items() if name != "messages"}
    return orjson.dumps(body["messages"]).decode(), orjson.dumps(model).decode()


def _langchain_community(port: int) -> Any:
    redis = import_module("redis.asyncio")
    pool = redis.ConnectionPool(host="127.0.0.1", port=port, max_connections=CONNECTIONS)
    cache: Any = import_module("langchain_community.cache").AsyncRedisCache
    return cache(redis.Redis.from_pool(pool), ttl=_TTL)


def _langchain_redis(port: int) -> Any:
    cache: Any = import_module("langchain_redis").RedisCache
    return cache(redis_url=f"redis://127.0.0.1:{port}/0", ttl=_TTL, prefix="langchain-redis")


LANGCHAIN_REDIS: Final = "langchain-redis RedisCache"
"""Stores documents of the server's JSON module, which a plain server lacks."""


def in_redis(port: int) -> tuple[Variant, ...]:
    """Every hit asks the server."""
    community = ("langchain-community", "langchain-core", "redis")
    return (
        Variant(
            "aiocache, bytes",
            "RedisCache without serializer and timeout",
            aiocache(port, raw=True),
            ("aiocache", "redis"),
        ),
        Variant(
            "aiocache", "RedisCache, its JSON and timeout", aiocache(port, raw=False), ("aiocache", "redis")
        ),
        Variant("cashews", "redis://, bytes", cashews(port), ("cashews", "redis")),
        Variant("LiteLLM RedisCache", "async_get_cache", litellm(port), ("litellm", "redis")),
        Variant(
            "LangChain AsyncRedisCache",
            "alookup of langchain-community",
            langchain(_langchain_community, port),
            community,
        ),
        Variant(
            LANGCHAIN_REDIS,
            "alookup, in threads",
            langchain(_langchain_redis, port),
            ("langchain-redis", "langchain-core", "redis"),
        ),
    )


def in_memory_first(port: int) -> tuple[Variant, ...]:
    """A hit may be found in the process's own memory."""
    return (
        Variant(
            "cashews, client side",
            "the same with a memory that the server keeps up to date",
            cashews(port, client_side=True),
            ("cashews", "redis"),
        ),
    )


def floor(port: int) -> Variant:
    return Variant("redis-py GET", "the plain client", redis_py(port), ("redis", "hiredis"))
