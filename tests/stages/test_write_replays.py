"""A whole answer of which no stream could be made is served, and neither stored nor shared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
import pytest

from asynccache import CachePipeline, Request, Source
from asynccache._models import Response
from asynccache._stream import Stream
from asynccache.testing import FakeUpstream

pytestmark = pytest.mark.anyio

UNREPLAYABLE: Final = ("not stored: the answer cannot be replayed",)
DEEP: Final = b"[" * 300 + b"]" * 300
"""Levels that are read and, by orjson, not written."""
CHAT: Final = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],"%b":%b}'
)
BODY: Final = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


class Answering:
    """Answers with the same bytes each time; a stream of one frame is another answer."""

    def __init__(self, payload: bytes) -> None:
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._payload: Final = payload

    async def fetch(self, request: Request) -> Response:
        del request
        self.calls += 1
        await self.gate.wait()
        return Response(self._payload)

    async def stream(self, request: Request) -> Stream:
        del request
        self.calls += 1
        choice = {"index": 0, "delta": {"content": "b"}, "finish_reason": "stop"}

        async def frames() -> AsyncIterator[bytes]:
            yield orjson.dumps({"choices": [choice]})

        return Stream(frames())


def caching(upstream: Any) -> CachePipeline:
    return CachePipeline(upstream, backend="memory://", decision=None, strict=True)


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("field", [b"metrics", b"usage"])
async def test_an_answer_that_cannot_be_replayed_is_not_stored(field: bytes) -> None:
    upstream = Answering(CHAT % (field, DEEP))
    async with caching(upstream) as cache:
        outcome = await cache.fetch(BODY)
        assert (outcome.text, outcome.reasons) == ("a", UNREPLAYABLE)
        assert (await cache.fetch(BODY)).source is Source.UPSTREAM
        async with cache.stream(BODY) as stream:
            assert (await stream.collect()).text == "b"


async def test_an_answer_that_cannot_be_replayed_is_not_shared_with_who_wants_a_stream() -> None:
    upstream = Answering(CHAT % (b"metrics", DEEP))
    upstream.gate.clear()
    async with caching(upstream) as cache:
        leading = asyncio.create_task(cache.fetch(BODY))
        await settle()

        async def streamed() -> str:
            async with cache.stream(BODY) as stream:
                return (await stream.collect()).text

        following = asyncio.create_task(streamed())
        await settle()
        upstream.gate.set()
        assert (await leading).text == "a"
        assert await following == "b"


async def test_answers_of_a_protocol_without_streams_are_stored() -> None:
    item = {"object": "embedding", "index": 0, "embedding": [0.5]}
    upstream = FakeUpstream({"object": "list", "model": "e", "data": [item]})
    request = Request(dialect="embeddings", body={"model": "e", "input": "q"})
    async with caching(upstream) as cache:
        await cache.fetch(request)
        assert (await cache.fetch(request)).source is Source.EXACT


@pytest.mark.parametrize(
    "output",
    [
        [{"type": "reasoning", "summary": ["a thought"]}],
        [{"type": "message", "content": [{"type": "output_text", "text": "hi"}, "a string"]}],
        [{"type": "message", "content": [{"type": "output_text", "text": "hi", "annotations": 5}]}],
        [{"type": "message", "content": [{"type": "output_text", "text": None, "annotations": [{}]}]}],
        [{"type": "message", "content": [{"type": ["output_text"], "text": "hi"}]}],
        [{"type": ["message"]}],
    ],
)
async def test_an_unusual_response_is_stored_and_replayed(output: list[Any]) -> None:
    said = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
    document = {"status": "completed", "output": [*output, said]}
    request = Request(dialect="responses", body={"model": "m", "input": "q"})
    async with caching(FakeUpstream(document)) as cache:
        await cache.fetch(request)
        async with cache.stream(request) as stream:
            events = [chunk.json() async for chunk in stream]
        assert stream.source is Source.EXACT
    assert events[-1]["response"] == document
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == document["output"]
