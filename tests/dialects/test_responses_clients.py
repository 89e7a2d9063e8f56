"""What OpenAI's own client makes of transcripts, and of what the dialect makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import openai
import orjson
import pytest
from openai import AsyncOpenAI

from asynccache import CachePipeline, Request
from asynccache._errors import UpstreamBadRequest, UpstreamBusy, UpstreamError, UpstreamStreamError
from asynccache._models import Response
from asynccache.dialects.responses import Responses
from asynccache.upstreams.openai import OpenAIUpstream

pytestmark = pytest.mark.anyio

RESPONSES: Final = Responses()
TRANSCRIPTS: Final = Path(__file__).parents[1] / "fixtures" / "openai-responses"
ASKED: Final[dict[str, Any]] = {"model": "gpt-6-astra", "input": "hi"}
TWINS: Final = ["cut", "empty", "json", "parts", "reasoning", "refusal", "text", "tool", "tools_parallel"]
COMPLETED: Final = [name for name in TWINS if name != "cut"]
VLLM: Final = ["vllm_no_output_stream", "vllm_reasoning_stream"]


def transcript(name: str) -> bytes:
    """A whole HTTP response; the connection's end is the end of its body."""
    whole = (TRANSCRIPTS / f"{name}.http").read_bytes()
    return whole.replace(b"transfer-encoding: chunked", b"connection: close", 1)


def frames_of(name: str) -> tuple[bytes, ...]:
    lines = [line for line in transcript(name).splitlines() if line.startswith(b"data: ")]
    return tuple(line.removeprefix(b"data: ") for line in lines if line != b"data: [DONE]")


def sent(body: bytes, kind: str, status: int = 200) -> bytes:
    head = f"HTTP/1.1 {status} Some Reason\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n"
    return head.encode() + body


def as_events(frames: Any) -> bytes:
    return sent(b"".join(map(RESPONSES.event, frames)) + RESPONSES.closing, "text/event-stream")


def as_document(body: bytes, status: int = 200) -> bytes:
    return sent(body, "application/json", status)


class Served:
    """A server that answers every request with the same bytes, and closes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.calls: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            await reader.readexactly(int(sizes[0].split(b":")[1]))
            self.calls.append(head.split(b"\r\n")[0])
            writer.write(self.answer)
            await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def served(answer: bytes) -> AsyncIterator[Served]:
    made = Served(answer)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def client_of(answer: bytes) -> AsyncIterator[AsyncOpenAI]:
    async with (
        served(answer) as server,
        AsyncOpenAI(api_key="k", base_url=server.url, max_retries=0) as client,
    ):
        yield client


async def fetched(answer: bytes) -> Any:
    async with client_of(answer) as client:
        return await client.responses.create(**ASKED)


async def events(answer: bytes) -> list[Any]:
    async with client_of(answer) as client:
        stream = await client.responses.create(**ASKED, stream=True)
        return [event async for event in stream]


async def accumulated(answer: bytes) -> tuple[Any, list[Any]]:
    """The final response as the client puts it together, and the events it hands out on the way."""
    async with client_of(answer) as client, client.responses.stream(**ASKED) as stream:
        seen = [event async for event in stream]
        return await stream.get_final_response(), seen


@pytest.mark.parametrize("name", TWINS)
async def test_the_client_reads_an_assembled_stream_as_the_unstreamed_answer(name: str) -> None:
    assembled = RESPONSES.assemble(frames_of(f"{name}_stream"))
    assert await fetched(as_document(assembled)) == await fetched(transcript(name))


@pytest.mark.parametrize("name", [*(f"{name}_stream" for name in TWINS), "failed_stream", *VLLM])
async def test_the_client_reads_recorded_frames_as_the_original_stream(name: str) -> None:
    frames = frames_of(name)
    response = Response(RESPONSES.assemble(frames), frames)
    again = await events(as_events(RESPONSES.replay(ASKED, response)))
    assert again == await events(transcript(name))


@pytest.mark.parametrize("name", COMPLETED)
async def test_the_client_accumulates_made_events_to_the_same_response(name: str) -> None:
    body = transcript(name).partition(b"\r\n\r\n")[2]
    made, seen = await accumulated(as_events(RESPONSES.replay(ASKED, Response(body))))
    original, _ = await accumulated(transcript(f"{name}_stream"))
    assert made == original
    deltas = [event for event in seen if event.type == "response.output_text.delta"]
    assert "".join(event.delta for event in deltas) == made.output_text
    assert all(event.snapshot == event.delta for event in deltas)


@pytest.mark.parametrize("name", VLLM)
async def test_the_client_reads_all_that_vllm_streamed_even_if_its_final_event_lacks_it(name: str) -> None:
    body = RESPONSES.assemble(frames_of(name))
    made, _ = await accumulated(as_events(RESPONSES.replay(ASKED, Response(body))))
    assert made.output_text == (await fetched(as_document(body))).output_text == "Hello there!"
    if name == "vllm_reasoning_stream":
        assert made == (await accumulated(transcript(name)))[0]


@pytest.mark.parametrize("name", ["cut", "failed_stream"])
async def test_the_client_sees_the_end_of_a_response_that_was_not_completed(name: str) -> None:
    body = RESPONSES.assemble(frames_of(name)) if name == "failed_stream" else None
    document = body or transcript(name).partition(b"\r\n\r\n")[2]
    [*_, end] = await events(as_events(RESPONSES.replay(ASKED, Response(document))))
    assert end.type == f"response.{orjson.loads(document)['status']}"
    assert end.response == await fetched(as_document(document))


@pytest.mark.parametrize("name", TWINS)
async def test_the_client_reads_a_renewed_answer(name: str) -> None:
    frames = [
        RESPONSES.renewed(frame, token="f" * 32, now=1_800_000_000) for frame in frames_of(f"{name}_stream")
    ]
    seen = await events(as_events(frames))
    assert seen[-1].response.created_at == seen[0].response.created_at == 1_800_000_000
    assert seen[-1].response.output == (await fetched(transcript(name))).output


async def test_the_client_raises_for_an_error_in_mid_stream_whoever_says_it() -> None:
    begun = frames_of("text_stream")[:4]
    told = as_events([*begun, RESPONSES.failure(502, "the upstream failed in mid-stream")])
    for answer, words in ((transcript("error_stream"), "an error"), (told, "failed in mid-stream")):
        with pytest.raises(openai.APIError, match=words):
            await events(answer)


async def test_the_client_raises_the_same_for_an_upstreams_refusal_and_one_of_the_cache() -> None:
    for answer in (transcript("err_400"), as_document(RESPONSES.failure(400, "no", field="text"), 400)):
        with pytest.raises(openai.BadRequestError) as caught:
            await fetched(answer)
        assert caught.value.type == "invalid_request_error"
        assert caught.value.param is not None


@asynccontextmanager
async def upstream_of(answer: bytes) -> AsyncIterator[tuple[OpenAIUpstream, Served]]:
    async with served(answer) as server:
        upstream = OpenAIUpstream(server.url, api_key="k", max_retries=0)
        async with upstream.lifespan():
            yield upstream, server


REQUEST: Final = Request(dialect="responses", body=ASKED)


@pytest.mark.parametrize("name", TWINS)
async def test_an_upstream_hands_on_what_the_server_said_byte_for_byte(name: str) -> None:
    async with upstream_of(transcript(name)) as (upstream, server):
        response = await upstream.fetch(REQUEST)
    assert response.body == transcript(name).partition(b"\r\n\r\n")[2]
    assert server.calls == [b"POST /v1/responses HTTP/1.1"]
    async with upstream_of(transcript(f"{name}_stream")) as (upstream, _):
        frames = [frame async for frame in await upstream.stream(REQUEST)]
    assert tuple(frames) == frames_of(f"{name}_stream")


@pytest.mark.parametrize("name", ["failed_stream", *VLLM])
async def test_an_upstreams_stream_ends_with_the_final_event_with_or_without_done(name: str) -> None:
    async with upstream_of(transcript(name)) as (upstream, _):
        assert tuple([frame async for frame in await upstream.stream(REQUEST)]) == frames_of(name)


@pytest.mark.parametrize("kept", [0, 1, 5, -1])
async def test_a_stream_that_ends_before_the_final_event_is_an_error(kept: int) -> None:
    frames = frames_of("text_stream")[:kept]
    for end in (b"", b"data: [DONE]\n\n"):
        async with upstream_of(as_events(frames) + end) as (upstream, _):
            stream = await upstream.stream(REQUEST)
            with pytest.raises(UpstreamStreamError):
                _ = [frame async for frame in stream]


async def test_an_error_event_breaks_the_upstreams_stream() -> None:
    async with upstream_of(transcript("error_stream")) as (upstream, _):
        stream = await upstream.stream(REQUEST)
        with pytest.raises(UpstreamStreamError, match="type server_error") as caught:
            _ = [frame async for frame in stream]
    assert "had an error" in caught.value.detail


@pytest.mark.parametrize(
    ("name", "kind"), [("err_400", UpstreamBadRequest), ("err_429", UpstreamBusy), ("err_401", UpstreamError)]
)
async def test_an_upstreams_refusal_is_an_error_of_its_kind(name: str, kind: type[UpstreamError]) -> None:
    async with upstream_of(transcript(name)) as (upstream, _):
        with pytest.raises(kind):
            await upstream.fetch(REQUEST)


async def test_a_stream_through_a_pipeline_is_answered_from_it_the_second_time() -> None:
    async with served(transcript("parts_stream")) as server:
        upstream = OpenAIUpstream(server.url, api_key="k", max_retries=0)
        async with CachePipeline(upstream, backend="memory://", decision=None) as cache:
            async with cache.stream(REQUEST) as stream:
                first = [chunk.body async for chunk in stream]
            async with cache.stream(REQUEST) as stream:
                second = [chunk.body async for chunk in stream]
                assert stream.hit
            whole = await cache.fetch(REQUEST)
    assert len(server.calls) == 1
    assert tuple(first) == tuple(second) == frames_of("parts_stream")
    assert await fetched(as_document(whole.body)) == await fetched(transcript("parts"))
