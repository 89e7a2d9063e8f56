"""OpenAI's own client before the proxy, and the stand-in server behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import openai
import pytest

from asynccache.server.standin import StandIn

pytestmark = pytest.mark.anyio

ASKED: Any = [{"role": "user", "content": "what is a cache"}]
TOOL: Any = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
}


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    async with StandIn() as running:
        yield running


def client_of(served: Any, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="k", max_retries=0, **options)


async def test_whole_and_streamed_answers_are_the_same_and_asked_for_once(
    proxying: Any, standin: StandIn
) -> None:
    async with proxying.proxy(standin.base_url) as served, client_of(served) as client:
        first = await client.chat.completions.create(model="m", messages=ASKED)
        second = await client.chat.completions.create(model="m", messages=ASKED)
        stream = await client.chat.completions.create(
            model="m", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        listed = [model.id async for model in client.models.list()]
    assert first == second
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == first.choices[0].message.content
    assert chunks[-1].usage == first.usage
    assert listed == ["asynccache-stand-in"]
    assert standin.stats.requests == 1


async def test_raw_response_tells_what_the_cache_did(proxying: Any, standin: StandIn) -> None:
    async with proxying.proxy(standin.base_url) as served, client_of(served) as client:
        told = []
        for _ in range(2):
            raw = await client.chat.completions.with_raw_response.create(model="m", messages=ASKED)
            told.append(raw.headers["cache-status"])
    assert told[0] == "asynccache; fwd=miss"
    assert told[1].startswith("asynccache; hit")


async def test_tool_calls_come_whole_and_streamed(proxying: Any) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"it"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    document = proxying.completion()
    document["choices"] = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]

    async def answer(asked: Any) -> None:
        await asked.answer(document)

    async with proxying.both(answer) as (upstream, served), client_of(served) as client:
        whole = await client.chat.completions.create(model="m", messages=ASKED, tools=[TOOL])
        stream = await client.chat.completions.create(model="m", messages=ASKED, tools=[TOOL], stream=True)
        calls = [
            call
            async for chunk in stream
            for choice in chunk.choices
            for call in choice.delta.tool_calls or ()
        ]
    assert whole.choices[0].message.tool_calls is not None
    assert whole.choices[0].message.tool_calls[0].id == "call_1"
    assert "".join(call.function.arguments or "" for call in calls if call.function) == '{"at":"it"}'
    assert len(upstream.asked) == 1


async def test_errors_are_the_clients_own(proxying: Any, standin: StandIn) -> None:
    async with proxying.proxy(standin.base_url) as served, client_of(served) as client:
        with pytest.raises(openai.BadRequestError) as ours:
            await client.chat.completions.create(model="m", messages=[])
        with pytest.raises(openai.BadRequestError) as theirs:
            await client.chat.completions.create(model="m", messages=ASKED, n=1000)
    assert ours.value.param == "messages"
    assert theirs.value.param == "n"
    assert standin.stats.refused == 1


async def test_timeout_of_the_client_closes_the_upstream_call(proxying: Any, standin: StandIn) -> None:
    standin.per_token = 0.2
    async with proxying.proxy(standin.base_url) as served, client_of(served, timeout=0.3) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(model="m", messages=ASKED)
        with anyio.fail_after(5):
            while served.app._gate.running:  # noqa: ASYNC110  (nothing tells of it)
                await anyio.sleep(0.01)
    assert standin.stats.completed == 0


async def test_stream_closed_early_is_closed_upstream_and_not_stored(proxying: Any, standin: StandIn) -> None:
    standin.per_token = 0.05
    async with proxying.proxy(standin.base_url) as served, client_of(served) as client:
        stream = await client.chat.completions.create(model="m", messages=ASKED, stream=True)
        async for _ in stream:
            break
        await stream.close()
        with anyio.fail_after(5):
            while not standin.stats.disconnected:  # noqa: ASYNC110  (nothing tells of it)
                await asyncio.sleep(0.01)
        standin.per_token = 0
        raw = await client.chat.completions.with_raw_response.create(model="m", messages=ASKED)
    assert raw.headers["cache-status"] == "asynccache; fwd=miss"
