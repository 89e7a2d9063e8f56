"""The fakes do what they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import anyio
import numpy as np
import orjson
import pytest

from asynccache import testing
from asynccache._errors import UpstreamBusy, UpstreamStreamError
from asynccache._models import Request
from asynccache._protocols import Clock, Upstream
from asynccache.dialects.chat import ChatCompletions
from asynccache.testing import FakeClock, FakeEmbedder, FakeUpstream

pytestmark = pytest.mark.anyio

BODY = {"model": "asked-for", "messages": [{"role": "user", "content": "hello there"}]}
REQUEST = Request(body=BODY)


def text_of(document: Mapping[str, Any]) -> object:
    return document["choices"][0]["message"]["content"]


def test_clock_stands_still_until_it_is_moved() -> None:
    clock: Clock = (fake := FakeClock(100.0))
    assert (clock.now(), clock.monotonic()) == (100.0, 0.0)
    fake.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 2.5)
    fake.jump(-50)
    assert (clock.now(), clock.monotonic()) == (52.5, 2.5)
    with pytest.raises(ValueError, match="forward"):
        fake.advance(-1)


async def test_upstream_answers_by_its_script_and_then_by_number() -> None:
    document = {"choices": [{"message": {"content": "made"}}]}
    upstream = FakeUpstream("first", document, UpstreamBusy("later", status=429))
    as_protocol: Upstream = upstream
    assert text_of(orjson.loads((await as_protocol.fetch(REQUEST)).body)) == "first"
    assert await upstream(BODY) == document
    with pytest.raises(UpstreamBusy):
        await upstream.fetch(REQUEST)
    assert text_of(await upstream(BODY)) == "answer 4"
    assert upstream.calls == [BODY] * 4
    assert upstream.in_flight == 0


async def test_document_names_what_really_answered_and_may_be_stored() -> None:
    response = await FakeUpstream("one two three").fetch(REQUEST)
    document = orjson.loads(response.body)
    assert document["model"] == "asynccache-fake"
    assert document["usage"]["completion_tokens"] == 3
    assert ChatCompletions().verdict(BODY, response) is None


@pytest.mark.parametrize("text", ["", "word", " two  words\n", "a b c"])
async def test_stream_says_what_the_document_says(text: str) -> None:
    upstream = FakeUpstream(text, text)
    body = {**BODY, "stream_options": {"include_usage": True}}
    frames = [frame async for frame in await upstream.stream(Request(body=body))]
    streamed = orjson.loads(ChatCompletions().assemble(frames))
    whole = await upstream(body)
    assert text_of(streamed) == text_of(whole) == text
    assert streamed["usage"] == whole["usage"]
    assert (upstream.in_flight, upstream.streams_closed) == (0, 1)


async def test_scripted_frames_are_sent_as_they_stand() -> None:
    upstream = FakeUpstream([b"raw", {"a": 1}, "text", UpstreamStreamError("cut")])
    stream = await upstream.stream(REQUEST)
    frames = [await anext(stream) for _ in range(3)]
    with pytest.raises(UpstreamStreamError, match="cut"):
        await anext(stream)
    assert frames[:2] == [b"raw", b'{"a":1}']
    assert orjson.loads(frames[2])["choices"][0]["delta"] == {"content": "text"}
    assert (upstream.in_flight, upstream.streams_closed) == (0, 1)


async def test_error_is_raised_before_the_stream_begins() -> None:
    upstream = FakeUpstream(UpstreamBusy("later"))
    with pytest.raises(UpstreamBusy):
        await upstream.stream(REQUEST)
    assert upstream.in_flight == 0


async def test_frames_are_no_whole_answer() -> None:
    with pytest.raises(TypeError, match="list of frames"):
        await FakeUpstream(["text"]).fetch(REQUEST)


async def test_held_calls_wait_until_they_are_released() -> None:
    upstream = FakeUpstream()
    upstream.hold()
    answers: list[object] = []
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            answers.append(text_of(await upstream(BODY)))

        for _ in range(3):
            group.start_soon(ask)
        await upstream.called(3)
        assert (upstream.in_flight, answers) == (3, [])
        upstream.release()
    assert sorted(map(str, answers)) == ["answer 1", "answer 2", "answer 3"]


async def test_stream_can_be_held_between_frames_and_closed_early() -> None:
    upstream = FakeUpstream("one two")
    stream = await upstream.stream(REQUEST)
    await anext(stream)
    upstream.hold()
    with anyio.move_on_after(0.01) as scope:
        await anext(stream)
    assert scope.cancelled_caught
    await stream.aclose()
    assert (upstream.in_flight, upstream.streams_closed) == (0, 1)


async def test_cancelled_call_is_no_longer_in_flight() -> None:
    upstream = FakeUpstream()
    upstream.hold()
    for call in (upstream.fetch, upstream.stream):
        with anyio.move_on_after(0.01):
            await call(REQUEST)
    assert (len(upstream.calls), upstream.in_flight) == (2, 0)


async def test_embedder_gives_the_same_unit_vector_for_the_same_words() -> None:
    embedder = FakeEmbedder(dim=256)
    rows = await embedder.embed(
        ["capital of France", "France of capital", "the capital of France", "x y z", ""]
    )
    assert rows.shape == (5, 256)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)
    cosines = rows @ rows[0]
    assert cosines[1] == pytest.approx(1.0, abs=1e-6)
    assert 0.7 < cosines[2] < 0.99
    assert abs(cosines[3]) < 0.3
    assert (await FakeEmbedder(dim=256).embed(["capital of France"]) == rows[:1]).all()
    assert (await embedder.embed([])).shape == (0, 256)
    assert len(embedder.calls) == 2


def test_fakes_need_neither_pytest_nor_numpy() -> None:
    script = (
        "import sys; from asynccache.testing import FakeClock, FakeEmbedder, FakeUpstream;"
        "FakeEmbedder(); print(*sorted({'pytest', 'numpy', 'hypothesis'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="FakeNews"):
        testing.FakeNews  # noqa: B018
