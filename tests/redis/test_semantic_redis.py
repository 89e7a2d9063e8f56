"""Near questions across processes: each builds its index from the store, and follows what it tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
import pytest

from asynccache import CachePipeline, Embedding
from asynccache.backends import MemoryBackend, RedisBackend, Tiered
from asynccache.backends._packed_vector import FORMS, VectorForm, pack, unpack
from asynccache.index import BackendIndex
from asynccache.testing import FakeDecision, FakeEmbedder, make_entry
from asynccache.testing.entries import SPACE
from asynccache.testing.redis_servers import RedisCluster, RedisServer

pytestmark = pytest.mark.anyio


async def model(body: Any) -> str:
    return f"about {body['messages'][-1]['content']}"


@pytest.fixture(params=["server", "cluster"])
def where(request: pytest.FixtureRequest) -> RedisServer | RedisCluster:
    return request.getfixturevalue(f"redis_{request.param}")  # type: ignore[no-any-return]


@asynccontextmanager
async def pipelines(where: RedisServer | RedisCluster, prefix: str) -> AsyncIterator[list[CachePipeline]]:
    """Two that share nothing but the server."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                CachePipeline(
                    model,
                    backend=f"{where.url}?prefix={prefix}&op_timeout=5",
                    embedder=FakeEmbedder(),
                    decision=FakeDecision(),
                    strict=True,
                )
            )
            for _ in range(2)
        ]


async def test_near_question_is_answered_by_what_another_process_has_stored(
    where: RedisServer | RedisCluster, own_prefix: str
) -> None:
    async with pipelines(where, own_prefix) as (one, other):
        await one.ask("how do I freeze my card")
        await one.flush()
        await other.flush()
        outcome = await other.ask("my card how do I freeze")
        assert (outcome.source.value, outcome.text) == ("semantic", "about how do I freeze my card")
        await one.ask("what is a prime")  # stored when the other has its index already
        await one.flush()
        await other.flush()
        assert (await other.ask("a prime is what")).source.value == "semantic"


async def test_what_another_process_invalidates_is_not_near_any_more(
    where: RedisServer | RedisCluster, own_prefix: str
) -> None:
    async with pipelines(where, own_prefix) as (one, other):
        await one.ask("how do I freeze my card", control={"tags": ["cards"]})
        await one.flush()
        await other.flush()
        assert (await other.ask("my card how do I freeze", control={"no_store": True})).hit
        assert await one.invalidate(tags=["cards"]) >= 1
        await asyncio.sleep(0.2)
        outcome = await other.ask("my card how do I freeze")
        assert (outcome.source.value, outcome.text) == ("upstream", "about my card how do I freeze")


@pytest.mark.parametrize("form", FORMS)
def test_packed_vector_points_where_it_did(form: VectorForm) -> None:
    chance = np.random.default_rng(3)
    for _ in range(50):
        vector = chance.normal(size=384).astype("<f4")
        vector /= np.linalg.norm(vector)
        packed = pack(vector.tobytes(), form)
        found = np.frombuffer(unpack(packed), "<f4")
        assert abs(float(np.linalg.norm(found)) - 1.0) < 1e-6
        assert float(found @ vector) > {"float32": 0.999999, "float16": 0.999999, "int8": 0.9995}[form]
        assert len(packed) <= {"float32": 1537, "float16": 769, "int8": 389}[form]


@pytest.mark.parametrize(
    "packed", [b"", b"\x01", b"\x07abcd", b"\x02abcd", b"\x01\x00\x7e", b"\x02" + bytes(9)]
)
def test_what_is_no_packed_vector_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="vector"):
        unpack(packed)


async def test_index_follows_a_store_that_was_emptied(killable_server: RedisServer) -> None:
    backend = RedisBackend([("127.0.0.1", killable_server.port)], op_timeout=2.0)
    index = BackendIndex(Tiered(MemoryBackend(), backend), poll=0.05)
    embedder = FakeEmbedder()
    (row,) = await embedder.embed(["a question"])
    embedding = Embedding(SPACE, row.astype("<f4").tobytes())
    entry = make_entry(1, created_at=0.0, ttl=None, embedding=embedding)
    async with index.lifespan():
        await backend.put(entry)
        await index.flush()
        assert [each.key for each in await index.nearest(entry.partition, embedding, 3)] == [entry.key]
        killable_server.command("FLUSHALL")

        found: object = None
        for _ in range(100):
            found = await index.nearest(entry.partition, embedding, 3)
            if not found:
                break
            await asyncio.sleep(0.05)
        assert found == []
