"""The stand-in server, asked by OpenAI's own client."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import anyio
import httpx2
import openai
import pytest

from asynccache._errors import UpstreamBadRequest, UpstreamStreamError
from asynccache._models import Request
from asynccache._registry import find_dialect
from asynccache.server.standin import StandIn
from asynccache.upstreams.openai import OpenAIUpstream

pytestmark = pytest.mark.anyio

ASKED: Any = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "what is a cache"}]


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with StandIn() as running:
        yield running


@pytest.fixture
async def client(server: StandIn) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as opened:
        yield opened


async def test_answer_says_that_no_model_made_it(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="gpt-x", messages=ASKED)
    assert answer.model == "asynccache-stand-in"
    assert answer.system_fingerprint == "stand-in"
    text = answer.choices[0].message.content
    assert text is not None
    assert text.startswith("Stand-in answer ")
    assert "without any model" in text
    assert text.endswith("You said: what is a cache")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 6
    assert answer.usage.completion_tokens == len(text.split())
    assert answer.usage.total_tokens == 6 + len(text.split())


async def test_same_question_gets_the_same_answer_and_another_gets_another(
    client: openai.AsyncOpenAI,
) -> None:
    first = await client.chat.completions.create(model="m", messages=ASKED)
    again = await client.chat.completions.create(model="m", messages=ASKED)
    other = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert first == again
    assert first.id != other.id
    assert first.choices[0].message.content != other.choices[0].message.content


async def test_stream_brings_the_same_words_one_by_one(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="m", messages=ASKED)
    stream = await client.chat.completions.create(model="m", messages=ASKED, stream=True)
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert len(chunks) == len((whole.choices[0].message.content or "").split()) + 2
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk.usage is None for chunk in chunks)
    assert {chunk.model for chunk in chunks} == {"asynccache-stand-in"}


async def test_usage_of_a_stream_comes_last_and_only_when_asked_for(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="m", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    *_, last = [chunk async for chunk in stream]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.prompt_tokens == 6


async def test_n_choices_are_all_there_in_both_modes(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="m", messages=ASKED, n=3)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    stream = await client.chat.completions.create(model="m", messages=ASKED, n=3, stream=True)
    finished = [c.index async for chunk in stream for c in chunk.choices if c.finish_reason]
    assert finished == [0, 1, 2]


async def test_stop_and_max_tokens_end_the_answer(client: openai.AsyncOpenAI) -> None:
    stopped = await client.chat.completions.create(model="m", messages=ASKED, stop=["You", "never"])
    assert (stopped.choices[0].message.content or "").endswith("model.")
    assert stopped.choices[0].finish_reason == "stop"
    cut = await client.chat.completions.create(model="m", messages=ASKED, max_tokens=2)
    assert cut.choices[0].message.content == "Stand-in answer"
    assert cut.choices[0].finish_reason == "length"


async def test_json_object_format_gives_json(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="m", messages=ASKED, response_format={"type": "json_object"}
    )
    assert re.fullmatch(r'\{"answer":"Stand-in .*"\}', answer.choices[0].message.content or "")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"stream_options": {}}, "stream_options"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"max_tokens": "3"}, "max_tokens"),
        ({"stop": 3}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
    ],
)
async def test_bad_request_is_answered_as_a_real_server_would(
    fields: dict[str, Any], param: str, server: StandIn
) -> None:
    body = {"model": "m", "messages": ASKED, **fields}
    async with httpx2.AsyncClient(base_url=server.base_url) as http:
        response = await http.post("chat/completions", json=body)
    error = response.json()["error"]
    assert response.status_code == error["code"] == 400
    assert error["type"] == "BadRequestError"
    assert error["param"] == param
    assert server.stats.refused == 1


async def test_upstream_reads_both_modes_and_the_cache_may_store_them(server: StandIn) -> None:
    dialect = find_dialect("chat.completions")
    request = Request(body={"model": "m", "messages": ASKED})
    upstream = OpenAIUpstream(server.base_url)
    async with upstream.lifespan():
        response = await upstream.fetch(request)
        assert dialect.verdict(request.body, response) is None
        frames = [frame async for frame in await upstream.stream(request)]
        with pytest.raises(UpstreamBadRequest):
            await upstream.fetch(Request(body={"messages": []}))
    assert dialect.text(httpx2.Response(200, content=dialect.assemble(frames)).json()).endswith("cache")


async def test_models_and_stats_are_told(server: StandIn, client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["asynccache-stand-in"]
    await client.chat.completions.create(model="m", messages=ASKED)
    async for _ in await client.chat.completions.create(model="m", messages=ASKED, stream=True):
        pass
    async with httpx2.AsyncClient() as http:
        told = (await http.get(server.base_url.removesuffix("/v1") + "/stats")).json()
    assert told == {"requests": 2, "streams": 1, "completed": 2, "disconnected": 0, "refused": 0}


async def test_stream_left_early_is_counted_as_disconnected(server: StandIn) -> None:
    server.per_token = 60
    upstream = OpenAIUpstream(server.base_url)
    async with upstream.lifespan():
        stream = await upstream.stream(Request(body={"messages": ASKED}))
        await anext(stream)
        await stream.aclose()
        with anyio.fail_after(5):
            while server.stats.disconnected == 0:  # noqa: ASYNC110  (seen by another task of the server)
                await asyncio.sleep(0.01)
    assert server.stats.completed == 0


async def test_latency_is_what_was_set() -> None:
    async with StandIn(latency=0.2, per_token=0.01) as server:
        upstream = OpenAIUpstream(server.base_url)
        async with upstream.lifespan():
            request = Request(body={"messages": ASKED, "max_tokens": 5})
            start = time.monotonic()
            await upstream.fetch(request)
            assert 0.24 <= time.monotonic() - start < 2
            server.latency = 0
            start = time.monotonic()
            async for _ in await upstream.stream(request):
                pass
            assert 0.04 <= time.monotonic() - start < 0.24


async def test_server_stops_with_its_block_and_leaves_signals_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = StandIn()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.base_url
    for _ in range(2):
        async with server:
            url = server.base_url
            assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
            async with httpx2.AsyncClient() as http:
                assert (await http.get(f"{url}/models")).status_code == 200
        async with httpx2.AsyncClient() as http:
            with pytest.raises(httpx2.ConnectError):
                await http.get(f"{url}/models")


async def test_server_stops_soon_though_an_answer_is_being_made() -> None:
    async with StandIn(latency=60) as server, httpx2.AsyncClient(timeout=60) as http:
        asked = asyncio.create_task(
            http.post(f"{server.base_url}/chat/completions", json={"messages": ASKED})
        )
        while server.stats.requests == 0:  # noqa: ASYNC110  (seen by another task of the server)
            await asyncio.sleep(0.01)
        start = time.monotonic()
        await server.__aexit__()
        assert time.monotonic() - start < 4
        assert (await asked).status_code == 503


async def test_server_that_stops_ends_its_streams_unfinished() -> None:
    async with StandIn(per_token=60) as server:
        upstream = OpenAIUpstream(server.base_url)
        async with upstream.lifespan():
            stream = await upstream.stream(Request(body={"messages": ASKED}))
            await anext(stream)
            await anext(stream)
            await server.__aexit__()
            with pytest.raises(UpstreamStreamError):
                await anext(stream)


def lines(process: subprocess.Popen[str]) -> Iterable[str]:
    assert process.stdout is not None
    return process.stdout


def test_command_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "asynccache.server.standin", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            match = re.search(r"http://127\.0\.0\.1:\d+/v1", next(iter(lines(process))))
            assert match is not None
            answer = httpx2.post(f"{match[0]}/chat/completions", json={"messages": ASKED}, trust_env=False)
            assert answer.json()["model"] == "asynccache-stand-in"
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode in {0, 130, -signal.SIGINT}


@pytest.mark.parametrize("missing", ["uvicorn", "starlette"])
def test_missing_extra_is_named_with_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import asynccache.server.standin"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        "asynccache._errors.ConfigurationError: "
        f'the stand-in server needs {missing}; pip install "asynccache[server]"'
    )
