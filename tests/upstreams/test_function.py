"""Async callables as upstreams: each form an answer can take, for each mode it can be asked in."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import openai
import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from asynccache._errors import (
    ConfigurationError,
    UpstreamError,
    UpstreamInvalidAnswer,
    UpstreamServerError,
    UpstreamStreamError,
)
from asynccache._models import Request
from asynccache._registry import find_dialect
from asynccache.upstreams.function import Answering, CallableUpstream

if TYPE_CHECKING:
    from tests.upstreams.conftest import Wire

pytestmark = pytest.mark.anyio

CHAT = find_dialect("chat.completions")


def document(text: str, **fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **fields}


def chunk(text: str | None, finish_reason: str | None = None) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


async def gives_text(body: dict[str, Any]) -> str:
    return "hello there"


async def gives_mapping(body: dict[str, Any]) -> Mapping[str, Any]:
    return document("hello there")


async def gives_model(body: dict[str, Any]) -> ChatCompletion:
    return ChatCompletion.model_validate(document("hello there"))


async def gives_bytes(body: dict[str, Any]) -> bytes:
    return orjson.dumps(document("hello there"))


async def yields_text(body: dict[str, Any]) -> AsyncIterator[str]:
    yield "hello"
    yield " there"


async def yields_mappings(body: dict[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
    yield chunk("hello")
    yield chunk(" there")
    yield chunk(None, "stop")


async def yields_models(body: dict[str, Any]) -> AsyncIterator[ChatCompletionChunk]:
    async for one in yields_mappings(body):
        yield ChatCompletionChunk.model_validate(one)


async def yields_bytes(body: dict[str, Any]) -> AsyncIterator[bytes]:
    async for one in yields_mappings(body):
        yield orjson.dumps(one)


async def returns_stream(body: dict[str, Any]) -> AsyncIterator[str]:
    return yields_text(body)


class Answerer:
    async def __call__(self, body: dict[str, Any]) -> str:
        return "hello there"

    async def method(self, body: dict[str, Any]) -> str:
        return "hello there"


class Streamer:
    async def __call__(self, body: dict[str, Any]) -> AsyncIterator[str]:
        yield "hello"
        yield " there"


async def with_option(body: dict[str, Any], *, greeting: str) -> str:
    return f"{greeting} there"


EVERY_FORM = [
    gives_text,
    gives_mapping,
    gives_model,
    gives_bytes,
    yields_text,
    yields_mappings,
    yields_models,
    yields_bytes,
    returns_stream,
    Answerer(),
    Answerer().method,
    Streamer(),
    functools.partial(with_option, greeting="hello"),
]


@pytest.mark.parametrize("function", EVERY_FORM)
async def test_whole_answer_of_any_form_can_be_fetched(function: Answering, wire: type[Wire]) -> None:
    request = wire.request()
    response = await CallableUpstream(function).fetch(request)
    assert CHAT.text(orjson.loads(response.body)) == "hello there"
    assert CHAT.verdict(request.body, response) is None


@pytest.mark.parametrize("function", EVERY_FORM)
async def test_answer_of_any_form_can_be_streamed(function: Answering, wire: type[Wire]) -> None:
    request = wire.request()
    stream = await CallableUpstream(function).stream(request)
    frames = [frame async for frame in stream]
    assert "".join(CHAT.delta(orjson.loads(frame)) for frame in frames) == "hello there"
    assembled = orjson.loads(CHAT.assemble(frames))
    assert CHAT.text(assembled) == "hello there"
    assert assembled["choices"][0]["finish_reason"] == "stop"


async def test_streamed_text_names_its_speaker_once(wire: type[Wire]) -> None:
    stream = await CallableUpstream(yields_text).stream(wire.request())
    chunks = [orjson.loads(frame) async for frame in stream]
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": "hello"},
        {"content": " there"},
        {},
    ]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1


async def test_bytes_are_taken_as_they_are(wire: type[Wire]) -> None:
    body = b'{ "choices": [] }'

    async def answer(_: dict[str, Any]) -> bytes:
        return body

    assert (await CallableUpstream(answer).fetch(wire.request())).body == body


async def test_usage_is_passed_on(wire: type[Wire]) -> None:
    async def answer(_: dict[str, Any]) -> dict[str, Any]:
        return document("x", usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})

    cost = CHAT.cost(await CallableUpstream(answer).fetch(wire.request()))
    assert (cost.prompt_tokens, cost.completion_tokens) == (3, 4)


async def test_callable_gets_a_dict_of_its_own_that_says_the_mode() -> None:
    seen: list[dict[str, Any]] = []

    async def answer(body: dict[str, Any]) -> str:
        seen.append(dict(body))
        body.clear()
        return "x"

    request = Request(body={"model": "m", "stream": True, "stream_options": {}, "messages": []})
    upstream = CallableUpstream(answer)
    await upstream.fetch(request)
    await (await upstream.stream(request)).aclose()
    assert seen == [{"model": "m", "messages": []}, dict(request.body)]


@pytest.mark.parametrize("mode", ["fetch", "stream"])
@pytest.mark.parametrize("streaming", [False, True])
async def test_what_the_callable_raises_reaches_the_caller_unchanged(
    mode: str, streaming: bool, wire: type[Wire]
) -> None:
    error = LookupError("mine")

    async def fail(_: dict[str, Any]) -> str:
        raise error

    async def fail_late(_: dict[str, Any]) -> AsyncIterator[str]:
        yield "x"
        raise error

    upstream = CallableUpstream(fail_late if streaming else fail)

    async def ask() -> None:
        if mode == "fetch":
            await upstream.fetch(wire.request())
        else:
            async for _ in await upstream.stream(wire.request()):
                pass

    with pytest.raises(LookupError) as caught:
        await ask()
    assert caught.value is error
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("given", "kind", "sentence"),
    [
        (7, UpstreamInvalidAnswer, "the callable returned int; expected a mapping"),
        (None, UpstreamInvalidAnswer, "returned NoneType"),
        ([document("x")], UpstreamInvalidAnswer, "returned list"),
        (b"no json", UpstreamInvalidAnswer, "no JSON"),
        ({"x": object()}, UpstreamInvalidAnswer, "returned what JSON cannot carry: x"),
        ({"error": {"message": "m", "type": "t"}}, UpstreamServerError, "(type t)"),
    ],
)
async def test_answer_of_a_wrong_kind_is_named(
    given: object, kind: type[UpstreamError], sentence: str, wire: type[Wire]
) -> None:
    async def answer(_: dict[str, Any]) -> object:
        return given

    upstream = CallableUpstream(answer)
    for ask in (upstream.fetch, upstream.stream):
        with pytest.raises(UpstreamError) as caught:
            await ask(wire.request())
        assert type(caught.value) is kind
        assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("items", "kind", "sentence"),
    [
        ([], UpstreamStreamError, "without an answer"),
        ([chunk("x")], UpstreamStreamError, "1 of 1 choices"),
        ([7], UpstreamInvalidAnswer, "the callable yielded int"),
        (["x", chunk(None, "stop")], UpstreamInvalidAnswer, "mixed"),
        ([chunk("x"), "y"], UpstreamInvalidAnswer, "mixed"),
        ([b"no json"], UpstreamStreamError, "no JSON object"),
        ([chunk("x"), {"error": "broken"}], UpstreamStreamError, "mid-stream"),
    ],
)
async def test_stream_of_a_wrong_kind_is_named(
    items: list[object], kind: type[UpstreamError], sentence: str, wire: type[Wire]
) -> None:
    async def answer(_: dict[str, Any]) -> AsyncIterator[object]:
        for item in items:
            yield item

    upstream = CallableUpstream(answer)
    with pytest.raises(UpstreamError) as fetched:
        await upstream.fetch(wire.request())
    stream = await upstream.stream(wire.request())
    with pytest.raises(UpstreamError) as streamed:
        async for _ in stream:
            pass
    for caught in (fetched, streamed):
        assert type(caught.value) is kind
        assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "function", [lambda body: "x", len, Answerer, object(), "text", functools.partial(lambda body: "x")]
)
def test_function_that_is_not_async_is_refused(function: object) -> None:
    with pytest.raises(ConfigurationError, match="is not async; define it with `async def`"):
        CallableUpstream(cast("Answering", function))


async def test_streamed_text_of_another_protocol_is_refused() -> None:
    stream = await CallableUpstream(yields_text).stream(Request(body={}, dialect="embeddings"))
    with pytest.raises(ConfigurationError, match="embeddings"):
        await anext(stream)
    await stream.aclose()


@pytest.mark.parametrize("mode", ["aclose", "cancel"])
async def test_generator_is_closed_when_its_stream_is_left_early(mode: str, wire: type[Wire]) -> None:
    ended = asyncio.Event()

    async def answer(_: dict[str, Any]) -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.sleep(60)
            yield "two"
        finally:
            ended.set()

    stream = await CallableUpstream(answer).stream(wire.request())
    await anext(stream)
    if mode == "aclose":
        await stream.aclose()
    else:
        reader = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
    assert ended.is_set()


async def test_stream_of_an_sdk_is_closed_by_its_own_close(wire: type[Wire]) -> None:
    class SDKStream:
        closed = False

        async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
            yield chunk("x", "stop")

        async def close(self) -> None:
            self.closed = True

    given = SDKStream()

    async def answer(_: dict[str, Any]) -> SDKStream:
        return given

    await CallableUpstream(answer).fetch(wire.request())
    assert given.closed


async def test_openai_client_can_be_the_callable(wire: type[Wire]) -> None:
    _, whole = wire.recording("chat_basic")
    head, events = wire.recording("stream_n2")

    async def answer(exchange: Any) -> None:
        if exchange.json().get("stream"):
            await exchange.send(head, *wire.chunks(events, 50))
        else:
            await exchange.send(wire.whole(200, whole))

    async with (
        wire.server(answer) as raw,
        openai.AsyncOpenAI(base_url=raw.base_url, api_key="k") as client,
    ):

        async def ask(body: dict[str, Any]) -> Any:
            return await client.chat.completions.create(**body)

        upstream = CallableUpstream(ask)
        response = await upstream.fetch(wire.request())
        frames = [frame async for frame in await upstream.stream(wire.request(n=2))]
    assert orjson.loads(response.body)["usage"]["total_tokens"] == 16
    assembled = orjson.loads(CHAT.assemble(frames))
    assert [choice["finish_reason"] for choice in assembled["choices"]] == ["length", "length"]
