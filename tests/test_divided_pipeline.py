"""What is forgotten of a request with several inputs: the answer to each."""

from __future__ import annotations

from typing import Any

import pytest

from asynccache import CachePipeline, Request, Source
from tests.stages._batches import EmbeddingServer

pytestmark = pytest.mark.anyio


def request(*inputs: str) -> Request:
    return Request(body={"model": "e", "input": list(inputs)}, dialect="embeddings")


@pytest.mark.parametrize("asked", [("a", "b"), ("a",)])
async def test_invalidating_a_batch_forgets_its_inputs(asked: Any) -> None:
    server = EmbeddingServer()
    async with CachePipeline(server, backend="memory://", decision=None, strict=True) as cache:
        await cache.fetch(request("a", "b", "c"))
        assert await cache.invalidate(request(*asked)) == len(asked)
        again = await cache.fetch(request("a", "b", "c"))
        assert (again.source, server.calls[1:]) == (Source.UPSTREAM, [list(asked)])


async def test_a_rejected_batch_is_forgotten() -> None:
    server = EmbeddingServer()
    async with CachePipeline(server, backend="memory://", decision=None, strict=True) as cache:
        assert await cache.reject(await cache.fetch(request("a", "b")))
        assert (await cache.fetch(request("a"))).source is Source.UPSTREAM
