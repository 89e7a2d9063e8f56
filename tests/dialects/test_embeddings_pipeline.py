"""Embeddings through a whole pipeline, from a server over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
import pytest

from asynccache import CachePipeline, Request, Source, UpstreamError, UpstreamInvalidAnswer
from asynccache.backends import MemoryBackend
from asynccache.testing import FakeEmbedder
from asynccache.upstreams.openai import OpenAIUpstream
from tests.dialects._openai_wire import served, transcript
from tests.stages._batches import batches
from tests.upstreams.conftest import RawServer

pytestmark = pytest.mark.anyio

FOLDER: Final = "openai-embeddings"
SINGLE: Final = transcript(FOLDER, "openai_single").wire
ENCODED: Final = transcript(FOLDER, "openai_single_base64").wire


def request(given: Any = "one", **fields: Any) -> Request:
    return Request(dialect="embeddings", body={"model": "m", "input": given, **fields})


@asynccontextmanager
async def caching(*answers: bytes, **options: Any) -> AsyncIterator[tuple[CachePipeline, RawServer]]:
    async with served(*answers) as server:
        options = {"backend": "memory://", "decision": None, "api_key": "", "strict": True, **options}
        async with CachePipeline(server.base_url, **options) as cache:
            yield cache, server


async def test_the_same_input_is_asked_for_once() -> None:
    async with caching(SINGLE) as (cache, server):
        first = await cache.fetch(request("one", user="a"))
        second = await cache.fetch(request(["one"], user="b"))
    assert [exchange.path for exchange in server.requests] == ["/v1/embeddings"]
    assert first.body == second.body == transcript(FOLDER, "openai_single").body
    assert (first.source, second.source, second.saved.tokens) == (Source.UPSTREAM, Source.EXACT, 8)
    assert first.text == ""


async def test_numbers_and_base64_are_kept_apart() -> None:
    async with caching(SINGLE, ENCODED) as (cache, server):
        for _ in range(2):
            for encoding in ("float", "base64"):
                outcome = await cache.fetch(request(encoding_format=encoding))
                [item] = outcome.json()["data"]
                assert isinstance(item["embedding"], str) is (encoding == "base64")
    assert len(server.requests) == 2


@pytest.mark.parametrize("name", ["no_data", "nan_base64"])
async def test_an_answer_that_is_not_good_is_served_and_not_stored(name: str) -> None:
    bad = transcript(FOLDER, name)
    async with caching(bad.wire, SINGLE) as (cache, server):
        first = await cache.fetch(request())
        second = await cache.fetch(request())
    assert first.body == bad.body
    assert first.reasons[0].startswith("not stored: ")
    assert (second.source, len(server.requests)) == (Source.UPSTREAM, 2)


@pytest.mark.parametrize("name", ["openai_400_input", "openai_401", "flat_error_200"])
async def test_an_error_reaches_the_caller_and_is_not_stored(name: str) -> None:
    async with caching(transcript(FOLDER, name).wire, SINGLE) as (cache, server):
        with pytest.raises(UpstreamError):
            await cache.fetch(request())
        assert (await cache.fetch(request())).source is Source.UPSTREAM
    assert len(server.requests) == 2


async def test_a_near_input_is_never_a_hit() -> None:
    async with caching(SINGLE, decision="threshold", embedder=FakeEmbedder()) as (cache, server):
        await cache.fetch(request("what is the capital of france"))
        near = await cache.fetch(request("what is the capital of France"))
        same = await cache.fetch(request("what is the capital of france"))
    assert (near.source, same.source, len(server.requests)) == (Source.UPSTREAM, Source.EXACT, 2)


@pytest.mark.parametrize(
    ("first", "second"), [("openai_batch", "openai_single"), ("openai_batch_base64", "openai_single_base64")]
)
async def test_a_batch_asks_over_http_for_what_is_missing(first: str, second: str) -> None:
    encoding = {"encoding_format": "base64"} if first.endswith("base64") else {}
    answers = [transcript(FOLDER, name) for name in (first, second)]
    async with (
        served(*(answer.wire for answer in answers)) as server,
        batches(OpenAIUpstream(server.base_url, api_key=""), MemoryBackend()) as cache,
    ):
        cold = await cache.fetch(request(["one", "two", "three"], **encoding))
        mixed = await cache.fetch(request(["three", "four", "one"], **encoding))
    assert cold.body == answers[0].body
    assert [exchange.json()["input"] for exchange in server.requests] == [["one", "two", "three"], ["four"]]
    one, _, three = (item["embedding"] for item in cold.json()["data"])
    [four] = (item["embedding"] for item in orjson.loads(answers[1].body)["data"])
    assert [item["embedding"] for item in mixed.json()["data"]] == [three, four, one]
    assert mixed.reasons == ("2 of 3 inputs were stored",)


async def test_a_callable_that_returns_text_is_told_what_is_expected() -> None:
    async def upstream(body: dict[str, Any]) -> str:
        return str(body)

    async with CachePipeline(upstream, backend="memory://", decision=None) as cache:
        with pytest.raises(UpstreamInvalidAnswer, match="expected a mapping with 'data'"):
            await cache.fetch(request())
