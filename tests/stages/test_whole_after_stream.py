"""A whole request with an upstream of its own gets the usage that upstream would have told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asynccache import CachePipeline, Request, Source
from asynccache._protocols import Upstream
from asynccache.testing import FakeUpstream

pytestmark = pytest.mark.anyio

BODY = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
WITH_USAGE = {"stream_options": {"include_usage": True}}


def request(upstream: Upstream | None, **fields: Any) -> Request:
    return Request(body={**BODY, **fields}, upstream=upstream)


def caching(upstream: Upstream | None = None) -> CachePipeline:
    return CachePipeline(upstream, backend="memory://", decision=None, strict=True)


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def streamed(cache: CachePipeline, upstream: Upstream | None, **fields: Any) -> Source | None:
    async with cache.stream(request(upstream, stream=True, **fields)) as stream:
        await stream.collect()
        return stream.source


async def test_entry_streamed_without_usage_is_refused() -> None:
    upstream = FakeUpstream("first", "second")
    async with caching() as cache:
        await streamed(cache, upstream)
        outcome = await cache.fetch(request(upstream))
        assert (outcome.source, outcome.reasons) == (Source.UPSTREAM, ("usage was not recorded",))
        assert outcome.json()["usage"]["completion_tokens"] == 1
        again = await cache.fetch(request(upstream))
        assert (again.source, again.text) == (Source.EXACT, "second")
        assert await streamed(cache, upstream) is Source.EXACT
    assert len(upstream.calls) == 2


async def test_entry_streamed_with_usage_is_served() -> None:
    upstream = FakeUpstream("first", "second")
    async with caching() as cache:
        await streamed(cache, upstream, **WITH_USAGE)
        outcome = await cache.fetch(request(upstream))
        assert (outcome.source, outcome.json()["usage"]["completion_tokens"]) == (Source.EXACT, 1)


async def test_whole_answer_without_usage_is_served() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    upstream = FakeUpstream({"choices": [choice]})
    async with caching() as cache:
        await cache.fetch(request(upstream))
        assert (await cache.fetch(request(upstream))).source is Source.EXACT


@pytest.mark.parametrize("fields", [{}, {"stream": False}])
async def test_one_entry_serves_both_where_the_pipeline_has_the_upstream(fields: dict[str, Any]) -> None:
    upstream = FakeUpstream("first", "second")
    async with caching(upstream) as cache:
        await streamed(cache, None)
        assert (await cache.fetch(request(None, **fields))).source is Source.EXACT


async def test_those_who_waited_for_a_stream_without_usage_ask_once_more_together() -> None:
    upstream = FakeUpstream("first", "second", "third")
    upstream.hold()
    async with caching() as cache:
        leading = asyncio.create_task(streamed(cache, upstream))
        await settle()
        following = [asyncio.create_task(cache.fetch(request(upstream))) for _ in range(9)]
        await settle()
        upstream.release()
        assert await leading is Source.UPSTREAM
        outcomes = await asyncio.gather(*following)
        assert [outcome.json()["usage"]["completion_tokens"] for outcome in outcomes] == [1] * 9
        assert {outcome.text for outcome in outcomes} == {"second"}
    assert len(upstream.calls) == 2


async def test_those_who_waited_for_a_stream_share_it_where_the_pipeline_has_the_upstream() -> None:
    upstream = FakeUpstream("first", "second")
    upstream.hold()
    async with caching(upstream) as cache:
        leading = asyncio.create_task(streamed(cache, None))
        await settle()
        following = asyncio.create_task(cache.fetch(request(None)))
        await settle()
        upstream.release()
        await leading
        assert (await following).source is Source.SHARED
    assert len(upstream.calls) == 1
