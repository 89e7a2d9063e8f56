"""An answer repeats nothing of the request it was made for to another one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asynccache import CachePipeline, Request

pytestmark = pytest.mark.anyio

REPEATED = ("metadata", "user", "safety_identifier", "prompt_cache_key")


def request(who: str | None) -> Request:
    body: dict[str, Any] = {"model": "m", "input": "q"}
    if who is not None:
        body.update(metadata={"who": who}, user=who, safety_identifier=who, prompt_cache_key=who)
    return Request(body=body, dialect="responses")


def expected(who: str | None) -> dict[str, Any]:
    if who is None:
        return {"metadata": {}, "user": None, "safety_identifier": None, "prompt_cache_key": None}
    return {"metadata": {"who": who}, "user": who, "safety_identifier": who, "prompt_cache_key": who}


async def upstream(body: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0.05)
    part = {"type": "output_text", "text": "a", "annotations": []}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "output": [message],
        **{name: body.get(name) for name in REPEATED},
    }


def told(document: dict[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in REPEATED}


async def test_whole_answers_repeat_their_own_request() -> None:
    async with CachePipeline(upstream, backend="memory://", decision=None, strict=True) as cache:
        together = await asyncio.gather(*(cache.fetch(request(who)) for who in ("a", "b", None)))
        later = [await cache.fetch(request(who)) for who in ("a", "b", None)]
        for outcomes in (together, later):
            for who, outcome in zip(("a", "b", None), outcomes, strict=True):
                if who is not None or outcome.source.value != "upstream":
                    assert told(outcome.json()) == expected(who)
        assert cache.stats().stored == 1


async def test_streams_repeat_their_own_request() -> None:
    async def read(cache: CachePipeline, who: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        async with cache.stream(request(who)) as stream:
            documents = [chunk.json() for chunk in [chunk async for chunk in stream]]
        assert b"msg_1" in stream.outcome.body
        responses = [document["response"] for document in documents if "response" in document]
        return responses, stream.outcome.json()

    async with CachePipeline(upstream, backend="memory://", decision=None, strict=True) as cache:
        for _ in range(2):
            for who, (responses, whole) in zip(
                "abc", await asyncio.gather(*(read(cache, who) for who in "abc")), strict=True
            ):
                assert len(responses) >= 2
                assert all(told(response) == expected(who) for response in [*responses, whole])
        assert cache.stats().stored == 1
