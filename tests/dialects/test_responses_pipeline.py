"""Responses requests through a whole pipeline: one upstream call, nothing bad stored, near questions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from asynccache import CachePipeline, Request, Source
from asynccache._models import Response
from asynccache.dialects.responses import Responses
from asynccache.testing import FakeEmbedder

pytestmark = pytest.mark.anyio

RESPONSES: Final = Responses()
TRANSCRIPTS: Final = Path(__file__).parents[1] / "fixtures" / "openai-responses"
QUESTION: Final = "what is the capital of the country of France today"
NEAR: Final = "what is the capital of the country of France now"


def document(name: str) -> dict[str, Any]:
    parsed = orjson.loads((TRANSCRIPTS / f"{name}.http").read_bytes().partition(b"\r\n\r\n")[2])
    assert isinstance(parsed, dict)
    return parsed


def request(**fields: Any) -> Request:
    return Request(dialect="responses", body={"model": "m", "input": QUESTION, **fields})


class Model:
    """An async callable that answers with one document, whole or as its events."""

    def __init__(self, name: str) -> None:
        self.document = document(name)
        self.calls: list[dict[str, Any]] = []

    async def __call__(self, body: dict[str, Any]) -> Any:
        self.calls.append(body)
        return self.events() if body.get("stream") else self.document

    async def events(self) -> AsyncIterator[Any]:
        for frame in RESPONSES.replay({}, Response(orjson.dumps(self.document))):
            yield orjson.loads(frame)


async def streamed(cache: CachePipeline, asked: Request) -> tuple[dict[str, Any], Source, str]:
    """The response of the final event, where it came from, and the text of the chunks."""
    async with cache.stream(asked) as stream:
        chunks = [chunk async for chunk in stream]
        return chunks[-1].json()["response"], stream.source, "".join(chunk.text for chunk in chunks)


GOOD: Final = ["text", "parts", "tool", "tools_parallel", "reasoning", "json"]


@pytest.mark.parametrize("name", GOOD)
async def test_fetched_then_streamed_then_fetched_is_one_call(name: str) -> None:
    model = Model(name)
    async with CachePipeline(model, backend="memory://", decision=None, strict=True) as cache:
        first = await cache.fetch(request())
        response, source, text = await streamed(cache, request())
        again = await cache.fetch(request())
    assert len(model.calls) == 1
    assert first.source is Source.UPSTREAM
    assert source is again.source is Source.EXACT
    assert response == model.document == again.json()
    assert text == again.text == RESPONSES.text(model.document)


@pytest.mark.parametrize("name", GOOD)
async def test_streamed_then_fetched_is_one_call(name: str) -> None:
    model = Model(name)
    async with CachePipeline(model, backend="memory://", decision=None, strict=True) as cache:
        response, source, _ = await streamed(cache, request())
        fetched = await cache.fetch(request())
    assert len(model.calls) == 1
    assert source is Source.UPSTREAM
    assert fetched.source is Source.EXACT
    assert response == fetched.json() == model.document


@pytest.mark.parametrize("name", ["cut", "empty", "refusal"])
async def test_a_bad_answer_is_handed_on_and_not_stored(name: str) -> None:
    model = Model(name)
    async with CachePipeline(model, backend="memory://", decision=None, strict=True) as cache:
        assert (await cache.fetch(request())).json() == model.document
        response, source, _ = await streamed(cache, request())
        assert response == model.document
        assert source is Source.UPSTREAM
        assert (await cache.fetch(request())).source is Source.UPSTREAM
    assert len(model.calls) == 3


async def test_a_failed_response_is_streamed_to_its_end_and_not_stored() -> None:
    model = Model("text")
    model.document.update(status="failed", error={"code": "server_error", "message": "m"}, output=[])
    async with CachePipeline(model, backend="memory://", decision=None, strict=True) as cache:
        for _ in range(2):
            response, source, _ = await streamed(cache, request())
            assert response["status"] == "failed"
            assert source is Source.UPSTREAM


async def test_spellings_of_one_input_share_an_entry() -> None:
    model = Model("text")
    async with CachePipeline(model, backend="memory://", decision=None, strict=True) as cache:
        await cache.fetch(request(user="a", metadata={"a": "b"}))
        part = {"type": "input_text", "text": QUESTION}
        other = await cache.fetch(request(input=[{"role": "user", "content": [part]}], store=True))
        assert other.source is Source.EXACT
        assert (await cache.fetch(request(max_output_tokens=99))).source is Source.UPSTREAM


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"tools": [{"type": "mcp", "server_label": "s"}]},
    ],
)
async def test_a_request_about_state_or_acting_tools_is_asked_anew_each_time(fields: dict[str, Any]) -> None:
    model = Model("text")
    async with CachePipeline(model, backend="memory://", decision=None, strict=True) as cache:
        for _ in range(2):
            assert (await cache.fetch(request(**fields))).source is Source.UPSTREAM
    assert len(model.calls) == 2


def semantic(model: Model) -> CachePipeline:
    return CachePipeline(
        model,
        backend="memory://",
        decision="threshold",
        threshold=0.85,
        embedder=FakeEmbedder(),
        strict=True,
    )


async def test_a_near_question_is_answered_from_the_store() -> None:
    model = Model("text")
    async with semantic(model) as cache:
        await cache.fetch(request())
        near = await cache.fetch(request(input=[{"role": "user", "content": NEAR}]))
        assert near.source is Source.SEMANTIC
        assert near.similarity is not None
        assert near.similarity < 1
        _, source, text = await streamed(cache, request(input=NEAR))
        assert source.hit
        assert text == near.text
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "other"},
        {"instructions": "rhyme"},
        {"temperature": 0.5},
        {"tools": [{"type": "web_search"}]},
        {"store": False},
        {"input": [{"role": "developer", "content": "rhyme"}, {"role": "user", "content": NEAR}]},
        {
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": NEAR}, {"type": "input_file"}]}
            ]
        },
        {"input": [{"role": "assistant", "content": NEAR}]},
    ],
)
async def test_a_near_question_that_differs_in_anything_else_is_asked(fields: dict[str, Any]) -> None:
    model = Model("text")
    async with semantic(model) as cache:
        await cache.fetch(request())
        assert (await cache.fetch(request(**{"input": NEAR, **fields}))).source is Source.UPSTREAM


async def test_a_stored_call_does_not_answer_a_near_question() -> None:
    model = Model("tool")
    async with semantic(model) as cache:
        await cache.fetch(request())
        assert (await cache.fetch(request(input=NEAR))).source is Source.UPSTREAM
        assert (await cache.fetch(request())).source is Source.EXACT
