"""The Cache-Status header says what the cache did."""

from __future__ import annotations

from typing import Any

import pytest

from asynccache import CachePipeline
from asynccache._wire.status import cache_headers, cache_status
from asynccache.backends import MemoryBackend
from asynccache.testing import FakeClock

pytestmark = pytest.mark.anyio

BODY = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


async def answers(_: dict[str, Any]) -> str:
    return "a"


async def cut_short(_: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": "a"}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "length"}]}


def pipeline(upstream: Any, clock: FakeClock, ttl: float | None = 3600) -> CachePipeline:
    return CachePipeline(upstream, backend=MemoryBackend(clock=clock), decision=None, clock=clock, ttl=ttl)


async def test_miss_hit_and_refresh_are_told_apart() -> None:
    clock = FakeClock()
    async with pipeline(answers, clock) as cache:
        assert cache_headers(await cache.fetch(BODY)) == [("cache-status", "asynccache; fwd=miss")]
        clock.advance(59.5)
        hit = [("cache-status", "asynccache; hit; ttl=3540; detail=exact"), ("age", "59")]
        assert cache_headers(await cache.fetch(BODY)) == hit
        async with cache.stream(BODY) as stream:
            assert cache_headers(stream) == hit
        refreshed = await cache.fetch(BODY, control={"no_cache": True})
        assert cache_status(refreshed) == "asynccache; fwd=request"


async def test_entry_that_never_expires_has_no_ttl() -> None:
    async with pipeline(answers, FakeClock(), ttl=None) as cache:
        await cache.fetch(BODY)
        assert cache_status(await cache.fetch(BODY)) == "asynccache; hit; detail=exact"


async def test_refusal_to_store_is_told() -> None:
    async with pipeline(cut_short, FakeClock()) as cache:
        assert cache_status(await cache.fetch(BODY)) == (
            "asynccache; fwd=miss; detail=\"not stored: finish_reason is 'length'\""
        )
