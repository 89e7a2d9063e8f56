"""Text completions through a whole pipeline, from a server over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
import pytest

from asynccache import CachePipeline, Outcome, Request, Source, UpstreamError
from asynccache.testing import FakeEmbedder
from tests.dialects._openai_wire import served, transcript
from tests.upstreams.conftest import RawServer

pytestmark = pytest.mark.anyio

FOLDER: Final = "openai-completions"
PLAIN: Final = transcript(FOLDER, "openai_plain").wire
STREAM: Final = transcript(FOLDER, "openai_plain_stream").wire


def request(prompt: Any = "What is the capital of France?", **fields: Any) -> Request:
    return Request(dialect="completions", body={"model": "m", "prompt": prompt, **fields})


@asynccontextmanager
async def caching(*answers: bytes, **options: Any) -> AsyncIterator[tuple[CachePipeline, RawServer]]:
    async with served(*answers) as server:
        options = {"backend": "memory://", "decision": None, "api_key": "", "strict": True, **options}
        async with CachePipeline(server.base_url, **options) as cache:
            yield cache, server


async def streamed(cache: CachePipeline, asked: Request) -> tuple[str, Outcome]:
    async with cache.stream(asked) as stream:
        text = "".join([chunk.text async for chunk in stream])
        return text, stream.outcome


async def test_one_upstream_call_serves_fetch_then_stream_then_fetch() -> None:
    async with caching(PLAIN) as (cache, server):
        fetched = await cache.fetch(request())
        text, outcome = await streamed(cache, request())
        again = await cache.fetch(request())
    assert [exchange.path for exchange in server.requests] == ["/v1/completions"]
    assert fetched.body == transcript(FOLDER, "openai_plain").body
    assert text == fetched.text == again.text == "\n\nParis is the capital of France."
    assert (fetched.source, outcome.source, again.source) == (Source.UPSTREAM, Source.EXACT, Source.EXACT)
    assert again.saved.tokens == 15


async def test_one_upstream_call_serves_stream_then_fetch_then_stream() -> None:
    counted = request(stream_options={"include_usage": True})
    async with caching(STREAM) as (cache, server):
        text, outcome = await streamed(cache, counted)
        fetched = await cache.fetch(request())
        again, replayed = await streamed(cache, counted)
    assert len(server.requests) == 1
    assert server.requests[0].json()["stream"] is True
    assert text == again == fetched.text
    assert (outcome.source, fetched.source, replayed.source) == (Source.UPSTREAM, Source.EXACT, Source.EXACT)
    assert fetched.json() == orjson.loads(transcript(FOLDER, "openai_plain").body)


async def test_spellings_of_one_prompt_are_answered_once() -> None:
    async with caching(PLAIN) as (cache, server):
        for prompt in ("Once", ["Once"]):
            await cache.fetch(request(prompt, user=str(prompt)))
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["openai_cut_by_length", "openai_empty"])
async def test_an_answer_that_is_not_good_is_served_and_not_stored(name: str) -> None:
    bad = transcript(FOLDER, name)
    async with caching(bad.wire, PLAIN) as (cache, server):
        first = await cache.fetch(request())
        second = await cache.fetch(request())
    assert first.body == bad.body
    assert first.reasons[0].startswith("not stored: ")
    assert (second.source, len(server.requests)) == (Source.UPSTREAM, 2)


@pytest.mark.parametrize("name", ["openai_cut_by_length_stream", "openai_content_filter_stream"])
async def test_a_stream_that_is_not_good_is_served_and_not_stored(name: str) -> None:
    async with caching(transcript(FOLDER, name).wire, STREAM) as (cache, server):
        await streamed(cache, request())
        _, second = await streamed(cache, request())
    assert (second.source, len(server.requests)) == (Source.UPSTREAM, 2)


async def test_a_stream_that_breaks_reaches_the_caller_and_is_not_stored() -> None:
    async with caching(transcript(FOLDER, "openai_error_midstream").wire, STREAM) as (cache, server):
        with pytest.raises(UpstreamError, match="failed in mid-stream"):
            await streamed(cache, request())
        _, second = await streamed(cache, request())
    assert (second.source, len(server.requests)) == (Source.UPSTREAM, 2)


@pytest.mark.parametrize("name", ["openai_400_best_of", "openai_404_chat_model"])
async def test_a_refusal_reaches_the_caller_and_is_not_stored(name: str) -> None:
    async with caching(transcript(FOLDER, name).wire, PLAIN) as (cache, server):
        with pytest.raises(UpstreamError) as caught:
            await cache.fetch(request())
        assert (await cache.fetch(request())).source is Source.UPSTREAM
    assert caught.value.status == transcript(FOLDER, name).status
    assert len(server.requests) == 2


async def test_a_near_prompt_is_never_a_hit() -> None:
    embedder = FakeEmbedder()
    async with caching(PLAIN, decision="threshold", embedder=embedder) as (cache, server):
        await cache.fetch(request("what is the capital of france"))
        near = await cache.fetch(request("what is the capital of France"))
        same = await cache.fetch(request("what is the capital of france"))
    assert (near.source, same.source, len(server.requests)) == (Source.UPSTREAM, Source.EXACT, 2)
