"""Streamed answers over HTTP: when they are complete, how they break, and that nothing leaks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import orjson
import pytest

from asynccache._errors import UpstreamInvalidAnswer, UpstreamServerError, UpstreamStreamError
from asynccache._registry import find_dialect
from asynccache.upstreams.openai import OpenAIUpstream

if TYPE_CHECKING:
    from tests.upstreams.conftest import Exchange, Wire

pytestmark = pytest.mark.anyio

DONE = b"data: [DONE]\n\n"


def payload(event: bytes) -> bytes:
    return event.removeprefix(b"data: ").removesuffix(b"\n\n")


async def test_stream_is_complete_when_every_choice_is_finished(wire: type[Wire]) -> None:
    begun = [wire.event("a"), wire.event("b", index=1)]
    events = [*begun, wire.event(None, "stop"), wire.event(None, "stop", 1)]
    for end in (DONE, b""):
        frames, error = await wire.streamed(wire.events_head(), *wire.chunks(b"".join(events) + end, 1000))
        assert error is None
        assert frames == [payload(event) for event in events]


async def test_stream_with_one_unfinished_choice_is_an_error(wire: type[Wire]) -> None:
    events = [wire.event("a"), wire.event("b", index=1), wire.event(None, "stop")]
    frames, error = await wire.streamed(wire.events_head(), *wire.chunks(b"".join(events) + DONE, 1000))
    assert len(frames) == 3
    assert isinstance(error, UpstreamStreamError)
    assert str(error) == "the stream ended before 1 of 2 choices had finished"


@pytest.mark.parametrize("body", [b"", DONE, b": nothing\n\n", b'data: {"choices":[]}\n\n' + DONE])
async def test_stream_without_a_choice_is_an_error(body: bytes, wire: type[Wire]) -> None:
    _, error = await wire.streamed(wire.events_head(), *wire.chunks(body, 1000))
    assert isinstance(error, UpstreamStreamError)
    assert "without an answer" in str(error)


async def test_events_after_done_are_not_handed_on(wire: type[Wire]) -> None:
    body = wire.event("a", "stop") + DONE + wire.event("late")
    frames, error = await wire.streamed(wire.events_head(), *wire.chunks(body, 1000))
    assert error is None
    assert len(frames) == 1


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (b"data: {oops\n\n", "no JSON object"),
        (b"data: [1]\n\n", "no JSON object"),
        (b'data: {"choices":[7]}\n\n', "no JSON object"),
        (b'data: {"error":{"message":"SECRET","type":"t","code":503}}\n\n', "in mid-stream (type t)"),
        (b'data: {"error":"SECRET"}\n\n', "in mid-stream"),
        (b'data: {"object":"error","message":"SECRET","code":500}\n\n', "in mid-stream"),
    ],
)
async def test_bad_event_is_an_error_even_when_all_is_finished(
    event: bytes, sentence: str, wire: type[Wire]
) -> None:
    body = wire.event("a", "stop") + event + DONE
    frames, error = await wire.streamed(wire.events_head(), *wire.chunks(body, 1000))
    assert frames == [payload(wire.event("a", "stop"))]
    assert isinstance(error, UpstreamStreamError)
    assert sentence in str(error)
    assert "SECRET" not in str(error)


async def test_connection_that_breaks_is_an_error_even_when_all_is_finished(wire: type[Wire]) -> None:
    frames, error = await wire.streamed(wire.events_head(), wire.chunk(wire.event("a", "stop")))
    assert len(frames) == 1
    assert isinstance(error, UpstreamStreamError)
    assert "broke off" in str(error)


async def test_silence_in_the_middle_is_an_error(wire: type[Wire]) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(wire.events_head(), wire.chunk(wire.event("a")))
        await exchange.client_left()

    async with wire.asking(answer, timeout=0.1) as (upstream, raw):
        stream = await upstream.stream(wire.request())
        assert await anext(stream)
        with pytest.raises(UpstreamStreamError, match="ReadTimeout"):
            await anext(stream)
        await raw.all_closed()


async def test_event_over_the_limit_is_an_error(wire: type[Wire]) -> None:
    body = wire.event("a") + b"data: " + b"x" * 2000
    frames, error = await wire.streamed(wire.events_head(), *wire.chunks(body, 100), max_answer_bytes=1000)
    assert len(frames) == 1
    assert isinstance(error, UpstreamStreamError)
    assert "max_answer_bytes" in str(error)


async def test_frame_arrives_before_the_next_is_made(wire: type[Wire]) -> None:
    seen = anyio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.send(wire.events_head(), wire.chunk(wire.event("a")))
        await seen.wait()
        await exchange.send(*wire.chunks(wire.event(None, "stop") + DONE, 1000))

    async with wire.asking(answer) as (upstream, _):
        stream = await upstream.stream(wire.request())
        with anyio.fail_after(5):
            assert await anext(stream) == payload(wire.event("a"))
            seen.set()
            assert [frame async for frame in stream] == [payload(wire.event(None, "stop"))]


async def test_whole_answer_to_a_stream_request_is_replayed(wire: type[Wire]) -> None:
    _, body = wire.recording("chat_basic")
    frames, error = await wire.streamed(wire.whole(200, body))
    assert error is None
    assert len(frames) > 1
    assembled = orjson.loads(find_dialect("chat.completions").assemble(frames))
    assert assembled["choices"][0]["message"]["content"] == "chat addtral"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", UpstreamInvalidAnswer),
        (b'{"success":false}', UpstreamInvalidAnswer),
        (b'{"choices":[{}]}', UpstreamInvalidAnswer),
        (b'{"error":"no"}', UpstreamServerError),
    ],
)
async def test_other_answer_to_a_stream_request_is_an_error(
    body: bytes, kind: type[Exception], wire: type[Wire]
) -> None:
    _, error = await wire.streamed(wire.whole(200, body, content_type="text/html"))
    assert type(error) is kind


async def test_answer_that_cannot_be_streamed_gives_its_connection_back(wire: type[Wire]) -> None:
    bad = wire.whole(200, b"<html>")
    async with wire.asking(lambda e: e.send(bad), max_connections=1, timeout=1) as (upstream, raw):
        for _ in range(3):
            with pytest.raises(UpstreamInvalidAnswer):
                await upstream.stream(wire.request())
        assert raw.connections == 1


async def test_finished_stream_gives_its_connection_back(wire: type[Wire]) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(wire.events_head(), *wire.chunks(wire.event("a", "stop") + DONE, 20))

    async with wire.asking(answer) as (upstream, raw):
        for _ in range(5):
            async for _ in await upstream.stream(wire.request()):
                pass
        assert raw.connections == 1


async def test_stream_whose_body_does_not_end_after_done_ends_all_the_same(wire: type[Wire]) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(wire.events_head(), wire.chunk(wire.event("a", "stop") + DONE))
        await exchange.client_left()

    async with wire.asking(answer) as (upstream, raw):
        with anyio.fail_after(5):
            frames = [frame async for frame in await upstream.stream(wire.request())]
        assert len(frames) == 1
        await raw.all_closed()


async def begin_and_wait(exchange: Exchange, wire: type[Wire]) -> None:
    await exchange.send(wire.events_head(), wire.chunk(wire.event("a")))
    await exchange.client_left()


@pytest.mark.parametrize("frames", [0, 1])
async def test_closing_early_closes_the_connection_at_once(frames: int, wire: type[Wire]) -> None:
    async with wire.asking(lambda e: begin_and_wait(e, wire), max_connections=1) as (upstream, raw):
        for _ in range(3):  # with one place, the next begins only when the last has left it
            stream = await upstream.stream(wire.request())
            for _ in range(frames):
                await anext(stream)
            assert raw.open == 1
            await stream.aclose()
            await raw.all_closed()
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(stream)


async def test_hundred_cancelled_streams_leave_no_connection(wire: type[Wire]) -> None:
    begun = asyncio.Semaphore(0)

    async with wire.asking(lambda e: begin_and_wait(e, wire), max_connections=20) as (upstream, raw):

        async def read() -> None:
            stream = await upstream.stream(wire.request())
            async for _ in stream:
                begun.release()

        for _ in range(5):
            tasks = [asyncio.create_task(read()) for _ in range(20)]
            for _ in tasks:
                await begun.acquire()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            await raw.all_closed()
        assert len(raw.requests) == 100
        pool = upstream._connections._pool
        assert pool is not None
        assert pool.users == pool.room.borrowed_tokens == 0


async def test_cancellation_at_any_moment_leaves_the_connections_usable(wire: type[Wire]) -> None:
    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(0)
        await exchange.send(wire.events_head(), *wire.chunks(wire.event("a", "stop") + DONE, 9))

    async with wire.asking(answer, max_connections=1) as (upstream, _):

        async def ask() -> int:
            return len([frame async for frame in await upstream.stream(wire.request())])

        for turns in range(60):  # cancelled after this many turns of the loop: on each await there is
            task = asyncio.create_task(ask())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        with anyio.fail_after(5):
            assert await ask() == 1
        pool = upstream._connections._pool
        assert pool is not None
        assert pool.users == pool.room.borrowed_tokens == 0


async def test_stream_closed_by_another_task_ends_its_reader(wire: type[Wire]) -> None:
    async with wire.asking(lambda e: begin_and_wait(e, wire)) as (upstream, raw):
        stream = await upstream.stream(wire.request())
        await anext(stream)
        reader = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.05)
        await stream.aclose()
        with pytest.raises(UpstreamStreamError), anyio.fail_after(5):
            await reader
        await raw.all_closed()


async def test_leaving_the_lifespan_ends_open_streams(wire: type[Wire]) -> None:
    async with wire.server(lambda e: begin_and_wait(e, wire)) as raw:
        upstream = OpenAIUpstream(raw.base_url)
        async with upstream.lifespan():
            stream = await upstream.stream(wire.request())
            await anext(stream)
        await raw.all_closed()
        with pytest.raises(UpstreamStreamError):
            await anext(stream)


async def test_stream_that_ends_well_runs_its_callbacks(wire: type[Wire]) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(wire.events_head(), *wire.chunks(wire.event("a", "stop") + DONE, 9))

    recorded: list[tuple[bytes, ...]] = []

    async def record(frames: tuple[bytes, ...]) -> None:
        recorded.append(frames)

    async with wire.asking(answer) as (upstream, _):
        stream = await upstream.stream(wire.request())
        stream.on_complete(record)
        async for _ in stream:
            pass
    assert recorded == [(payload(wire.event("a", "stop")),)]
