"""Messages through a whole pipeline, asked over HTTP: an answer is kept once, for both modes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest

from asynccache import CachePipeline, Request, Source, UpstreamError, UpstreamStreamError
from asynccache._errors import UpstreamAuth, UpstreamBadRequest, UpstreamServerError
from asynccache._events import EntryRefused, Event
from asynccache.testing import FakeEmbedder
from tests.dialects._messages_wire import ASKED, MESSAGES, NAMES, answering, recording, whole

if TYPE_CHECKING:
    from tests.upstreams.conftest import RawServer

pytestmark = pytest.mark.anyio

STORED: Final = [
    f"{name}_stream" for name in NAMES if f"{name}_stream" in NAMES and name not in {"max_tokens", "empty"}
]
REFUSED: Final = [
    "max_tokens_stream",
    "max_tokens_tool_stream",
    "tool_broken_stream",
    "refusal_midway_stream",
    "empty_stream",
]


def asked(**fields: Any) -> Request:
    return Request(dialect="messages", body={**ASKED, **fields})


@asynccontextmanager
async def caching(*names: str, **options: Any) -> AsyncIterator[tuple[CachePipeline, RawServer]]:
    """A pipeline whose upstream gives these transcripts to its first, second … request."""
    async with answering(*[recording(name).sent for name in names]) as raw:
        upstream = options.pop("upstream", None) or raw.base_url
        async with CachePipeline(upstream, backend="memory://", strict=True, **options) as cache:
            yield cache, raw


async def streamed(cache: CachePipeline, request: Request) -> list[bytes]:
    async with cache.stream(request) as stream:
        return [chunk.body async for chunk in stream]


@pytest.mark.parametrize("name", [name.removesuffix("_stream") for name in STORED])
async def test_a_fetched_answer_is_streamed_and_fetched_again_without_a_call(name: str) -> None:
    async with caching(name, decision=None) as (cache, raw):
        first = await cache.fetch(asked())
        frames = await streamed(cache, asked(stream=True))
        again = await cache.fetch(asked())
    assert first.body == again.body == recording(name).body
    assert (first.source, again.source) == (Source.UPSTREAM, Source.EXACT)
    assert orjson.loads(MESSAGES.assemble(frames)) == first.json()
    assert [request.path for request in raw.requests] == ["/v1/messages"]


@pytest.mark.parametrize("name", STORED)
async def test_a_streamed_answer_is_fetched_and_streamed_again_without_a_call(name: str) -> None:
    async with caching(name, decision=None) as (cache, raw):
        first = await streamed(cache, asked())
        fetched = await cache.fetch(asked())
        again = await streamed(cache, asked())
    assert first == again == list(recording(name).frames)
    assert fetched.json() == orjson.loads(recording(name.removesuffix("_stream")).body)
    assert fetched.source is Source.EXACT
    assert len(raw.requests) == 1
    assert raw.requests[0].json() == {**ASKED, "stream": True}


async def test_the_answer_of_vllm_is_kept_too() -> None:
    async with caching("vllm_stream", decision=None) as (cache, raw):
        first = await streamed(cache, asked())
        fetched = await cache.fetch(asked())
        assert await streamed(cache, asked()) == first
    assert (fetched.text, fetched.hit) == ("Hello there", True)
    assert len(raw.requests) == 1


async def test_a_hit_says_which_tokens_it_saved() -> None:
    async with caching("text", decision=None) as (cache, _):
        await cache.fetch(asked())
        assert (await cache.fetch(asked())).saved.tokens == 21 + 188 + 2051 + 14


async def test_other_spellings_of_a_request_share_its_answer() -> None:
    async with caching("text", decision=None) as (cache, raw):
        await cache.fetch(asked(system="Be brief."))
        marked = {"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}
        system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
        again = await cache.fetch(asked(system=system, messages=[{"role": "user", "content": [marked]}]))
    assert again.source is Source.EXACT
    assert len(raw.requests) == 1


@pytest.mark.parametrize("name", REFUSED)
async def test_an_answer_that_is_not_whole_is_served_and_not_stored(name: str) -> None:
    refused: list[Event] = []
    async with caching(name, decision=None, hooks=[refused.append]) as (cache, raw):
        for _ in range(2):
            assert await streamed(cache, asked()) == list(recording(name).frames)
    assert len(raw.requests) == 2
    assert len([event for event in refused if isinstance(event, EntryRefused)]) == 2


@pytest.mark.parametrize("name", ["max_tokens", "refusal", "pause_turn", "empty"])
async def test_a_document_that_is_not_whole_is_served_and_not_stored(name: str) -> None:
    async with caching(name, decision=None) as (cache, raw):
        for _ in range(2):
            assert (await cache.fetch(asked())).body == recording(name).body
    assert len(raw.requests) == 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("error_400", UpstreamBadRequest),
        ("error_401", UpstreamAuth),
        ("error_404", UpstreamBadRequest),
        ("error_413", UpstreamBadRequest),
        ("error_529", UpstreamServerError),
    ],
)
async def test_an_error_reaches_the_caller_and_is_not_stored(name: str, kind: type[UpstreamError]) -> None:
    async with caching(name, "text", decision=None) as (cache, _):
        with pytest.raises(kind) as caught:
            await cache.fetch(asked())
        assert caught.value.body == recording(name).body
        assert (await cache.fetch(asked())).source is Source.UPSTREAM


async def test_a_busy_upstream_is_asked_again_by_the_time_it_names() -> None:
    busy = recording("error_429").sent.replace(b"retry-after: 7", b"retry-after: 0")
    async with (
        answering(busy, recording("text").sent) as raw,
        CachePipeline(raw.base_url, backend="memory://", decision=None, strict=True) as cache,
    ):
        assert (await cache.fetch(asked())).source is Source.UPSTREAM
    assert len(raw.requests) == 2


async def test_an_error_in_mid_stream_is_raised_and_not_stored() -> None:
    async with caching("midstream_overloaded", "text_stream", decision=None) as (cache, raw):
        with pytest.raises(UpstreamStreamError, match="overloaded_error"):
            await streamed(cache, asked())
        assert await streamed(cache, asked()) == list(recording("text_stream").frames)
    assert len(raw.requests) == 2


async def test_a_stream_that_breaks_off_is_an_error_and_not_stored() -> None:
    async with caching("broken_off", "text_stream", decision=None) as (cache, raw):
        with pytest.raises(UpstreamStreamError, match="before a stop_reason had come"):
            await streamed(cache, asked())
        assert await streamed(cache, asked()) == list(recording("text_stream").frames)
    assert len(raw.requests) == 2


async def test_a_request_about_a_servers_state_is_never_stored() -> None:
    async with caching("text", decision=None) as (cache, raw):
        for _ in range(2):
            await cache.fetch(asked(container="container_01"))
    assert len(raw.requests) == 2


async def test_text_of_a_callable_is_a_message() -> None:
    async def echo(body: dict[str, Any]) -> str:
        return f"you said {body['messages'][-1]['content']}"

    async with CachePipeline(echo, backend="memory://", decision=None, strict=True) as cache:
        first = await cache.fetch(asked())
        frames = await streamed(cache, asked())
    assert first.text == "you said Hello"
    assert orjson.loads(MESSAGES.assemble(frames)) == first.json()


def question(text: str, **fields: Any) -> Request:
    return asked(messages=[{"role": "user", "content": text}], **fields)


@asynccontextmanager
async def near() -> AsyncIterator[tuple[CachePipeline, RawServer]]:
    options = {"embedder": FakeEmbedder(), "decision": "threshold", "threshold": 0.8}
    async with caching("text", **options) as made:
        yield made


async def test_a_near_question_is_answered_when_all_else_is_equal() -> None:
    async with near() as (cache, raw):
        await cache.fetch(question("how do I freeze my blue card today", system="Be brief."))
        close = await cache.fetch(question("how do I freeze my blue card now", system="Be brief."))
        far = await cache.fetch(question("what is the capital of France", system="Be brief."))
    assert (close.source, far.source) == (Source.SEMANTIC, Source.UPSTREAM)
    assert len(raw.requests) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"system": "Be long."},
        {"model": "claude-example-2"},
        {"max_tokens": 16},
        {"temperature": 0.5},
        {"thinking": {"type": "adaptive"}},
        {"tools": [{"name": "f", "input_schema": {"type": "object"}}]},
    ],
)
async def test_a_near_question_is_not_answered_when_anything_else_differs(fields: dict[str, Any]) -> None:
    async with near() as (cache, raw):
        await cache.fetch(question("how do I freeze my blue card today"))
        other = await cache.fetch(question("how do I freeze my blue card now", **fields))
    assert other.source is Source.UPSTREAM
    assert len(raw.requests) == 2


async def test_a_tool_call_does_not_answer_a_near_question() -> None:
    async with (
        answering(recording("tool").sent, recording("text").sent) as raw,
        CachePipeline(
            raw.base_url,
            backend="memory://",
            embedder=FakeEmbedder(),
            decision="threshold",
            threshold=0.8,
            strict=True,
        ) as cache,
    ):
        await cache.fetch(question("how do I freeze my blue card today"))
        other = await cache.fetch(question("how do I freeze my blue card now"))
    assert other.source is Source.UPSTREAM


async def test_a_whole_document_in_answer_to_a_stream_is_streamed() -> None:
    async with (
        answering(whole(recording("tools_parallel").body)) as raw,
        CachePipeline(raw.base_url, backend="memory://", decision=None, strict=True) as cache,
    ):
        frames = await streamed(cache, asked())
        assert (await cache.fetch(asked())).hit
    assert orjson.loads(MESSAGES.assemble(frames)) == orjson.loads(recording("tools_parallel").body)
