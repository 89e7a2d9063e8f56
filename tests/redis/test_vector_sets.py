"""Near questions found by the server itself, where it can."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asynccache import BackendUnavailable, CachePipeline, Embedding, Entry, SemanticIndex, open_backend
from asynccache._url import BackendURL
from asynccache.backends import RedisBackend, Tiered
from asynccache.backends._redis_url import redis_options
from asynccache.testing import FakeClock, FakeDecision, FakeEmbedder, make_entry
from asynccache.testing.entries import SPACE
from asynccache.testing.redis_servers import RedisServer

pytestmark = pytest.mark.anyio

REDIS8 = os.environ.get("ASYNCCACHE_TEST_REDIS8_URL", "")
needs_redis8 = pytest.mark.skipif(
    not REDIS8, reason="ASYNCCACHE_TEST_REDIS8_URL names no server with vector sets (Redis 8)"
)


def vector(angle: float) -> bytes:
    return struct.pack("<4f", math.cos(angle), math.sin(angle), 0.0, 0.0)


def at(number: int, angle: float, clock: FakeClock, **fields: Any) -> Entry:
    return make_entry(
        number, created_at=clock.now(), **{"embedding": Embedding(SPACE, vector(angle)), **fields}
    )


def index_of(backend: RedisBackend) -> SemanticIndex:
    index = backend.semantic_index()
    assert index is not None
    return index


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def backend(own_prefix: str, clock: FakeClock) -> AsyncIterator[RedisBackend]:
    options = redis_options(BackendURL.parse(REDIS8))
    backend = RedisBackend(**{**options, "prefix": own_prefix, "index": "server", "clock": clock})
    async with backend.lifespan():
        yield backend
        await backend.clear()


@needs_redis8
async def test_nearest_are_found_best_first(backend: RedisBackend, clock: FakeClock) -> None:
    entries = [at(number, number / 20, clock) for number in range(20)]
    for entry in entries:
        await backend.put(entry)
    await backend.flush()
    asked = Embedding(SPACE, vector(0.101))
    found = await index_of(backend).nearest(entries[0].partition, asked, 3, vectors=1)
    assert [each.key for each in found] == [entries[at].key for at in (2, 3, 1)]
    assert found[0].similarity == pytest.approx(math.cos(0.001), abs=0.01)
    assert found[0].vector is not None
    assert found[1].vector is None


@needs_redis8
async def test_partitions_and_spaces_are_sets_of_their_own(backend: RedisBackend, clock: FakeClock) -> None:
    entry = at(1, 0.0, clock)
    await backend.put(entry)
    index = index_of(backend)
    assert await index.nearest(b"p" * 32, Embedding(SPACE, vector(0.0)), 3) == []
    assert await index.nearest(entry.partition, Embedding(b"s" * 16, vector(0.0)), 3) == []


@needs_redis8
async def test_what_is_gone_is_not_found(backend: RedisBackend, clock: FakeClock) -> None:
    kept, short, deleted, tagged, moved = (
        at(1, 0.0, clock, ttl=None),
        at(2, 0.1, clock, ttl=5.0),
        at(3, 0.2, clock),
        at(4, 0.3, clock),
        at(5, 0.4, clock),
    )
    for entry in (kept, short, deleted, tagged, moved):
        await backend.put(entry)
    await backend.flush()
    await backend.delete([deleted.key])
    await backend.delete_tagged(["tag-4"])
    await backend.put(at(5, 3.0, clock, embedding=None))
    await backend.flush()
    clock.advance(5)
    found = await index_of(backend).nearest(kept.partition, Embedding(SPACE, vector(0.0)), 10)
    assert [each.key for each in found] == [kept.key]


@needs_redis8
async def test_pipeline_serves_a_near_question(own_prefix: str) -> None:
    url = f"{REDIS8}{'&' if '?' in REDIS8 else '?'}index=server&prefix={own_prefix}"

    async def model(body: Any) -> str:
        return "an answer"

    async with CachePipeline(
        model, backend=url, embedder=FakeEmbedder(), decision=FakeDecision(), strict=True
    ) as cache:
        await cache.ask("what is it")
        await cache.flush()
        assert (await cache.ask("what is it")).hit


async def test_older_server_is_told_of_and_the_exact_tier_works_alone(
    redis_server: RedisServer, own_prefix: str
) -> None:
    backend = open_backend(f"{redis_server.url}?index=server&prefix={own_prefix}")
    assert isinstance(backend, Tiered)

    async def model(body: Any) -> str:
        return "an answer"

    told: list[object] = []
    async with CachePipeline(
        model, backend=backend, embedder=FakeEmbedder(), decision=FakeDecision(), hooks=[told.append]
    ) as cache:
        await cache.ask("what is it")
        await cache.flush()
        assert (await cache.ask("what is it")).source.value == "exact"
    assert any("vector sets" in str(getattr(event, "error", "")) for event in told)


async def test_error_says_what_is_missing(redis_server: RedisServer, own_prefix: str) -> None:
    backend = RedisBackend(
        [("127.0.0.1", redis_server.port)], prefix=own_prefix, index="server", op_timeout=2.0
    )
    async with backend.lifespan():
        with pytest.raises(BackendUnavailable, match="vector sets"):
            await index_of(backend).nearest(b"p" * 32, Embedding(SPACE, vector(0.0)), 3)


def test_index_of_each_process_is_the_default() -> None:
    assert RedisBackend([("localhost", 6379)]).semantic_index() is None
